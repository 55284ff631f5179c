"""LangChain's vector stores: search by vector, by text and with a filter, adding, reopening.

    python benchmarks/langchain.py
    python benchmarks/langchain.py --sizes 10000 --peers theodolite FAISS Chroma --markdown

Every store gets the same documents in the same batches, and then the same questions, in turns, ten each. The embedder
only looks vectors up. Recall@10 is compared with float64 over the rows that match the filter. Reopening is timed in
fresh processes, from opening the stored data to the first answer.
"""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.pop(0)  # this folder, in which `langchain` would be this very file
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from benchmarks.framework import Framework
from benchmarks.langchain_peers import PEERS, SLOW
from benchmarks.stores import main
from benchmarks.stores_data import Known
from theodolite.types import Vectors


class Given(Embeddings):
    """An embedder that looks vectors up."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._known.of(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._known.of(text)


def document(row: int, text: str, metadata: dict[str, Any]) -> Document:
    """Return a document with an id that every store accepts."""
    return Document(text, metadata=metadata, id=str(uuid.UUID(int=row)))


def add(store: Any, part: list[Document]) -> None:
    store.add_documents(part, ids=[str(one.id) for one in part])


def by_vector(store: Any, vectors: list[list[float]], k: int, options: dict[str, Any]) -> Callable[[int], Any]:
    return lambda number: store.similarity_search_by_vector(vectors[number], k=k, **options)


def by_text(store: Any, vectors: list[list[float]], k: int, options: dict[str, Any]) -> Callable[[int], Any]:
    return lambda number: store.similarity_search(f"q{number}", k=k, **options)


def as_they_are(documents: list[Document], vectors: Vectors) -> list[Document]:
    """Return the documents unchanged: the embedder looks their vectors up."""
    return documents


LANGCHAIN = Framework(
    script=__file__,
    noun="documents",
    peers=PEERS,
    slow=SLOW,
    document=document,
    embedding=Given,
    batch=as_they_are,
    add=add,
    ways={"by vector": by_vector, "by text": by_text},
    found=lambda answer: answer,
    kb=lambda store: store.kb,
    share=(0.2, 0.02),
)

if __name__ == "__main__":
    sys.exit(main(LANGCHAIN, __doc__))
