"""A test fixture that compares an engine with a dictionary holding the same documents."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from theodolite.filters import matches, parse
from theodolite.metadata import decode, encode
from theodolite.protocols import Answer, Engine, Maintenance, Request
from theodolite.testing.checks import check
from theodolite.testing.oracle import brute_force
from theodolite.types import Document, Space, Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

METRICS: tuple[MetricName, ...] = get_args(MetricName)
DIMENSION = 12

Where = Mapping[str, Any] | None
Lacking = Literal["boosts", "versions", "lexical", "notes", "maintenance", "indexing", "duplicates"]
Doubles = NDArray[np.float64]

# Maximum error of a similarity, relative to the largest value it could have.
_CLOSE = 1e-6


class EngineUnderTest:
    """The base of the engine contracts: factory methods to override, and a context manager."""

    lacks: ClassVar[frozenset[Lacking]] = frozenset()
    """Features this engine does not support: parts of a search for which it raises UnsupportedError, and missing
    capabilities (see `protocols.capabilities`)."""

    index: ClassVar[str | None] = None
    """An approximate index to build in the tests of `Indexing`, such as "hnsw"; None builds only `flat`."""

    def engine(self, space: Space) -> Engine:
        """Return a new, empty engine for vectors of this space. It shares nothing with earlier ones."""
        raise NotImplementedError

    def reopened(self, engine: Engine) -> Engine | None:
        """Close a durable engine and return a new one with the same data; None if the engine is not durable."""
        return None

    def backed_up(self, folder: Path) -> Engine | None:
        """Return an engine on the copy that `backup` has made in this folder; None if the copy cannot be opened."""
        return None

    def damaged(self, engine: Engine) -> Engine | None:
        """Close an engine, change one stored vector behind its back, and return a new engine on the same data.

        None leaves out the tests of damage.
        """
        return None

    def partitioned(self, space: Space, field: str) -> Engine | None:
        """Return a new, empty engine partitioned by a metadata field; None if partitions are not supported."""
        return None

    @contextmanager
    def opened(self, metric: MetricName = "cosine") -> Iterator["Pair"]:
        """Yield a new engine with a new reference, and close the engine at the end."""
        pair = Pair(self.engine(Space(metric)))
        try:
            yield pair
        finally:
            pair.engine.close()


class Pair:
    """An engine, and a dictionary that receives the same writes."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.metric = engine.space.metric
        self.stored: dict[str, tuple[Document, NDArray[np.float32]]] = {}

    def add(self, documents: Sequence[Document], raw: Any) -> None:
        vectors, settled = prepare(raw, self.engine.space)
        self.engine.add(documents, vectors, settled)
        for document, vector in zip(documents, vectors, strict=True):
            self.stored[document.id] = (_as_stored(document), vector)

    def update(self, changes: Mapping[str, Mapping[str, Any]], *, replace: bool = False) -> None:
        self.engine.update(changes, replace=replace)
        for name, change in changes.items():
            document, vector = self.stored[name]
            metadata = dict(change) if replace else {**document.metadata, **change}
            self.stored[name] = (_as_stored(Document(document.text, metadata, name)), vector)

    def delete(self, ids: Sequence[str]) -> None:
        gone = {name for name in ids if self.stored.pop(name, None)}
        count = self.engine.delete(ids)
        check(count == len(gone), f"delete returns {count} where {len(gone)} documents were there")

    def clear(self) -> None:
        self.engine.clear()
        self.stored.clear()

    @property
    def documents(self) -> list[Document]:
        return [document for document, _ in self.stored.values()]

    def eligible(self, where: Where = None) -> list[str]:
        """Return the ids of the documents that pass the filter, sorted."""
        tree = parse(where)
        return sorted(
            name for name, (document, _) in self.stored.items() if matches(tree, document.metadata, document.id)
        )

    def check_contents(self, where: Where = None) -> None:
        """Check that count, documents and get agree with the dictionary."""
        names = self.eligible(where)
        tree = parse(where)
        count = self.engine.count(tree)
        check(count == len(names), f"count({where}) is {count}, not {len(names)}")
        listed = list(self.engine.documents(tree))
        check(
            [document.id for document, _ in listed] == names,
            f"documents({where}) lists {[document.id for document, _ in listed]}, not {names}",
        )
        for document, vector in listed:
            self.check_document(document)
            check(
                vector.dtype == np.float32 and vector.tobytes() == self.stored[document.id][1].tobytes(),
                f"documents() gives {document.id!r} another vector than was added",
            )
        got = self.engine.get(names)
        given = [document.id for document, _ in got]
        check(given == names, f"get gives {given}, not {names}")
        for document, vector in got:
            self.check_document(document)
            check(
                vector.tobytes() == self.stored[document.id][1].tobytes(),
                f"get gives {document.id!r} another vector than was added",
            )

    def check_document(self, document: Document) -> None:
        expected = self.stored.get(document.id)
        check(expected is not None, f"{document.id!r} is not, or no longer, stored")
        if expected is not None:
            # Compare the JSON as well: in Python 1, 1.0 and True are equal.
            kept = document == expected[0] and encode(document.metadata, canonical=True) == encode(
                expected[0].metadata, canonical=True
            )
            check(kept, f"a document comes back as {document}; it was {expected[0]}")

    def check_search(self, raw_queries: Any, k: int, where: Where = None, *, exact: bool = False) -> list[Answer]:
        """Check that the engine answers these queries correctly, and return the answers."""
        queries, _ = prepare(raw_queries, self.engine.space, name="queries")
        answers = self.engine.search(Request(queries, k, parse(where), exact=exact))
        check(len(answers) == len(queries), f"{len(answers)} answers to {len(queries)} queries")
        names = self.eligible(where)
        for query, answer in zip(queries, answers, strict=True):
            self._check_answer(query, answer, names, k, where)
        return answers

    def exact(self, query: NDArray[np.float32], names: Sequence[str]) -> tuple[Doubles, Doubles]:
        """Return the exact similarities of documents, and the largest value each could have."""
        vectors = np.array([self.stored[name][1] for name in names]).reshape(len(names), len(query))
        scores = brute_force(query, vectors, self.metric)
        if self.metric == "l2":
            return scores, np.abs(scores)
        return scores, np.linalg.norm(vectors.astype(np.float64), axis=1) * np.linalg.norm(query.astype(np.float64))

    def _check_answer(self, query: NDArray[np.float32], answer: Answer, names: list[str], k: int, where: Where) -> None:
        found = [document.id for document in answer.documents]
        what = f"search (k={k}, where={where}, {self.metric})"
        check(len(set(found)) == len(found), f"{what} finds a document twice: {found}")
        check(set(found) <= set(names), f"{what} finds {set(found) - set(names)}, which should not be found")
        size = min(k, len(names))
        check(len(found) == size, f"{what} finds {len(found)} documents where it must find {size}")
        for document in answer.documents:
            self.check_document(document)
        self._check_trace(answer, len(names), what)
        given = answer.similarities
        check(len(given) == len(found), f"{what} gives {len(given)} similarities to {len(found)} documents")
        check(
            all(isinstance(score, float) and float(np.float32(score)) == score for score in given),
            f"{what} gives similarities that are not float32 values: {given}",
        )
        ranked = sorted(zip((-score for score in given), found, strict=True))
        check([name for _, name in ranked] == found, f"{what} is not ordered by similarity and then id: {found}")
        if names:
            self._check_exact(query, answer, names, what)

    def _check_trace(self, answer: Answer, eligible: int, what: str) -> None:
        trace = answer.trace
        check(trace.rows == len(self.stored), f"{what}: trace.rows is {trace.rows}, not {len(self.stored)}")
        check(trace.eligible == eligible, f"{what}: trace.eligible is {trace.eligible}, not {eligible}")

    def _check_exact(self, query: NDArray[np.float32], answer: Answer, names: list[str], what: str) -> None:
        scores, sizes = self.exact(query, names)
        at = {name: i for i, name in enumerate(names)}
        rows = np.array([at[document.id] for document in answer.documents], np.int64)
        slack = _CLOSE * sizes
        off = np.abs(scores[rows] - answer.similarities) > slack[rows]
        check(
            not off.any(),
            f"{what} gives similarities {np.array(answer.similarities)[off]}; exact are {scores[rows][off]}",
        )
        # Rows with equal scores up to rounding are interchangeable.
        kth = (scores[rows] - slack[rows]).min()
        left_out = np.setdiff1d(np.flatnonzero(scores - slack > kth + slack[rows].max()), rows)
        if answer.trace.complete:
            check(not len(left_out), f"{what} says it is complete and leaves out {[names[i] for i in left_out]}")
        else:
            check(len(left_out) <= 0.1 * len(rows), f"{what} leaves out {len(left_out)} of {len(rows)} documents")


def _as_stored(document: Document) -> Document:
    return Document(document.text, decode(encode(document.metadata)), document.id)


def passages(names: Sequence[str], **metadata: Any) -> list[Document]:
    """Return documents with these ids and different texts."""
    return [Document(f"The text of {name}.", {"name": name, **metadata}, name) for name in names]


def numbered(count: int, first: int = 0) -> list[str]:
    """Return ids in an order that follows neither time nor numbers."""
    return [f"d{number * 7919 % 10007}" for number in range(first, first + count)]


def drawn(seed: int, count: int, dimension: int = DIMENSION) -> Doubles:
    """Return vectors of mixed lengths around a common direction, not prepared."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((count, dimension)) + 0.7
    lengths: Doubles = np.exp(draw.standard_normal((count, 1)))
    return vectors * lengths


def answers(engine: Engine, k: int = 10) -> list[tuple[list[str], list[float]]]:
    """Return the ids and similarities of five exact answers."""
    found = engine.search(Request(prepared(drawn(1, 5), engine), k, exact=True))
    return [([document.id for document in answer.documents], list(answer.similarities)) for answer in found]


def verify(engine: Engine) -> None:
    """Call the engine's `verify`, if it has one."""
    if isinstance(engine, Maintenance):
        engine.verify()


def prepared(raw: Any, engine: Engine) -> Vectors:
    """Return queries prepared for the engine's space."""
    return prepare(raw, engine.space, name="queries")[0]
