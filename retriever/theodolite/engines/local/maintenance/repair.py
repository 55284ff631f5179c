"""Repair a collection: rebuild damaged derived data. Documents and vectors are never changed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from theodolite.engines.local.derived.index_record import FLAT, IndexRecord, read_index_record
from theodolite.engines.local.maintenance.index_manager import TARGET_RECALL, IndexManager
from theodolite.engines.local.maintenance.verify import examine, leftovers
from theodolite.engines.local.maintenance.verify_primary import PrimaryData, Progress
from theodolite.engines.local.storage import lexical_table
from theodolite.engines.local.storage.store import Store
from theodolite.errors import ConfigError, CorruptionError, LockedError
from theodolite.maintenance_reports import Problem, Verification


def repair(
    store: Store, index_manager: IndexManager, refill: Callable[[], None], progress: Progress | None
) -> Verification:
    """Rebuild damaged derived data, remove needless files, and verify again.

    If primary data is damaged, nothing is changed: the derived data may be needed to reconstruct it. Each step is
    atomic, so a repair may be interrupted at any point.

    Args:
        refill: saves missing code files.
    """
    verification, primary = examine(store, progress)
    if primary is None or not all(problem.derived for problem in verification.problems):
        return verification
    done: list[str] = []
    parts = {problem.part for problem in verification.problems}
    if "database" in parts:
        done.append(_reindex(store))
    if "lexical" in parts or any(warning.part == "lexical" for warning in verification.warnings):
        done.append(_rebuild_lexical(store))
    for part in ("codes", "columns"):
        paths = [Path(problem.path) for problem in verification.problems if problem.part == part and problem.path]
        store.folder.remove(path.relative_to(store.folder.given).as_posix() for path in paths)
        if paths:
            done.append(f"{part}: {len(paths)} damaged files removed")
    if "codes" in parts:
        refill()
        done[-1] += " and rebuilt"
    done += [
        _rebuild_index(store, index_manager, problem) for problem in verification.problems if problem.part == "index"
    ][:1]
    done += _remove_leftovers(store, primary)
    after, _ = examine(store, progress)
    return Verification(after.problems, after.warnings, after.checked, tuple(done))


def _reindex(store: Store) -> str:
    with store.write() as (connection, _):
        connection.execute("REINDEX")
    return "database: the indexes over the documents rebuilt"


def _rebuild_lexical(store: Store) -> str:
    with store.write() as (connection, _):
        lexical_table.rebuild(connection)
    return "lexical: the index rebuilt"


def _rebuild_index(store: Store, index_manager: IndexManager, problem: Problem) -> str:
    with store.write() as (connection, state):
        try:
            record = read_index_record(connection)
        except CorruptionError:
            record = None
        if record is None:
            IndexRecord(FLAT, TARGET_RECALL).write(connection, state.approximate + 1)
            return "index: its settings are lost, searches are exact; rebuild it with reindex()"
    try:
        index_manager.reindex(record.spec, target_recall=record.target_recall)
    except (ConfigError, LockedError) as error:
        return f"index: not rebuilt: {error}"
    return f"index: {record.spec} rebuilt"


def _remove_leftovers(store: Store, primary: PrimaryData) -> list[str]:
    """Remove files that nothing needs, within a write transaction: the files of other writers are recorded by then."""
    with store.write() as (connection, state):
        current = replace(primary, state=state, record=read_index_record(connection))
        names = [name for name, _, removable in leftovers(current) if removable]
        store.folder.remove(names)
    return [f"folder: {len(names)} needless files or folders removed, first {names[0]}"] if names else []
