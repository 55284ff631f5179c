"""Contract tests for engines."""

from theodolite.testing.engine_capabilities import CapabilitiesContract
from theodolite.testing.engine_duplicates import DuplicatesContract
from theodolite.testing.engine_fields import FieldsContract
from theodolite.testing.engine_filters import FiltersContract
from theodolite.testing.engine_indexing import IndexingContract
from theodolite.testing.engine_lexical import LexicalContract
from theodolite.testing.engine_maintenance import MaintenanceContract
from theodolite.testing.engine_ranking import RankingContract
from theodolite.testing.engine_reads import ReadsContract
from theodolite.testing.engine_scopes import ScopesContract
from theodolite.testing.engine_threads import ThreadsContract
from theodolite.testing.engine_versions import VersionsContract
from theodolite.testing.engine_writes import WritesContract


class EngineContract(
    CapabilitiesContract,
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

    Also override `reopened` for durable engines, `partitioned` for engines with partitions, and `backed_up` and
    `damaged` for engines with maintenance. Name an approximate index in `index` if the engine builds one. Declare
    missing features in `lacks`: `lacks = frozenset({"boosts", "versions", "lexical"})` for parts of a search, and
    "notes", "maintenance", "indexing" and "duplicates" for the optional protocols.
    """
