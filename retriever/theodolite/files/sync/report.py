"""How far a sync is, and what it has done."""

from dataclasses import dataclass

from theodolite.files.readers import Repaired, Skipped


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        source: the file that is read.
        files, of_files: files done, and all there are.
        bytes, of_bytes: their sizes.
        passages: passages done.
    """

    source: str
    files: int
    of_files: int
    bytes: int
    of_bytes: int
    passages: int


@dataclass(frozen=True, slots=True)
class Relocated:
    """A source that was found in another place.

    Attributes:
        source: what it was called.
        before, after: the absolute paths of its folder or file.
    """

    source: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Report:
    """What has happened.

    Attributes:
        files: files read.
        passages: what was stored or left alone: the sum of the next four.
        added: passages that were not there.
        replaced: passages whose text is another.
        moved: passages with a known text, stored with its vector: their file, place or metadata have changed.
        unchanged: passages that were left alone.
        removed: passages that no file holds any more.
        kept: stored passages of files and records that are skipped now; they stay as they were.
        failed: files and records that could not be stored: no vector that can be compared, a text that is too long
            where that is an error, an embedder that fails on it. They are among `skipped`.
        skipped: files and records that were left out, with the reason.
        repaired: files with characters that are no text.
        relocated: sources that have moved.
        truncated: passages longer than the embedder reads.
        seconds: how long it took.
        embedding_seconds: how much of it the embedder took, with its count of tokens.
    """

    files: int = 0
    passages: int = 0
    added: int = 0
    replaced: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    kept: int = 0
    failed: int = 0
    skipped: tuple[Skipped, ...] = ()
    repaired: tuple[Repaired, ...] = ()
    relocated: tuple[Relocated, ...] = ()
    truncated: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0
