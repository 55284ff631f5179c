"""A server for the tests of the Milvus engine: one of our own, or the one that THEODOLITE_MILVUS_URL names."""

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.milvus_server import MilvusServer

NAMED = os.environ.get("THEODOLITE_MILVUS_URL", "")
"""The URL of a server, without a collection: milvus://host:19530."""

_numbers = itertools.count()
_RUN = uuid.uuid4().hex[:8]
_PATIENCE = 3600  # seconds for a slow test. It makes thousands of calls, and each waits for the server's clock
_SHARED = pytest.StashKey[MilvusServer]()


# `.ci/run` runs these and the refusals, in about three minutes. The others are slow; `make test-milvus` runs all.
_SHORT = (
    "test_a_missing_collection_is_not_found",
    "test_a_server_that_is_not_there_is_an_engine_error",
    "test_a_server_restarted_between_two_searches_is_not_noticed",
    "test_answers_never_mix_two_commits",
    "test_closed_engines_raise",
    "test_collections_of_other_programs_are_not_touched",
    "test_documents_beyond_a_limit_are_refused_before_anything_is_sent",
    "test_filters_pass_what_the_manual_says",
    "test_hostile_names_of_collections_are_refused",
    "test_notes",
    "test_several_threads_may_write",
    "test_the_embedder_is_recorded",
    "test_the_same_id_replaces",
    "test_the_words_are_the_same",
    "test_ties_come_in_the_order_of_their_ids",
    "test_unusual_names_and_texts",
    "test_update_merges",
    "test_urls_are_refused_without_their_password",
    "test_what_cannot_be_done_is_refused",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "engines/milvus" in item.nodeid and getattr(item, "originalname", "") not in _SHORT:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(_PATIENCE))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start one server for all processes that run tests: two servers of this package disturb each other."""
    if not NAMED:
        if _SHARED not in node.config.stash:
            node.config.stash[_SHARED] = MilvusServer().__enter__()
        node.workerinput["milvus"] = node.config.stash[_SHARED].url("")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SHARED in config.stash:
        config.stash[_SHARED].remove()


@pytest.fixture(scope="session")
def new_url(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Return the URL of another collection each time."""

    def urls(server: str) -> Callable[[], str]:
        return lambda: f"{server.rstrip('/')}/test_{_RUN}_{next(_numbers)}"

    shared = NAMED or getattr(request.config, "workerinput", {}).get("milvus")
    if shared:
        yield urls(shared)
    else:  # tests run in this process
        with MilvusServer() as started:
            yield urls(started.url(""))
