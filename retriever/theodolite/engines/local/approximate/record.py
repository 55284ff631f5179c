"""What the store knows of the approximate index in use, and its files."""

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from theodolite.engines.local.files import index_folder
from theodolite.engines.local.folder import Folder, sync_file
from theodolite.engines.local.hashes import seal
from theodolite.engines.local.store import change_state, read_state
from theodolite.errors import CorruptionError, TheodoliteError
from theodolite.indexes.approximate import Approximate, Calibration
from theodolite.indexes.naming import make_index
from theodolite.protocols import Candidates
from theodolite.types import Rows, Space

_log = logging.getLogger(__name__)

NATIVE = "native"
ROWS = "rows.npy"


@dataclass(frozen=True, slots=True)
class Record:
    """One state of the index; the newest in the table counts.

    Attributes:
        spec: its canonical name, `flat` for none.
        target_recall: what it is calibrated for.
        generation: of the vector file it was built from; 0 where it is wanted but has not been built.
        files: the number in the name of its folder.
        hashes: of the files in it, by name.
        covered: how many rows it holds;
        stop: all of them below this one.
        dead: how many rows below `stop` were dead then.
        calibration: what was measured.
    """

    spec: str
    target_recall: float
    generation: int = 0
    files: int = 0
    hashes: dict[str, str] | None = None
    covered: int = 0
    stop: int = 0
    calibration: dict[str, Any] | None = None

    @property
    def dead(self) -> int:
        return self.stop - self.covered

    def measured(self) -> Calibration:
        """The calibration of an index that has been built."""
        return Calibration.from_dict(self.calibration or {})

    def write(self, connection: sqlite3.Connection, number: int) -> None:
        """Make it the one in use, within a write transaction."""
        connection.execute("DELETE FROM approximate")
        value = json.dumps(asdict(self))
        connection.execute("INSERT INTO approximate VALUES (?, ?)", (value, seal(value)))
        change_state(connection, read_state(connection)._replace(approximate=number))


def read_record(connection: sqlite3.Connection) -> Record | None:
    row = connection.execute("SELECT value, hash FROM approximate").fetchone()
    if row is None:
        return None
    if seal(row[0]) != row[1]:
        raise CorruptionError(f"the record of the approximate index is damaged: {row[0]!r:.200}")
    return Record(**json.loads(row[0]))


def write_files(folder: Folder, place: str, candidates: Candidates, rows: Rows) -> dict[str, str]:
    """Write an index into a folder inside the collection's, durably. Returns the hashes.

    Raises:
        OSError, CorruptionError: it cannot be written.
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
    return {name: hash_of(folder, f"{place}/{name}") for name in (NATIVE, ROWS)}


def read_files(folder: Folder, place: str, spec: str, hashes: dict[str, str], space: Space) -> tuple[Candidates, Rows]:
    """Load an index. No file whose hash differs reaches native code.

    Raises:
        OSError, CorruptionError: the files are missing or not what was written; build the index again.
    """
    for name in (NATIVE, ROWS):
        if hash_of(folder, f"{place}/{name}") != hashes.get(name):
            raise CorruptionError(
                f"{folder}/{place}/{name} does not match its hash", path=str(folder / f"{place}/{name}")
            )
    candidates = make_index(spec)
    candidates.load(folder.reachable(f"{place}/{NATIVE}"), space)
    with folder.open(f"{place}/{ROWS}") as file:
        rows: Rows = np.load(file, allow_pickle=False)
    if len(rows) != len(candidates):
        raise CorruptionError(f"{folder}/{place}: the index has {len(candidates)} rows, {len(rows)} are listed")
    return candidates, rows


def load(folder: Folder, record: Record, space: Space) -> Approximate | None:
    """The index in use; None, with a warning, where its files cannot be used."""
    if not record.files or record.calibration is None:
        return None
    place = index_folder(record.files)
    try:
        candidates, rows = read_files(folder, place, record.spec, record.hashes or {}, space)
    except (OSError, TheodoliteError) as error:  # damaged, or its package is not installed here
        _log.warning(
            "%s/%s: %s. Searches are exact until the index %s has been built again, in the background or by reindex()",
            folder,
            place,
            error,
            record.spec,
        )
        return None
    return Approximate(candidates, rows, record.measured())


def hash_of(folder: Folder, name: str) -> str:
    with folder.open(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_others(folder: Folder, files: Collection[int]) -> None:
    """Delete the folders of indexes that are no longer in use. Whoever has one loaded has it in memory."""
    kept = {index_folder(number) for number in files}
    folder.remove(name for name in folder.names() if re.fullmatch(r"index-\d+", name) and name not in kept)
