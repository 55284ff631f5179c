"""Persistence for storage contexts: the location of the collection, or a copy of a temporary one."""

import json
import os
import shutil
from os import PathLike
from pathlib import Path
from typing import Any

from theodolite import ConfigError, InputError, ManifestError, Retriever

_STORE = "vector_store"  # as in LlamaIndex's file names, which end in .json; theodolite's never do


def persist(kb: Retriever, persist_path: str | PathLike[str], fs: Any = None) -> None:
    """Write the collection's location beside `persist_path`. A temporary collection is copied there first.

    Raises:
        ConfigError: `fs` is not a local file system, or a symbolic link is in the way.
        InputError: the path is empty. ManifestError: other data is in the place of the copy.
    """
    if fs is not None and "file" not in _protocols(fs):
        raise ConfigError(f"a collection is kept in a local folder, not on {type(fs).__name__}; use backup() and copy")
    target = _absolute(persist_path).with_suffix("")
    pointer, fresh = _pointer(target), _pointer(target).with_suffix(".fresh")
    # The folder may come from an untrusted source: never write through a link or replace its target.
    for path in (target, _beside(target), pointer, fresh):
        if path.is_symlink():
            raise ConfigError(f"{path} is a symbolic link; it is not followed. Remove it, or persist elsewhere")
    target.parent.mkdir(parents=True, exist_ok=True)
    location = kb.location
    if location is None:
        _copy(kb, target)
        location = target
    fresh.write_text(json.dumps({"location": str(location)}, ensure_ascii=False), encoding="utf-8")
    fresh.replace(pointer)


def persisted(persist_dir: str | PathLike[str], namespace: str) -> Path:
    """Return the folder of the persisted collection.

    Raises:
        ManifestError: no collection was persisted. InputError: the path is empty.
    """
    target = _absolute(persist_dir) / f"{namespace}__{_STORE}"
    pointer = _pointer(target)
    try:
        location = json.loads(pointer.read_text(encoding="utf-8"))["location"]
    except FileNotFoundError:
        raise ManifestError(
            f"{target.parent} holds no vector store of theodolite named {namespace!r}; open the collection by its "
            "folder, TheodoliteVectorStore(location), or persist it first",
            folder=str(target.parent),
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{pointer} does not say where the collection is; delete it and persist again") from error
    # A copy lies beside its pointer file, even after both were moved.
    return target if Path(location).name == target.name and target.is_dir() else Path(location)


def _pointer(target: Path) -> Path:
    return target.with_name(f"{target.name}.theodolite")


def _beside(target: Path) -> Path:
    """Return the temporary path of a copy before it is renamed."""
    return target.with_name(f"{target.name}.new")


def _absolute(path: str | PathLike[str]) -> Path:
    if not os.fspath(path):
        raise InputError("the path to persist to is empty; pass a folder, or '.' for the working directory")
    return Path(path).expanduser().absolute()


def _copy(kb: Retriever, target: Path) -> None:
    if target.exists():
        Retriever.open(target, create=False, read_only=True).close()  # raises unless it is a collection
    beside = _beside(target)
    shutil.rmtree(beside, ignore_errors=True)
    kb.backup(beside)
    if target.exists():
        shutil.rmtree(target)
    beside.rename(target)


def _protocols(fs: Any) -> tuple[str, ...]:
    found = getattr(fs, "protocol", ())
    return (found,) if isinstance(found, str) else tuple(found)
