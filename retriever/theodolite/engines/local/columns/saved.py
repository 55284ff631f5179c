"""Columns in files, so that opening a large collection does not read all its metadata again.

A file is the arrays of one segment and a checksum of them; who reads it checks all of it first. Without the file, or
with a damaged one, the column is read from the database.
"""

import io
import logging
import os
import threading
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.engines.local.columns.dictionary import Dictionary
from theodolite.engines.local.columns.segment import Lists, Segment
from theodolite.engines.local.columns.strings import Strings
from theodolite.engines.local.files import columns_folder
from theodolite.engines.local.points import reach
from theodolite.metadata import decode, encode

_log = logging.getLogger(__name__)

_MAGIC = b"theocol1"
_LEAST = 1 << 15  # rows worth a file

Arrays = dict[str, NDArray[Any]]


class ColumnFiles:
    """The files of one generation, one for each field."""

    def __init__(self, folder: Path, generation: int, uid: str, *, writable: bool) -> None:
        self._folder = columns_folder(folder, generation)
        self._owner = f"{uid} {generation} ".encode()
        self._writable = writable

    def load(self, field: str, commit: int) -> Segment | None:
        """The first segment of a column as of `commit` at the latest; None where no sound file has it."""
        path = self._path(field)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("%s cannot be read (%s); the column is read from the database", path, error)
            return None
        body = memoryview(raw)[len(_MAGIC) + 4 :]
        if raw[: len(_MAGIC)] != _MAGIC or self._sum(field, body) != int.from_bytes(raw[len(_MAGIC) :][:4], "little"):
            _log.warning("%s does not match its checksum; the column is read from the database", path)
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            segment = _segment(arrays)
        return segment if segment.read_at <= commit else None

    def save(self, field: str, segment: Segment) -> None:
        """Write a column's first segment, if that is worth it."""
        if not self._writable or segment.start or segment.stop < _LEAST:
            return
        path = self._path(field)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **_arrays(segment))
        body = buffer.getbuffer()
        aside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            self._folder.mkdir(exist_ok=True)
            with aside.open("wb") as file:
                file.write(_MAGIC + self._sum(field, body).to_bytes(4, "little"))
                file.write(body)
            reach("column.written")
            os.replace(aside, path)
            reach("column.renamed")
        except OSError as error:
            aside.unlink(missing_ok=True)
            _log.warning("%s cannot be written (%s); the column will be read from the database again", path, error)

    def _path(self, field: str) -> Path:
        return self._folder / f"{blake2b(field.encode(errors='surrogatepass'), digest_size=12).hexdigest()}.column"

    def _sum(self, field: str, body: memoryview) -> int:
        return zlib.crc32(body, zlib.crc32(self._owner + field.encode(errors="surrogatepass")))


def _arrays(segment: Segment) -> Arrays:
    found: Arrays = {
        "extent": np.array([segment.start, segment.stop, segment.read_at], np.int64),
        "codes": segment.codes,
        **_of_dictionary(segment.dictionary, "values"),
    }
    if segment.places is not None:
        found["places"] = segment.places
    if segment.lists is not None:
        lists = segment.lists
        found |= {"list_places": lists.places, "list_ends": lists.ends, "list_codes": lists.codes}
        found |= _of_dictionary(lists.dictionary, "elements")
    return found


def _segment(arrays: Mapping[str, NDArray[Any]]) -> Segment:
    lists = None
    if "list_places" in arrays:
        dictionary = _dictionary(arrays, "elements")
        lists = Lists.indexed(arrays["list_places"], arrays["list_ends"], arrays["list_codes"], dictionary)
    start, stop, read_at = arrays["extent"].tolist()
    places = arrays.get("places", None)
    return Segment(start, stop, read_at, _dictionary(arrays, "values"), arrays["codes"], places, lists)


def _of_dictionary(dictionary: Dictionary, name: str) -> Arrays:
    rest = encode({"rest": list(dictionary.rest)}).encode()
    found: Arrays = {
        "rest": np.frombuffer(rest, np.uint8),
        "ints": dictionary.ints,
        "floats": dictionary.floats,
        "moments": dictionary.moments,
    }
    for part, strings in (("iso", dictionary.iso), ("texts", dictionary.texts)):
        found |= {part: np.frombuffer(strings.blob, np.uint8), f"{part}_ends": strings.ends}
    return {f"{name}_{part}": array for part, array in found.items()}


def _dictionary(arrays: Mapping[str, NDArray[Any]], name: str) -> Dictionary:
    def part(key: str) -> NDArray[Any]:
        return arrays[f"{name}_{key}"]

    return Dictionary(
        tuple(decode(part("rest").tobytes().decode())["rest"]),
        part("ints"),
        part("floats"),
        part("moments"),
        Strings(part("iso").tobytes(), part("iso_ends")),
        Strings(part("texts").tobytes(), part("texts_ends")),
    )
