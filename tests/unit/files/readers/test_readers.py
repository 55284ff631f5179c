"""Files become passages: finding, splitting, ids, and skipped files."""

import json
import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from theodolite import ConfigError, Document, InputError
from theodolite.files.readers import File, Note, Options, Repaired, Skipped, Splitter, find, read

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class Words:
    """Counts words, two of its own beside them."""

    max_tokens = 12

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]


def passages(path: Path, options: Options | None = None, **more: Any) -> list[Document]:
    options = options or Options(**more)
    (file,) = find([path], options)
    assert isinstance(file, File), file
    found = list(read(file, options, Splitter(Words(), options.chunk_tokens, options.overlap)))
    assert all(isinstance(each, list) for each in found), found
    return [document for each in found if isinstance(each, list) for document in each]


def skipped(path: Path, **more: Any) -> list[str]:
    options = Options(**more)
    reasons = []
    for found in find([path], options):
        items = [found] if isinstance(found, Skipped) else read(found, options, Splitter(Words()))
        reasons += [f"{item.source}: {item.reason}" for item in items if isinstance(item, Skipped)]
    return reasons


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_what_is_found_and_what_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("docs/b.md", "docs/a/z.txt", "docs/a/y.HTML", "docs/.hidden/x.txt", "docs/.x.txt", "notes.jsonl"):
        write(tmp_path / name, "text")
    (tmp_path / "docs" / "a" / "loop").symlink_to(tmp_path / "docs")
    os.utime(tmp_path / "docs" / "b.md", (1e9, 1e9 + 0.7))
    expected = ["docs/b.md", "docs/a/y.HTML", "docs/a/z.txt", "notes.jsonl"]
    files = list(find([tmp_path / "docs", tmp_path / "notes.jsonl"], Options()))
    assert [file.source for file in files] == expected
    assert files[0] == File(
        tmp_path / "docs" / "b.md", "docs/b.md", "markdown", 4, datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    )
    monkeypatch.chdir(tmp_path / "docs")
    assert [file.source for file in find([".", "../notes.jsonl"], Options())] == expected


def test_paths_that_do_not_fit(tmp_path: Path) -> None:
    for name in ("a/docs/x.txt", "b/docs/x.txt"):
        write(tmp_path / name, "text")
    with pytest.raises(InputError, match="does not exist"):
        list(find([tmp_path / "nothing"], Options()))
    with pytest.raises(ConfigError, match="have the same name, 'docs'"):
        list(find([tmp_path / "a" / "docs", tmp_path / "b" / "docs"], Options()))
    assert len(list(find([tmp_path / "a" / "docs", tmp_path / "a" / "docs"], Options()))) == 1
    for inner in ("x.txt", "sub"):
        (tmp_path / "a" / "docs" / "sub").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match="lies in"):
            list(find([tmp_path / "a" / "docs" / inner, tmp_path / "a" / "docs"], Options()))
    for wrong in (str(tmp_path), tmp_path, b"docs", None, 3):
        with pytest.raises(InputError, match="pass a list of paths"):
            list(find(wrong, Options()))  # type: ignore[arg-type]  # that is the question


@pytest.mark.parametrize(
    "wrong", [{"chunk_tokens": 0}, {"overlap": -1}, {"chunk_tokens": 5, "overlap": 5}, {"max_bytes": 0}]
)
def test_options_that_do_not_fit(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Options(**wrong)  # type: ignore[arg-type]  # all of these are numbers


def test_what_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "docs/photo.jpg", b"\xff\xd8")
    write(tmp_path / "docs/binary.txt", b"text\0\1")
    write(tmp_path / "docs/empty.md", b"")
    write(tmp_path / "docs/large.txt", b"x" * 2001)
    write(tmp_path / "docs/fake.pdf", b"no pdf")
    write(tmp_path / "docs/late.txt", b"fine " * 4000 + b"\0")
    (tmp_path / "docs/lost.txt").symlink_to(tmp_path / "nowhere")
    found = skipped(tmp_path / "docs", max_bytes=2000)
    assert found == [
        "docs/binary.txt: binary",
        "docs/empty.md: empty",
        "docs/fake.pdf: not a PDF file",
        "docs/large.txt: 0.0 MB, above the limit of 0.0 MB; --max-mb (max_bytes=) raises it",
        "docs/late.txt: 0.0 MB, above the limit of 0.0 MB; --max-mb (max_bytes=) raises it",
        "docs/lost.txt: cannot be read: No such file or directory",
        "docs/photo.jpg: unknown kind of file: .jpg; --as .jpg=text (formats=) reads it",
    ]
    assert not any("late.txt" in each for each in skipped(tmp_path / "docs"))


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    write(tmp_path / "docs/secret.txt", "text").chmod(0)
    write(tmp_path / "docs/closed/in.txt", "text").parent.chmod(0)
    assert [each.partition(":")[0] for each in skipped(tmp_path / "docs")] == ["docs/closed", "docs/secret.txt"]


def test_a_file_of_unknown_kind_given_by_name_is_text(tmp_path: Path) -> None:
    (only,) = passages(write(tmp_path / "LICENSE", "Do what you like."))
    assert only.text == "Do what you like."
    assert skipped(write(tmp_path / "program", b"\x7fELF\0")) == ["program: binary"]


def test_passages_of_a_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "One two three four five.\n\nSix seven eight nine ten eleven.\n\nTwelve.")
    os.utime(path, (1e9, 1e9))
    found = passages(path)
    assert [each.text for each in found] == ["One two three four five.", "Six seven eight nine ten eleven.\n\nTwelve."]
    assert [each.id for each in found] == ["a.txt", "a.txt#2"]
    assert found[1].metadata == {
        "path": "a.txt",
        "chunk": 2,
        "modified": datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC),
    }


def test_no_passage_is_longer_than_the_embedder_reads(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(5000)]
    for size, largest in ((None, 10), (7, 7), (500, 10)):
        found = passages(write(tmp_path / "a.txt", " ".join(words)), chunk_tokens=size)
        assert max(len(each.text.split()) for each in found) == largest
        assert " ".join(each.text for each in found).split() == words
    over = passages(tmp_path / "a.txt", overlap=3)
    assert over[1].text.split()[:3] == over[0].text.split()[-3:]


def test_an_overlap_must_leave_something_new() -> None:
    for size, overlap in ((None, 10), (5, 5), (500, 10)):
        with pytest.raises(ConfigError, match="must be below the"):
            Splitter(Words(), size, overlap)


def test_without_a_counter_four_characters_are_a_token() -> None:
    pieces = Splitter(None, 20).split("word " * 1000)
    assert 60 < max(len(piece) for piece in pieces) <= 80
    assert max(len(piece) for piece in Splitter(object()).split("word " * 5000)) <= 1024


@pytest.mark.thorough
def test_large_texts_are_read_in_windows(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {n} says this and that." for n in range(40_000)]
    found = passages(write(tmp_path / "a.txt", "\r\n\r\n".join(paragraphs)))
    assert len(found) == 40_000
    assert [each.text for each in found] == paragraphs


def test_headings_of_markdown(tmp_path: Path) -> None:
    text = """Before any heading.

# Refunds #

Money back takes five days at most here.

## Exceptions

```
# no heading
```

Gift cards are never paid back in money.

# Shipping

Parcels leave the house on Mondays and Thursdays only.
"""
    found = passages(write(tmp_path / "a.md", text))
    headings = {each.text.splitlines()[-1]: each.metadata.get("heading") for each in found}
    assert headings["Before any heading."] is None
    assert headings["Money back takes five days at most here."] == "Refunds"
    assert headings["Gift cards are never paid back in money."] == "Refunds > Exceptions"
    assert headings["Parcels leave the house on Mondays and Thursdays only."] == "Shipping"


def test_html(tmp_path: Path) -> None:
    page = """<!doctype html><html><head><title> The   shop </title><style>p {}</style><script>var secret = 1</script>
    </head><body><nav>Home</nav><main><h1>Hours</h1><p>Open from <b>nine</b> to <a href="x">six</a>.</p>
    <ul><li>Closed on Sundays</li></ul><p hidden>Secret</p></main><footer>Legal</footer></body></html>"""
    found = passages(write(tmp_path / "a.html", page))
    assert "\n\n".join(each.text for each in found) == "# Hours\n\nOpen from nine to six.\n\n- Closed on Sundays"
    assert {(each.metadata["title"], each.metadata["heading"]) for each in found} == {("The shop", "Hours")}
    latin = '<html><head><meta charset="iso-8859-1"></head><body><p>Größe</p></body></html>'.encode("latin-1")
    assert passages(write(tmp_path / "b.htm", latin))[0].text == "Größe"


def test_json_lines(tmp_path: Path) -> None:
    lines = [
        {"id": "a", "text": "First.", "metadata": {"lang": "en", "path": "mine", "chunk": 9}, "other": 1},
        {"id": 7, "text": "Second.", "lang": "de"},
        {"text": "Third. " * 12},
    ]
    path = write(tmp_path / "n.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    first, second, *third = passages(path)
    assert (first.id, first.text) == ("a", "First.")
    assert {**first.metadata, "modified": 0} == {"lang": "en", "path": "n.jsonl", "chunk": 9, "line": 1, "modified": 0}
    assert (second.id, second.metadata["lang"], second.metadata["line"]) == ("7", "de", 2)
    assert [each.id for each in third] == ["n.jsonl#3", "n.jsonl#3#2"]
    body = passages(
        write(tmp_path / "m.jsonl", '{"body": "B", "key": "k", "x": 1, "y": 2}'), text="body", id="key", metadata=("y",)
    )
    assert (body[0].id, body[0].text, "x" in body[0].metadata, body[0].metadata["y"]) == ("k", "B", False, 2)
    dated = '{"text": "t", "metadata": {"since": {"$date": "2025-03-01"}}}'
    assert str(passages(write(tmp_path / "d.jsonl", dated))[0].metadata["since"]) == "2025-03-01"


def test_records_that_cannot_be_read(tmp_path: Path) -> None:
    text = '{"text": "fine"}\n{"text": \n[1]\n{"id": "x"}\n{"id": [], "text": "t"}\n'
    text += '{"text": "t", "metadata": {"n": NaN}}\n'
    found = skipped(write(tmp_path / "n.jsonl", text + '{"text": "t", "id": "\\ud800"}\n'))
    assert [each.partition(": ")[2][:6] for each in found] == [f"line {n}" for n in (2, 3, 4, 5, 6, 7)]


def test_csv(tmp_path: Path) -> None:
    table = 'id,text,lang,note\r\na,"First, with\r\na break",en,\r\n,Second,de,x\r\n'
    first, second = passages(write(tmp_path / "t.csv", table))
    assert (first.id, first.text) == ("a", "First, with\r\na break")
    assert {**first.metadata, "modified": 0} == {"lang": "en", "path": "t.csv", "chunk": 1, "line": 2, "modified": 0}
    assert (second.id, second.metadata["note"]) == ("t.csv#4", "x")
    (tabbed,) = passages(write(tmp_path / "t.tsv", "body\tn\nwords, more\t3\n"), text="body", keep_strings=True)
    assert (tabbed.text, tabbed.metadata["n"]) == ("words, more", "3")
    (reason,) = skipped(write(tmp_path / "u.csv", "body,n\nwords,3\n"))
    assert reason.startswith("u.csv: cannot be read: no column is called 'text'; there are body, n. --map FILE:text=")
    (reason,) = skipped(write(tmp_path / "v.csv", "text\na,b\n"))
    assert reason == "v.csv: line 2 has more values than the first line has names"


def test_encodings(tmp_path: Path) -> None:
    text = "Größe, 中文, ελληνικά: " * 3
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        found = passages(write(tmp_path / "a.txt", text.encode(encoding)), chunk_tokens=10)
        assert "".join(each.text for each in found).replace(" ", "") == text.replace(" ", "")
    german = "Die Größe der Tür läßt sich überprüfen, während Äpfel fallen. " * 20
    found = passages(write(tmp_path / "a.txt", german.encode("cp1252")))
    assert found[0].text.startswith("Die Größe der Tür läßt")
    long = ("plain " * 20_000 + "é").encode() + b"\xe9\xff"
    assert skipped(write(tmp_path / "a.txt", long))[0].startswith(
        "a.txt: cannot be read: not UTF-8 at about byte 120,002"
    )


def pdf(*pages: str) -> bytes:
    """A small PDF with a line of text a page."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for n, page in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET" if page else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    return out + f"{head}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n".encode()


def test_pdf(tmp_path: Path) -> None:
    first, second = passages(write(tmp_path / "a.pdf", pdf("Refunds take five days.", "", "Parcels leave on Monday.")))
    assert (first.text, first.metadata["page"], first.id) == ("Refunds take five days.", 1, "a.pdf")
    assert (second.text, second.metadata["page"], second.id) == ("Parcels leave on Monday.", 3, "a.pdf#2")
    assert "no text in it" in skipped(write(tmp_path / "b.pdf", pdf("")))[0]
    assert skipped(write(tmp_path / "c.pdf", b"%PDF-1.4\n" + b"broken" * 50))


def test_encrypted_pdf(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    source = write(tmp_path / "a.pdf", pdf("Refunds take five days."))
    for password, expected in (("secret", ["b.pdf: cannot be read: encrypted"]), ("", [])):
        writer = PdfWriter(clone_from=PdfReader(source))
        writer.encrypt(password, "owner", algorithm="RC4-128")
        writer.write(tmp_path / "b.pdf")
        writer.close()
        assert skipped(tmp_path / "b.pdf") == expected


def test_damaged_pdf_ends_nothing(tmp_path: Path) -> None:
    """Any part of it may be damaged."""
    whole = pdf("Refunds take five days.", "Parcels leave on Monday.")
    draw = random.Random(5)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in draw.sample(range(9, len(whole)), 12):
            damaged[place] = draw.randrange(256)
        path = write(tmp_path / "a.pdf", bytes(damaged))
        (file,) = find([path], Options())
        assert isinstance(file, File)
        for item in read(file, Options(), Splitter(Words())):
            assert not isinstance(item, Note)
            assert isinstance(item, Repaired) or (item.reason if isinstance(item, Skipped) else item[0].text)
