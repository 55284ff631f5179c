"""Shared by the tests of `sync`: an embedder that records its texts, and texts that split into two-word passages."""

from collections.abc import Sequence
from typing import Any

from theodolite import Retriever
from theodolite.files.sync import SyncReport
from theodolite.testing import HashingEmbedder


class Embedder(HashingEmbedder):
    """Reads ten words, and records its texts."""

    max_tokens = 12

    def __init__(self) -> None:
        super().__init__(64)
        self.asked: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) + 2 for text in texts]

    def encode_document(self, texts: Sequence[str], /) -> Any:
        self.asked += texts
        return super().encode_document(texts)


def paragraphs(*names: str) -> str:
    """Each becomes a passage."""
    return "\n\n".join(f"Paragraph {name} has eight words in all." for name in names)


def counts(report: SyncReport) -> dict[str, int]:
    """Return the counts of a report that are not zero."""
    names = ("added", "replaced", "moved", "unchanged", "removed")
    assert report.passages == sum(getattr(report, name) for name in names[:4])
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def stored(kb: Retriever) -> dict[str, str]:
    """All texts by id."""
    return {document.id: document.text for document in kb.documents()}
