"""Feedback: judgments of searches, in a file of their own in the collection's folder."""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from theodolite.engines.local.storage.database import connect
from theodolite.engines.local.storage.folder import JUDGMENTS, Folder
from theodolite.engines.refusals import read_only
from theodolite.errors import (
    CorruptionError,
    EngineError,
    InputError,
    JudgmentWarning,
    UnsupportedError,
    did_you_mean,
    short_repr,
    warn_caller,
)
from theodolite.evaluation.judged_questions import JudgedQuestions
from theodolite.evaluation.judgments import HIGHEST
from theodolite.evaluation.lists import value_of
from theodolite.filters.parse import check_field
from theodolite.forking import COLLECTIONS
from theodolite.inputs import as_ids
from theodolite.protocols import Engine, Scope, folder_of
from theodolite.scopes import key_within, partition_key
from theodolite.types import Document, Hits

_APPLICATION = 0x7468656A  # "thej"
_FORMAT = 1
_BUSY = 5.0  # seconds to wait for another process

_TABLE = """
CREATE TABLE judged (
    question TEXT, partition TEXT, document TEXT, grade INTEGER, at REAL, PRIMARY KEY (question, partition, document)
) WITHOUT ROWID
"""


class Judged(NamedTuple):
    """One judgment.

    Attributes:
        question: the text of the question.
        partition: the document's partition as text; empty without partitions.
        document: the id of the document.
        grade: its grade.
        at: the time of the judgment, in seconds since 1970.
    """

    question: str
    partition: str
    document: str
    grade: int
    at: float


class FeedbackLog:
    """The judgments of a collection. The latest one of a question and a document counts.

    Each call opens and closes the file, so processes share it, and a collection without feedback has no file.
    """

    def __init__(self, folder: Path | None) -> None:
        """
        Args:
            folder: the collection's folder; None keeps the judgments in memory.
        """
        self._folder = folder
        self._kept: dict[tuple[str, str, str], Judged] = {}  # without a folder

    def record(self, judged: Iterable[Judged]) -> None:
        """Store judgments, durably and all or none.

        Raises:
            EngineError: the file cannot be written, or is another program's.
        """
        if self._folder is None:
            self._kept.update({each[:3]: each for each in judged})
            return
        with _opened(self._folder, "rwc") as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not _is_ours(connection):
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA application_id={_APPLICATION}")
                connection.execute(f"PRAGMA user_version={_FORMAT}")
            connection.executemany("INSERT OR REPLACE INTO judged VALUES (?, ?, ?, ?, ?)", list(judged))
            connection.execute("COMMIT")

    def read(self) -> list[Judged]:
        """Return all judgments, oldest first. Raises EngineError if the file cannot be read."""
        if self._folder is None:
            return sorted(self._kept.values(), key=lambda each: each.at)
        if not (self._folder / JUDGMENTS).exists():
            return []
        with _opened(self._folder, "rw") as connection:
            if not _is_ours(connection):
                return []
            columns = ", ".join(Judged._fields)
            rows = connection.execute(f"SELECT {columns} FROM judged ORDER BY at, question, document")  # noqa: S608
            return [Judged(str(q), str(p), str(d), int(grade), float(at)) for q, p, d, grade, at in rows]


def log_of(engine: Engine, call: str) -> FeedbackLog:
    """Return the log of an engine's collection.

    Raises:
        UnsupportedError: the collection is on a server.
    """
    folder = folder_of(engine)
    if folder is None and engine.info().get("location") is not None:
        name = type(engine).__name__
        raise UnsupportedError(
            f"{call} is not supported: the engine {name} has no folder for judgments. Keep them in your program, and "
            "pass them to evaluate()",
            engine=name,
            capability="folder",
        )
    return FeedbackLog(folder)


def judge(engine: Engine, hits: Hits, document_id: Any, grade: Any, question: Any, scope: Scope | None) -> Judged:
    """Return the judgment of a document for the question that found these hits.

    Raises:
        InputError: the document is not stored, the grade is not a whole number from 0, or there is no question.
        EngineError: the collection is closed or opened read-only.
    """
    if isinstance(grade, float) and grade.is_integer():
        grade = int(grade)
    if not isinstance(grade, (int, np.integer)) or not 0 <= grade <= HIGHEST:
        raise InputError(f"grade is {short_repr(grade)}; expected a whole number from 0 (not relevant) to {HIGHEST:,}")
    (name,) = as_ids([document_id])
    text = question if question is not None or hits.origin is None else hits.origin.question
    if not isinstance(text, str) or not text.strip():
        raise InputError("these hits were found by a vector: call kb.feedback with question=, the text of the question")
    info = engine.info()  # raises if it is closed
    if info.get("read_only"):
        raise read_only(info.get("location"))
    document = _found(hits, name)
    if document is None:
        document = next((document for document, _ in engine.get([name], scope=scope)), None)
    if document is None:
        hint = did_you_mean(name, [hit.document.id for hit in hits])
        raise InputError(f"there is no document {name!r} in the collection.{hint}", id=name)
    return Judged(text.strip(), partition_key(engine.partition, document.metadata), name, int(grade), time.time())


def export(engine: Engine, log: FeedbackLog, scope: Scope | None, by: str | None) -> JudgedQuestions:
    """Return the judgments with their questions. See `Retriever.export_judgments`."""
    if by is not None:
        check_field(by)
    partition = key_within(scope, engine.partition)
    judged = [each for each in log.read() if each.partition == partition]
    filtered = scope is not None and scope.where is not None
    stored: dict[str, Document] = {}
    if by is not None or filtered:
        names = list(dict.fromkeys(each.document for each in judged))
        stored = {document.id: document for document, _ in engine.get(names, scope=scope)}
        missing = [name for name in names if name not in stored]
        judged = [each for each in judged if each.document in stored]
        if missing and not filtered:
            count = "1 judged document is" if len(missing) == 1 else f"{len(missing):,} judged documents are"
            warn_caller(
                f"{count} no longer stored and left out; first: {missing[0]!r}. Without by=, they are exported",
                JudgmentWarning,
            )
    questions: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = {}
    for each in judged:
        name = f"q-{hashlib.sha256(each.question.encode()).hexdigest()[:12]}"
        key = each.document if by is None else value_of(stored[each.document], by) or each.document
        questions[name] = each.question
        kept = grades.setdefault(name, {})
        kept[key] = max(each.grade, kept.get(key, 0))  # a file is as good as its best passage
    return JudgedQuestions(questions, grades)


def copy_judgments(source: Engine, target: Engine) -> None:
    """Copy the judgments to a copy of the collection. Warns if the copy has no folder for them."""
    judged = FeedbackLog(folder).read() if (folder := folder_of(source)) is not None else []
    if not judged:
        return
    place = folder_of(target)
    if place is not None:
        FeedbackLog(place).record(judged)
        return
    warn_caller(
        f"{len(judged):,} judgments are not copied: the target has no folder for them. Write them to files with "
        "export_judgments().write(...)",
        JudgmentWarning,
    )


def _found(hits: Hits, name: str) -> Document | None:
    for hit in hits:
        for each in (hit, *hit.duplicates):
            if each.document.id == name:
                return each.document
    return None


@contextlib.contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open the file. Raises EngineError for what goes wrong."""
    try:
        folder = Folder(path)
        try:
            with COLLECTIONS, contextlib.closing(connect(folder, mode, _BUSY, JUDGMENTS)) as connection:
                yield connection
        finally:
            folder.close()
    except (OSError, sqlite3.Error, ValueError, TypeError, CorruptionError) as error:
        if isinstance(error, InputError):
            raise
        raise EngineError(
            f"{path / JUDGMENTS}: the judgments cannot be read or written ({error}). If it is damaged, restore it from "
            "a copy, or move it away to start a new one",
            path=str(path / JUDGMENTS),
        ) from error


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Return True for a file of judgments and False for an empty one. Raises ValueError for anything else."""
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (owner, version) == (_APPLICATION, _FORMAT):
        return True
    if owner == _APPLICATION and version > _FORMAT:
        raise ValueError(f"it has format {version}; this theodolite writes format {_FORMAT}")
    if owner or version or tables:
        raise ValueError(f"it is another program's: application {owner}, format {version}")
    return False
