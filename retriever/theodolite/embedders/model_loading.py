"""Find, download and load models of the sentence-transformers library."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union, get_args

from theodolite.embedders import minilm
from theodolite.errors import ConfigError
from theodolite.plugins import optional

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Model = Union[str, os.PathLike[str], "SentenceTransformer"]
"""A name on the Hugging Face hub, `name@revision`, a folder, or a loaded model."""

Precision = Literal["float32", "bfloat16", "float16"]
"""Data type of the weights."""

UNLIMITED = 10**9
"""Tokenizers without a limit report 1e30 or infinity."""

_HUB_NAME = re.compile(r"([\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@([\w./-]+))?")  # names on the hub have no @
_MODEL_FILES = (".safetensors", ".json", ".txt", ".model")  # weights, settings, vocabularies
_OTHER_FORMATS = ("onnx", "openvino")  # folders with the same model in other formats


class Source(NamedTuple):
    """The origin of a model.

    Attributes:
        name: for messages: the name on the hub (`name@revision` if a revision was given), or the folder's name.
        place: the folder, or the name on the hub.
        revision: on the hub; None for the latest.
        local: whether `place` is a folder.
        minilm: whether the model is all-MiniLM-L6-v2.
    """

    name: str
    place: str
    revision: str | None
    local: bool
    minilm: bool


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


def download(source: Source) -> Source:
    """Return the model in a folder, after downloading it unless the hub's own cache has it.

    Raises:
        ConfigError: the hub cannot be reached, or has no such model.
        MissingExtraError: huggingface_hub is not installed.
    """
    if source.local:
        return source
    with optional("onnx"):
        from huggingface_hub import snapshot_download
    name = source.place if "/" in source.place else f"sentence-transformers/{source.place}"
    for from_cache in (True, False):
        try:
            place = snapshot_download(
                name,
                revision=source.revision,
                local_files_only=from_cache,
                allow_patterns=[f"*{suffix}" for suffix in _MODEL_FILES],
                ignore_patterns=[f"{folder}/*" for folder in _OTHER_FORMATS],
            )
            model_files(Path(place))  # the cache may hold only a part of the model
        except Exception as error:  # the hub's client and the libraries underneath raise errors of their own
            if not from_cache:
                raise ConfigError(
                    f"the model {source.name!r} cannot be downloaded from the hub. {type(error).__name__}: {error}",
                    model=source.name,
                ) from error
        else:
            break
    return source._replace(place=place, local=True)


def model_files(folder: Path) -> list[Path]:
    """Return the files of the model in a folder, sorted: weights, settings, vocabularies.

    Raises:
        ConfigError: there are no weights in safetensors.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _MODEL_FILES and path.is_file() and path.relative_to(folder).parts[0] not in _OTHER_FORMATS
    )
    if not any(path.suffix == ".safetensors" for path in files):
        raise ConfigError(f"there are no weights in safetensors in {folder}. Pass the folder of a model")
    return files


def load(source: Source, device: str | None, precision: Precision | None) -> Any:
    """Load a SentenceTransformer.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: the model cannot be loaded.
    """
    if precision is not None and precision not in get_args(Precision):
        raise ConfigError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}, or None")
    with optional("minilm" if source.minilm else "sentence-transformers"):
        from sentence_transformers import SentenceTransformer
    try:
        with no_progress_bars() if source.local else nullcontext():
            model = SentenceTransformer(
                source.place,
                device=device,
                revision=source.revision,
                local_files_only=source.local,
                model_kwargs={"use_safetensors": True},
            )
    except Exception as error:  # the libraries underneath raise errors of their own
        raise ConfigError(
            f"the model {source.name!r} cannot be loaded. Is it the name or the folder of a sentence-transformers "
            "model, with weights in safetensors? Load any other model yourself and pass the object. "
            f"{type(error).__name__}: {error}",
            model=source.name,
        ) from error
    if source.minilm:
        minilm.lift_limit(model)
    if precision is not None:
        import torch

        # Not passed to the constructor, because the argument's name depends on the version of transformers.
        model.to(getattr(torch, precision))
    return model


def check_model(model: Any) -> None:
    """Raise ConfigError for an object that is not a model of this library."""
    if not (hasattr(model, "encode_query") and hasattr(model, "encode_document")):
        raise ConfigError(
            f"a {type(model).__name__} has no encode_query and encode_document. "
            "Pass a SentenceTransformer, of sentence-transformers 5.1 or newer"
        )


def name_of(model: Any) -> str:
    """Return the name of a loaded model on the hub, the name of its folder, or the name of its class."""
    # A model records its origin as a name on the hub, a folder, or nothing.
    source = str(getattr(getattr(model, "transformers_model", None), "name_or_path", ""))
    return Path(source).name if os.path.isdir(source) else source or type(model).__name__


def device_of(model: Any) -> str:
    """Return the device of a loaded model, such as `cpu` or `cuda`; `cpu` if the model does not say."""
    return str(getattr(model, "device", "cpu")).partition(":")[0]


def stated_dimension(model: Any) -> int | None:
    """Return the dimension that the model reports; None if it does not know."""
    # The second is the older name, deprecated where the first exists.
    names = ("get_embedding_dimension", "get_sentence_embedding_dimension")
    method = next((getattr(model, name) for name in names if hasattr(model, name)), None)
    dimension = method() if method else None
    return None if dimension is None else int(dimension)


def stated_limit(model: Any) -> int | None:
    """Return the maximum number of tokens of a text; None for no limit."""
    limit = getattr(model, "max_seq_length", None)
    return None if limit is None or limit > UNLIMITED else int(limit)


def fast_tokenizer(tokenizer: Any, limit: int | None) -> Any:
    """Return a copy of the `tokenizers` tokenizer inside one of transformers, with truncation and padding set."""
    from tokenizers import Tokenizer

    fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    if limit is None:
        fast.no_truncation()
    else:
        fast.enable_truncation(limit, direction=tokenizer.truncation_side)
    fast.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    return fast


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide the progress bars of loading weights from disk, which takes a moment. Downloads keep theirs."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
