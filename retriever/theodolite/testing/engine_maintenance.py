"""The engine contract: verify, repair, backup and compact."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from theodolite.errors import ConfigError, CorruptionError
from theodolite.protocols import Maintenance, require
from theodolite.testing.checks import check, raising
from theodolite.testing.reference import EngineUnderTest, Pair, answers, drawn, numbered, passages


class MaintenanceContract(EngineUnderTest):
    """Tests that maintenance finds damage, changes no document, vector or answer, and copies one commit."""

    def test_verify_finds_nothing_in_sound_data(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, engine):
            _check_sound(engine, "in sound data")
            seen: list[int] = []
            engine.verify(seen.append)
            stored = len(pair.stored)
            check(sum(seen) >= stored, f"verify reports progress of {sum(seen)} in all; {stored} documents are stored")

    def test_verify_finds_damage(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, _):
            damaged = self.damaged(pair.engine)
            if damaged is None:
                return
            pair.engine = damaged
            engine = require(damaged, Maintenance, "verify()")
            with raising(CorruptionError, "verify of a damaged vector"):
                engine.verify()
            check(not engine.repair().sound, "repair says that a damaged vector is sound")
            with raising(CorruptionError, "verify after repair, which cannot know the vector,"):
                engine.verify()

    def test_repair_changes_no_document(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, engine), _unchanged(pair, "repair"):
            check(engine.repair().sound, "repair finds problems in sound data")

    def test_compact_changes_no_answer(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, engine):
            with _unchanged(pair, "compact"):
                engine.compact()
            with _unchanged(pair, "the second compact"):
                found = engine.compact()
            check(found.rows == 0, f"compact removes {found.rows} dead rows right after compact")
            pair.add(passages(["z"], late=True), drawn(4, 1))
            pair.check_contents()
            _check_sound(engine, "after compact")

    def test_compact_may_be_interrupted(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, engine):
            with _unchanged(pair, "an interrupted compact"), suppress(_Interrupted):
                engine.compact(_interrupt)
            _check_sound(engine, "after an interrupted compact")

    def test_a_backup_is_of_one_commit(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, engine), TemporaryDirectory() as folder:
            before = answers(pair.engine)
            with _unchanged(pair, "backup"):
                engine.backup(Path(folder) / "copy")
            copy = self.backed_up(Path(folder) / "copy")
            if copy is None:
                return
            kept = dict(pair.stored)
            pair.delete(numbered(5, first=30))
            pair.update({numbered(1)[0]: {"late": True}})
            copied = Pair(copy)
            copied.stored = kept
            try:
                check(copy.space == pair.engine.space, f"the copy's space is {copy.space}")
                copied.check_contents()
                check(answers(copy) == before, "the copy gives other answers")
                copied.clear()
                pair.check_contents()
            finally:
                copy.close()

    def test_a_backup_overwrites_nothing(self) -> None:
        if "maintenance" in self.lacks:
            return
        with self._maintained() as (pair, engine), TemporaryDirectory() as folder:
            notes = Path(folder) / "notes.txt"
            notes.write_text("mine")
            with raising(ConfigError, "backup to a folder that is not empty"):
                engine.backup(Path(folder))
            found = {path.name: path.read_text() for path in Path(folder).iterdir()}
            check(found == {"notes.txt": "mine"}, "backup writes into a folder that is not empty")
            pair.check_contents()

    @contextmanager
    def _maintained(self) -> Iterator[tuple[Pair, Maintenance]]:
        """Yield an engine with documents, some of them updated, replaced and deleted."""
        with self.opened() as pair:
            names = numbered(60)
            pair.add(passages(names), drawn(1, 60))
            pair.add(passages(names[:10], new=True), drawn(2, 10))
            pair.update({name: {"half": True} for name in names[::2]})
            pair.delete(names[40:50])
            yield pair, require(pair.engine, Maintenance, "verify()")


def _check_sound(engine: Maintenance, when: str) -> None:
    try:
        found = engine.verify()
    except CorruptionError as error:
        raise AssertionError(f"verify raises {error!r} {when}") from error
    check(found.sound, f"verify returns {len(found.problems)} problems {when}: {found.problems[:1]}")


class _Interrupted(Exception):
    pass


def _interrupt(count: int) -> None:
    raise _Interrupted


@contextmanager
def _unchanged(pair: Pair, what: str) -> Iterator[None]:
    """Check that contents and answers stay the same."""
    before = answers(pair.engine)
    yield
    pair.check_contents()
    pair.check_contents({"half": True})
    check(answers(pair.engine) == before, f"{what} changes answers")
