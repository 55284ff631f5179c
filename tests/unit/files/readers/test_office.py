"""Word and PowerPoint files, made by the libraries that read them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import docx
import pptx
import pytest
from tests.unit.reading import documents, skipped, write


def word(path: Path) -> Path:
    document = docx.Document()
    document.core_properties.title = "Handbook"
    document.add_heading("Install", 1)
    document.add_paragraph("Take the wheel.")
    document.add_heading("Linux", 2)
    document.add_paragraph("Run pip.")
    document.add_paragraph("Then look.", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for number, text in enumerate(("Name", "Price", "Wheel", "9 euros")):
        table.cell(number // 2, number % 2).text = text
    document.save(str(path))
    return path


def slides(path: Path) -> Path:
    presentation = pptx.Presentation()
    for title, text in (("Plans", "We grow."), ("Costs", "We pay.")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    presentation.slides[1].notes_slide.notes_text_frame.text = "Say it slowly."
    presentation.save(str(path))
    return path


def test_docx(tmp_path: Path) -> None:
    first, second = documents(word(tmp_path / "a.docx"))
    assert (first.text, first.metadata["heading"], first.metadata["title"]) == (
        "Install\n\nTake the wheel.",
        "Install",
        "Handbook",
    )
    assert second.metadata["heading"] == "Install > Linux"
    assert second.text == "Linux\n\nRun pip.\n\nThen look.\n\nName | Price\nWheel | 9 euros"


def test_docx_tracked_insertions_and_content_controls(tmp_path: Path) -> None:
    path = word(tmp_path / "a.docx")
    inserted = (
        '<w:p><w:ins w:id="1"><w:r><w:t>Inserted.</w:t></w:r></w:ins><w:del w:id="2"><w:r><w:delText>Deleted.'
        "</w:delText></w:r></w:del></w:p><w:sdt><w:sdtContent><w:p><w:r><w:t>Controlled.</w:t></w:r></w:p>"
        "</w:sdtContent></w:sdt><w:sectPr"
    )
    rewrite(path, "word/document.xml", lambda text: text.replace("<w:sectPr", inserted, 1))
    text = documents(path)[-1].text
    assert "Inserted." in text
    assert "Controlled." in text
    assert "Deleted." not in text


def test_pptx(tmp_path: Path) -> None:
    first, second = documents(slides(tmp_path / "a.pptx"))
    assert (first.text, first.metadata["heading"], first.metadata["slide"]) == ("Plans\n\nWe grow.", "Plans", 1)
    assert second.text == "Costs\n\nWe pay.\n\nSay it slowly."


@pytest.mark.parametrize(("make", "name"), [(word, "a.docx"), (slides, "a.pptx")])
def test_a_zip_bomb_is_reported(tmp_path: Path, make: Callable[[Path], Path], name: str) -> None:
    (tmp_path / "docs").mkdir()
    path = make(tmp_path / "docs" / name)
    write(tmp_path / "docs/b.txt", "The rest is read.")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("word/media/x.bin", "w") as entry:
        for _ in range(40):
            entry.write(bytes(1_000_000))
    reasons = skipped(tmp_path / "docs", max_bytes=1_000_000)
    assert list(reasons) == [f"docs/{path.name}"]
    assert "unpacks to 40." in reasons[f"docs/{path.name}"]
    assert "above the limit of 10.0 MB (10 times --max-mb" in reasons[f"docs/{path.name}"]
    assert len(documents(tmp_path / "docs", max_bytes=10_000_000)) == 3


def test_much_xml_has_a_limit_of_its_own(tmp_path: Path) -> None:
    path = word(tmp_path / "a.docx")
    rewrite(path, "word/document.xml", lambda text: text.replace("Run pip.", "x" * 3_000_000))
    (reason,) = skipped(path, max_bytes=1_000_000).values()
    assert "MB of XML, above the limit of 2.0 MB" in reason


def test_a_false_size_does_not_help(tmp_path: Path) -> None:
    """The size that an archive declares is smaller than what is in it."""
    path = word(tmp_path / "a.docx")
    data = bytearray(path.read_bytes())
    at = data.index(b"word/document.xml", data.index(b"PK\x01\x02")) - 22  # the size, in the central directory
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    (reason,) = skipped(path).values()
    assert "damaged" in reason


def test_encrypted_damaged_and_false(tmp_path: Path) -> None:
    whole = word(tmp_path / "a.docx").read_bytes()
    assert (
        "encrypted" in skipped(write(tmp_path / "b.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)))["b.docx"]
    )
    assert "damaged" in skipped(write(tmp_path / "c.docx", whole[: len(whole) // 2]))["c.docx"]
    assert "not a DOCX file" in skipped(write(tmp_path / "d.docx", "just text"))["d.docx"]
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "damaged" in skipped(write(tmp_path / "e.pptx", plain.getvalue()))["e.pptx"]


def rewrite(path: Path, name: str, change: object) -> None:
    """Change one entry of an archive."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    assert callable(change)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries.items():
            archive.writestr(entry, change(data.decode()) if entry == name else data)
