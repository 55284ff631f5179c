"""Rules for versions on a few documents: every documented outcome."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.unit.engines.local.derived.version_rules import Looking, look, moment

from theodolite import Document, Retriever
from theodolite.filters import F
from theodolite.protocols import Scope
from theodolite.ranking.versions import Latest, Superseded, Valid, Versions
from theodolite.types import Version

LATEST = Latest("policy", "from")
DATED: dict[str, dict[str, Any]] = {
    "2023": {"policy": "refunds", "from": "2023-01-01", "lang": "en"},
    "2025": {"policy": "refunds", "from": "2025-03-01", "lang": "de"},
    "other": {"policy": "returns", "from": "2020-01-01", "lang": "en"},
}
BY = Superseded("key", by="by")
CHAIN: dict[str, dict[str, Any]] = {"a": {"key": "a", "by": "b"}, "b": {"key": "b", "by": ["c"]}, "c": {"key": "c"}}
DATED_CHAIN: dict[str, dict[str, Any]] = {
    "a": {"key": "a", "by": "b", "since": "2020-01-01", "lang": "en"},
    "b": {"key": "b", "by": "c", "since": "2022-01-01", "lang": "en"},
    "c": {"key": "c", "since": "2024-01-01", "lang": "de"},
}
SINCE = Superseded("key", by="by", since="since")


def test_the_newest_is_current() -> None:
    assert look(DATED, LATEST).ids == {"2025", "other"}
    assert look(DATED, LATEST).superseded == 1


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("2019-12-31", set()),
        ("2020-01-01", {"other"}),
        ("2025-02-28T23:59:59.999999", {"2023", "other"}),
        ("2025-03-01", {"2025", "other"}),
        ("2025-03-01T00:30+01:00", {"2023", "other"}),
    ],
)
def test_documents_that_have_not_begun_are_hidden(as_of: str, expected: set[str]) -> None:
    assert look(DATED, LATEST, as_of=as_of).ids == expected
    assert look(DATED, LATEST, as_of=as_of, superseded="show").ids >= expected
    assert "2025" not in look(DATED, LATEST, as_of="2025-02-28", superseded="show").ids


def test_all_that_tie_are_current() -> None:
    passages: dict[str, dict[str, Any]] = {
        f"{year}#{n}": {"policy": 1, "from": f"{year}-01-01"} for year in (2023, 2025) for n in range(3)
    }
    passages["2025#1"]["policy"] = 1.0
    passages["2025#2"]["from"] = "2025-01-01T02:00+02:00"
    assert look(passages, LATEST).ids == {"2025#0", "2025#1", "2025#2"}


def test_missing_comes_before_numbers_and_those_before_dates() -> None:
    steps = [None, 1, 2, 2.5, 2**53, 2**53 + 1, 2**70, "1960-01-01", "2025-01-01"]
    for newest in range(1, len(steps)):
        documents = {f"{n}": {"policy": "x", "from": step} for n, step in enumerate(steps[: newest + 1])}
        assert look(documents, LATEST).ids == {f"{newest}"}


@pytest.mark.parametrize("odd", [True, "soon", ["2025-01-01"], {"x": 1}, ""])
def test_values_without_an_order_count_as_missing(odd: Any) -> None:
    documents = {"odd": {"policy": "x", "from": odd}, "none": {"policy": "x"}}
    assert look(documents, LATEST).ids == {"odd", "none"}
    assert look({**documents, "dated": {"policy": "x", "from": 0}}, LATEST).ids == {"dated"}


@pytest.mark.parametrize("alone", [None, "", ["refunds"], {"x": 1}, []])
def test_without_a_group_each_stands_alone(alone: Any) -> None:
    documents = {f"{year}": {"policy": alone, "from": f"{year}-01-01"} for year in (2023, 2024, 2025)}
    documents["missing"] = {"from": "2020-01-01"}
    assert look(documents, LATEST).ids == set(documents)


def test_groups_are_the_same_as_in_filters() -> None:
    values = [1, True, "1", "true", "a", "A"]
    documents = {f"{n}": {"policy": value, "from": "2025-01-01"} for n, value in enumerate(values)}
    assert look({**documents, "one": {"policy": 1.0, "from": "2024-01-01"}}, LATEST).ids == set(documents)


def test_valid_from_start_to_before_end() -> None:
    rule = Valid("start", "end")
    documents: dict[str, dict[str, Any]] = {
        "both": {"start": "2025-01-01", "end": "2025-02-01"},
        "start": {"start": "2025-01-01"},
        "end": {"end": "2025-02-01"},
        "none": {"start": None, "end": "never"},
    }
    assert look(documents, rule, as_of="2024-12-31T23:59").ids == {"end", "none"}
    assert look(documents, rule, as_of="2025-01-01").ids == set(documents)
    assert look(documents, rule, as_of="2025-01-31T23:59:59.999999").ids == set(documents)
    after = look(documents, rule, as_of="2025-02-01", superseded="show")
    assert after["both"] == after["end"] == Version(current=False, ended=True)
    assert after["start"] is after["none"] is None


def test_an_expired_document_still_supersedes() -> None:
    documents = {
        "old": {"policy": "x", "from": "2023-01-01"},
        "new": {"policy": "x", "from": "2024-01-01", "end": "2025-01-01"},
    }
    assert look(documents, LATEST, Valid(end="end"), as_of="2024-06-01").ids == {"new"}
    assert look(documents, LATEST, Valid(end="end"), as_of="2025-06-01").ids == set()


def test_a_successor_begins_by_all_rules() -> None:
    documents = {
        "old": {"policy": "x", "version": 1},
        "new": {"policy": "x", "version": 2, "start": "2025-01-01"},
    }
    rules = (Latest("policy", "version"), Valid(start="start"))
    assert look(documents, *rules, as_of="2024-12-31").ids == {"old"}
    assert look(documents, *rules, as_of="2025-01-01").ids == {"new"}


@pytest.mark.parametrize("count", [2, 3, 5, 9, 17])
def test_a_version_that_begins_before_its_predecessors(count: int) -> None:
    """The last begins first, so nothing that it follows is current once it is there."""
    documents: dict[str, dict[str, Any]] = {
        f"{n}": {"policy": "x", "version": n, "start": f"{2050 - n}-01-01"} for n in range(count)
    }
    del documents["0"]["start"]
    rules = (Latest("policy", "version"), Valid(start="start"))
    for year in range(2051 - count, 2052):
        assert look(documents, *rules, as_of=f"{year}-01-01").ids == {f"{count - 1}"}
    assert look(documents, *rules, as_of=f"{2050 - count}-12-31").ids == {"0"}


@pytest.mark.parametrize(
    "links",
    [
        {"a": {"by": "b"}, "b": {}},
        {"a": {"by": ["b", "b"]}, "b": {}},
        {"a": {}, "b": {"replaces": "a"}},
        {"a": {"by": ["b"]}, "b": {"replaces": ["a"]}},
    ],
)
def test_links_in_either_direction(links: dict[str, dict[str, Any]]) -> None:
    documents = {f"{key}#{n}": {"key": key, **link} for key, link in links.items() for n in range(2)}
    found = look(documents, Superseded("key", "by", "replaces"), superseded="show")
    assert found["a#0"] == found["a#1"] == Version(current=False, successors=("b",))
    assert found["b#0"] is found["b#1"] is None
    assert found.superseded == 0


def test_one_passage_speaks_for_its_key() -> None:
    documents = {"a#0": {"key": "a", "by": "b"}, "a#1": {"key": "a"}, "b#0": {"key": "b"}}
    assert look(documents, BY).ids == {"b#0"}


def test_chains_name_their_end() -> None:
    found = look(CHAIN, BY, superseded="show")
    assert found["a"] == found["b"] == Version(current=False, successors=("c",))
    forked = {**CHAIN, "b": {"key": "b", "by": ["c", "d"]}, "d": {"key": "d"}}
    version = look(forked, BY, superseded="show")["a"]
    assert version is not None
    assert set(version.successors) == {"c", "d"}


def test_the_end_of_a_chain_is_that_of_the_instant() -> None:
    found = look(DATED_CHAIN, SINCE, as_of="2023-01-01", superseded="show")
    assert found.versions.keys() == {("", "a"), ("", "b")}
    assert found["a"] == Version(current=False, successors=("b",))
    assert found["b"] == Version(absent=("c",))
    assert look(DATED_CHAIN, SINCE, as_of="2021-01-01").ids == {"a"}
    assert look(DATED_CHAIN, SINCE, as_of="2024-01-01").ids == {"c"}


def test_an_absent_successor_leaves_the_old_one_and_is_named() -> None:
    found = look({"a": {"key": "a", "by": ["gone", 7]}}, BY)
    version = found["a"]
    assert version is not None
    assert version.current
    assert set(version.absent) == {"gone", 7}
    assert found.superseded == 0


def test_chains_lead_through_what_is_absent() -> None:
    without: dict[str, Any] = {name: metadata for name, metadata in CHAIN.items() if name != "b"}
    assert look(without, BY).ids == {"a", "c"}
    both = {"a": {"key": "a", "by": "b"}, "c": {"key": "c", "replaces": "b"}}
    found = look(both, Superseded("key", "by", "replaces"), superseded="show")
    assert found["a"] == Version(current=False, successors=("c",))


def test_members_of_a_cycle_do_not_supersede_one_another() -> None:
    circle: dict[str, dict[str, Any]] = {
        "a": {"key": "a", "by": "b"},
        "b": {"key": "b", "by": "c"},
        "c": {"key": "c", "by": "a"},
    }
    found = look({**circle, "self": {"key": "self", "by": "self"}}, BY)
    assert found.versions == {("", name): None for name in ("a", "b", "c", "self")}
    leading = {**circle, "before": {"key": "before", "by": "a"}}
    assert look(leading, BY).ids == set(circle)
    leaving = {**circle, "c": {"key": "c", "by": ["a", "out"]}, "out": {"key": "out"}}
    assert look(leaving, BY).ids == {"out"}


@pytest.mark.parametrize("key", [None, "", [], ["a"], {"a": 1}])
def test_without_a_key_a_document_is_current(key: Any) -> None:
    documents = {"none": {"key": key, "by": "b", "replaces": "b"}, "missing": {"by": "b"}, "b": {"key": "b"}}
    found = look(documents, Superseded("key", "by", "replaces"))
    assert found.versions == {("", name): None for name in documents}


def test_a_long_chain() -> None:
    documents = {f"d{n:04d}": {"key": n, "by": n + 1} for n in range(3000)}
    found = look(documents, BY)
    assert found.versions == {("", "d2999"): Version(absent=(3000,))}


def test_the_scope_comes_first_and_the_filter_last() -> None:
    assert look(DATED, LATEST, scope={"lang": "en"}).ids == {"2023", "other"}
    assert look(DATED, LATEST, where={"lang": "en"}).ids == {"other"}
    assert look(CHAIN, BY, scope={"key": {"$ne": "c"}})["b"] == Version(absent=("c",))
    assert look(CHAIN, BY, scope={"key": "a"}).superseded == 0


def test_scopes_that_are_equal_to_python_are_kept_apart() -> None:
    documents = {"one": {"n": 1, "policy": "x", "from": 1}, "true": {"n": True, "policy": "x", "from": 2}}
    with Retriever.open(None) as kb:
        kb.add([Document("t", metadata, name) for name, metadata in documents.items()], vectors=np.ones((2, 2)))
        looking, versions = Looking(kb), Versions((LATEST,), 0)
        for value, expected in ((1, "one"), (True, "true")):
            scope = Scope(None, kb.scoped(n=value)._scope.where)  # type: ignore[union-attr]  # a view has one
            assert looking.at(versions, scope).ids == {expected}


def test_a_substitute_replaces_a_document_that_passes_the_filter() -> None:
    found = look(DATED, LATEST, where={"lang": "en"}, superseded="substitute")
    assert found.versions == {("", "2025"): Version(substitutes=("refunds",)), ("", "other"): None}
    found = look(DATED_CHAIN, SINCE, where={"lang": "en"}, superseded="substitute")
    assert set(found.ids) == {"c"}
    version = found["c"]
    assert version is not None
    assert set(version.substitutes) == {"a", "b"}
    # Nothing that passes the filter is replaced by what passes it not.
    assert look(DATED, LATEST, where={"policy": "returns"}, superseded="substitute").ids == {"other"}
    assert look(DATED, LATEST, where={"lang": "de"}, superseded="substitute").versions == {("", "2025"): None}


def test_a_substitute_never_comes_from_outside_the_scope() -> None:
    found = look(DATED, LATEST, where={"from": "2023-01-01"}, scope={"lang": "en"}, superseded="substitute")
    assert found.versions == {("", "2023"): None}


def test_partitions_are_independent() -> None:
    with Retriever.open(None, partition="tenant") as kb:
        for year, tenants in enumerate([("acme", "1", 1, "2025-01-01", "2025-01-01T00:00Z"), ("acme",)], 2020):
            for tenant in tenants:
                metadata = {"tenant": tenant, "policy": "refunds", "from": f"{year}-01-01", "key": year, "by": year + 1}
                kb.add([Document("text", metadata, f"{year}")], vectors=np.ones((1, 2)))
        looking = Looking(kb)
        for rule in (LATEST, BY):
            versions = Versions((rule,), moment("2026-01-01"))
            everything = looking.at(versions)
            assert everything.superseded == 1
            assert len(everything.versions) == 5
            assert everything.ids == {"2020", "2021"}
            assert looking.at(versions, Scope("acme")).ids == {"2021"}
            assert looking.at(versions, Scope("acme")).superseded == 1
            assert looking.at(versions, Scope(1)).ids == {"2020"}
        version = looking.at(Versions((BY,), 0), Scope(1))["2020"]
        assert version == Version(absent=(2021,))


def test_names_are_spelt_as_in_the_scope() -> None:
    rule = Superseded(key="key", by="by")
    large = 2**70
    with Retriever.open(None, partition="tenant") as kb:
        theirs: list[dict[str, Any]] = [{"tenant": "b", "key": "2024-01-01T02:00:00+02:00", "by": float(large)}]
        mine: list[dict[str, Any]] = [
            {"tenant": "a", "key": 1, "by": ["2023-01-01T00:00Z", "2024-01-01"]},
            {"tenant": "a", "key": "2024-01-01"},
            {"tenant": "a", "key": 3, "by": large},
        ]
        for number, metadata in enumerate([*theirs, *mine]):
            view = kb.scoped(tenant=metadata["tenant"])
            view.add([Document("text", metadata, str(number))], vectors=np.ones((1, 2)))
            hits = view.search(vector=np.ones(2), versions=[rule], superseded="show")
        versions = {hit.document.id: hit.version for hit in hits}
        assert versions["1"] == Version(current=False, successors=("2024-01-01",))
        assert versions["2"] is None
        assert versions["3"] == Version(absent=(large,))
        assert repr(versions["3"]) == repr(Version(absent=(large,)))  # not the equal float
        listed = {"tenant": "a", "key": 4, "by": ["2022-01-01T00:00Z"]}
        view.add([Document("text", listed, "4")], vectors=np.ones((1, 2)))
        (hit,) = view.search(vector=np.ones(2), where={"key": 4}, versions=[rule])
        assert hit.version == Version(absent=("2022-01-01T00:00Z",))


def test_writes_are_followed() -> None:
    versions = Versions((LATEST, Superseded("key", "by")), moment("2026-01-01"))
    with Retriever.open(None) as kb:
        kb.add([Document("t", metadata, name) for name, metadata in DATED.items()], vectors=np.ones((3, 2)))
        looking = Looking(kb)
        assert looking.at(versions).ids == {"2025", "other"}
        kb.delete("2025")
        assert looking.at(versions).ids == {"2023", "other"}
        kb.update("other", {"policy": "refunds", "from": "2024-01-01"})
        assert looking.at(versions).ids == {"other"}
        kb.add([Document("t", {"key": 2}, "n")], vectors=np.ones((1, 2)))
        kb.update("other", {"key": 1, "by": 2})
        assert looking.at(versions).ids == {"n"}
        kb.clear()
        assert looking.at(versions).ids == set()
        kb.add([Document("t", {"key": 1, "by": 2}, "o")], vectors=np.ones((1, 2)))
        assert looking.at(versions)["o"] == Version(absent=(2,))


def test_dead_documents_are_forgotten_when_columns_are_read_again() -> None:
    with Retriever.open(None) as kb:
        kb.add([Document("t", metadata, name) for name, metadata in DATED.items()], vectors=np.ones((3, 2)))
        engine: Any = kb._engine
        looking, versions = Looking(kb), Versions((LATEST,), moment("2026-01-01"))
        assert looking.at(versions).ids == {"2025", "other"}
        kb.delete("2025")
        engine._snapshots._current.columns._columns.clear()
        assert looking.at(versions).ids == {"2023", "other"}


def test_threads_see_one_commit() -> None:
    """In each commit one document is current, while another thread replaces it again and again."""
    versions = Versions((LATEST, BY), 0)
    done = threading.Event()
    with Retriever.open(None) as kb, ThreadPoolExecutor(3) as pool:

        def write() -> None:
            try:
                for n in range(60):
                    metadata = {"policy": "x", "from": n, "key": n, "by": n + 1}
                    kb.add([Document("t", metadata, f"d{n}")], vectors=np.ones((1, 2)))
                    if n % 3 == 2:
                        kb.delete([f"d{n - 2}", f"d{n - 1}"])
            finally:
                done.set()

        def read() -> int:
            count = 0
            while not done.is_set():
                found = looking.at(versions)
                assert len(found.versions) == 1, found
                (version,) = found.versions.values()
                assert version is not None
                (name,) = found.ids
                assert version == Version(absent=(int(name[1:]) + 1,))
                count += 1
            return count

        kb.add([Document("t", {"policy": "x", "from": -1, "key": -1, "by": 0}, "d-1")], vectors=np.ones((1, 2)))
        looking = Looking(kb)
        readers = [pool.submit(read) for _ in range(2)]
        pool.submit(write).result()
        assert sum(reader.result() for reader in readers) > 0


def test_many_rules_and_scopes_stay_within_the_caches() -> None:
    with Retriever.open(None) as kb:
        kb.add([Document("t", metadata, name) for name, metadata in DATED.items()], vectors=np.ones((3, 2)))
        looking = Looking(kb)
        for n in range(40):
            versions = Versions((Latest("policy", f"from{n}"), LATEST), moment("2026-01-01"))
            assert looking.at(versions, Scope(None, F("lang") != f"{n}")).ids == {"2025", "other"}
        (version_states,) = looking._version_states.values()
        assert len(version_states._intervals) < 10
        assert len(version_states._arrays._entries) < 30


def test_keys_are_sorted() -> None:
    """Not in the order in which the process first saw them, which may differ after a restart."""
    named: list[Any] = ["b", 10, 9, "a"]
    for met in (named, named[::-1]):
        with Retriever.open() as kb:
            for number, key in enumerate(met):
                kb.add([Document("other", {"key": f"x{number}", "by": key}, str(number))], vectors=np.ones((1, 2)))
                kb.search(vector=np.ones(2), versions=Superseded(key="key", by="by"))
            kb.add([Document("text", {"key": "k", "by": named}, "asked")], vectors=np.ones((1, 2)))
            hits = kb.search(vector=np.ones(2), versions=Superseded(key="key", by="by"))
        versions = {hit.document.id: hit.version for hit in hits}
        assert versions["asked"] == Version(absent=(9, 10, "a", "b"))
