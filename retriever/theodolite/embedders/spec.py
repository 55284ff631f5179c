"""The recorded embedder of a collection: the record, and how an embedder is made from it.

A folder may come from somebody else, and so may the record. So it is only ever read as a name: of a model on the hub,
or of a plug-in that is installed. Paths and names of Python objects are refused.
"""

import os
import re
from contextlib import nullcontext
from typing import Any

from theodolite import plugins
from theodolite.embedders import minilm
from theodolite.embedders.resolve import check_embedder, model_embedder
from theodolite.errors import ConfigError, IntegrityError, MissingExtraError
from theodolite.protocols import Embedder
from theodolite.types import EmbedderSpec

__all__ = ["EmbedderSpec", "make_recorded", "spec_of"]

_ADVICE = "Pass embedder= to Retriever.open: the embedder that the collection was built with"
_OWN = ("onnx", "onnx-int8", "sentence-transformers")  # plug-ins whose arguments are models on the hub
_SETTINGS = ("revision", "precision", "query_prompt", "document_prompt")
_PLUG_IN = re.compile(r"([A-Za-z][\w-]+):(.*)", re.ASCII | re.DOTALL)
_HUB_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?(?:@\w[\w./-]*)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
_ARGUMENT = re.compile(r"(?![A-Za-z]:/)\w[\w.:/@+-]*", re.ASCII)  # not a path, not even C:/models


def spec_of(given: Any, embedder: Embedder) -> EmbedderSpec:
    """Return the record of an embedder.

    Args:
        given: the value passed as `embedder=`: a name, a folder, or an object.
        embedder: the resolved embedder. Its own `spec`, if it has one, is recorded.
    """
    own = getattr(embedder, "spec", None)
    if isinstance(own, EmbedderSpec):
        return own
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        is_folder = os.path.isdir(text)
        return EmbedderSpec(os.path.realpath(text) if is_folder else text, by_name=not is_folder)
    return EmbedderSpec(str(getattr(embedder, "name", type(embedder).__name__)), by_name=False)


def make_recorded(spec: EmbedderSpec, *, download: bool) -> Embedder:
    """Make the embedder that a collection records.

    Args:
        download: whether a model may be downloaded. If not, it must be in the cache of this machine, and plug-ins of
            other packages, which may download, are not used.

    Raises:
        ConfigError: the record is not a name of a model or of an installed plug-in, or the embedder cannot be made.
        MissingExtraError: a package that it needs is not installed.
        CorruptionError: the files of the model are damaged.
    """
    plug_in, argument = _checked(spec)
    if not download and plug_in not in (None, *_OWN):
        raise ConfigError(
            f"another user may have written the collection, so its embedder {spec.name!r}, of the plug-in {plug_in!r}, "
            f"is made only if you name it. Pass embedder={spec.name!r} to Retriever.open if you trust it",
            embedder=spec.name,
        )
    from theodolite.embedders.hub import cache_only  # imported where a model is loaded

    settings = {name: value for name in _SETTINGS if (value := getattr(spec, name)) is not None}
    try:
        with nullcontext() if download else cache_only():
            if plug_in is None:
                return model_embedder(argument, **settings)
            make = plugins.load("embedders", plug_in)
            return check_embedder(make(argument, **settings) if argument else make(**settings), spec.name)
    except (MissingExtraError, IntegrityError):
        raise
    except Exception as error:  # a plug-in is anyone's code
        if download:
            advice = _ADVICE
        else:
            advice = (
                "Another user may have written the collection, so nothing is downloaded for it unless you name the "
                f"model: pass embedder={spec.name!r} to Retriever.open if you trust it"
            )
        reason = f"{error}" if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"the embedder {spec.name!r}, which the collection records, cannot be made. {advice}. {reason}",
            embedder=spec.name,
        ) from error


def _checked(spec: EmbedderSpec) -> tuple[str | None, str]:
    """Return the plug-in of a record, None for the default, and its argument.

    Raises:
        ConfigError: the record is not a name.
    """
    name = spec.name
    named = _PLUG_IN.fullmatch(name)
    plug_in, argument = (named[1], named[2]) if named else (None, name)
    installed = plugins.names("embedders")
    if not spec.by_name:
        raise _refusal(name, "is an object or a folder of the program that built the collection")
    if named and plug_in not in installed:
        raise _refusal(name, f"is of the plug-in {plug_in!r}, which is not installed")
    if plug_in is None and name in installed:
        plug_in, argument = name, ""
    pattern = _HUB_NAME if plug_in in (None, *_OWN) else _ARGUMENT
    if (argument or plug_in is None) and (pattern.fullmatch(argument) is None or ".." in argument):
        raise _refusal(name, "is not the name of a model")
    if argument not in minilm.NAMES and argument and os.path.exists(argument):
        raise _refusal(name, "is also the path of a file or folder here, which is not read for a record")
    if spec.revision is not None and (_REVISION.fullmatch(spec.revision) is None or ".." in spec.revision):
        raise _refusal(name, f"has the revision {spec.revision[:80]!r}, which is not one")
    return plug_in, argument


def _refusal(name: str, why: str) -> ConfigError:
    return ConfigError(f"the embedder that the collection records, {name[:200]!r}, {why}. {_ADVICE}", embedder=name)
