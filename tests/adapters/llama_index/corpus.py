"""Some passages, and what is asked of them."""

from typing import Any

from llama_index.core.schema import NodeWithScore

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


def filled() -> Retriever:
    kb = Retriever.open(embedder=HashingEmbedder())
    kb.add(DOCUMENTS)
    return kb


def ids(nodes: list[NodeWithScore]) -> list[str]:
    return [one.node.node_id for one in nodes]


def told(nodes: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(one.node.node_id, one.score) for one in nodes]


def dated(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with a present, if any of them depends on it."""
    depends = options.get("boosts") or options.get("versions")
    return {"as_of": NOW, **options} if depends else options


def found(kb: Retriever, query: str | None = QUESTION, **options: Any) -> list[tuple[str, float | None]]:
    """Return what the core finds."""
    return [(hit.document.id, hit.score) for hit in kb.search(query, **dated({"k": 5, **options}))]


def newest_first(query: str, texts: Any) -> list[float]:
    return [2.0 if "five" in text else -2.0 for text in texts]
