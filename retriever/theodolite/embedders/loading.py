"""Loading models of the sentence-transformers library."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from theodolite.embedders import minilm
from theodolite.errors import ConfigError
from theodolite.plugins import optional

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Model = Union[str, os.PathLike[str], "SentenceTransformer"]
"""A name on the Hugging Face hub, a folder, or a loaded model."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def loaded(model: Model, device: str | None, revision: str | None) -> tuple[Any, str]:
    """The model and its name, for people to read.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: the model cannot be loaded, or is none of this library.
        CorruptionError: the installed files of all-MiniLM-L6-v2 are not the published ones.
    """
    if isinstance(model, (str, os.PathLike)):
        found, name = _load(model, device, revision)
    elif device is not None or revision is not None:
        raise ConfigError("device and revision are for models given by name; this one is loaded already")
    else:
        # Its own record of where it came from is a name on the hub, a folder, or empty.
        source = str(getattr(getattr(model, "transformers_model", None), "name_or_path", ""))
        found, name = model, Path(source).name if os.path.isdir(source) else source or type(model).__name__
    if not (hasattr(found, "encode_query") and hasattr(found, "encode_document")):
        raise ConfigError(
            f"a {type(found).__name__} has no encode_query and encode_document. "
            "Pass a SentenceTransformer, of sentence-transformers 5.1 or newer"
        )
    return found, name


def _load(model: str | os.PathLike[str], device: str | None, revision: str | None) -> tuple[Any, str]:
    with optional("sentence-transformers"):
        from sentence_transformers import SentenceTransformer
    source = name = os.fspath(model)
    bundled = None
    if known := model in minilm.NAMES:
        name = minilm.HUB_NAME
        bundled = minilm.bundled() if revision is None else None
        source = name if bundled is None else str(bundled)
    local = bundled is not None or os.path.isdir(source)
    if local and not known:
        name = Path(source).resolve().name
    elif not local and (isinstance(model, os.PathLike) or not _HUB_NAME.fullmatch(source)):
        raise ConfigError(f"there is no folder {source!r} to load a model from", path=source)
    try:
        with _no_progress_bars() if local else nullcontext():
            found = SentenceTransformer(
                source,
                device=device,
                revision=revision,
                local_files_only=local,
                model_kwargs={"use_safetensors": True},
            )
    except Exception as error:  # each of the libraries beneath has errors of its own
        raise ConfigError(
            f"the model {name!r} cannot be loaded. Is it the name of a sentence-transformers model, or a "
            "folder with one, with weights in safetensors? Any other model can be loaded first and passed as "
            f"an object. {type(error).__name__}: {error}",
            model=name,
        ) from error
    if known:
        minilm.lift_limit(found)
    return found, name if revision is None else f"{name}@{revision}"


def stated_dimension(model: Any) -> int | None:
    """What the model says of itself; None if it does not know."""
    # The second is the older name, deprecated where the first exists.
    names = ("get_embedding_dimension", "get_sentence_embedding_dimension")
    ask = next((getattr(model, name) for name in names if hasattr(model, name)), None)
    found = ask() if ask else None
    return None if found is None else int(found)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
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
