"""A glyph of a PDF without a character is replaced and counted, and the rest of the file is stored."""

from pathlib import Path

from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from theodolite import Retriever
from theodolite.files.readers import Repaired
from theodolite.files.sync import sync
from theodolite.testing import HashingEmbedder

CMAP = b"begincmap 1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfchar <41> <DC63> endbfchar endcmap"


def stream(data: bytes) -> StreamObject:
    made = StreamObject()
    made._data = data
    return made


def names(**values: str) -> DictionaryObject:
    return DictionaryObject({NameObject(f"/{name}"): NameObject(f"/{value}") for name, value in values.items()})


def paper(path: Path) -> None:
    """Ten pages; a letter of the fifth is mapped to half a surrogate pair, as some formulas are."""
    pdf = PdfWriter()
    for number in range(10):
        page = pdf.add_blank_page(300, 300)
        font = names(Type="Font", Subtype="Type1", BaseFont="Helvetica")
        if number == 4:
            font[NameObject("/ToUnicode")] = pdf._add_object(stream(CMAP))
        fonts = DictionaryObject({NameObject("/F1"): pdf._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = stream(b"BT /F1 12 Tf 20 200 Td (A page %d about warranty) Tj ET" % number)
    pdf.write(path)


def test_a_bad_glyph(tmp_path: Path) -> None:
    paper(tmp_path / "paper.pdf")
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        report = sync(kb, [tmp_path / "paper.pdf"])
        assert report.skipped == ()
        assert report.repaired == (Repaired("paper.pdf", 1),)
        texts = {document.metadata["page"]: document.text for document in kb.documents()}
        assert texts == {n + 1: f"{chr(0xFFFD) if n == 4 else 'A'} page {n} about warranty" for n in range(10)}
        assert sync(kb, [tmp_path / "paper.pdf"]).unchanged == 10
