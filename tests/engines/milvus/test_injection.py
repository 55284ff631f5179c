"""Nothing of a hostile name, id, value, filter, tenant or collection name is read as an expression: 10,000 cases."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from tests.oracle.injection import TENANT, HostileDraw, Injection, hostile_names

from theodolite import Document, InputError
from theodolite.engines.milvus import MilvusEngine
from theodolite.settings import CollectionSettings
from theodolite.vectors.prepare import prepare

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning"),  # for filters that match nothing
]


@pytest.mark.parametrize("seed", range(8))
def test_hostile_calls_agree_with_the_reference(new_url: Callable[[], str], seed: int) -> None:
    beside = MilvusEngine.open(new_url(), CollectionSettings())
    beside.add([Document("text", {"n": 1}, "a")], *prepare([[1.0, 0.0]], beside.space))
    engine = MilvusEngine.open(new_url(), CollectionSettings(partition=TENANT))
    injection = Injection(engine, HostileDraw(seed))
    injection.run(1200)
    assert sum(injection.made.values()) >= 1250
    assert injection.made["unsupported"] <= 50  # hybrid searches
    assert [document.id for document, _ in beside.documents()] == ["a"]
    engine.close()
    beside.close()


def test_hostile_names_of_collections_are_refused(new_url: Callable[[], str]) -> None:
    server = new_url().rpartition("/")[0]
    for name in hostile_names(100):
        if not (name.isascii() and name.isidentifier()):
            with pytest.raises(InputError):
                MilvusEngine.open(f"{server}/{quote(name)}", CollectionSettings())
