"""Load models of the sentence-transformers library."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args

from theodolite.embedders import hub, minilm
from theodolite.embedders.hub import UNLIMITED, Source, UnreachableError
from theodolite.errors import ConfigError, type_of
from theodolite.plugins import optional

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Model = Union[str, os.PathLike[str], "SentenceTransformer"]
"""A name on the Hugging Face hub, `name@revision`, a folder, or a loaded model."""

Precision = Literal["float32", "bfloat16", "float16"]
"""Data type of the weights."""


def load(source: Source, device: str | None, precision: Precision | None) -> Any:
    """Load a SentenceTransformer. If the hub does not answer, its cache is used.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: the model cannot be loaded.
    """
    if precision is not None and precision not in get_args(Precision):
        raise ConfigError(f"precision is {precision!r}; expected one of {', '.join(get_args(Precision))}, or None")
    with optional("minilm" if source.minilm else "sentence-transformers"):
        from sentence_transformers import SentenceTransformer
    unreachable: UnreachableError | None = None
    try:
        if not source.local:
            hub.list_files(source)  # the library would repeat its requests for a minute
    except UnreachableError as error:
        unreachable = error
    try:
        with no_progress_bars() if source.local else nullcontext():
            model = SentenceTransformer(
                source.place,
                device=device,
                revision=source.revision,
                local_files_only=source.local or unreachable is not None,
                model_kwargs={"use_safetensors": True},
            )
    except Exception as error:  # the libraries underneath raise errors of their own
        if unreachable is not None:
            raise unreachable from error
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
            f"{type_of(model)} has no encode_query and encode_document. "
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
