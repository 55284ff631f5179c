"""The embedder that a collection records: `EmbedderSpec`, and what is recorded of an embedder."""

import os
from pathlib import Path
from typing import Any

from theodolite.protocols import Embedder
from theodolite.types import EmbedderSpec

__all__ = ["EmbedderSpec", "spec_of"]


def spec_of(given: Any, embedder: Embedder) -> EmbedderSpec:
    """Return what a collection records of an embedder.

    Args:
        given: what the caller passed as `embedder=`: a name, a folder, or an object.
        embedder: what `resolve` made of it. Its own `spec`, if it has one, is recorded.
    """
    own = getattr(embedder, "spec", None)
    if isinstance(own, EmbedderSpec):
        return own
    if isinstance(given, (str, os.PathLike)):
        text = os.fspath(given)
        return EmbedderSpec(str(Path(text).resolve()) if os.path.isdir(text) else text)
    return EmbedderSpec(str(getattr(embedder, "name", type(embedder).__name__)), by_name=False)
