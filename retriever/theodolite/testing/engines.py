"""Contract tests for engines."""

from theodolite.protocols import Duplicates, Engine, Indexing, Maintenance, Notes, require
from theodolite.testing.checks import check
from theodolite.testing.engine_duplicates import DuplicatesContract
from theodolite.testing.engine_fields import FieldsContract
from theodolite.testing.engine_filters import FiltersContract
from theodolite.testing.engine_indexing import IndexingContract
from theodolite.testing.engine_lexical import LexicalContract
from theodolite.testing.engine_maintenance import MaintenanceContract
from theodolite.testing.engine_opening import OpeningContract
from theodolite.testing.engine_ranking import RankingContract
from theodolite.testing.engine_reads import ReadsContract
from theodolite.testing.engine_scopes import ScopesContract
from theodolite.testing.engine_threads import ThreadsContract
from theodolite.testing.engine_versions import VersionsContract
from theodolite.testing.engine_writes import WritesContract
from theodolite.testing.reference import EngineUnderTest, Lacking
from theodolite.types import Space

CAPABILITIES: dict[Lacking, type] = {
    "notes": Notes,
    "maintenance": Maintenance,
    "indexing": Indexing,
    "duplicates": Duplicates,
}


class CapabilitiesContract(EngineUnderTest):
    """Tests that each capability is complete or declared in `lacks`. None goes untested by accident."""

    def test_fits_the_protocol(self) -> None:
        engine = self.engine(Space("cosine"))
        check(isinstance(engine, Engine), f"{type(engine).__name__} lacks a method of Engine")

    def test_capabilities_are_as_declared(self) -> None:
        with self.opened() as pair:
            for name, protocol in CAPABILITIES.items():
                has, lacks = isinstance(pair.engine, protocol), name in self.lacks
                what = f"{type(pair.engine).__name__} and {protocol.__name__}"
                check(has or lacks, f"{what}: it lacks a method; if it lacks all, say so: lacks = {{{name!r}}}")
                check(not (has and lacks), f"{what}: it has all methods, and `lacks` says otherwise")

    def test_notes(self) -> None:
        if "notes" in self.lacks:
            return
        with self.opened() as pair:
            engine = require(pair.engine, Notes, "read_note()")
            check(engine.read_note("a") is None, "a note that was never written is not None")
            long = "é\0\n" * 100_000
            for value in ("first", "", long):
                engine.write_note("a", value)
                check(engine.read_note("a") == value, "a note does not come back as it was")
            engine.write_note("a", "other", replace=False)
            check(engine.read_note("a") == long, "replace=False has replaced a note")
            engine.write_note("b", "second", replace=False)
            names = sorted(engine.note_names())
            check(names == ["a", "b"], f"the notes are a and b, and note_names() lists {names}")
            engine.write_note("a", None)
            engine.write_note("nothing", None)
            check(engine.note_names() == ["b"], "note_names() lists a deleted note")
            check(
                (engine.read_note("a"), engine.read_note("b")) == (None, "second"), "notes are not kept by their names"
            )
            pair.check_contents()


class EngineContract(
    CapabilitiesContract,
    OpeningContract,
    WritesContract,
    ReadsContract,
    RankingContract,
    VersionsContract,
    LexicalContract,
    DuplicatesContract,
    MaintenanceContract,
    IndexingContract,
    FiltersContract,
    FieldsContract,
    ScopesContract,
    ThreadsContract,
):
    """The contract for engines. Each test creates new engines, one after the other.

    class TestMyEngine(EngineContract):
        def engine(self, space):
            return MyEngine(space)

    Also override `location` for engines that open by URL, `reopened` for durable engines, `partitioned` for engines
    with partitions, and `backed_up` and `damaged` for engines with maintenance. Name an approximate index in `index` if
    the engine builds one. Declare missing features in `lacks`: `lacks = frozenset({"boosts", "versions", "lexical"})`
    for parts of a search, and "notes", "maintenance", "indexing" and "duplicates" for the optional protocols.
    """
