"""verify(): everything that is stored, against everything it should agree with.

Exhaustive, since samples have missed real losses, and it goes on behind the first damage it finds. What cannot be made
anew is in `truth`, what can be in `derived` and `lexical`, files that nothing needs in `folder`.
"""

from theodolite.engines.local.maintenance.verify.derived import check_codes, check_columns, check_index
from theodolite.engines.local.maintenance.verify.folder import check_folder
from theodolite.engines.local.maintenance.verify.lexical import check_lexical
from theodolite.engines.local.maintenance.verify.report import DAMAGE, Progress, Report
from theodolite.engines.local.maintenance.verify.truth import (
    Truth,
    check_database,
    check_documents,
    check_notes,
    check_schema,
    check_vectors,
    read_truth,
)
from theodolite.engines.local.storage.database import Store
from theodolite.engines.local.storage.folder import Folder
from theodolite.errors import CorruptionError
from theodolite.types import Verification

_TRIES = 20


def verify(store: Store, progress: Progress | None = None) -> Verification:
    """Check a collection as of one commit, while others may go on writing."""
    return examine(store, progress)[0]


def raise_damage(found: Verification, folder: Folder) -> None:
    """Raises CorruptionError where there are problems."""
    if found.problems:
        first, more = found.problems[0], len(found.problems) - 1
        also = f" (and {more} more: see the error's `verification`)" if more else ""
        cure = ". repair() makes it anew" if all(problem.derived for problem in found.problems) else ""
        raise CorruptionError(
            f"{folder}: {first.message}{also}{cure}", verification=found, folder=str(folder), part=first.part
        )


def examine(store: Store, progress: Progress | None) -> tuple[Verification, Truth | None]:
    """The same, and what it was held against; None where that is too damaged.

    Raises:
        EngineError: the folder is no longer the one that was opened.
    """
    for _ in range(_TRIES):
        store.identity.check_folder()
        report = Report(progress)
        begun = _files(store)
        truth = _examined(store, report)
        if report.problems:
            store.identity.check_folder()  # another collection's files are no damage of this one
        if not report.problems or begun == _files(store):
            break  # otherwise somebody has cleared the collection or built its index again, and deleted files meanwhile
    return report.verification(), truth


def _examined(store: Store, report: Report) -> Truth | None:
    truth = None
    with report.part("database"), store.read() as (connection, state):
        with report.part("database"):
            check_database(connection, report)
        with report.part("schema"):
            check_schema(connection, report)
        with report.part("notes"):
            check_notes(connection, report)
        truth = read_truth(connection, store.folder, state, report)
        if truth is not None:
            with report.part("vectors"):
                check_vectors(truth, report)
            with report.part("documents"):
                check_documents(connection, truth, report)
            check_codes(truth, report)
            check_columns(connection, truth, report)
            check_index(truth, store.trust, report)
            with report.part("folder"):
                check_folder(truth, report)
    with report.part("lexical", derived=True):
        check_lexical(store, report)
    return truth


def _files(store: Store) -> tuple[int, int] | None:
    """What tells which vector file and which index are in use."""
    try:
        with store.read() as (_, state):
            return state.generation, state.approximate
    except DAMAGE:
        return None
