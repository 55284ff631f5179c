"""How `RemoteSearch` uses a store: number of calls, proofs, and notes on incomplete answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.engines.remote.memory import MemoryEngine, Traits, open_memory

from theodolite import Document
from theodolite.errors import UnsupportedError
from theodolite.filters import In
from theodolite.protocols import Answer, Request, Scope
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Latest, Versions
from theodolite.settings import CollectionSettings
from theodolite.types import Vectors
from theodolite.vectors.prepare import prepare

DIMENSION = 8
DOCUMENTS = 400


@dataclass(frozen=True)
class Levels:
    """A boost by a field of levels."""

    name: str = "levels"
    field: str = "level"

    def factors(self, values: Any, now: float, /) -> NDArray[np.float64]:
        return np.array(values, np.float64)


def vectors(seed: int, count: int) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = np.random.default_rng(seed).standard_normal((count, DIMENSION)) + 0.5
    return drawn


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    opened = open_memory(CollectionSettings("cosine"))
    documents = [
        Document(
            f"text {number}", {"n": number % 10, "level": 1 - number / 1000, "group": number // 2}, f"d{number:03}"
        )
        for number in range(DOCUMENTS)
    ]
    prepared, space = prepare(vectors(1, DOCUMENTS), opened.space)
    opened.add(documents, prepared, space)
    yield opened
    opened.close()


def query(engine: MemoryEngine, count: int = 1) -> Vectors:
    return prepare(vectors(2, count), engine.space, name="queries")[0]


def ids(answer: Answer) -> list[str]:
    return [document.id for document in answer.documents]


def calls(engine: MemoryEngine) -> list[list[tuple[str, int]]]:
    return [source.calls for source in engine.sources]


def expected(engine: MemoryEngine, request: Request) -> list[Answer]:
    return super(MemoryEngine, engine).search(request)


def test_a_plain_search_is_one_call_on_one_view(engine: MemoryEngine) -> None:
    engine.traits = Traits(forgets=True)
    for where in (None, In("n", (3,))):
        request = Request(query(engine, 3), 10, where)
        assert list(map(ids, engine.search(request))) == list(map(ids, expected(engine, request)))
    assert calls(engine) == [[("nearest", 15)], [("nearest", 15)]]


def test_a_view_that_cannot_go_on_is_opened_again(engine: MemoryEngine) -> None:
    engine.traits = Traits(forgets=True)
    with pytest.warns(match="cannot match"):
        (answer,) = engine.search(Request(query(engine), 10, In("nn", (3,))))
    assert answer.trace.path == "empty"
    assert "Did you mean 'n'" in answer.trace.notes[0]
    assert len(engine.sources) == 2


def test_lists_are_widened_until_errors_cannot_matter(engine: MemoryEngine) -> None:
    engine.traits = Traits(noise=0.2)
    request = Request(query(engine), 10)
    (answer,) = engine.search(request)
    assert ids(answer) == ids(*expected(engine, request))
    assert answer.trace.complete
    ((first, *more),) = calls(engine)
    assert first == ("nearest", 15)
    assert more


def test_documents_that_tie_with_the_last_are_all_compared_by_id(engine: MemoryEngine) -> None:
    equal, space = prepare(np.repeat(vectors(3, 1), 100, axis=0), engine.space)
    engine.add([Document("", {}, f"e{number:02}") for number in range(99, -1, -1)], equal, space)
    for traits in (Traits(), Traits(noise=0.001)):
        engine.traits = traits
        (answer,) = engine.search(Request(prepare(vectors(3, 1), space)[0], 5))
        assert ids(answer) == ["e00", "e01", "e02", "e03", "e04"]
        assert answer.trace.complete


def test_an_approximate_list_is_never_called_complete(engine: MemoryEngine) -> None:
    engine.traits = Traits(found=0.9)
    (answer,) = engine.search(Request(query(engine), 10))
    assert len(answer.documents) == 10
    assert (answer.trace.path, answer.trace.complete) == ("index", False)
    assert answer.trace.proposed >= 10
    (exact,) = engine.search(Request(query(engine), 10, exact=True))
    assert (exact.trace.path, exact.trace.complete, exact.trace.notes) == ("scan", True, ())


@pytest.mark.parametrize("boosts", [(), (Levels(),)], ids=["plain", "boosted"])
def test_an_index_that_ends_early_makes_the_answer_exact(engine: MemoryEngine, boosts: Any) -> None:
    engine.traits = Traits(found=0.9, short=7)
    request = Request(query(engine), 10, boosts=boosts, relevance=Relevance("cosine"))
    (answer,) = engine.search(request)
    assert ids(answer) == ids(*expected(engine, request))
    assert (answer.trace.path, answer.trace.complete) == ("scan", True)
    assert answer.trace.notes == (
        "The approximate index returned 7 documents, too few for this search, so all eligible documents were compared.",
    )
    (scoped,) = engine.search(Request(query(engine), 10, scope=Scope(None, In("n", (1, 2, 3)))))
    assert (len(scoped.documents), scoped.trace.notes) == (10, ())


def test_fewer_eligible_documents_than_k_are_no_short_list(engine: MemoryEngine) -> None:
    engine.traits = Traits(found=0.999999)
    for boosts in ((), (Levels(),)):
        request = Request(query(engine), 100, In("n", (1,)), boosts=boosts, relevance=Relevance("cosine"))
        (answer,) = engine.search(request)
        assert (len(answer.documents), answer.trace.path, answer.trace.notes) == (40, "index", ())


def test_boosts_widen_until_nothing_below_can_rise(engine: MemoryEngine) -> None:
    engine.traits = Traits(noise=0.01)
    engine.update({f"d{number:03}": {"level": 0.05} for number in range(DOCUMENTS) if number % 50})
    request = Request(query(engine), 3, boosts=(Levels(),), relevance=Relevance("cosine"))
    (answer,) = engine.search(request)
    assert ids(answer) == ids(*expected(engine, request))
    assert answer.trace.complete
    assert answer.trace.scored < DOCUMENTS / 2  # vectors are read only of those that may be among the best


def test_a_store_with_a_limit_says_so(engine: MemoryEngine) -> None:
    engine.traits = Traits(limit=50)
    with pytest.raises(UnsupportedError, match=r"the store lists at most 50 documents, and k is 60"):
        engine.search(Request(query(engine), 60))
    (few,) = engine.search(Request(query(engine), 60, In("n", (1,))))
    assert (len(few.documents), few.trace.complete) == (40, True)
    engine.update({f"d{number:03}": {"level": 0.001} for number in range(DOCUMENTS)})
    request = Request(query(engine), 3, boosts=(Levels(),), relevance=Relevance("cosine"))
    (boosted,) = engine.search(request)
    assert not boosted.trace.complete
    assert "The store lists at most 50 documents" in boosted.trace.notes[0]


@pytest.mark.parametrize(
    ("per", "included", "excluded"),
    [("n", 10, None), ("mostly", None, 99), ("level", None, None)],
)
def test_version_rules_send_the_shorter_list_of_keys(
    engine: MemoryEngine, per: str, included: int | None, excluded: int | None
) -> None:
    engine.update({f"d{number:03}": {"mostly": max(99, number)} for number in range(DOCUMENTS)})
    (answer,) = engine.search(Request(query(engine), 500, versions=Versions((Latest(per, "level"),), 0)))
    assert len(answer.documents) == (DOCUMENTS - (excluded or 0) if included is None else included)
    (asked,) = engine.sources[-1].asked
    assert [None if keys is None else len(keys) for keys in (asked.included, asked.excluded)] == [included, excluded]


def test_the_fields_of_version_rules_are_read_once_a_commit(engine: MemoryEngine) -> None:
    versions = Versions((Latest("group", "level"),), 0)
    scans = []
    for _ in range(2):
        for where in (None, In("n", (3,))):
            engine.search(Request(query(engine), 5, where, versions=versions))
            scans.append(engine.sources[-1].scanned)
        engine.delete(["d000"])
    assert scans == [1, 0, 1, 0]
