"""The engine contract: concurrent threads."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from theodolite.filters import parse
from theodolite.protocols import Engine, Request
from theodolite.testing.checks import check, together
from theodolite.testing.reference import EngineUnderTest, Pair, drawn, numbered, passages, prepared, verify
from theodolite.types import Document
from theodolite.vectors.prepare import prepare

_DOCUMENTS = 60
_COMMITS = 25
_MOST_COMMITS = 500
_LOOKS = 10


class ThreadsContract(EngineUnderTest):
    """Tests that a commit is seen completely or not at all."""

    def test_answers_never_mix_two_commits(self) -> None:
        with self.opened("l2") as pair:
            names = numbered(_DOCUMENTS)
            _commit(pair.engine, names, 0)
            done = threading.Event()
            ways: tuple[Callable[[Pair, list[str]], None], ...] = (_search, _filtered, _get)
            looks = [0] * len(ways)

            def read(number: int) -> None:
                while not done.is_set():
                    ways[number](pair, names)
                    looks[number] += 1

            def write() -> None:
                for version in range(1, _MOST_COMMITS):
                    _commit(pair.engine, names, version)
                    # Stop once every reader has read often enough, or a reader has failed.
                    if done.is_set() or (version >= _COMMITS and min(looks) >= _LOOKS):
                        return

            def work(number: int) -> None:
                try:
                    if number < len(ways):
                        read(number)
                    else:
                        write()
                finally:
                    done.set()

            together(len(ways) + 1, work)
            verify(pair.engine)

    def test_several_threads_may_write(self) -> None:
        with self.opened() as pair:
            pair.add(passages(["first"]), drawn(1, 1))

            def work(number: int) -> None:
                mine = [f"{number}-{i}" for i in range(10)]
                for i, name in enumerate(mine):
                    vectors, settled = prepare(drawn(100 * number + i, 1), pair.engine.space)
                    pair.engine.add(passages([name], i=i), vectors, settled)
                check(len(pair.engine.get(mine)) == len(mine), "what one thread adds is lost when others write")
                pair.engine.update({name: {"done": True} for name in mine})
                check(pair.engine.delete(mine[:3]) == 3, "a thread cannot delete what it added")

            together(4, work)
            for number in range(4):
                for i in range(3, 10):
                    name = f"{number}-{i}"
                    (document,) = passages([name], i=i, done=True)
                    pair.stored[name] = (document, prepare(drawn(100 * number + i, 1), pair.engine.space)[0][0])
            pair.check_contents()
            pair.check_contents({"done": True})
            pair.check_search(drawn(1, 5), 10)


def _commit(engine: Engine, names: list[str], version: int) -> None:
    """Replace every document, so that text, metadata and vector all contain the version."""
    raw = np.arange(len(names), dtype=np.float64)[:, None] * [1.0, 0.0]
    raw[:, 1] = version
    vectors, settled = prepare(raw, engine.space)
    documents = [Document(f"version {version}", {"version": version, "half": i % 2}, n) for i, n in enumerate(names)]
    engine.add(documents, vectors, settled)


def _search(pair: Pair, names: list[str]) -> None:
    _look(pair, names, _DOCUMENTS, None)


def _filtered(pair: Pair, names: list[str]) -> None:
    _look(pair, names[1::2], _DOCUMENTS, {"half": 1})
    count = pair.engine.count(parse({"half": 1}))
    check(count == _DOCUMENTS // 2, f"{count} documents are counted, {_DOCUMENTS // 2} are in every commit")


def _look(pair: Pair, names: list[str], k: int, where: dict[str, Any] | None) -> None:
    # The query is at the first document's place, so each similarity reveals the version of its vector.
    queries = prepared(np.zeros((2, 2)), pair.engine)
    for answer in pair.engine.search(Request(queries, k, parse(where))):
        _of_one_commit(answer.documents, names)
        version = answer.documents[0].metadata["version"]
        for document, similarity in zip(answer.documents, answer.similarities, strict=True):
            place = numbered(_DOCUMENTS).index(document.id)
            check(
                abs(similarity + np.hypot(place, version)) < 1e-4,
                "an answer has the texts of one commit and the scores of another",
            )


def _get(pair: Pair, names: list[str]) -> None:
    _of_one_commit([document for document, _ in pair.engine.get(names)], names)


def _of_one_commit(documents: list[Document], names: list[str]) -> None:
    check(
        sorted(document.id for document in documents) == sorted(names),
        f"{len(documents)} documents are found where every commit has {len(names)}",
    )
    contents = {document.text for document in documents}
    contents |= {f"version {document.metadata['version']}" for document in documents}
    check(len(contents) == 1, f"one answer shows several commits: {sorted(contents)}")
