"""The PostgreSQL engine refuses the same calls as the local engine, with the same class of error and the same words."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.oracle.refusals import REFUSALS, Place, recorded

pytestmark = pytest.mark.engine

SCHEMA = "theodolite_refusals"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("refusals")
    place = Place(lambda name: folder / name)
    yield place
    place.close()


@pytest.fixture(scope="module")
def remote(database: str) -> Iterator[Place]:
    place = Place(lambda name: f"{database}&schema={SCHEMA}&collection={name}")
    yield place
    place.close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


@pytest.mark.parametrize("name", REFUSALS)
def test_the_words_are_the_same(local: Place, remote: Place, name: str) -> None:
    assert recorded(remote, REFUSALS[name]) == recorded(local, REFUSALS[name])


def test_nothing_was_changed(local: Place, remote: Place) -> None:
    for one, other in ((local.kb, remote.kb), (local.parts, remote.parts), (local.dot, remote.dot)):
        assert list(one.documents()) == list(other.documents())
