"""LlamaIndex's own tests of its simple store, run against ours: from a clone that LLAMA_INDEX_REPO names, never copied.

A file's tests and fixtures become this module's, with our store, nodes and filters in the place of what the file
imports. The lists below are all that is left out, and all that we mean to fail.
"""

import os
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.storage import storage_context
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_theodolite import TheodoliteVectorStore
from theodolite import InputError

REPO = os.environ.get("LLAMA_INDEX_REPO")
if not REPO:
    pytest.skip("LLAMA_INDEX_REPO names no clone of run-llama/llama_index", allow_module_level=True)
FOLDER = Path(REPO).expanduser() / "llama-index-core" / "tests" / "vector_stores"
if not FOLDER.is_dir():
    raise FileNotFoundError(f"LLAMA_INDEX_REPO is {REPO!r}, and there is no folder {FOLDER}")

pytestmark = [
    pytest.mark.upstream,
    # Their tests pass no model when they load a store.
    pytest.mark.filterwarnings("ignore:without embed_model:UserWarning"),
]

# Beside these there is test_simple_filesystem.py: it is about the files that the simple store writes.
FILES = (
    "test_simple.py",
    "test_simple_doc_ids.py",
    "test_simple_mmr_threshold.py",
    "test_metadata_filters_logic.py",
    "test_utils.py",
)

LEFT_OUT = {
    "test_from_namespaced_persist_dir": "loads all stores of a folder: here a store is opened by itself",
    "test_document_filter_handles_missing_source_mapping": "writes into the simple store's own dictionaries",
    "test_flat_metadata_serdes": "flat metadata is an option that we have no use for",
}

_PASSES_NOT = "a stored value of another kind does not pass, where theirs ends the query with a TypeError"
_NO_ERROR = pytest.fail.Exception

FAILS_ON_PURPOSE: dict[str, tuple[str, type[BaseException]]] = {
    "test_nested_metadata_filters_raise_error": ("filters within filters are read", _NO_ERROR),
    "test_text_match_requires_string_values": (_PASSES_NOT, _NO_ERROR),
    "test_text_match_insensitive_requires_string_values": (_PASSES_NOT, _NO_ERROR),
    "test_document_filter_with_no_candidates_in_learner_modes": ("there are no such modes here", InputError),
    "test_mmr_threshold_sources[0.0-kwargs8-None-expected_ids8]": (
        "a keyword that is None is one that was not given",
        AssertionError,
    ),
}


class Written(dict[str, Any]):
    """A stored node's metadata, and the node that is read from it."""

    node: BaseNode


def written(node: BaseNode) -> Written:
    with TheodoliteVectorStore() as store:
        store.add([node.model_copy(update={"embedding": [1.0]})])
        (passage,) = store.kb.get([node.node_id])
        reported = Written(passage.metadata)
        reported["_node_content"] += passage.id  # where theirs has it: with us the id is the stored document's own
        (reported.node,) = store.get_nodes([node.node_id])
    return reported


def predicate(metadata_of: Callable[[str], dict[str, Any]], filters: MetadataFilters) -> Callable[[str], bool]:
    def passes(name: str) -> bool:
        with TheodoliteVectorStore() as store:
            store.add([TextNode(id_=name, embedding=[1.0], metadata=metadata_of(name))])
            return bool(store.get_nodes(filters=filters))

    return passes


OURS: dict[str, Any] = {
    "SimpleVectorStore": TheodoliteVectorStore,
    "build_metadata_filter_fn": predicate,
    "node_to_metadata_dict": written,
    "metadata_dict_to_node": attrgetter("node"),
}


def loaded(path: Path) -> ModuleType:
    spec = spec_from_file_location(f"upstream_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    replaced = OURS.keys() & vars(module).keys()
    assert replaced, f"{path.name} imports nothing that we put ours in the place of"
    for name in replaced:
        setattr(module, name, OURS[name])
    return module


def taken(module: ModuleType) -> dict[str, Any]:
    """Its tests, and the fixtures that they take."""
    own = {name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return {name: value for name, value in own.items() if not name.startswith("_")}


UNREAD: dict[str, str] = {}
for file in FILES:
    try:
        found = taken(loaded(FOLDER / file))
    except (FileNotFoundError, ModuleNotFoundError) as error:  # another version; or pytest-mock is not installed
        UNREAD[file] = str(error)
        continue
    assert not found.keys() & globals().keys(), f"{file} has names that another file has, too"
    globals().update(found)


@pytest.fixture
def mocker() -> Any:
    """Replaces pytest-mock's fixture: upstream tests may spy on a function of the simple store that ours lacks."""
    watched = SimpleNamespace(call_args=SimpleNamespace(kwargs={"mmr_threshold": ANY}))
    return SimpleNamespace(spy=lambda *_: watched)


@pytest.fixture(autouse=True)
def _ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {request.node.name, getattr(request.node, "originalname", None)}
    for name in names & LEFT_OUT.keys():
        pytest.skip(LEFT_OUT[name])
    for name in names & FAILS_ON_PURPOSE.keys():
        reason, error = FAILS_ON_PURPOSE[name]
        request.applymarker(pytest.mark.xfail(reason=reason, raises=error, strict=True))
    # The store that an index creates if none is passed.
    monkeypatch.setattr(storage_context, "SimpleVectorStore", TheodoliteVectorStore)


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_read(file: str) -> None:
    if file in UNREAD:
        pytest.skip(UNREAD[file])
