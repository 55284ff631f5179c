"""Nodes of every kind: there and back."""

from collections.abc import Iterator
from datetime import date

import numpy as np
import pytest

pytest.importorskip("llama_index.core")

from llama_index.core.bridge.pydantic import AnyUrl
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from tests.adapters.llama_index.nodes import (
    Store,
    filters,
    node,
    question,
    reference,
)

from theodolite import Retriever
from theodolite.testing import HashingEmbedder


@pytest.fixture
def memory() -> Iterator[Store]:
    with Store() as store:
        store.add(reference())
        yield store


# Nodes of every kind.

KINDS: list[BaseNode] = [
    TextNode(
        id_="text",
        text="Grüße, ¿qué?",
        metadata={"z": 1, "a": [1, {"b": None}], "c": True},
        excluded_embed_metadata_keys=["z"],
        excluded_llm_metadata_keys=["a"],
        metadata_template="{key} is {value}",
        text_template="{content} | {metadata_str}",
        start_char_idx=3,
        end_char_idx=9,
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"x": 1}),
            NodeRelationship.NEXT: RelatedNodeInfo(node_id="next"),
            NodeRelationship.CHILD: [RelatedNodeInfo(node_id="one"), RelatedNodeInfo(node_id="two")],
        },
    ),
    TextNode(id_="own", text="x", metadata={"b": 1, "doc_id": "mine", "_node_type": 7, "a": 2}),
    TextNode(id_="empty", text=""),
    IndexNode(id_="index", text="leads on", index_id="other", obj=TextNode(id_="target", text="there")),
    ImageNode(id_="image", image="aGVsbG8=", image_mimetype="image/png", text="a caption"),
    Node(id_="node", text_resource=MediaResource(text="words", mimetype="text/markdown")),
    Node(id_="silent", image_resource=MediaResource(data=b"aGVsbG8=", mimetype="image/png")),
    Node(id_="linked", text_resource=MediaResource(url=AnyUrl("https://example.org/a.txt"), mimetype="text/plain")),
    Node(id_="both", text_resource=MediaResource(text="words", data=b"aGVsbG8=", mimetype="application/pdf")),
    Document(id_="document", text="A whole document.", metadata={"title": "A"}),
]


@pytest.mark.parametrize("given", KINDS, ids=lambda one: str(one.node_id))
def test_nodes_come_back_as_they_were(given: BaseNode) -> None:
    with Store() as store:
        store.add([given.model_copy(update={"embedding": [1.0, 0.0]})])
        (found,) = store.query(question()).nodes or ()
        (got,) = store.get_nodes([given.node_id])
    assert type(found) is type(got) is type(given)
    assert found.embedding is None
    assert got.embedding == [1.0, 0.0]
    assert found.to_dict() == given.to_dict()
    assert list(found.metadata) == list(given.metadata)
    assert found.hash == given.hash
    for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
        assert found.get_content(mode) == given.get_content(mode)


def test_types_of_metadata_survive() -> None:
    with Store() as store:
        store.add([node("a", [1.0], day=date(2024, 7, 1), count=np.int64(3), score=np.float32(0.5))])
        (found,) = store.get_nodes()
    assert found.metadata == {"day": date(2024, 7, 1), "count": 3, "score": 0.5}
    assert type(found.metadata["count"]) is int


def test_answers_are_the_callers_own(memory: Store) -> None:
    for _ in range(2):
        (found,) = memory.query(question(similarity_top_k=1)).nodes or ()
        assert found.metadata == {"number": 0}
        found.metadata["retrieval_score"] = 1.0


def test_what_was_not_stored_as_a_node_is_a_text_node() -> None:
    with Retriever.open(embedder=HashingEmbedder(8)) as kb:
        kb.add([{"id": "a", "text": "hello", "metadata": {"lang": "en"}}])
        (found,) = Store.from_retriever(kb).get_nodes(filters=filters("lang", "en"))
        assert (type(found), found.node_id, found.get_content(), found.metadata) == (
            TextNode,
            "a",
            "hello",
            {"lang": "en"},
        )


def test_unknown_kinds_come_back_as_what_they_are_made_of() -> None:
    class Mine(TextNode):
        @classmethod
        def class_name(cls) -> str:
            return "Mine"

    with Store() as store:
        store.add([Mine(id_="a", text="x", embedding=[1.0])])
        (found,) = store.get_nodes()
    assert (type(found), found.get_content()) == (TextNode, "x")


def test_what_a_subclass_has_by_itself_is_kept(memory: Store) -> None:
    class Passage(TextNode):
        metadata_template: str = "{key} is {value}"
        excluded_embed_metadata_keys: list[str] = ["secret"]  # noqa: RUF012 - pydantic copies it

    given = Passage(id_="p", text="text", embedding=[1.0, 0.0])
    given.metadata = {"a": 1, "secret": 2}
    memory.add([given])
    (found,) = memory.get_nodes(["p"])
    assert type(found) is TextNode
    assert found.get_content(MetadataMode.EMBED) == given.get_content(MetadataMode.EMBED) == "a is 1\n\ntext"


def test_defaults_that_are_not_stored_are_those_they_were() -> None:
    # Omitted fields are read as LlamaIndex's defaults: a release that changes one changes stored nodes.
    left_out = TextNode(text="").model_dump(exclude={"id_", "text"})
    assert left_out == {
        "class_name": "TextNode",
        "embedding": None,
        "metadata": {},
        "excluded_embed_metadata_keys": [],
        "excluded_llm_metadata_keys": [],
        "relationships": {},
        "metadata_template": "{key}: {value}",
        "metadata_separator": "\n",
        "mimetype": "text/plain",
        "start_char_idx": None,
        "end_char_idx": None,
        "text_template": "{metadata_str}\n\n{content}",
    }
