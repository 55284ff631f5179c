"""The Milvus engine refuses the same calls as the local engine, with the same class of error and the same words."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.oracle.refusals import REFUSALS, Place, recorded

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("refusals")
    place = Place(lambda name: folder / name)
    yield place
    place.close()


@pytest.fixture(scope="module")
def remote(new_url: Callable[[], str]) -> Iterator[Place]:
    place = Place(cache(lambda _: new_url()))
    yield place
    place.close()


@pytest.mark.parametrize("name", REFUSALS)
def test_the_words_are_the_same(local: Place, remote: Place, name: str) -> None:
    found = recorded(remote, REFUSALS[name])
    lacking = found.error == "UnsupportedError" and "the engine MilvusEngine" in found.message
    if not lacking:
        assert found == recorded(local, REFUSALS[name])
