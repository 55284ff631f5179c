"""Some passages, and what is asked of them."""

from pathlib import Path
from typing import Any

from langchain_core.documents import Document as LangChainDocument

from langchain_theodolite.searching import translated
from theodolite import Document, Retriever
from theodolite.testing import HashingEmbedder

DOCUMENTS = [
    Document(
        "Refunds take fourteen days.",
        {"source": "policy", "policy": "refunds", "from": "2023-01-01", "tags": ["a", "b"]},
        id="old",
    ),
    Document("Refunds take five working days.", {"source": "policy", "policy": "refunds", "from": "2025-03-01"}, "new"),
    Document("I think refunds take some days.", {"source": "chat", "from": "2024-07-01"}, id="chat"),
    Document("Error E-1234: the refund is blocked.", {"source": "wiki", "from": "2024-02-01"}, id="wiki"),
    Document("We open at nine.", {"source": "wiki", "from": "2024-02-01"}, id="hours"),
]
QUESTION = "do refunds take fourteen days?"
NOW = "2025-11-20"


def filled(location: Path | None = None, index: str | None = None) -> Retriever:
    kb = Retriever.open(location, embedder=HashingEmbedder())
    kb.add(DOCUMENTS)
    if index is not None:
        kb.reindex(index)
    return kb


def ids(documents: list[LangChainDocument]) -> list[str | None]:
    return [document.id for document in documents]


def found(kb: Retriever, query: str = QUESTION, **options: Any) -> list[tuple[str, float]]:
    """What the core finds."""
    return [(hit.document.id, hit.score) for hit in kb.search(query, **translated({"k": 5, "now": NOW, **options}))]


def newest_first(query: str, texts: Any) -> list[float]:
    return [2.0 if "five" in text else -2.0 for text in texts]
