"""Files of generations that are not in use: found by listing the folder, never by counting."""

import contextlib

from theodolite.engines.local.maintenance.index_build import only_builder
from theodolite.engines.local.storage.database import Store
from theodolite.engines.local.storage.paths import PARTIAL_GENERATION, generations
from theodolite.errors import LockedError


def remove_old_generations(store: Store) -> None:
    """Delete the files of generations that are over, or were never committed. Readers keep what they have mapped.

    A file that cannot be deleted yet, because a reader on Windows holds it, goes at a later opening.
    """
    with store.read() as (_, state):
        current = state.generation
    folder = store.folder
    names = folder.names()
    found = list(generations(names))
    folder.remove(name for generation, name in found if generation < current)
    if any(generation > current for generation, _ in found):
        with contextlib.suppress(LockedError), store.write(0) as (_, state):
            # Under the write lock: what is newer than the state was never committed, and nobody is about to.
            folder.remove(name for generation, name in generations(folder.names()) if generation > state.generation)
    if PARTIAL_GENERATION in names:
        with contextlib.suppress(LockedError), only_builder(folder, 0):  # nobody is making one
            folder.remove([PARTIAL_GENERATION])
