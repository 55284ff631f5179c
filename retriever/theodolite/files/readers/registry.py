"""The formats that can be read: by name, and by suffix."""

from collections.abc import Iterable
from dataclasses import dataclass

from theodolite.errors import ConfigError
from theodolite.files.readers.code import LANGUAGES, read_code
from theodolite.files.readers.mail import read_mail
from theodolite.files.readers.markup import read_html, read_markdown, read_rst
from theodolite.files.readers.notebook import read_notebook
from theodolite.files.readers.office import read_docx, read_pptx
from theodolite.files.readers.options import Options
from theodolite.files.readers.pdf import read_pdf
from theodolite.files.readers.records import read_csv, read_json_lines
from theodolite.files.readers.results import Reader
from theodolite.files.readers.structured import read_json, read_yaml
from theodolite.files.readers.text import read_text

_TEXT = """
    .txt .text .log .adoc .asciidoc .org .tex .bib .toml .ini .cfg .conf .properties .xml .sql .css .scss .less .vue
    .svelte .graphql .gql .proto .kt .kts .swift .scala .lua .r .jl .pl .pm .dart .ex .exs .erl .hs .ml .clj .zig .nim
    .m .mm .vb .fs .groovy .gradle .ps1 .bat .cmd .fish .cmake .mk .tf .diff .patch .srt .vtt .in
"""
_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0"  # an encrypted file of an office, or an old one


@dataclass(frozen=True, slots=True)
class Format:
    """A format of files.

    Attributes:
        name: unique.
        suffixes: the suffixes in lowercase, with the dot.
        read: yields the units of a file.
        marks: byte strings of a binary format; one of them is near the beginning of a file. None: the format is text.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Reader
    marks: tuple[bytes, ...] = ()


FORMATS = {
    known.name: known
    for known in (
        Format("text", tuple(_TEXT.split()), read_text),
        Format("markdown", (".md", ".markdown", ".mdx", ".qmd", ".rmd"), read_markdown),
        Format("html", (".html", ".htm", ".xhtml"), read_html),
        Format("rst", (".rst",), read_rst),
        Format("code", tuple(LANGUAGES), read_code),
        Format("notebook", (".ipynb",), read_notebook),
        Format("jsonl", (".jsonl", ".ndjson"), read_json_lines),
        Format("json", (".json",), read_json),
        Format("yaml", (".yaml", ".yml"), read_yaml),
        Format("csv", (".csv", ".tsv"), read_csv),
        Format("mail", (".eml",), read_mail),
        Format("pdf", (".pdf",), read_pdf, (b"%PDF-",)),
        Format("docx", (".docx",), read_docx, (_ZIP, _OLE)),
        Format("pptx", (".pptx",), read_pptx, (_ZIP, _OLE)),
    )
}
"""The formats by name."""

SUFFIXES = {suffix: known.name for known in FORMATS.values() for suffix in known.suffixes}
"""The names of formats by suffix."""


def suffixes(options: Options) -> dict[str, str]:
    """Return the names of formats by suffix, with those of the options.

    Raises:
        ConfigError: the options name an unknown format.
    """
    check_formats(options.formats.values())
    return {**SUFFIXES, **options.formats}


def check_formats(names: Iterable[str]) -> None:
    """Raise ConfigError if one of the names is not that of a format."""
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"there is no format {name!r}. Known: {', '.join(sorted(FORMATS))}")
