"""LlamaIndex on top of a store: indexes, retrievers, query engines, pipelines, storage contexts."""

from typing import Any

import pytest
from llama_index.core import VectorStoreIndex, load_index_from_storage
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document, IndexNode, TextNode
from llama_index.core.storage import StorageContext
from llama_index.core.storage.docstore import SimpleDocumentStore
from tests.adapters.llama_index.conformance.cases import Case, uid, where
from tests.adapters.llama_index.conformance.stores import DIMENSION
from tests.adapters.llama_index.nodes import Letters

MODEL = Letters(embed_dim=DIMENSION)
SPLITTER = SentenceSplitter()


def document(text: str, name: str | None = None) -> Document:
    return Document(
        id_=uid(name or text), text=text, metadata={"first": text[0]}, excluded_embed_metadata_keys=["first"]
    )


def built(case: Case) -> VectorStoreIndex:
    documents = [document(text) for text in ("aaa", "bbb", "ccc")]
    return VectorStoreIndex.from_documents(documents, case.context(), embed_model=MODEL, transformations=[SPLITTER])


def texts(index: VectorStoreIndex, question: str = "b", **options: Any) -> list[str]:
    found = index.as_retriever(**{"similarity_top_k": 5, **options}).retrieve(question)
    return [one.node.get_content() for one in found]


def test_an_index_finds_what_it_was_made_of(case: Case) -> None:
    index = built(case)
    assert texts(index, "c", similarity_top_k=1) == ["ccc"]
    assert sorted(texts(index)) == ["aaa", "bbb", "ccc"]


def test_an_index_is_made_of_a_store_alone(case: Case) -> None:
    built(case)
    index = VectorStoreIndex.from_vector_store(case.store, embed_model=MODEL)
    assert texts(index, "c", similarity_top_k=1) == ["ccc"]


def test_a_retriever_passes_filters_and_scores(case: Case) -> None:
    retriever = built(case).as_retriever(similarity_top_k=2, filters=where("first", "==", "a"))
    (found,) = retriever.retrieve("aaa")
    assert found.node.get_content() == "aaa"
    assert found.score == pytest.approx(1.0, abs=1e-4)


async def test_a_retriever_may_be_awaited(case: Case) -> None:
    found = await built(case).as_retriever(similarity_top_k=1).aretrieve("a")
    assert [one.node.get_content() for one in found] == ["aaa"]


def test_insert_and_delete_ref_doc(case: Case) -> None:
    index = built(case)
    index.insert(document("ddd"))
    assert texts(index, "d", similarity_top_k=1) == ["ddd"]
    index.delete_ref_doc(uid("aaa"))
    assert sorted(texts(index)) == ["bbb", "ccc", "ddd"]


def test_refresh_ref_docs_replaces_what_has_changed(case: Case) -> None:
    index = built(case)
    changed = index.refresh_ref_docs([document("aaa"), document("dd", "bbb"), document("ad")])
    assert changed == [False, True, True]
    assert sorted(texts(index)) == ["aaa", "ad", "ccc", "dd"]


def test_delete_nodes_of_an_index(case: Case) -> None:
    index = built(case)
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("a")
    index.delete_nodes([found.node.node_id])
    assert sorted(texts(index)) == ["bbb", "ccc"]


def test_a_query_engine_reads_what_is_found(case: Case) -> None:
    engine = built(case).as_query_engine(llm=MockLLM(), similarity_top_k=1)
    answer = engine.query("c")
    assert [one.node.get_content() for one in answer.source_nodes] == ["ccc"]
    assert "ccc" in str(answer)


def test_nodes_that_point_elsewhere_are_resolved(case: Case) -> None:
    target = TextNode(id_=uid("target"), text="the target")
    pointer = IndexNode(id_=uid("pointer"), text="aaa", index_id="target", obj=target)
    index = VectorStoreIndex([], objects=[pointer], storage_context=case.context(), embed_model=MODEL)
    assert texts(index, "a") == ["the target"]


def test_a_pipeline_replaces_what_has_changed(case: Case) -> None:
    store = case.store
    pipeline = IngestionPipeline(transformations=[SPLITTER, MODEL], vector_store=store, docstore=SimpleDocumentStore())

    def run(*documents: Document) -> set[str]:
        pipeline.run(documents=list(documents))
        return set(case.query().ids or ())

    if case.spec.reopens:  # the pipeline holds the store
        case = Case(case.spec, case.folder)
    first = run(document("aaa", "1"), document("bbb", "2"))
    second = run(document("aaa", "1"), document("ccc", "2"))
    third = run(document("aaa", "1"), document("ccc", "2"))
    assert (len(first), len(second), len(first & second)) == (2, 2, 1)
    assert third == second


def test_a_storage_context_is_persisted_and_loaded(case: Case) -> None:
    index = built(case)
    index.storage_context.persist(str(case.folder))
    context = StorageContext.from_defaults(vector_store=case.saved(), persist_dir=str(case.folder))
    loaded = load_index_from_storage(context, embed_model=MODEL)
    assert isinstance(loaded, VectorStoreIndex)
    assert texts(loaded, "c", similarity_top_k=1) == ["ccc"]
    assert sorted(texts(loaded)) == ["aaa", "bbb", "ccc"]
