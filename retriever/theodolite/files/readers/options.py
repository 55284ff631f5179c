"""The options for finding, reading and splitting files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from theodolite.errors import ConfigError

_FIELDS = re.compile(r"(?:text|id|metadata)=")
_EXAMPLE = "text=question+answer,id=key,metadata=lang+year"


@dataclass(frozen=True, slots=True)
class RecordMap:
    """The fields or columns of a file's records.

    Attributes:
        text: their values are joined by a blank line to the text of a record.
        id: the id of a record. Default: `id`, if there is such a field.
        metadata: the fields to keep. Default: the field `metadata` of JSON Lines if there is one, otherwise everything
            except text and id.
    """

    text: tuple[str, ...] = ("text",)
    id: str | None = None
    metadata: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, fields: str) -> "RecordMap":
        r"""Parse `text=question+answer,id=key,metadata=lang+year`. A backslash protects `+`, `,` and `=` in a name.

        Raises:
            ConfigError: the text has another form.
        """
        given: dict[str, tuple[str, ...]] = {}
        for part in _split(fields, ","):
            name, *values = _split(part, "=")
            columns = tuple(_unescape(column) for value in values for column in _split(value, "+"))
            if len(values) != 1 or name not in ("text", "id", "metadata") or name in given:
                raise ConfigError(f"{part!r:.80} in a mapping of fields is not valid. Example: {_EXAMPLE}")
            if not all(columns) or (name == "id" and len(columns) != 1):
                raise ConfigError(f"{part!r:.80} in a mapping of fields names no column, or too many: {_EXAMPLE}")
            given[name] = columns
        return cls(given.get("text", ("text",)), given.get("id", (None,))[0], given.get("metadata"))


@dataclass(frozen=True, slots=True)
class Options:
    """How files are found, read and split into passages.

    Attributes:
        chunk_tokens: maximum size of a passage in the embedder's tokens, never more than the embedder's limit.
            Default: that limit, but at most 256; a single vector for more than a few paragraphs covers too many topics.
        overlap: number of tokens a passage shares with the previous one.
        text, id: the fields (JSON Lines) or columns (CSV) of a record's text and id.
        metadata: the fields or columns to keep as metadata. Default: the field `metadata` of JSON Lines if there is
            one, otherwise everything except text and id.
        max_bytes: skip larger files. Text, Markdown, JSON Lines and CSV are read in pieces. Other formats are read as a
            whole, which takes many times their size in memory.
        follow_links: read links to files and folders outside the given folder; otherwise they are skipped.
        include: patterns, as in `.gitignore`, of the files to read. Default: all.
        exclude: patterns of files and folders to leave out.
        gitignore: leave out what `.gitignore` files exclude.
        formats: the format to read a suffix as, instead of the usual one: `{".proto": "text"}`.
        maps: the fields of the records of some files, by pattern, instead of `text`, `id` and `metadata`. The first
            matching pattern counts: `{"faq.csv": "text=question+answer,id=key"}`, or a `RecordMap`.
        keep_strings: keep the values of CSV columns as strings, even if all of a column are numbers or dates.
        with_headings: begin each passage with the title and headings above it, so that they are embedded with it.
    """

    chunk_tokens: int | None = None
    overlap: int = 0
    text: str = "text"
    id: str = "id"
    metadata: tuple[str, ...] | None = None
    max_bytes: int = 50_000_000
    follow_links: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gitignore: bool = True
    formats: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, RecordMap | str] = field(default_factory=dict)
    keep_strings: bool = False
    with_headings: bool = False

    def __post_init__(self) -> None:
        if self.chunk_tokens is not None and self.chunk_tokens < 1:
            raise ConfigError(f"chunk_tokens is {self.chunk_tokens}; it must be at least 1")
        if self.overlap < 0 or (self.chunk_tokens is not None and self.overlap >= self.chunk_tokens):
            raise ConfigError(f"overlap is {self.overlap}; it must be from 0 to below chunk_tokens")
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes is {self.max_bytes}; it must be at least 1")
        for name in ("include", "exclude"):
            patterns = getattr(self, name)
            if isinstance(patterns, str):
                raise ConfigError(f"{name} is one string; pass a list of patterns: {name}=[{patterns!r}]")
            object.__setattr__(self, name, tuple(patterns))
        suffixes = {f".{suffix.lower().lstrip('.')}": kind for suffix, kind in self.formats.items()}
        object.__setattr__(self, "formats", suffixes)
        maps = {
            pattern: RecordMap.parse(fields) if isinstance(fields, str) else fields
            for pattern, fields in self.maps.items()
        }
        object.__setattr__(self, "maps", maps)


def parse_map(text: str) -> tuple[str, RecordMap]:
    """Parse `FILE:FIELDS`, such as `faq.csv:text=question+answer`. Without a file it is for all: the pattern `*`.

    Raises:
        ConfigError: the text has another form.
    """
    found = _FIELDS.search(text)
    if found is None or (found.start() and text[found.start() - 1] != ":"):
        raise ConfigError(f"{text!r:.80} is not a mapping of fields. Example: 'faq.csv:{_EXAMPLE}'")
    return text[: max(0, found.start() - 1)] or "*", RecordMap.parse(text[found.start() :])


def _split(text: str, separator: str) -> list[str]:
    return re.split(rf"(?<!\\){re.escape(separator)}", text)


def escape_field(name: str) -> str:
    """Return the name of a field as a mapping writes it."""
    return re.sub(r"([+,=])", r"\\\1", name)


def _unescape(text: str) -> str:
    return re.sub(r"\\([+,=])", r"\1", text)
