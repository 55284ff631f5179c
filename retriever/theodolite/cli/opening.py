"""Open a collection from the command line: which embedder to use, and whether the collection must exist."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from theodolite.cli.output import note, spinner
from theodolite.embedders.options import RECORDED, EmbedderOptions, OnDrift
from theodolite.errors import (
    ConfigError,
    EmbedderDriftError,
    EngineError,
    IntegrityError,
    ManifestError,
    MissingExtraError,
    Override,
)
from theodolite.retriever import Retriever

if TYPE_CHECKING:  # starlette is imported by the commands that serve
    from theodolite.serving.collections import Served

DEFAULT = "all-MiniLM-L6-v2"
"""The embedder of a new collection, unless --embedder names another."""


def is_collection(location: str | Path) -> bool:
    """Return whether a folder or URL leads to a collection. Raises the errors of opening it except ManifestError."""
    try:
        open_collection(location).close()
    except ManifestError:
        return False
    return True


def open_collection(location: str | Path, *, read_only: bool = True, trust_index: bool = False) -> Retriever:
    """Open an existing collection without an embedder."""
    return Retriever.open(location, create=False, read_only=read_only, **_options(trust_index))


def open_with_embedder(
    location: str | Path,
    embedder: str | None,
    on_drift: str,
    *,
    create: bool = False,
    read_only: bool | None = None,
    quiet: bool = False,
    trust_index: bool = False,
) -> Retriever:
    """Open a collection with the embedder named, else the collection's own, else (for a new one) the default.

    Args:
        read_only: default: unless it may be created.

    Raises:
        ConfigError: `on_drift` is unknown; or no embedder is named, and the collection's own is not known or cannot be
            made.
    """
    options = EmbedderOptions(on_drift=cast("OnDrift", on_drift))
    info = _info(location, create=create)
    recorded = None if info is None else info["embedder"]
    if info is not None and recorded is None and embedder is None and info["dimension"] is not None:
        raise ConfigError(f"{location} was filled with vectors, without an embedder: name one with --embedder")
    name = embedder or recorded or DEFAULT
    if embedder is not None or recorded is None:
        options = replace(options, embedder=name)
    try:
        with spinner(f"loading {name}", quiet=quiet):
            kb = Retriever.open(
                location,
                embedder=options,
                create=create,
                read_only=not create if read_only is None else read_only,
                **_options(trust_index),
            )
            try:
                _ = kb.embedder  # a recorded one is loaded here
            except BaseException:
                kb.close()
                raise
            return kb
    except MissingExtraError:
        raise
    except ConfigError as error:
        if embedder is None and recorded is not None:
            raise ConfigError(
                f"{location} was created with the embedder {recorded!r}; name it with --embedder. {error}"
            ) from error
        raise


def open_served(
    location: str, embedder: str | None, on_drift: str, rerank: str | None, *, write: bool, trust_index: bool
) -> "Served":
    """Open a collection, load its embedder and check it. Without an embedder, lexical search is still served.

    Raises:
        EmbedderDriftError: the embedder has changed, and `on_drift` is "refuse".
    """
    from theodolite.ranking.options import as_rerank
    from theodolite.serving.collections import Served, name_of

    name, location = name_of(location)
    options = EmbedderOptions(RECORDED if embedder is None else embedder, on_drift=cast("OnDrift", on_drift))
    kb = Retriever.open(location, embedder=options, create=False, read_only=not write, **_options(trust_index))
    try:
        problem = _embedder_problem(kb, name, on_drift)
        kb.warm()
        return Served(name, kb, write, None if rerank is None else as_rerank(rerank), problem)
    except BaseException:
        kb.close()
        raise


def _embedder_problem(kb: Retriever, name: str, on_drift: str) -> str | None:
    """Load and check the embedder. Return why it cannot be used; None if it can, or the collection has none."""
    has_embedder = False
    try:
        with spinner(f"loading the embedder of {name}"):
            has_embedder = kb.embedder is not None
            result = kb.check_embedder() if has_embedder else None
    except Exception as error:  # of the embedder, which may be anything
        if isinstance(error, EngineError) or (has_embedder and isinstance(error, IntegrityError)):
            raise  # the collection itself cannot be read
        reason = error.message if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        note(f"Warning: {name} is served without dense search for texts: {reason}", style="yellow")
        # Clients hear the type alone: texts of other libraries may have paths and addresses.
        return reason if isinstance(error, ConfigError) else type(error).__name__
    if result is None or result.ok:
        return None
    if on_drift == "refuse":
        raise EmbedderDriftError(
            f"{name}: {result.message()}", override=Override("on_drift", "warn", "serve it anyway; /health then fails")
        )
    note(f"Warning: {name}: {result.message()}", style="yellow")
    return None


def _info(location: str | Path, *, create: bool) -> dict[str, Any] | None:
    """Return the collection's info; None if `create` is set and the collection does not exist yet."""
    try:
        with open_collection(location) as kb:
            return kb.info()
    except ManifestError:
        if create:
            return None
        raise


def _options(trust_index: bool) -> dict[str, Any]:
    """Return the engine's options. Only engines with approximate indexes have this one, so it is passed only if set."""
    return {"trust_index": True} if trust_index else {}
