"""Exported models on disk: the files of an export, where it is kept, and whether it is intact.

A folder holds `model.onnx` (weights above two gigabytes are in further files), `tokenizer.json`, the settings of the
model, and `export.json`: the model's name, and the SHA-256 of each file and of `export.json` itself. The folder is all
that is needed to compute vectors, and it can be copied to other machines.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from theodolite.embedders import hub
from theodolite.embedders.hub import model_files
from theodolite.errors import ConfigError, CorruptionError

S = TypeVar("S")
"""The settings of a kind of model: a dataclass of JSON values with an attribute `files`."""

FORMAT = 2
"""Version of the folder's format. Models in other versions are exported again."""

MODEL = "model.onnx"
SETTINGS = "export.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of an exported embedder, besides those that `model_folder` reads.

    Attributes:
        name: the model's name on the hub, or the name of its folder.
        precision: `float32` or `int8`.
        files: the SHA-256 of each file.
    """

    name: str
    precision: str
    files: dict[str, str] = field(default_factory=dict)


def is_export(folder: Path) -> bool:
    """Return whether a folder holds an exported model."""
    return (folder / SETTINGS).is_file()


def cache_folder() -> Path:
    """Return the default folder for exports."""
    return hub.cache_folder() / "onnx"


def find(cache: Path, name: str, kind: str, source: Path) -> Path | None:
    """Return the folder of a model's export; None if it was not exported. Takes the arguments of `folder_for`."""
    if not any(cache.glob(f"{_readable(name)}-{kind}-*")):
        return None  # saves reading the weights
    folder = folder_for(cache, name, kind, source)
    return folder if is_export(folder) else None


def _readable(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def folder_for(cache: Path, name: str, kind: str, source: Path) -> Path:
    """Return the folder for a model's export. It depends on the content of every file of the model.

    Args:
        name: the model's name.
        kind: the kind of export, such as `float32`.
        source: the model's folder.
    """
    digest = hashlib.sha256(f"{FORMAT} {kind}".encode())
    for path in model_files(source):
        digest.update(f"\n{path.relative_to(source).as_posix()} {_sha256(path)}".encode())
    return cache / f"{_readable(name)}-{kind}-{digest.hexdigest()[:16]}"


def read(folder: Path, form: type[S]) -> S:
    """Return the settings of an export, after comparing each of its files with its SHA-256.

    Args:
        form: the settings class for this kind of model.

    Raises:
        CorruptionError: a file is missing, cannot be read or differs; the message names it.
        ConfigError: the export has another format, or holds another kind of model.
    """
    path = folder / SETTINGS
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stored_digest, written = content.pop("sha256"), content.pop("format")
        digest = _digest(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    if written != FORMAT:
        raise ConfigError(
            f"{folder} is an export of format {written!r}; this version reads format {FORMAT}. Export again"
        )
    if stored_digest != digest:
        raise _damaged(path, "does not match its checksum")
    try:
        settings = form(**content)
    except TypeError as error:
        raise ConfigError(f"{folder} is the export of another kind of model: {error}", path=str(folder)) from error
    for name, expected in content["files"].items():
        try:
            got = _sha256(folder / name)
        except OSError as error:
            raise _damaged(folder / name, f"cannot be read: {error.strerror}") from error
        if got != expected:
            raise _damaged(folder / name, f"has the SHA-256 {got}, expected {expected}")
    return settings


def write(target: Path, build: Callable[[Path], Any]) -> None:
    """Create an export atomically: fill a new folder, then move it to `target`.

    If two processes do so at once, the first one wins.

    Args:
        build: fills the given folder and returns the settings.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ConfigError(
            f"the exported model cannot be written to {target.parent}: {error.strerror}. "
            "Pass another folder as cache, or the folder of an export as the model",
            path=str(target.parent),
        ) from error
    try:
        settings = build(new)
        names = sorted(path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
        _write_settings(new, settings, names)
        with suppress(OSError):  # another process was first
            new.rename(target)
        if not is_export(target):
            raise ConfigError(f"the exported model cannot be moved to {target}. Remove the file or folder there")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _write_settings(folder: Path, settings: Any, names: Iterable[str]) -> None:
    """Write `export.json` with the digests of the named files, and flush all of them to disk."""
    for name in names:
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())
    files = {name: _sha256(folder / name) for name in names}
    whole = {**asdict(settings), "files": files}
    with (folder / SETTINGS).open("w", encoding="utf-8") as out:
        json.dump({"format": FORMAT, **whole, "sha256": _digest(whole)}, out, indent=1)
        out.flush()
        os.fsync(out.fileno())


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damaged(path: Path, problem: str) -> CorruptionError:
    return CorruptionError(
        f"{path} of an exported model {problem}. Delete the folder {path.parent}; the model is exported again when "
        "it is next used",
        file=str(path),
    )
