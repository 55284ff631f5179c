"""Columns in files, so that opening a large collection does not read all its metadata again.

A file has the arrays of one segment, the hash of the commit they were read at, and a checksum. Everything is checked
when it is read; if the file is missing or damaged, the column is read from the database.
"""

import io
import logging
import sqlite3
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.columns.dictionary import Dictionary
from theodolite.columns.segment import Lists, Segment
from theodolite.columns.strings import Strings
from theodolite.engines.local.storage.arrays import read_arrays
from theodolite.engines.local.storage.change_log import hash_at
from theodolite.engines.local.storage.crash_points import crash_point
from theodolite.engines.local.storage.folder import Folder, columns_folder
from theodolite.errors import CorruptionError
from theodolite.metadata import decode, encode

_log = logging.getLogger(__name__)

_MAGIC = b"theocol2"  # the digit changes with the rules for sorting values, such as what counts as a date
_KNOWN = (b"theocol1", _MAGIC)
_MIN_ROWS = 1 << 15  # below, reading the database is as fast

Arrays = dict[str, NDArray[Any]]


class OtherVersion(Exception):
    """The column was written by an earlier version, by other rules: not damaged, but not usable."""


class ColumnFiles:
    """The column files of one generation, one for each field."""

    def __init__(self, folder: Folder, generation: int, *, writable: bool) -> None:
        self._folder = folder
        self._generation = generation
        self._writable = writable

    def load(self, field: str, connection: sqlite3.Connection, commit: int) -> Segment | None:
        """Return the first segment of a column, read at `commit` or earlier; None if no valid file has it."""
        place = self.name(field)
        try:
            name, history, segment = read_file(self._folder, place)
            if segment.read_at > commit:
                return None  # this transaction is older
            (rows,) = connection.execute("SELECT rows FROM state").fetchone()
            if segment.stop > rows:
                raise CorruptionError(f"{self._folder}/{place} has {segment.stop} rows; the collection has {rows}")
            if name != field or history != hash_at(connection, segment.read_at):
                raise CorruptionError(f"{self._folder}/{place} belongs to other documents")
            return segment
        except (FileNotFoundError, OtherVersion):
            return None
        except (OSError, CorruptionError) as error:
            _log.warning("%s; the column %r is read from the database", error, field)
            return None

    def save(self, field: str, connection: sqlite3.Connection, segment: Segment) -> None:
        """Write the first segment of a column if it is large."""
        if not self._writable or segment.start or segment.stop < _MIN_ROWS:
            return
        place = self.name(field)
        buffer = io.BytesIO()
        name = field.encode(errors="surrogatepass")
        history = hash_at(connection, segment.read_at) or b""
        about = {"field": np.frombuffer(name, np.uint8), "history": np.frombuffer(history, np.uint8)}
        np.savez(buffer, allow_pickle=False, **about, **_arrays(segment))
        body = buffer.getbuffer()
        try:
            self._folder.make(columns_folder(self._generation))
            with self._folder.replacing(place) as file:
                file.write(_MAGIC + zlib.crc32(body).to_bytes(4, "little"))
                file.write(body)
                crash_point("column.written")
            crash_point("column.renamed")
        except (CorruptionError, OSError) as error:
            _log.warning(
                "%s/%s cannot be written (%s); the column will be read from the database again",
                self._folder,
                place,
                error,
            )

    def name(self, field: str) -> str:
        """Return the name of a field's file."""
        digest = blake2b(field.encode(errors="surrogatepass"), digest_size=12).hexdigest()
        return f"{columns_folder(self._generation)}/{digest}.column"


def read_file(folder: Folder, name: str) -> tuple[str, bytes, Segment]:
    """Read the field, the hash of the commit that its values were read at, and the segment.

    Raises:
        OSError: the file cannot be read.
        OtherVersion: an earlier version wrote it.
        CorruptionError: it is damaged.
    """
    with folder.open(name) as file:
        raw = file.read()
    start = len(_MAGIC) + 4
    body = memoryview(raw)[start:]
    if zlib.crc32(body) != int.from_bytes(raw[len(_MAGIC) : start], "little") or raw[: len(_MAGIC)] not in _KNOWN:
        raise CorruptionError(f"{folder}/{name} does not match its checksum")
    if raw[: len(_MAGIC)] != _MAGIC:
        raise OtherVersion(f"{folder}/{name}")
    try:
        arrays = read_arrays(body)
        field = arrays["field"].tobytes().decode(errors="surrogatepass")
        return field, arrays["history"].tobytes(), _segment(arrays)
    except (ValueError, TypeError, LookupError, RecursionError, CorruptionError) as error:
        raise CorruptionError(f"{folder}/{name} is not a column: {error!s:.200}") from error


def _arrays(segment: Segment) -> Arrays:
    arrays: Arrays = {
        "extent": np.array([segment.start, segment.stop, segment.read_at], np.int64),
        "codes": segment.codes,
        **_dictionary_arrays(segment.dictionary, "values"),
    }
    if segment.places is not None:
        arrays["places"] = segment.places
    if segment.lists is not None:
        lists = segment.lists
        arrays |= {"list_places": lists.places, "list_ends": lists.ends, "list_codes": lists.codes}
        arrays |= _dictionary_arrays(lists.dictionary, "elements")
    return arrays


def _segment(arrays: Mapping[str, NDArray[Any]]) -> Segment:
    """Raises CorruptionError, KeyError or ValueError if the arrays do not fit one another."""
    start, stop, read_at = arrays["extent"].tolist()
    values, codes, places, lists = _dictionary(arrays, "values"), arrays["codes"], arrays.get("places"), None
    _check_codes(codes, values)
    if start != 0 or read_at < 0 or not (len(codes) == stop if places is None else len(codes) == len(places) <= stop):
        raise CorruptionError(f"it has {len(codes)} values for rows {start} to {stop}")
    if places is not None:
        _check_places(places, stop)
    if "list_places" in arrays:
        dictionary, elements = _dictionary(arrays, "elements"), arrays["list_codes"]
        _check_codes(elements, dictionary)
        _check_places(arrays["list_places"], stop)
        _check_ends(arrays["list_ends"], len(arrays["list_places"]), len(elements))
        lists = Lists.indexed(arrays["list_places"], arrays["list_ends"], elements, dictionary)
    return Segment(start, stop, read_at, values, codes, places, lists)


def _check_codes(codes: NDArray[Any], dictionary: Dictionary) -> None:
    if codes.dtype.kind != "u" or codes.dtype.itemsize > 4 or codes.max(initial=0) >= dictionary.starts[-1]:
        raise CorruptionError(f"it has codes beyond its {dictionary.starts[-1]} values")


def _check_places(places: NDArray[Any], stop: int) -> None:
    rising = places.dtype == np.int32 and bool((places[1:] > places[:-1]).all())
    if not rising or (len(places) and not 0 <= places[0] <= places[-1] < stop):
        raise CorruptionError(f"it lists rows beyond its {stop}, or not in ascending order")


def _check_ends(ends: NDArray[Any], count: int, size: int) -> None:
    whole = ends.dtype == np.int64 and len(ends) == count + 1 and ends[0] == 0 and ends[-1] == size
    if not whole or (ends[1:] < ends[:-1]).any():
        raise CorruptionError(f"its {count} parts do not add up to {size} elements")


def _dictionary_arrays(dictionary: Dictionary, name: str) -> Arrays:
    rest = encode({"rest": list(dictionary.rest)}).encode()
    arrays: Arrays = {
        "rest": np.frombuffer(rest, np.uint8),
        "ints": dictionary.ints,
        "floats": dictionary.floats,
        "moments": dictionary.moments,
    }
    for part, strings in (("iso", dictionary.iso), ("texts", dictionary.texts)):
        arrays |= {part: np.frombuffer(strings.blob, np.uint8), f"{part}_ends": strings.ends}
    return {f"{name}_{part}": array for part, array in arrays.items()}


def _dictionary(arrays: Mapping[str, NDArray[Any]], name: str) -> Dictionary:
    def part(key: str) -> NDArray[Any]:
        return arrays[f"{name}_{key}"]

    def strings(key: str) -> Strings:
        blob, ends = part(key).tobytes(), part(f"{key}_ends")
        _check_ends(ends, len(ends) - 1, len(blob))
        result = Strings(blob, ends)
        result.all()  # raises if a string is not UTF-8
        return result

    numbers = part("ints"), part("floats"), part("moments")
    iso = strings("iso")
    rest = decode(part("rest").tobytes().decode())["rest"]
    kinds = [array.dtype for array in numbers]
    if kinds != [np.int64, np.float64, np.int64] or len(iso) != len(numbers[2]) or not isinstance(rest, list):
        raise CorruptionError("its values are of the wrong types")
    return Dictionary(tuple(rest), *numbers, iso, strings("texts"))
