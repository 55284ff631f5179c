"""Exported models on disk: what a folder of one holds, where it is kept, and whether it is whole.

A folder holds `model.onnx` (all parts of the model in one graph, with further files of weights
where they exceed two gigabytes), `tokenizer.json` (with limit and padding) and `export.json`: what the model is
called, its prompts and limits, and the SHA-256 of each file and of `export.json` itself. It is all that is needed
to compute vectors, and may be copied to other machines.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from theodolite.errors import ConfigError, CorruptionError

S = TypeVar("S")
"""The settings of a kind of model: a dataclass of JSON values, with `files`."""

FORMAT = 1
"""The version of the folder's form; another one is exported anew."""

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
SETTINGS = "export.json"

_SOURCE = (".safetensors", ".json", ".txt", ".model")  # what a model is made of: weights, settings, vocabularies
_ELSEWHERE = ("onnx", "openvino")  # folders with other forms of the same model


@dataclass(frozen=True, slots=True)
class Settings:
    """What an exported embedder is, beside its graph.

    Attributes:
        name: the model's name on the hub, or that of its folder.
        precision: `float32` or `int8`.
        dimension: the vectors' length.
        max_tokens: how many tokens it reads; None without a limit.
        inputs: what the graph is fed: `input_ids`, `attention_mask` and perhaps `token_type_ids`.
        query_prompt: the model's own prompt for questions.
        document_prompt: the same for passages.
        files: the SHA-256 of each file.
    """

    name: str
    precision: str
    dimension: int
    max_tokens: int | None
    inputs: list[str]
    query_prompt: str = ""
    document_prompt: str = ""
    files: dict[str, str] = field(default_factory=dict)


def is_export(folder: Path) -> bool:
    return (folder / SETTINGS).is_file()


def cache_folder() -> Path:
    """Where the system keeps what programs can make again."""
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "theodolite" / "onnx"


def place(cache: Path, name: str, precision: str, source: Path) -> Path:
    """The folder for the export of a model: another one as soon as any file of the model is another."""
    digest = hashlib.sha256(f"{FORMAT} {precision}".encode())
    for path in source_files(source):
        digest.update(f"\n{path.relative_to(source).as_posix()} {_sha256(path)}".encode())
    readable = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
    return cache / f"{readable}-{precision}-{digest.hexdigest()[:16]}"


def source_files(source: Path) -> list[Path]:
    """The files that a model in a folder is made of, sorted.

    Raises:
        ConfigError: there are no weights among them.
    """
    found = sorted(
        path
        for path in source.rglob("*")
        if path.suffix in _SOURCE and path.is_file() and path.relative_to(source).parts[0] not in _ELSEWHERE
    )
    if not any(path.suffix == ".safetensors" for path in found):
        raise ConfigError(f"there are no weights in safetensors in {source}; is it the folder of a model?")
    return found


def source_patterns() -> tuple[list[str], list[str]]:
    """The same as patterns: what to download, and what of that to leave out."""
    return [f"*{suffix}" for suffix in _SOURCE], [f"{folder}/*" for folder in _ELSEWHERE]


def read(folder: Path, form: type[S]) -> S:
    """The settings of an export, after each of its files has been compared with its SHA-256.

    Args:
        form: the class of the settings of the kind of model that it is to be.

    Raises:
        CorruptionError: naming the file that is missing, cannot be read or differs.
        ConfigError: the export is of another version, or of another kind of model.
    """
    path = folder / SETTINGS
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        stated, written = content.pop("sha256"), content.pop("format")
        digest = _digest(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    if written != FORMAT:
        raise ConfigError(f"{folder} holds an export of format {written!r}, this version reads {FORMAT}: export again")
    if stated != digest:
        raise _damaged(path, "is not what was written")
    try:
        settings = form(**content)
    except TypeError as error:
        raise ConfigError(f"{folder} holds an export of another kind of model: {error}", path=str(folder)) from error
    for name, expected in content["files"].items():
        try:
            got = _sha256(folder / name)
        except OSError as error:
            raise _damaged(folder / name, f"cannot be read: {error.strerror}") from error
        if got != expected:
            raise _damaged(folder / name, f"has the SHA-256 {got}, expected {expected}")
    return settings


def write(target: Path, build: Callable[[Path], Any]) -> None:
    """Have `build` fill a new folder, returning the settings, and put it in its place whole, or not at all.

    Two processes may do the same at once: the first one's folder stays.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ConfigError(
            f"the exported model cannot be written to {target.parent}: {error.strerror}. "
            "Pass another folder as cache, or a folder with an export as the model",
            path=str(target.parent),
        ) from error
    try:
        settings = build(made)
        names = sorted(path.name for path in made.iterdir())
        finish(made, settings, names)
        with suppress(OSError):  # another process was first
            made.rename(target)
        if not is_export(target):
            raise ConfigError(f"the exported model cannot be moved to {target}. Is something else there?")
    finally:
        shutil.rmtree(made, ignore_errors=True)


def finish(folder: Path, settings: Any, names: Iterable[str]) -> None:
    """Write `export.json` over the named files; all of it is on the disk afterwards."""
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


def _damaged(path: Path, what: str) -> CorruptionError:
    return CorruptionError(
        f"{path} of an exported model {what}. Delete the folder {path.parent}: it is made again when it is needed",
        file=str(path),
    )
