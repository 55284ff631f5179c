"""The promises of `get_nodes`, and that nodes come back as they went in, as copies."""

from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from tests.adapters.llama_index.conformance.cases import (
    Case,
    condition,
    filters,
    node,
    related,
    uid,
    uids,
    vector,
    where,
)


def test_get_nodes_by_id(case: Case) -> None:
    case.filled()
    assert sorted(case.got(uids("opposite", "near"))) == ["near", "opposite"]


def test_get_nodes_keeps_the_order_of_the_ids(case: Case) -> None:
    case.filled()
    assert case.got(uids("near", "same", "opposite")) == ["near", "same", "opposite"]


def test_get_nodes_passes_over_unknown_ids(case: Case) -> None:
    case.filled()
    assert case.got(uids("unknown", "near")) == ["near"]


def test_get_nodes_by_filter(case: Case) -> None:
    case.filled()
    assert sorted(case.got(filters=where("number", ">=", 2))) == ["opposite", "orthogonal"]


def test_get_nodes_by_id_and_filter_gives_those_that_are_both(case: Case) -> None:
    case.filled()
    assert case.got(uids("near", "opposite"), where("number", "==", 3)) == ["opposite"]
    either = filters(condition("number", "==", 3), condition("number", "==", 2), how="or")
    assert case.got(uids("near", "opposite"), either) == ["opposite"]


def test_get_nodes_of_nothing_named_gives_all(case: Case) -> None:
    case.filled()
    assert sorted(case.got()) == ["near", "opposite", "orthogonal", "same"]


def test_get_nodes_of_no_ids_gives_none(case: Case) -> None:
    case.filled()
    assert case.got([]) == []


def test_get_nodes_is_not_cut_short(case: Case) -> None:
    case.add(*(node(f"n{number}", (1, number)) for number in range(150)))
    assert len(case.got()) == 150


def test_get_nodes_of_an_empty_store_gives_none(case: Case) -> None:
    assert case.got() == []


def test_get_nodes_gives_text_metadata_and_document(case: Case) -> None:
    (one,) = case.filled().store.get_nodes(uids("near"))
    assert (one.get_content(), one.metadata, one.ref_doc_id) == ("about near", {"number": 1}, uid("doc1"))


def test_get_nodes_gives_embeddings(case: Case) -> None:
    (one,) = case.filled().store.get_nodes(uids("near"))
    assert one.embedding == pytest.approx(vector(0.6, 0.8), abs=1e-6)


def everything(kind: type[Any], **more: Any) -> BaseNode:
    """Return a node with a value in every field."""
    relationships = {
        **related("source"),
        NodeRelationship.PREVIOUS: RelatedNodeInfo(node_id=uid("before"), metadata={"page": 1}, hash="x"),
        NodeRelationship.CHILD: [RelatedNodeInfo(node_id=uid("child"))],
    }
    made: BaseNode = kind(
        id_=uid(kind.__name__),
        metadata={"title": "t", "page": 2},
        excluded_embed_metadata_keys=["page"],
        excluded_llm_metadata_keys=["title"],
        metadata_template="{key} is {value}",
        metadata_separator=" / ",
        relationships=relationships,
        embedding=vector(1, 0),
        **more,
    )
    return made


def same(case: Case, given: BaseNode) -> None:
    case.add(given)
    (found,) = case.nodes()
    assert type(found) is type(given)
    assert found.model_dump(exclude={"embedding"}) == given.model_dump(exclude={"embedding"})
    assert found.get_content(metadata_mode="embed") == given.get_content(metadata_mode="embed")  # type: ignore[arg-type]  # the mode's value


def test_text_nodes_come_back_as_they_were(case: Case) -> None:
    same(case, everything(TextNode, text="a text", start_char_idx=3, end_char_idx=9, text_template="{content}!"))


def test_index_nodes_come_back_as_they_were(case: Case) -> None:
    same(case, everything(IndexNode, text="see there", index_id="there"))


def test_image_nodes_come_back_as_they_were(case: Case) -> None:
    same(case, everything(ImageNode, text="a cat", image="aGVsbG8=", image_mimetype="image/png"))


def test_plain_nodes_come_back_as_they_were(case: Case) -> None:
    same(case, everything(Node, text_resource={"text": "a text"}))


def test_documents_come_back_as_documents(case: Case) -> None:
    same(case, everything(Document, text="a text"))


def test_empty_text_comes_back(case: Case) -> None:
    same(case, everything(TextNode, text=""))


def kept(case: Case, **given: Any) -> None:
    case.add(node("a", **given))
    found = case.node("a").metadata
    assert found == given
    assert [type(value) for value in found.values()] == [type(value) for value in given.values()]


def test_metadata_keep_their_values_and_types(case: Case) -> None:
    kept(case, none=None, yes=True, half=1.5, large=2**53 + 1, empty="", word="None")


def test_lists_and_mappings_in_metadata_come_back(case: Case) -> None:
    kept(case, some=[1, "two", None], nothing=[], nested={"a": {"b": [True]}})


def test_metadata_with_names_of_the_stores_own_come_back(case: Case) -> None:
    own: dict[str, Any] = {"doc_id": "mine", "id": "mine", "text": "mine", "vector": "mine", "metadata": "mine"}
    case.add(node("a", source="doc", **own))
    (found,) = case.nodes()
    assert (found.metadata, found.ref_doc_id) == (own, uid("doc"))


def test_what_was_found_is_a_copy(case: Case) -> None:
    case.add(node("a", place="x"))
    (found,) = case.nodes()
    found.metadata["place"] = "y"
    assert case.node("a").metadata == {"place": "x"}


def test_what_was_given_is_copied(case: Case) -> None:
    given = node("a", place="x")
    case.add(given)
    given.metadata["place"] = "y"
    assert case.node("a").metadata == {"place": "x"}
