"""The stores that the suite runs against: ours in every way it can be kept, and LlamaIndex's embedded ones.

Each is used as its guide says, with cosine similarity if it can be set.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llama_index.core.vector_stores import SimpleVectorStore
from tests.adapters.llama_index.nodes import Letters

from llama_index_theodolite import TheodoliteVectorStore

DIMENSION = 4

_FILE = "default__vector_store.json"  # what a storage context names a store's file


def _nothing(*_: Any) -> None:
    """Arguments of a store that persists itself."""


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store: how it is opened, with what its folder holds; what keeps it there; what closes it.

    `name` is the column of the table: the forms of ours share one. `reopens`: it is closed and opened before each step.
    """

    name: str
    form: str
    open: Callable[[Path], Any]
    save: Callable[[Any, Path], None] = _nothing
    close: Callable[[Any], None] = _nothing
    reopens: bool = False
    package: str = "llama-index-core"
    needs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.name}, {self.form}" if self.form else self.name

    @property
    def installed(self) -> bool:
        return all(_there(module) for module in self.needs)

    @property
    def version(self) -> str:
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:  # run from its sources
            return self.package


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of what it would be in
        return False


def _persist(store: Any, folder: Path) -> None:
    store.persist(str(folder / _FILE))


def _ours(place: str, index: str) -> StoreSpec:
    def in_memory(folder: Path) -> TheodoliteVectorStore:
        model = Letters(embed_dim=DIMENSION)
        if folder.exists():
            return TheodoliteVectorStore.from_persist_dir(folder, embed_model=model)
        return TheodoliteVectorStore(embed_model=model, index=index)

    def on_disk(folder: Path) -> TheodoliteVectorStore:
        return TheodoliteVectorStore(folder / "kb", Letters(embed_dim=DIMENSION), index=index)

    memory = place == "in memory"
    return StoreSpec(
        "theodolite",
        f"{index} {place}",
        in_memory if memory else on_disk,
        save=_persist if memory else _nothing,
        close=TheodoliteVectorStore.close,
        reopens=place == "reopened",
        package="theodolite",
        needs=("hnswlib",) if index == "hnsw" else (),
        # The embedding of a node is drawn here, and the empty store of a folder does not exist yet.
        warnings=("ignore:the embedding of node:UserWarning", "ignore:there is no collection at:UserWarning"),
    )


def _simple(folder: Path) -> SimpleVectorStore:
    file = folder / _FILE
    return SimpleVectorStore.from_persist_path(str(file)) if file.exists() else SimpleVectorStore()


def chroma(folder: Path) -> Any:
    """Of cosine distances."""
    settings = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
    client = importlib.import_module("chromadb").PersistentClient(str(folder), settings)
    collection = client.get_or_create_collection("rows", configuration={"hnsw": {"space": "cosine"}})
    return importlib.import_module("llama_index.vector_stores.chroma").ChromaVectorStore(chroma_collection=collection)


def qdrant(folder: Path) -> Any:
    """Cosine is its default. Its awaited calls need a second client, and two clients cannot open one folder."""
    client = importlib.import_module("qdrant_client").QdrantClient(path=str(folder))
    made = importlib.import_module("llama_index.vector_stores.qdrant").QdrantVectorStore
    return made(collection_name="rows", client=client)


def lancedb(folder: Path) -> Any:
    """Its distance is L2 and cannot be set: of unit vectors, the order is the same."""
    made = importlib.import_module("llama_index.vector_stores.lancedb").LanceDBVectorStore
    return made(uri=str(folder), table_name="rows")


def _faiss(folder: Path) -> Any:
    """Of inner products, which are cosines for unit vectors; with a map, without which it deletes nothing."""
    faiss = importlib.import_module("faiss")
    made = importlib.import_module("llama_index.vector_stores.faiss").FaissMapVectorStore
    file = folder / _FILE
    if file.exists():
        return made.from_persist_path(str(file))
    return made(faiss_index=faiss.IndexIDMap2(faiss.IndexFlatIP(DIMENSION)))


_PACKAGE = "llama-index-vector-stores-"
_MODULE = "llama_index.vector_stores."

SPECS = [
    *(_ours(place, index) for place in ("in memory", "on disk", "reopened") for index in ("flat", "hnsw")),
    StoreSpec("SimpleVectorStore", "", _simple, save=_persist),
    StoreSpec("Chroma", "", chroma, package=f"{_PACKAGE}chroma", needs=(f"{_MODULE}chroma", "chromadb")),
    StoreSpec(
        "Qdrant",
        "",
        qdrant,
        close=lambda store: store.client.close(),
        package=f"{_PACKAGE}qdrant",
        needs=(f"{_MODULE}qdrant", "qdrant_client"),
        warnings=("ignore:Payload indexes have no effect in the local Qdrant:UserWarning",),
    ),
    StoreSpec(
        "LanceDB",
        "",
        lancedb,
        package=f"{_PACKAGE}lancedb",
        needs=(f"{_MODULE}lancedb", "lancedb"),
        warnings=("ignore:table_names:DeprecationWarning",),
    ),
    StoreSpec("FAISS", "", _faiss, save=_persist, package=f"{_PACKAGE}faiss", needs=(f"{_MODULE}faiss", "faiss")),
]
NAMES = list(dict.fromkeys(spec.name for spec in SPECS))
