"""What a storage context persists: where the collection is, or a copy of a temporary one. The folder is the truth."""

import json
import os
import shutil
from os import PathLike
from pathlib import Path
from typing import Any

from theodolite import ConfigError, InputError, ManifestError, Retriever

_STORE = "vector_store"  # as in LlamaIndex's own file names; its files end in .json, ours never do


def persist(kb: Retriever, persist_path: str | PathLike[str], fs: Any = None) -> None:
    """Write, beside `persist_path`, where the collection is; a temporary one is copied there first.

    Raises:
        ConfigError: no local file system, or a symbolic link in the place of what is written.
        InputError: the path is empty. ManifestError: there is something else in the place of the copy.
    """
    if fs is not None and "file" not in _protocols(fs):
        raise ConfigError(f"a collection is kept in a local folder, not on {type(fs).__name__}; use backup() and copy")
    target = _absolute(persist_path).with_suffix("")
    pointer, fresh = _pointer(target), _pointer(target).with_suffix(".fresh")
    # The folder may come from somebody else: what a link leads to is neither replaced nor written.
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
    """The folder of the collection that was persisted.

    Raises:
        ManifestError: none was. InputError: the path is empty.
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
        raise ManifestError(f"{pointer} does not say where the collection is; remove it and persist anew") from error
    # A copy lies beside its pointer, wherever both have been moved to.
    return target if Path(location).name == target.name and target.is_dir() else Path(location)


def _pointer(target: Path) -> Path:
    return target.with_name(f"{target.name}.theodolite")


def _beside(target: Path) -> Path:
    """Where a copy is made, before it gets its name."""
    return target.with_name(f"{target.name}.new")


def _absolute(path: str | PathLike[str]) -> Path:
    if not os.fspath(path):
        raise InputError("the path to persist to is empty; pass a folder, or '.' for the working directory")
    return Path(path).expanduser().absolute()


def _copy(kb: Retriever, target: Path) -> None:
    if target.exists():
        Retriever.open(target, create=False, read_only=True).close()  # nothing else is ever replaced
    beside = _beside(target)
    shutil.rmtree(beside, ignore_errors=True)
    kb.backup(beside)
    if target.exists():
        shutil.rmtree(target)
    beside.rename(target)


def _protocols(fs: Any) -> tuple[str, ...]:
    found = getattr(fs, "protocol", ())
    return (found,) if isinstance(found, str) else tuple(found)
