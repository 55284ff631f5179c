"""repair(): what can be made of the documents and vectors is made anew; these themselves are never touched."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from theodolite.engines.local.derived.index_record import IndexRecord, read_index_record
from theodolite.engines.local.maintenance.index_manager import FLAT, TARGET, IndexManager
from theodolite.engines.local.maintenance.verify.primary import PrimaryData
from theodolite.engines.local.maintenance.verify.report import Progress
from theodolite.engines.local.maintenance.verify.verify import examine, leftovers
from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.store import Store
from theodolite.errors import ConfigError, CorruptionError, LockedError
from theodolite.types import Problem, Verification


def repair(
    store: Store, index_manager: IndexManager, refill: Callable[[], None], progress: Progress | None
) -> Verification:
    """Make anew what is derived and damaged, remove what nothing needs, and verify again.

    Where documents, vectors or what binds them are damaged, nothing is changed: what is derived may be all that is left
    to see what they were. Each step is whole or not done at all, so it may be interrupted at any point.

    Args:
        refill: saves the codes that have no file.
    """
    found, truth = examine(store, progress)
    if truth is None or not all(problem.derived for problem in found.problems):
        return found
    done: list[str] = []
    parts = {problem.part for problem in found.problems}
    if "database" in parts:
        done.append(_reindex(store))
    if "lexical" in parts or any(warning.part == "lexical" for warning in found.warnings):
        done.append(_rebuild_lexical(store))
    for part in ("codes", "columns"):
        paths = [Path(problem.path) for problem in found.problems if problem.part == part and problem.path]
        store.folder.remove(path.relative_to(store.folder.given).as_posix() for path in paths)
        if paths:
            done.append(f"{part}: {len(paths)} damaged files removed")
    if "codes" in parts:
        refill()
        done[-1] += " and made anew"
    done += [_rebuild_index(store, index_manager, problem) for problem in found.problems if problem.part == "index"][:1]
    done += _clear_away(store, truth)
    after, _ = examine(store, progress)
    return Verification(after.problems, after.warnings, after.checked, tuple(done))


def _reindex(store: Store) -> str:
    with store.write() as (connection, _):
        connection.execute("REINDEX")
    return "database: the indexes over the documents built again"


def _rebuild_lexical(store: Store) -> str:
    with store.write() as (connection, _):
        lexical_table.rebuild(connection)
    return "lexical: the index built again"


def _rebuild_index(store: Store, index_manager: IndexManager, problem: Problem) -> str:
    with store.write() as (connection, state):
        try:
            record = read_index_record(connection)
        except CorruptionError:
            record = None
        if record is None:
            IndexRecord(FLAT, TARGET).write(connection, state.approximate + 1)
            return "index: its settings are lost, searches are exact; build it again with reindex()"
    try:
        index_manager.reindex(record.spec, target_recall=record.target_recall)
    except (ConfigError, LockedError) as error:
        return f"index: not built again: {error}"
    return f"index: {record.spec} built again"


def _clear_away(store: Store, truth: PrimaryData) -> list[str]:
    # Within a write transaction: what another process has put in place is recorded, or gone, by now.
    with store.write() as (connection, state):
        now = replace(truth, state=state, record=read_index_record(connection))
        gone = [name for name, _, ours in leftovers(now) if ours]
        store.folder.remove(gone)
    return [f"folder: {len(gone)} files or folders removed that nothing needs, first {gone[0]}"] if gone else []
