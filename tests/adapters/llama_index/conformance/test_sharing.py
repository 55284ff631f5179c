"""The promises of a store beyond one object in one thread: threads, pickling, reopening."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.adapters.llama_index.conformance.cases import COSINES, Case, node, question, refusal, uids


def test_threads_add_and_query(case: Case) -> None:
    store = case.filled().store

    def work(number: int) -> list[str]:
        store.add([node(f"n{number}-{place}", (-1, 0.1 * place)) for place in range(5)])
        return store.query(question(similarity_top_k=1)).ids or []

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as can be
    try:
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(24))) == [uids("same")] * 24
    finally:
        sys.setswitchinterval(before)
    assert len(case.found(similarity_top_k=500)) == 4 + 24 * 5


def test_a_pickled_store_finds_the_same_or_is_refused(case: Case) -> None:
    store = case.filled().store
    copied = None
    with refusal():
        copied = pickle.loads(pickle.dumps(store))  # noqa: S301 - ours
    if copied is not None:
        assert copied.query(question()).ids == uids(*COSINES)


def test_what_is_reopened_finds_the_same(case: Case) -> None:
    before = case.filled().query()
    after = case.saved().query(question())
    assert before.ids == uids(*COSINES)
    assert after.ids == before.ids
    assert after.similarities == pytest.approx(before.similarities, abs=1e-6)


def test_what_is_reopened_can_be_written_to(case: Case) -> None:
    case.filled()
    case.saved().delete_nodes(uids("same"))
    case.add(node("new", (0.8, 0.6)))
    assert case.found() == ["new", "near", "orthogonal", "opposite"]
