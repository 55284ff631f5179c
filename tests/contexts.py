"""Contexts through any engine, to compare with those of a folder: by ids that number the passages, and by others."""

from typing import Any

import numpy as np

from theodolite import Document, Latest, Retriever, Window

COUNT = 20
PATTERNS = ("{file}#{at}", "{at}-of-{file}")
"""How ids are made of a file and a position: numbered, and not."""

_FILTERS: list[dict[str, Any]] = [{}, {"where": {"v": {"$lt": 9}}}, {"where": {"path": "guide.md"}}]
_VERSIONS: list[dict[str, Any]] = [{"versions": Latest("of", "v")}]


def contexts(kb: Retriever, pattern: str, *, versions: bool = True) -> list[str]:
    """Fill a collection with two files, and return the contexts of searches.

    Args:
        versions: whether to search with version rules, too.
    """
    documents = [
        Document(
            f"{file}, part {at}",
            {"path": file, "chunk": at, "heading": f"h{at // 3}", "v": at, "of": 7 if at in (4, 5) else at},
            pattern.format(file=file, at=at),
        )
        for file in ("guide.md", "news.md")
        for at in range(1, COUNT // 2 + 1)
    ]
    kb.add(documents, vectors=np.eye(COUNT))
    queries = np.eye(COUNT)[[0, 3, 6, 9, 14]] + 0.02 * np.arange(COUNT)
    return [
        str(kb.search(vector=query, k=3, **options).context(tokens, expand=expand, count=len))
        for query in queries
        for expand in (None, "section", Window(1), Window(3))
        for options in (*_FILTERS, *(_VERSIONS if versions else ()))
        for tokens in (10_000, 90)
    ]


def check(kb: Retriever, pattern: str, *, versions: bool = True) -> None:
    """Fail unless an empty collection gives the contexts of a folder."""
    with Retriever.open(embedder=None) as folder:
        expected = contexts(folder, pattern, versions=versions)
    assert contexts(kb, pattern, versions=versions) == expected
    assert len(set(expected)) > 20
