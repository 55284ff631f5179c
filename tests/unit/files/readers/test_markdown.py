"""Markdown is split at its headings, whatever surrounds them."""

from pathlib import Path

import pytest

from theodolite import Document
from theodolite.files.readers import File, Options, Splitter, find, read


def passages(folder: Path, text: str, name: str = "a.md") -> list[Document]:
    (folder / name).write_text(text)
    (file,) = find([folder / name], Options())
    assert isinstance(file, File)
    items = read(file, Options(), Splitter(None))
    return [document for item in items if isinstance(item, list) for document in item]


def outline(found: list[Document]) -> list[tuple[str, str | None]]:
    return [(item.text.splitlines()[-1], item.metadata.get("heading")) for item in found]


def test_a_section_a_passage(tmp_path: Path) -> None:
    text = (
        "Before.\n\n# A\n\nOne.\n\n## B `code` [link](x) ##\n\nTwo.\n\n### C\nThree.\n\n## D\n\nFour.\n\n# E\n\nFive.\n"
    )
    assert outline(passages(tmp_path, text)) == [
        ("Before.", None),
        ("One.", "A"),
        ("Two.", "A > B code link"),
        ("Three.", "A > B code link > C"),
        ("Four.", "A > D"),
        ("Five.", "E"),
    ]


def test_headings_without_text_stay_with_what_follows(tmp_path: Path) -> None:
    found = passages(tmp_path, "# A\n\n## B\n\nText.\n\n# C\n")
    assert [item.text for item in found] == ["# A\n\n## B\n\nText.", "# C"]
    assert [item.metadata["heading"] for item in found] == ["A > B", "C"]


def test_underlined_headings(tmp_path: Path) -> None:
    assert outline(passages(tmp_path, "A\n===\n\nOne.\n\nB\n---\n\nTwo.\n")) == [("One.", "A"), ("Two.", "A > B")]


def test_what_only_looks_like_a_heading(tmp_path: Path) -> None:
    text = "# A\n\n~~~~sh\n~~~\n# comment\n~~~~\n\n    # code\n\n- # item\n\n#hashtag\n\nEnd.\n"
    assert outline(passages(tmp_path, text)) == [("End.", "A")]


def test_front_matter(tmp_path: Path) -> None:
    (only,) = passages(tmp_path, '---\ntags: [x]\ntitle: "How to pay"\n---\n\nWith a card.\n')
    assert (only.text, only.metadata.get("title"), only.metadata.get("heading")) == ("With a card.", "How to pay", None)
    rule = passages(tmp_path, "---\n\nNo front matter, but a rule.\n\n---\n")
    assert "No front matter" in rule[0].text


def test_large_files(tmp_path: Path) -> None:
    """Cut in the same places as if they were read as a whole: also within code that looks like headings."""
    filler = "word " * 30
    sections = [f"# S{n}\n\n```sh\n# comment {n}\nrun\n```\n\n{filler}end {n}." for n in range(3000)]
    found = passages(tmp_path, "\n\n".join(sections))
    assert [(item.metadata["heading"], item.text) for item in found] == [
        (f"S{n}", section) for n, section in enumerate(sections)
    ]


@pytest.mark.thorough
def test_a_section_larger_than_a_window(tmp_path: Path) -> None:
    text = "# A\n\n## B\n\n" + "\n\n".join(f"Paragraph {n} is here." for n in range(30_000)) + "\n\n## C\n\nLast.\n"
    found = passages(tmp_path, text)
    assert {item.metadata["heading"] for item in found[:-1]} == {"A > B"}
    assert outline(found)[-1] == ("Last.", "A > C")
    assert " ".join(" ".join(item.text for item in found).split()) == " ".join(text.split())
