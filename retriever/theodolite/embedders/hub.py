"""Models on the Hugging Face hub: their names, the hub's cache on this machine, and downloads.

A model that has been downloaded is found without the network and without importing the hub's client, which takes as
long as loading a small model. Every file is compared with the digest that the hub states for it.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from theodolite.embedders import minilm
from theodolite.embedders.prompts import NEEDED
from theodolite.errors import ConfigError, CorruptionError, closest
from theodolite.plugins import optional
from theodolite.types import EmbedderSpec

Choose = Callable[[Iterable[str]], list[str]]
"""Takes the names of all files of a repository and returns those to load. Raises UnsupportedError if one is missing."""

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""

UNLIMITED = 10**9
"""Tokenizers without a limit report 1e30 or infinity."""

KNOWN = (
    *NEEDED,
    "BAAI/bge-m3",
    "sentence-transformers/all-MiniLM-L12-v2",
    "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-transformers/all-mpnet-base-v2",
    "sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
    "sentence-transformers/multi-qa-mpnet-base-dot-v1",
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    "sentence-transformers/paraphrase-multilingual-mpnet-base-v2",
    "thenlper/gte-base",
    "thenlper/gte-large",
    "thenlper/gte-small",
)
"""Names that a mistyped one is compared with."""

_HUB_NAME = re.compile(r"([\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@([\w./-]+))?")  # names on the hub have no @
_OWNER = "sentence-transformers"  # of names without one
_MODEL_FILES = (".safetensors", ".json", ".txt", ".model")  # weights, settings, vocabularies
_OTHER_FORMATS = ("onnx", "openvino")  # folders with the same model in other formats


class Source(NamedTuple):
    """The origin of a model.

    Attributes:
        name: for messages: the name on the hub (`name@revision` if a revision was given), or the folder's name.
        place: the folder, or the name on the hub.
        revision: a revision on the hub; None for the latest.
        local: whether `place` is a folder.
        minilm: whether the model is all-MiniLM-L6-v2.
    """

    name: str
    place: str
    revision: str | None
    local: bool
    minilm: bool

    @property
    def repository(self) -> str:
        """The name on the hub, with its owner."""
        if self.minilm:
            return minilm.HUB_NAME
        return self.place if "/" in self.place else f"{_OWNER}/{self.place}"


_downloads: ContextVar[bool] = ContextVar("downloads", default=True)


@contextmanager
def cache_only() -> Iterator[None]:
    """Do not contact the hub in this block, on this thread: the cache on this machine must hold the model."""
    token = _downloads.set(False)
    try:
        yield
    finally:
        _downloads.reset(token)


class UnreachableError(ConfigError):
    """The hub does not answer, and its cache on this machine does not hold the model."""


def locate(model: str | os.PathLike[str], revision: str | None) -> Source:
    """Find the model of a name or path, without loading it.

    Raises:
        ConfigError: there is no such folder, and the text cannot be a name on the hub.
        CorruptionError: the installed files of all-MiniLM-L6-v2 are not the published ones.
    """
    place = os.fspath(model)
    hub = _HUB_NAME.fullmatch(place) if isinstance(model, str) else None
    known = hub is not None and hub[1] in minilm.NAMES
    if not known and os.path.isdir(place):
        if revision is not None:
            raise ConfigError(f"revision is for models on the hub; {place!r} is a folder", revision=revision)
        return Source(Path(place).resolve().name, place, None, local=True, minilm=False)
    if hub is None:
        raise ConfigError(f"there is no folder {place!r} to load a model from", path=place)
    if None not in (revision, hub[2]) and revision != hub[2]:
        raise ConfigError(
            f"{place!r} and revision={revision!r} name different revisions; pass one of them", revision=revision
        )
    revision = revision or hub[2]
    name = minilm.HUB_NAME if known else hub[1]
    full = name if revision is None else f"{name}@{revision}"
    folder = minilm.bundled() if known and revision is None else None
    if folder is not None:
        return Source(full, str(folder), None, local=True, minilm=True)
    return Source(full, name, revision, local=False, minilm=known)


def recorded(source: Source) -> EmbedderSpec:
    """Return the record of a model: its name and its commit on the hub, or its folder.

    all-MiniLM-L6-v2 has no commit unless one was asked for: an installed package holds the same model.
    """
    if source.local and not source.minilm:
        return EmbedderSpec(str(Path(source.place).resolve()), by_name=False)
    if source.minilm and source.revision is None:
        return EmbedderSpec(minilm.HUB_NAME)
    found = _snapshot(source)
    return EmbedderSpec(source.repository, source.revision if found is None else found.name)


def download(source: Source) -> Source:
    """Return the model in a folder, with its weights in safetensors, after downloading missing files.

    Raises:
        ConfigError: the hub cannot be reached, or has no such model.
        CorruptionError: a cached file is damaged.
        MissingExtraError: huggingface_hub is not installed.
    """
    if source.local:
        return source
    folder = fetch(source, weights)
    return source._replace(place=str(folder), local=True)


def model_files(folder: Path) -> list[Path]:
    """Return the files of the model in a folder, sorted: weights, settings, vocabularies.

    Raises:
        ConfigError: there are no weights in safetensors.
    """
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    chosen = sorted(names[name] for name in weights(names))
    if not any(path.suffix == ".safetensors" for path in chosen):
        raise ConfigError(f"there are no weights in safetensors in {folder}. Pass the folder of a model")
    return chosen


def weights(names: Iterable[str]) -> list[str]:
    """Return the files of a model for torch: weights in safetensors, settings, vocabularies."""
    return [name for name in names if name.endswith(_MODEL_FILES) and name.partition("/")[0] not in _OTHER_FORMATS]


def cached(source: Source, choose: Choose) -> Path | None:
    """Return the folder of a model in the hub's cache; None if the cache does not hold all the chosen files.

    Raises:
        CorruptionError: a file differs from the one on the hub.
        UnsupportedError: the repository lacks a file that is needed.
    """
    found = _snapshot(source)
    digests = None if found is None else _read_listing(found)
    if found is None or digests is None:
        return None
    chosen = choose(digests)
    if not all((found / name).exists() for name in chosen):
        return None
    _verify(source, found, {name: digests[name] for name in chosen})
    return found


def fetch(source: Source, choose: Choose, *, needed: Iterable[str] = ()) -> Path:
    """Return the folder of a model in the hub's cache, after downloading missing files.

    Args:
        needed: files without which the cache cannot be used offline. A program that downloads one file at a time may
            have left a part of the model there, without settings that change its vectors.

    Raises:
        ConfigError: the hub cannot be reached, or has no such model.
        CorruptionError: a file differs from the one on the hub.
        UnsupportedError: the repository lacks a file that is needed.
        MissingExtraError: huggingface_hub is not installed.
    """
    found = cached(source, choose)
    if found is not None:
        return found
    try:
        digests = list_files(source)
    except UnreachableError:
        part = _snapshot(source)
        if part is None or not all((part / name).exists() for name in needed):
            raise
        links = _digests_of_links(part)
        chosen = choose(links)
        _verify(source, part, {name: links[name] for name in chosen})
        return part
    chosen = choose(digests)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(source.repository, revision=source.revision, allow_patterns=chosen))
    except Exception as error:  # the hub's client and the libraries underneath raise errors of their own
        raise UnreachableError(
            f"the model {source.name!r} cannot be downloaded from the hub. {type(error).__name__}: {error}",
            model=source.name,
        ) from error
    _write_listing(folder, digests)
    _verify(source, folder, {name: digests[name] for name in chosen})
    return folder


def list_files(source: Source) -> dict[str, str]:
    """Ask the hub for the files of a model, with their digests: one request, without retries.

    Raises:
        UnreachableError: the hub does not answer, or must not be contacted (see `cache_only`).
        ConfigError: there is no such model or revision, or the user may not read it.
        MissingExtraError: huggingface_hub is not installed.
    """
    with optional("embed"):
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    if not _downloads.get():
        raise UnreachableError(f"the model {source.name!r} is not in the cache of this machine", model=source.name)
    name = source.repository
    try:
        info: Any = HfApi().model_info(name, revision=source.revision, files_metadata=True, timeout=TIMEOUT)
    except GatedRepoError as error:
        raise ConfigError(
            f"the model {source.name!r} is open to registered users only. Accept its terms at "
            f"https://huggingface.co/{name}, then log in with `hf auth login`",
            model=source.name,
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"the model {name!r} has no revision {source.revision!r}", model=source.name) from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"there is no model {source.place!r} on the Hugging Face hub.{_suggest(source.place)} "
            "If it is private, log in with `hf auth login`",
            model=source.name,
        ) from error
    except Exception as error:  # no network, a proxy, a server's failure, HF_HUB_OFFLINE
        raise UnreachableError(
            f"the model {source.name!r} is not in the cache of this machine, and the Hugging Face hub does not answer. "
            f"{type(error).__name__}: {error}.{_suggest(source.place)} Connect this machine, or copy the model to it "
            "from another and pass its folder",
            model=source.name,
        ) from error
    return {each.rfilename: (each.lfs.sha256 if each.lfs else each.blob_id) or "" for each in info.siblings or ()}


def _suggest(name: str) -> str:
    """Return " Did you mean 'x'?" for a name that resembles a known one, whatever its owner."""
    full = name if "/" in name else f"{_OWNER}/{name}"
    if full.casefold() in (one.casefold() for one in KNOWN):
        return ""
    short = {one.rpartition("/")[2]: one for one in KNOWN}
    near = closest(name.rpartition("/")[2], short, 0.75)
    return "" if near is None else f" Did you mean {short[near].removeprefix(_OWNER + '/')!r}?"


def _snapshot(source: Source) -> Path | None:
    """Return the folder of the model's revision in the hub's cache."""
    with optional("embed"):
        from huggingface_hub import constants  # without the client, which takes longer to import
    folder = Path(constants.HF_HUB_CACHE, "models--" + source.repository.replace("/", "--"))
    revision = source.revision or "main"
    try:
        commit = (folder / "refs" / revision).read_text().strip()
    except OSError:
        commit = revision
    found = folder / "snapshots" / commit
    return found if found.is_dir() else None


def cache_folder() -> Path:
    """Return the folder for our own files, inside the operating system's folder for caches."""
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "theodolite"


def _listing(folder: Path) -> Path:
    """Return the file that records the hub's description of a snapshot: `models--owner--name/snapshots/commit`."""
    return cache_folder() / "hub" / f"{folder.parent.parent.name}--{folder.name}.json"


def _write_listing(folder: Path, digests: Mapping[str, str]) -> None:
    path = _listing(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(digests))
        part.replace(path)
    except OSError:  # a cache that cannot be written costs one request at the next use
        return


def _read_listing(folder: Path) -> dict[str, str] | None:
    try:
        digests = json.loads(_listing(folder).read_text())
    except (OSError, ValueError):
        return None
    return digests if isinstance(digests, dict) and all(isinstance(one, str) for one in digests.values()) else None


def _digests_of_links(folder: Path) -> dict[str, str]:
    """Return the digests of a snapshot's files, which are the names of the files that its links lead to."""
    return {
        path.relative_to(folder).as_posix(): path.resolve().name if path.is_symlink() else ""
        for path in folder.rglob("*")
        if path.is_file()
    }


def _verify(source: Source, folder: Path, digests: Mapping[str, str]) -> None:
    """Compare files with their digests: a SHA-256 for large files, the SHA-1 of a Git object for the others."""
    for name, expected in digests.items():
        path = folder / name
        try:
            got = _digest(path, expected)
        except OSError as error:
            got = error.strerror or str(error)
        if got != expected:
            raise CorruptionError(
                f"{name} of the model {source.name!r} is damaged: its digest is {got}, expected {expected}. Delete "
                f"{path.resolve()}; it is downloaded again at the next use",
                file=str(path),
                expected=expected,
                got=got,
            )


def _digest(path: Path, expected: str) -> str:
    """Return the digest of a file, of the kind of the expected one; other kinds cannot be checked."""
    with path.open("rb") as file:
        if len(expected) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest()
        if len(expected) == 40:
            content = file.read()
            # Git's own digest; it guards against damage, and large files have a stronger one.
            return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return expected
