"""Calibrations, verdicts, coverage and contexts through Milvus are those of a folder."""

from collections.abc import Callable

import pytest
from tests import calibrating, contexts

from theodolite import Retriever

pytestmark = pytest.mark.engine


def test_calibrations_are_those_of_a_folder(new_url: Callable[[], str]) -> None:
    url = new_url()
    with Retriever.open(url, embedder=None) as kb, Retriever.open(url, embedder=None) as again:
        calibrating.check(kb, again)


@pytest.mark.parametrize("pattern", contexts.PATTERNS)
def test_contexts_are_those_of_a_folder(new_url: Callable[[], str], pattern: str) -> None:
    with Retriever.open(new_url(), embedder=None) as kb:
        contexts.check(kb, pattern, versions=False)
