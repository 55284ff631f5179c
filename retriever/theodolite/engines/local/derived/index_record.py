"""The record of the approximate index in the database, and the files of the index."""

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.engines.local.storage.arrays import read_array
from theodolite.engines.local.storage.database import change_state, read_state
from theodolite.engines.local.storage.folder import Folder, index_folder, sync_file
from theodolite.engines.local.storage.index_trust import IndexTrust
from theodolite.engines.local.storage.schema import digest
from theodolite.errors import CorruptionError, TheodoliteError
from theodolite.indexes.registry import make_index
from theodolite.protocols import Candidates
from theodolite.types import Rows, Space

if TYPE_CHECKING:  # imported with the first approximate index
    from theodolite.indexes.ann import Approximate, Calibration

_log = logging.getLogger(__name__)

NATIVE = "native"
ROWS = "rows.npy"
_MOST = 1 << 40  # rows, generations, changes of the index


FLAT = "flat"
"""The name of the exact index: a collection without an approximate one."""


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The approximate index of a collection: the requested settings, and the index that was built.

    Attributes:
        spec: its canonical name; `flat` for none.
        target_recall: the recall it is calibrated for.
        generation: the generation it was built from; 0 if it has not been built.
        files: the number in the name of its folder.
        hashes: SHA-256 of the files in its folder, by name.
        covered: number of rows in the index.
        stop: all of them are below this row.
        shift: the shift of the generation's keys (see `records.Keys`).
        calibration: the measured recall and costs.
    """

    spec: str
    target_recall: float
    generation: int = 0
    files: int = 0
    hashes: dict[str, str] | None = None
    covered: int = 0
    stop: int = 0
    shift: int = 0
    calibration: dict[str, Any] | None = None

    @property
    def dead(self) -> int:
        """Number of rows below `stop` that were dead when the index was built."""
        return self.stop - self.covered

    def measured(self) -> "Calibration":
        """Return the calibration of an index that has been built."""
        from theodolite.indexes.ann import Calibration

        return Calibration.from_dict(self.calibration or {})

    def approximate(self, candidates: Candidates, rows: Rows) -> "Approximate":
        """Return the index that has been built, with its calibration."""
        from theodolite.indexes.ann import Approximate

        return Approximate(candidates, rows, self.measured())

    def write(self, connection: sqlite3.Connection, number: int) -> None:
        """Make this the record in use, within a write transaction."""
        connection.execute("DELETE FROM approximate")
        value = json.dumps(asdict(self))
        connection.execute("INSERT INTO approximate VALUES (?, ?)", (value, digest(value)))
        change_state(connection, read_state(connection)._replace(approximate=number))


def read_index_record(connection: sqlite3.Connection) -> IndexRecord | None:
    """Return the record in use; None if there is none. Raises CorruptionError if it is damaged."""
    row = connection.execute("SELECT value, hash FROM approximate").fetchone()
    if row is None:
        return None
    if digest(row[0]) != row[1]:
        raise CorruptionError(f"the record of the approximate index is damaged: {row[0]!r:.200}")
    return _parsed(row[0])


def _parsed(text: str) -> IndexRecord:
    """Check every field: a folder from elsewhere may carry a valid hash. Raises CorruptionError."""
    try:
        record = IndexRecord(**json.loads(text))
        numbers = (record.generation, record.files, record.covered, record.stop)
        hashes = record.hashes is None or (
            record.hashes.keys() == {NATIVE, ROWS} and all(isinstance(each, str) for each in record.hashes.values())
        )
        if (
            isinstance(record.spec, str)
            and isinstance(record.target_recall, (int, float))
            and 0 <= record.target_recall <= 1
            and all(type(number) is int and 0 <= number < _MOST for number in numbers)
            and record.covered <= record.stop
            and hashes
        ):
            if record.calibration is not None:
                record.measured()
            return record
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise CorruptionError(f"the record of the approximate index is damaged: {text!r:.200}")


def write_index(folder: Folder, place: str, candidates: Candidates, rows: Rows, trust: IndexTrust) -> dict[str, str]:
    """Write an index into a subfolder of the collection, durably. Return the hashes of its files.

    Raises:
        OSError, CorruptionError: a file cannot be written.
    """
    folder.make(place)
    candidates.save(folder.reachable(f"{place}/{NATIVE}.tmp"))
    with folder.open_to_change(f"{place}/{NATIVE}.tmp") as file:
        sync_file(file)
    folder.rename(f"{place}/{NATIVE}.tmp", f"{place}/{NATIVE}")
    with folder.replacing(f"{place}/{ROWS}") as file:
        np.save(file, rows, allow_pickle=False)
        sync_file(file)
    folder.sync(place)
    hashes = {name: sha256_of(folder, f"{place}/{name}") for name in (NATIVE, ROWS)}
    trust.record_built(candidates, hashes[NATIVE])
    return hashes


def read_index(
    folder: Folder, place: str, spec: str, hashes: dict[str, str], space: Space, trust: IndexTrust
) -> tuple[Candidates, Rows]:
    """Load an index. Native code only reads files whose hash matches.

    Raises:
        OSError, CorruptionError: the files are missing or damaged.
        ConfigError: the library cannot validate the file, and it was built elsewhere.
    """
    for name in (NATIVE, ROWS):
        if sha256_of(folder, f"{place}/{name}") != hashes.get(name):
            raise CorruptionError(
                f"{folder}/{place}/{name} does not match its hash", path=str(folder / f"{place}/{name}")
            )
    candidates = make_index(spec)
    trust.check(candidates, hashes[NATIVE])
    candidates.load(folder.reachable(f"{place}/{NATIVE}"), space)
    rows = read_rows(folder, f"{place}/{ROWS}")
    if len(rows) != len(candidates):
        raise CorruptionError(f"{folder}/{place}: the index has {len(candidates)} rows, {len(rows)} are listed")
    return candidates, rows


def read_rows(folder: Folder, name: str) -> Rows:
    """Read row numbers in ascending order. Raises OSError, CorruptionError."""
    with folder.open(name) as file:
        rows: Rows = read_array(file)
    if rows.dtype != np.int64 or (len(rows) and rows[0] < 0) or (rows[1:] <= rows[:-1]).any():
        raise CorruptionError(f"{folder}/{name} is not a list of rows", path=str(folder / name))
    return rows


def load_index(
    folder: Folder, record: IndexRecord, space: Space, total: int, trust: IndexTrust
) -> "Approximate | None":
    """Load the index of a record; return None, with a warning, if its files cannot be used.

    Args:
        total: number of rows in the generation, dead ones included.
    """
    if not record.files or record.calibration is None:
        return None
    place = index_folder(record.files)
    try:
        candidates, rows = read_index(folder, place, record.spec, record.hashes or {}, space, trust)
        if len(rows) != record.covered or int(rows[-1]) + 1 != record.stop or record.stop > total:
            raise CorruptionError(f"the index covers other rows than its record and the {total} rows of the collection")
    except (OSError, TheodoliteError) as error:  # damaged, or its package is not installed here
        untrusted = trust.refused((record.hashes or {}).get(NATIVE, ""))
        remedy = "" if untrusted else f" until the index {record.spec} is rebuilt, in the background or by reindex()"
        _log.warning("%s/%s: %s. Searches are exact%s", folder, place, error, remedy)
        return None
    return record.approximate(candidates, rows)


def sha256_of(folder: Folder, name: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with folder.open(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_other_indexes(folder: Folder, files: Collection[int]) -> None:
    """Delete the folders of all other indexes. A loaded index is in memory and does not need its files."""
    kept = {index_folder(number) for number in files}
    folder.remove(name for name in folder.names() if re.fullmatch(r"index-\d+", name) and name not in kept)
