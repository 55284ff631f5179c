"""`accept`: hits chosen by a function; and `pool`: the candidates for diversity."""

from typing import Any

import numpy as np
import pytest

from theodolite import MMR, ConfigError, Document, InputError, Retriever
from theodolite.ranking.diversity import choose_diverse
from theodolite.testing import HashingEmbedder

COUNT, D = 400, 12


@pytest.fixture(scope="module")
def vectors() -> Any:
    return np.random.default_rng(7).standard_normal((COUNT, D)).astype(np.float32)


@pytest.fixture(scope="module")
def kb(vectors: Any) -> Any:
    with Retriever.open() as kb:
        kb.add(
            [Document(f"text {n}", {"n": n, "odd": n % 2 == 1}, id=f"{n:03}") for n in range(COUNT)], vectors=vectors
        )
        yield kb


def names(hits: Any) -> list[str]:
    return [hit.document.id for hit in hits]


@pytest.mark.parametrize("k", [1, 3, 50, 200, 1000])
@pytest.mark.parametrize("options", [{}, {"diversity": MMR(0.3, pool=COUNT)}, {"dedupe": 0.8}])
def test_a_function_finds_what_the_same_filter_finds(kb: Any, vectors: Any, k: int, options: dict[str, Any]) -> None:
    for query in vectors[:5] + 0.1:
        by_filter = kb.search(vector=query, k=k, where={"odd": True}, **options)
        by_function = kb.search(vector=query, k=k, accept=lambda document: document.metadata["odd"], **options)
        assert names(by_function) == names(by_filter)
        assert [hit.score for hit in by_function] == [hit.score for hit in by_filter]


def test_one_that_is_hard_to_find_is_found(kb: Any, vectors: Any) -> None:
    (last,) = kb.search(vector=vectors[0], k=COUNT)[-1:]
    assert names(kb.search(vector=vectors[0], k=4, accept=lambda document: document.id == last.document.id)) == [
        last.document.id
    ]
    assert names(kb.search(vector=vectors[0], k=4, accept=lambda document: False)) == []


def test_reading_more_and_more_costs_less_than_reading_all_twice(kb: Any, vectors: Any) -> None:
    asked: list[str] = []

    def never(document: Document) -> bool:
        asked.append(document.id)
        return False

    kb.search(vector=vectors[0], k=4, accept=never)
    assert len(set(asked)) == COUNT  # all were seen,
    assert len(asked) < 2 * COUNT  # and growing by four costs a third more


def test_the_same_id_in_another_partition_stays() -> None:
    with Retriever.open(embedder=HashingEmbedder(64), partition="tenant") as kb:
        kb.add([Document("refunds take five days", {"tenant": name}, id="1") for name in ("acme", "initech")])
        found = kb.search("refunds", k=2, accept=lambda document: document.metadata["tenant"] == "acme")
        assert [hit.document.metadata["tenant"] for hit in found] == ["acme"]


def test_words_a_reranker_and_like_go_by_it_too() -> None:
    class Length:
        read: list[str] = []  # noqa: RUF012  # one object

        def score(self, query: str, texts: Any) -> Any:
            self.read += texts
            return np.array([float(len(text)) for text in texts])

    with Retriever.open(embedder=HashingEmbedder(64)) as kb:
        kb.add([Document("refund " + "x" * n, {"n": n}, id=str(n)) for n in range(1, 9)])

        def even(document: Document) -> bool:
            return bool(document.metadata["n"] % 2 == 0)

        assert set(names(kb.search("refund", k=10, mode="lexical", accept=even))) == {"2", "4", "6", "8"}
        assert set(names(kb.search("refund", k=10, mode="hybrid", accept=even))) == {"2", "4", "6", "8"}
        assert names(kb.search("refund", k=2, rerank=Length(), accept=even)) == ["8", "6"]
        assert len(Length.read) == 4
        assert set(names(kb.search(like="2", k=10, accept=even))) == {"4", "6", "8"}
        both = kb.search_many(["refund", "refund x"], k=2, accept=even)
        assert [len(hits) for hits in both] == [2, 2]
        assert all(int(name) % 2 == 0 for hits in both for name in names(hits))


@pytest.mark.parametrize("pool", [1, 5, 10, 60, 1000])
def test_diversity_chooses_from_so_many(kb: Any, vectors: Any, pool: int) -> None:
    query, k = vectors[3] * 2 + vectors[9], 5
    plain = kb.search(vector=query, k=max(pool, k))
    near = vectors[[int(hit.document.id) for hit in plain]]
    order, _ = choose_diverse(np.array([hit.score for hit in plain]), near, k, 0.6)
    expected = [plain[place].document.id for place in order]
    assert names(kb.search(vector=query, k=k, diversity=MMR(0.6, pool=pool))) == expected


def test_what_makes_no_sense_is_refused(kb: Any, vectors: Any) -> None:
    with pytest.raises(InputError, match="accept is"):
        kb.search(vector=vectors[0], accept={"odd": True})
    with pytest.raises(ConfigError, match="pool would do nothing"):
        kb.search(vector=vectors[0], diversity=MMR(0, pool=10))
    for pool in (0, -1, 2.5, True):
        with pytest.raises(InputError, match="pool is"):
            kb.search(vector=vectors[0], diversity=MMR(0.5, pool=pool))  # type: ignore[arg-type]  # that is what is tested
