"""Real-world files: damaged, unusual, in other encodings, changing while they are read."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from theodolite import Document, Retriever
from theodolite.files.readers import File, Note, Options, Repaired, Skipped, Splitter, find, read
from theodolite.files.readers.text import valid, valid_values
from theodolite.files.sync import sync
from theodolite.testing import HashingEmbedder


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


def items(folder: Path, options: Options | None = None) -> Iterator[Document | Skipped | Repaired | Note]:
    options = options or Options()
    for found in find([folder], options):
        if isinstance(found, Skipped):
            yield found
        else:
            for item in read(found, options, Splitter(None, options.chunk_tokens, options.overlap)):
                yield from item if isinstance(item, list) else [item]


def only(folder: Path) -> Document:
    (found,) = items(folder)
    assert isinstance(found, Document), found
    return found


def reasons(folder: Path) -> list[str]:
    return [f"{item.source}: {item.reason}" for item in items(folder) if isinstance(item, Skipped)]


@pytest.mark.thorough
def test_html_nested_too_deep_is_skipped(docs: Path) -> None:
    (docs / "deep.html").write_text("<div>" * 20_000 + "text")
    (docs / "fine.txt").write_text("text")
    with Retriever.open(embedder=HashingEmbedder(16)) as kb:
        report = sync(kb, [docs])
        assert [item.source for item in report.skipped] == ["docs/deep.html"]
        assert report.added == 1


def test_html_that_is_all_in_a_form(docs: Path) -> None:
    (docs / "a.html").write_text(
        "<body><form><p>The whole page.</p><input value='x'><select><option>Pick</select></form>"
    )
    assert only(docs).text == "The whole page."


def test_html_with_several_articles_or_notes_keeps_all(docs: Path) -> None:
    (docs / "a.html").write_text("<article><p>First.</p></article><article><p>Second.<aside>Note.</aside></article>")
    assert only(docs).text.split() == ["First.", "Second.", "Note."]


def test_html_navigation_by_role(docs: Path) -> None:
    (docs / "a.html").write_text("<div role='navigation'>Home</div><p>Text with snake_case * and stars.</p>")
    assert only(docs).text == "Text with snake_case * and stars."


def test_xhtml(docs: Path) -> None:
    page = (
        '<?xml version="1.0" encoding="utf-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Größe</p></body>'
    )
    (docs / "a.xhtml").write_bytes(page.encode())
    assert only(docs).text == "Größe"


@pytest.mark.parametrize(("name", "content"), [("a.html", "<script>1</script>"), ("a.txt", " \n"), ("a.md", "\n")])
def test_files_without_text_are_reported(docs: Path, name: str, content: str) -> None:
    (docs / name).write_text(content)
    assert reasons(docs) == [f"docs/{name}: no text in it"]


BYTES = random.Random(3).randbytes(20_000)


@pytest.mark.parametrize("name", ["a.html", "a.txt", "a.md", "a.csv", "a.jsonl"])
def test_binary_data_are_distinguished_from_texts_with_a_nul(docs: Path, name: str) -> None:
    """Wherever it begins, and whatever else the file holds."""
    for before, data in (
        (0, BYTES),
        (0, b"\0\1\2\3few"),
        (0, b"SQLite format 3\0\x10\0\1\1\0@  \0\0\0\3" + b"\0" * 80),
        (20_000, BYTES * 2),
        (1_100_000 if name == "a.txt" else 40_000, BYTES[:9000]),
    ):
        (docs / name).write_bytes(b"plain " * (before // 6) + data)
        (item,) = items(docs)
        assert isinstance(item, Skipped)
        assert "binary" in item.reason or before, item


NUL = {
    "a.txt": b"One\0two.",
    "a.md": b"# Head\0line\n\nOne\0two.",
    "a.html": b"<p>One\0two.</p>",
    "a.csv": b"text,note\nOne\0two.,x\n",
    "a.jsonl": b'{"text": "One\0two."}\n',
}


@pytest.mark.parametrize("name", NUL)
@pytest.mark.parametrize("before", [0, 30_000])
def test_a_nul_is_one_bad_character(docs: Path, name: str, before: int) -> None:
    more = {"a.csv": b"words,x\n" * (before // 8), "a.jsonl": b'{"text": "w"}\n' * (before // 14)}
    filling = b"" if name == "a.html" else more.get(name, b"words. \n\n" * (before // 9))
    data = NUL[name]
    (docs / name).write_bytes(data[:10] + filling + data[10:] if name == "a.csv" else filling + data)
    *texts, repaired = items(docs)
    assert any("One\ufffdtwo." in each.text for each in texts if isinstance(each, Document))
    assert repaired == Repaired(f"docs/{name}", 2 if name == "a.md" else 1)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig"])
def test_a_nul_in_another_encoding(docs: Path, encoding: str) -> None:
    (docs / "a.txt").write_bytes(("Die Größe der Tür läßt sich überprüfen. " * 5 + "\0").encode(encoding))
    document, repaired = items(docs)
    assert isinstance(document, Document)
    assert document.text.startswith("Die Größe der Tür")
    assert repaired == Repaired("docs/a.txt", 1)


def test_texts_become_valid_and_say_of_how_many_characters() -> None:
    """Against code point by code point."""
    draw = random.Random(4)
    letters = ["a", "é", "\U0001d463", "\ufffd", "\ud835", "\udc63", "\0", "\uffff"]
    for _ in range(2000):
        text = "".join(draw.choices(letters, k=draw.randrange(8)))
        expected, count, at = "", 0, 0
        while at < len(text):
            high, low = ord(text[at]), ord(text[at + 1]) if at + 1 < len(text) else 0
            if 0xD800 <= high < 0xDC00 <= low < 0xE000:
                expected += chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
                at += 2
                continue
            bad = not high or 0xD800 <= high < 0xE000
            expected += "\ufffd" if bad else text[at]
            count += bad
            at += 1
        assert valid(text) == (expected, count)
        plain = text.replace("\0", "")
        expected, count = valid(plain)
        assert valid_values({"k": [plain], f"-{plain}": 1}) == ({"k": [expected], f"-{expected}": 1}, 2 * count)


def test_half_characters_in_records(docs: Path) -> None:
    (docs / "a.jsonl").write_text(
        '{"text": "a \\ud83d\\ude00 \\udc63", "note": "\\ud800", "deep": {"\\udfff": ["\\udfff"]}}'
    )
    document, repaired = items(docs)
    assert isinstance(document, Document)
    assert document.text == "a \U0001f600 \ufffd"
    assert (document.metadata["note"], document.metadata["deep"]) == ("\ufffd", {"\ufffd": ["\ufffd"]})
    assert repaired == Repaired("docs/a.jsonl", 4)


def test_a_damaged_table_gives_nothing(docs: Path) -> None:
    (docs / "a.csv").write_text("text\n" + "fine\n" * 500 + '"never closed\n')
    (item,) = items(docs)
    assert isinstance(item, Skipped)


@pytest.mark.thorough
def test_other_encodings_that_show_late(docs: Path) -> None:
    """Nothing is stored in a wrong encoding or in part."""
    german = "Die Größe der Tür läßt sich überprüfen, während Äpfel fallen. "
    (docs / "a.txt").write_bytes(("plain words " * 200_000 + german * 40).encode("cp1252"))
    texts = [item.text for item in items(docs) if isinstance(item, Document)]
    assert german.strip() in " ".join(texts)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Les élèves ont été reçus à l'école où l'on préparait déjà la fête.", "cp1252"),
        ("A note about the café on the corner, naïve as it is, costing £5.", "cp1252"),
        ("It\u2019s a “quoted” thing.", "cp1252"),
        ("Zażółć gęślą jaźń w każdą noc, proszę.", "cp1250"),
        ("Договор вступает в силу с момента подписания.", "cp1251"),  # noqa: RUF001
        ("契約は署名の日から効力を生じます。", "shift_jis"),
        ("退款需要五个工作日才能到账。", "gb18030"),
    ],
)
@pytest.mark.parametrize("before", [0, 2000])
def test_old_encodings(docs: Path, text: str, encoding: str, before: int) -> None:
    (docs / "a.txt").write_bytes(("plain words and more. " * before + text * 3).encode(encoding))
    assert text in " ".join(
        item.text for item in items(docs, Options(chunk_tokens=10**6)) if isinstance(item, Document)
    )


def test_a_character_cut_off_at_the_end(docs: Path) -> None:
    (docs / "a.txt").write_bytes("Größe und mehr, ä".encode()[:-1])
    assert reasons(docs) == ["docs/a.txt: cannot be read: not UTF-8 at about byte 18"]


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.jsonl", "a.csv"])
def test_a_file_that_changes_while_it_is_read(docs: Path, name: str) -> None:
    lines = {"a.jsonl": '{"text": "one two"}\n', "a.csv": "some words\n"}.get(name, "word " * 100 + "\n\n")
    (docs / name).write_text(("text\n" if name == "a.csv" else "") + lines * 400)
    (file,) = find([docs], Options())
    assert isinstance(file, File)
    if name in ("a.txt", "a.md"):  # a text is given whole, or not at all
        with (docs / name).open("a") as more:
            more.write(lines)
        (last,) = read(file, Options(), Splitter(None))
    else:
        reading = read(file, Options(), Splitter(None))
        next(reading)
        with (docs / name).open("a") as more:
            more.write(lines)
        last = list(reading)[-1]
    assert isinstance(last, Skipped)
    assert "changed while it was read" in last.reason


def test_a_file_that_vanishes_keeps_what_was_stored(docs: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (docs / name).write_text("words")
    with Retriever.open(embedder=HashingEmbedder(16)) as kb:
        sync(kb, [docs])
        report = sync(kb, [docs], progress=lambda at: (docs / "b.txt").unlink(missing_ok=True))
        assert [item.source for item in report.skipped] == ["docs/b.txt"]
        assert (report.removed, kb.count()) == (0, 2)
        assert sync(kb, [docs]).removed == 1


def test_very_many_bad_records_are_counted(docs: Path) -> None:
    (docs / "a.jsonl").write_text("no json\n" * 5000)
    found = reasons(docs)
    assert len(found) == 101
    assert found[-1] == "docs/a.jsonl: and 4,900 more"


def test_links_to_what_is_found_anyway(docs: Path, tmp_path: Path) -> None:
    (docs / "z").mkdir()
    (docs / "z" / "x.txt").write_text("text")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "y.txt").write_text("text")
    (tmp_path / "elsewhere" / "back").symlink_to(docs)
    (docs / "a").symlink_to(docs / "z")
    (docs / "self").symlink_to(docs / "self")
    (docs / "up").symlink_to(tmp_path)
    (docs / "other").symlink_to(tmp_path / "elsewhere")
    (docs / "l.txt").symlink_to(tmp_path / "elsewhere" / "y.txt")
    (docs / "in.txt").symlink_to(docs / "z" / "x.txt")
    found = list(find([docs], Options()))
    assert [item.source for item in found if isinstance(item, File)] == ["docs/in.txt", "docs/z/x.txt"]
    outside = {item.source for item in found if isinstance(item, Skipped) and "leads outside" in item.reason}
    assert outside == {"docs/l.txt", "docs/other"}
    holding = [item.source for item in found if isinstance(item, Skipped) and "holds this one" in item.reason]
    assert holding == ["docs/up"]
    found = list(find([docs], Options(follow_links=True)))
    assert [item.source for item in found if isinstance(item, File)] == [
        "docs/in.txt",
        "docs/l.txt",
        "docs/other/y.txt",
        "docs/z/x.txt",
    ]
    assert [item.source for item in found if isinstance(item, Skipped)] == ["docs/up", "docs/self"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_not_text(docs: Path) -> None:
    try:
        with open(os.fsencode(docs) + b"/\xff.txt", "w") as file:
            file.write("text")
    except OSError:
        pytest.skip("the file system takes only text")
    assert reasons(docs) == ["docs/\\udcff.txt: its name is not text: rename it"]


def test_tables_of_other_makes(docs: Path) -> None:
    (docs / "a.csv").write_text('id;text\n1;"one; two"\n\n2;"a\nb"\n3;c\n')
    found = [item for item in items(docs) if isinstance(item, Document)]
    assert [(item.id, item.text, item.metadata["line"]) for item in found] == [
        ("1", "one; two", 2),
        ("2", "a\nb", 4),
        ("3", "c", 6),
    ]
    (docs / "a.csv").write_text("text,note,note\na,b,c\n")
    assert reasons(docs) == ["docs/a.csv: cannot be read: two columns are called 'note'"]
    (docs / "a.csv").write_text('text\n"fine"\n"never closed\nmore\n')
    assert "unexpected end of data" in reasons(docs)[0]
    (docs / "a.csv").write_text("text\n" + "w" * 200_000 + "\n")
    assert not reasons(docs)


def test_records_without_a_name(docs: Path) -> None:
    (docs / "a.jsonl").write_text('{"id": "", "text": "one"}\n{"id": null, "text": "two"}\n')
    assert [item.id for item in items(docs) if isinstance(item, Document)] == ["docs/a.jsonl#1", "docs/a.jsonl#2"]


def test_keys_that_begin_with_a_dollar(docs: Path) -> None:
    """Exported documents come back, and files of other programs stay."""
    lines = ['{"text": "a", "metadata": {"$$x": 1}}', '{"text": "b", "metadata": {"$ref": 1}}']
    (docs / "a.jsonl").write_text("\n".join(lines))
    first, second = (item.metadata for item in items(docs) if isinstance(item, Document))
    assert (first["$x"], second["$ref"]) == (1, 1)
