"""Calibrations, verdicts and coverage through Milvus are those of a folder."""

from collections.abc import Callable

import pytest
from tests import calibrating

from theodolite import Retriever

pytestmark = pytest.mark.engine


def test_calibrations_are_those_of_a_folder(new_url: Callable[[], str]) -> None:
    url = new_url()
    with Retriever.open(url, embedder=None) as kb, Retriever.open(url, embedder=None) as again:
        calibrating.check(kb, again)
