"""Loading models of the sentence-transformers library."""

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
"""What the weights are computed in."""

_UNLIMITED = 10**9  # tokenizers without a limit say 1e30 or infinity

_HUB_NAME = re.compile(r"([\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@([\w./-]+))?")  # no name on the hub has an @


class Source(NamedTuple):
    """Where a model comes from.

    Attributes:
        name: for people: its name on the hub, as `name@revision` where one was asked for, or its folder's.
        place: its folder, or its name on the hub.
        revision: on the hub; None for the newest.
        local: whether `place` is a folder.
        minilm: whether it is all-MiniLM-L6-v2, from wherever.
    """

    name: str
    place: str
    revision: str | None
    local: bool
    minilm: bool


def locate(model: str | os.PathLike[str], revision: str | None) -> Source:
    """Find out what a name or path means; nothing is loaded.

    Raises:
        ConfigError: it is neither a folder nor can be a name on the hub.
        CorruptionError: the installed files of all-MiniLM-L6-v2 are not the published ones.
    """
    place = os.fspath(model)
    hub = _HUB_NAME.fullmatch(place) if isinstance(model, str) else None
    known = hub is not None and hub[1] in minilm.NAMES
    if not known and os.path.isdir(place):
        if revision is not None:
            raise ConfigError(f"revision is for models of the hub; {place!r} is a folder", revision=revision)
        return Source(Path(place).resolve().name, place, None, local=True, minilm=False)
    if hub is None:
        raise ConfigError(f"there is no folder {place!r} to load a model from", path=place)
    if None not in (revision, hub[2]) and revision != hub[2]:
        raise ConfigError(f"{place!r} names another revision than {revision!r}", revision=revision)
    revision = revision or hub[2]
    name = minilm.HUB_NAME if known else hub[1]
    full = name if revision is None else f"{name}@{revision}"
    folder = minilm.bundled() if known and revision is None else None
    if folder is not None:
        return Source(full, str(folder), None, local=True, minilm=True)
    return Source(full, name, revision, local=False, minilm=known)


def load(source: Source, device: str | None, precision: Precision | None) -> Any:
    """The SentenceTransformer of a source.

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
            found = SentenceTransformer(
                source.place,
                device=device,
                revision=source.revision,
                local_files_only=source.local,
                model_kwargs={"use_safetensors": True},
            )
    except Exception as error:  # each of the libraries beneath has errors of its own
        raise ConfigError(
            f"the model {source.name!r} cannot be loaded. Is it the name of a sentence-transformers model, or a "
            "folder with one, with weights in safetensors? Any other model can be loaded first and passed as "
            f"an object. {type(error).__name__}: {error}",
            model=source.name,
        ) from error
    if source.minilm:
        minilm.lift_limit(found)
    if precision is not None:
        import torch

        # Not as an argument of loading: its name differs between the versions of the library beneath.
        found.to(getattr(torch, precision))
    return found


def check_model(found: Any) -> None:
    """Raises ConfigError for an object that is no model of this library."""
    if not (hasattr(found, "encode_query") and hasattr(found, "encode_document")):
        raise ConfigError(
            f"a {type(found).__name__} has no encode_query and encode_document. "
            "Pass a SentenceTransformer, of sentence-transformers 5.1 or newer"
        )


def name_of(model: Any) -> str:
    """What a loaded model is called: its name on the hub, that of its folder, or else its class."""
    # Its own record of where it came from is a name on the hub, a folder, or empty.
    source = str(getattr(getattr(model, "transformers_model", None), "name_or_path", ""))
    return Path(source).name if os.path.isdir(source) else source or type(model).__name__


def device_of(model: Any) -> str:
    """Where a loaded model computes: `cpu`, `cuda` or another; `cpu` if it does not say."""
    return str(getattr(model, "device", "cpu")).partition(":")[0]


def stated_dimension(model: Any) -> int | None:
    """What the model says of itself; None if it does not know."""
    # The second is the older name, deprecated where the first exists.
    names = ("get_embedding_dimension", "get_sentence_embedding_dimension")
    ask = next((getattr(model, name) for name in names if hasattr(model, name)), None)
    found = ask() if ask else None
    return None if found is None else int(found)


def stated_limit(model: Any) -> int | None:
    """How many tokens the model reads; None if there is no limit."""
    limit = getattr(model, "max_seq_length", None)
    return None if limit is None or limit > _UNLIMITED else int(limit)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """For weights that are read from disk: that takes a moment only. Downloads keep theirs."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
