"""The progress and the result of a sync."""

from dataclasses import dataclass

from theodolite.files.readers import Note, Repaired, Skipped


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """The progress of a sync.

    Attributes:
        source: the file being read.
        files, of_files: the number of files done, and of all files.
        bytes, of_bytes: the sizes of these files.
        passages: the number of passages done.
    """

    source: str
    files: int
    of_files: int
    bytes: int
    of_bytes: int
    passages: int


@dataclass(frozen=True, slots=True)
class Relocated:
    """A source that was found at another path.

    Attributes:
        source: its name.
        before, after: the old and the new absolute path of its folder or file.
    """

    source: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """The result of a sync.

    Attributes:
        files: files read.
        passages: passages that are in the files: the sum of the next four.
        added: new passages.
        replaced: passages with a changed text.
        moved: passages with a changed file, place or metadata; stored with the known vector of their text.
        unchanged: passages that are already stored.
        removed: passages deleted because no file contains them anymore.
        kept: stored passages of files and records that were skipped this time; they are unchanged.
        failed: files and records that could not be stored, because the embedder fails on them or gives no usable
            vector, or because they are too long and that is an error. They are also in `skipped`.
        skipped: files and records that were left out, with the reason.
        excluded: files and folders that the options or a `.gitignore` exclude. Their stored passages are removed.
        notes: things to know about files that were read, such as columns that were read as numbers.
        repaired: files with characters that are not valid text.
        relocated: sources that have moved.
        truncated: passages longer than the embedder's limit.
        seconds: duration of the sync.
        embedding_seconds: time spent in the embedder, including token counting.
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
    excluded: tuple[Skipped, ...] = ()
    notes: tuple[Note, ...] = ()
    repaired: tuple[Repaired, ...] = ()
    relocated: tuple[Relocated, ...] = ()
    truncated: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0
