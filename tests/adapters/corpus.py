"""Sample passages and questions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def dated(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options, with `as_of` if any of them depends on it."""
    depends = options.get("boosts") or options.get("versions")
    return {"as_of": NOW, **options} if depends else options


def found(kb: Retriever, query: str | None = QUESTION, **options: Any) -> list[tuple[str, float]]:
    """Return the hits of the core."""
    return [(hit.document.id, hit.score) for hit in kb.search(query, **dated({"k": 5, **options}))]


def newest_first(query: str, texts: Any) -> list[float]:
    return [2.0 if "five" in text else -2.0 for text in texts]


ACME = {"tenant": "acme"}


def passages(tenant: str) -> list[Document]:
    """Passages for thirty days, in two languages; the other tenant has its own words, fields and values."""
    return [
        Document(
            f"Refunds of {tenant} take {n} days.",
            {
                "lang": "de" if n % 2 else "en",
                "year": 2000 + n,
                "published": f"2025-01-{n:02d}T12:00:00Z",
                "tags": ["refund", "money"][: n % 3],
                "author": {"name": f"{tenant}-{n}"},
                "draft": n % 5 == 0,
                "size": "large",
                "note": f"{tenant} secret" if n == 1 else "plain",
                **({"secret of bolt": "bolt's own"} if tenant == "bolt" else {}),
            },
            id=f"{tenant}-{n}",
        )
        for n in range(1, 31)
    ]


@contextmanager
def two_tenants() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
        for tenant in ("acme", "bolt"):
            kb.scoped(tenant=tenant).add(passages(tenant))
        yield kb
