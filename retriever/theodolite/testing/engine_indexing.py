"""The engine contract: reindex and warm."""

from collections.abc import Iterator
from contextlib import contextmanager

from theodolite.errors import ConfigError
from theodolite.protocols import Indexing, require
from theodolite.testing.checks import check, raising
from theodolite.testing.reference import EngineUnderTest, Pair, answers, drawn, numbered, passages

_DOCUMENTS = 200


class IndexingContract(EngineUnderTest):
    """Tests that an index changes neither documents nor scores, and that searches see every write."""

    def test_reindex_changes_no_score(self) -> None:
        if "indexing" in self.lacks:
            return
        with self._indexing() as (pair, engine):
            before = answers(pair.engine)
            for index in (*self._approximate(), "flat"):
                engine.reindex(index)
                pair.check_contents()
                _check_searches(pair)
                check(answers(pair.engine) == before, f"with the index {index}, exact answers are others")
            for answer in pair.check_search(drawn(3, 5), 10):
                check(answer.trace.complete, "a search of the flat index is not complete")

    def test_writes_after_reindex_are_seen(self) -> None:
        if "indexing" in self.lacks:
            return
        with self._indexing() as (pair, engine):
            for index in (*self._approximate(), "flat"):
                engine.reindex(index)
                names = numbered(_DOCUMENTS)
                pair.delete(names[:20])
                pair.add(passages(names[20:40], new=True), drawn(5, 20))
                pair.add(passages([*names[:10], *numbered(10, first=_DOCUMENTS)]), drawn(6, 20))
                _check_searches(pair)
                pair.check_search(drawn(6, 10), 1, exact=True)

    def test_reindex_may_be_interrupted(self) -> None:
        if "indexing" in self.lacks:
            return
        with self._indexing() as (pair, engine):
            for index in self._approximate():
                before = answers(pair.engine)
                with raising(_Interrupted, "reindex with a progress that raises"):
                    engine.reindex(index, progress=_interrupt)
                pair.check_contents()
                check(answers(pair.engine) == before, "an interrupted reindex changes answers")
                seen: list[int] = []
                engine.reindex(index, progress=seen.append)
                check(sum(seen) > 0, "reindex reports no progress")
                _check_searches(pair)

    def test_an_unknown_index_is_refused(self) -> None:
        if "indexing" in self.lacks:
            return
        with self._indexing() as (pair, engine):
            before = answers(pair.engine)
            with raising(ConfigError, "reindex with an index that does not exist"):
                engine.reindex("no-such-index")
            check(answers(pair.engine) == before, "an index that is refused changes answers")

    def test_warm_changes_nothing(self) -> None:
        if "indexing" in self.lacks:
            return
        with self._indexing() as (pair, engine):
            before = answers(pair.engine)
            engine.warm()
            engine.warm(["name", "third", "no such field"])
            pair.check_contents()
            pair.check_contents({"third": True})
            check(answers(pair.engine) == before, "warm changes answers")
            pair.clear()
            engine.warm(["name"])
            pair.check_contents()

    def _approximate(self) -> tuple[str, ...]:
        return () if self.index is None else (self.index,)

    @contextmanager
    def _indexing(self) -> Iterator[tuple[Pair, Indexing]]:
        """Yield an engine with documents."""
        with self.opened() as pair:
            names = numbered(_DOCUMENTS)
            pair.add(passages(names), drawn(1, _DOCUMENTS))
            pair.update({name: {"third": True} for name in names[::3]})
            yield pair, require(pair.engine, Indexing, "reindex()")


class _Interrupted(Exception):
    pass


def _interrupt(count: int) -> None:
    raise _Interrupted


def _check_searches(pair: Pair) -> None:
    for where in (None, {"third": True}, {"name": "nobody"}):
        for k in (1, 10, 500):
            pair.check_search(drawn(3, 5), k, where)
