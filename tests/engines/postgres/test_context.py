"""Contexts read the same neighbors from PostgreSQL as from a folder, by id and by filter."""

import psycopg
import pytest
from tests import contexts

from theodolite import Retriever

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_context"


@pytest.mark.parametrize("pattern", contexts.PATTERNS)
def test_contexts_are_those_of_a_folder(database: str, pattern: str) -> None:
    try:
        with Retriever.open(f"{database}&schema={SCHEMA}&collection=c{len(pattern)}", embedder=None) as kb:
            contexts.check(kb, pattern)
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
