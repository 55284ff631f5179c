"""Opening a collection from the command line: which embedder, and whether there must be a collection."""

from pathlib import Path

from theodolite import plugins
from theodolite.cli.output import working
from theodolite.errors import ConfigError, MissingExtraError, TheodoliteError
from theodolite.guards.embedder_guard import check_on_drift
from theodolite.retriever import Retriever

DEFAULT = "all-MiniLM-L6-v2"


def bare(folder: Path, *, read_only: bool = True, trust_index: bool = False) -> Retriever:
    """An existing collection, for what needs no embedder."""
    return Retriever.open(folder, create=False, read_only=read_only, trust_index=trust_index)


def with_embedder(
    folder: Path,
    embedder: str | None,
    on_drift: str,
    *,
    create: bool = False,
    quiet: bool = False,
    trust_index: bool = False,
) -> Retriever:
    """A collection with the embedder that is named, or the one it was made with, or for a new one the default.

    Raises:
        ConfigError: there is no such policy; or the collection was made without an embedder, or it cannot be loaded by
            what is known of it.
    """
    policy = check_on_drift(on_drift)
    known = None
    if (folder / "store.sqlite").exists() or not create:
        with bare(folder) as kb:
            info = kb.info()
            known = info["embedder"]
            if known is None and embedder is None and info["dimension"] is not None:
                raise ConfigError(f"{folder} was filled with vectors alone: name the embedder, --embedder")
            if known is not None and embedder is None and _of_a_class(known):
                raise ConfigError(
                    f"{folder} was made by a program with an embedder of its own, {known!r}, which no name leads to: "
                    "name the embedder, --embedder"
                )
    name = embedder or known or DEFAULT
    try:
        with working(f"loading {name}", quiet=quiet):
            return Retriever.open(
                folder,
                embedder=name,
                create=create,
                read_only=not create,
                on_drift=policy,
                trust_index=trust_index,
            )
    except MissingExtraError:
        raise
    except TheodoliteError as error:
        if embedder is None and known is not None and isinstance(error, ConfigError):
            raise ConfigError(
                f"{folder} was made with the embedder {known!r}; name it with --embedder. {error}"
            ) from error
        raise


def _of_a_class(name: str) -> bool:
    """Whether an embedder's name looks like that of a Python class.

    A collection that was given an object keeps what the object is called. Taken for a model, that name would be
    looked for on the Hugging Face hub, and what is found there is not what the collection was made with.
    """
    return name.isidentifier() and name not in plugins.names("embedders") and not Path(name).exists()
