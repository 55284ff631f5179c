"""Calibrations, verdicts, coverage and contexts through the engine over Qdrant are those of a folder."""

from pathlib import Path

import pytest
from tests import calibrating, contexts

from engine_qdrant import QdrantEngine
from theodolite import Retriever
from theodolite.settings import CollectionSettings

pytestmark = pytest.mark.engine


def test_they_are_those_of_a_folder(tmp_path: Path) -> None:
    # Qdrant's folder is locked: one process opens it once.
    with Retriever(QdrantEngine.open(f"qdrant://{tmp_path}/kb", CollectionSettings())) as kb:
        calibrating.check(kb, kb)


@pytest.mark.parametrize("pattern", contexts.PATTERNS)
def test_contexts_are_those_of_a_folder(tmp_path: Path, pattern: str) -> None:
    with Retriever(QdrantEngine.open(f"qdrant://{tmp_path}/kb", CollectionSettings())) as kb:
        contexts.check(kb, pattern, versions=False)
