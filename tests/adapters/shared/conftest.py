"""The adapters, one after the other."""

from importlib import import_module

import pytest
from tests.adapters.shared.verbs import Adapter

ADAPTERS = {"langchain": ("langchain_core", "LangChain"), "llama_index": ("llama_index.core", "LlamaIndex")}


@pytest.fixture(scope="session", params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    package, name = ADAPTERS[request.param]
    pytest.importorskip(package)
    made: Adapter = getattr(import_module(f"tests.adapters.shared.{request.param}"), name)()
    return made
