"""Promises of a LangChain vector store beyond the standard tests, in terms that apply to any store.

Texts are angles: the cosine of two texts is that of the angle between them. Ids are UUIDs, which all stores accept.
Hits are compared by text, because not all stores return ids; the standard tests check that.
"""

import math
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from benchmarks.framework import Peer
from benchmarks.langchain_peers import Opening
from benchmarks.stores_data import Rule

DIMENSION = 8
NEAR = math.degrees(math.acos(0.9))
TABLE = {"0": 1.0, str(NEAR): 0.9, "90": 0.0, "180": -1.0}
"""Texts, and their cosine with the text `0`."""


class Angles(Embeddings):
    """A text is an angle in degrees; `nan`, `zero` and `short` are vectors that every store should reject."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        if text == "nan":
            return [math.nan] * DIMENSION
        if text == "short":
            return [1.0] * (DIMENSION - 1)
        try:
            angle = math.radians(float(text))
        except ValueError:  # a text that is not an angle is orthogonal to all angles
            return [0.0, 0.0, *(float(1 + (sum(text.encode()) >> bit) % 7) for bit in range(DIMENSION - 2))]
        return [math.cos(angle), math.sin(angle), *([0.0] * (DIMENSION - 2))]


class Awaited(Angles):
    """Async embeddings that record the questions embedded synchronously."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def embed_query(self, text: str) -> list[float]:
        self.questions.append(text)
        return super().embed_query(text)

    async def aembed_query(self, text: str) -> list[float]:
        return super().embed_query(text)


def name(number: int) -> str:
    """Return the id of a document."""
    return str(uuid.UUID(int=number + 1))


def texts_of(found: list[Document]) -> list[str]:
    return [document.page_content for document in found]


@contextmanager
def refusal(word: str = "") -> Iterator[None]:
    """Accept an error that says what is wrong."""
    try:
        yield
    except Exception as error:
        if isinstance(error, AssertionError) or not str(error) or word not in str(error):
            raise


class Promises:
    """The promises, for the store that a subclass names."""

    peer: Peer
    opening: Opening

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        return type(self).opening(tmp_path / "store", Angles(), DIMENSION)

    def far(self, rows: int) -> dict[str, Any]:
        """Return the keywords of a search for far documents, among so many rows."""
        filter_keywords = type(self).peer.filter
        assert filter_keywords is not None
        return filter_keywords(Rule("far", True), rows)

    def test_texts_from_a_generator_are_all_stored(self, store: Any) -> None:
        assert len(store.add_texts(text for text in ["1", "2", "3"])) == 3
        assert sorted(texts_of(store.similarity_search("0", k=3))) == ["1", "2", "3"]

    def test_too_few_ids_are_refused_and_nothing_is_stored(self, store: Any) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - each store words it in its own way
            store.add_texts(["1", "2", "3"], ids=[name(1), name(2)])
        assert store.similarity_search("0", k=3) == []

    def test_too_few_metadatas_are_refused(self, store: Any) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - each store words it in its own way
            store.add_texts(["1", "2", "3"], metadatas=[{"a": 1}])

    def test_a_missing_id_among_others_is_made(self, store: Any) -> None:
        made = store.add_documents([Document("1", id=name(1)), Document("2")])
        assert made[0] == name(1)
        assert made[1]
        assert isinstance(made[1], str)

    def test_of_equal_ids_in_a_batch_the_last_stays_or_they_are_refused(self, store: Any) -> None:
        with refusal("uplicate"):
            assert store.add_texts(["1", "2"], ids=[name(1), name(1)]) == [name(1), name(1)]
        assert texts_of(store.similarity_search("0", k=2)) in ([], ["2"])

    def test_nested_metadata_come_back_equal(self, store: Any) -> None:
        given = {"none": None, "list": [1, "two", None], "nested": {"a": {"b": [True]}}, "number": 1.5}
        store.add_documents([Document("1", metadata=given, id=name(1))])
        found = store.similarity_search("1", k=1)[0].metadata
        assert {key: found[key] for key in given} == given

    def test_what_was_found_is_a_copy(self, store: Any) -> None:
        store.add_documents([Document("1", metadata={"list": ["a"]}, id=name(1))])
        found = store.similarity_search("1", k=1)[0]
        found.metadata["list"].append("b")
        found.metadata["more"] = 1
        again = store.similarity_search("1", k=1)[0].metadata
        assert again["list"] == ["a"]
        assert "more" not in again

    def test_what_was_given_is_copied(self, store: Any) -> None:
        given = Document("1", metadata={"list": ["a"]}, id=name(1))
        store.add_documents([given])
        given.metadata["list"].append("b")
        assert store.similarity_search("1", k=1)[0].metadata["list"] == ["a"]

    def test_no_texts_are_no_error(self, store: Any) -> None:
        assert store.add_texts([]) == []
        assert store.similarity_search("1", k=1) == []

    def test_a_vector_of_another_length_is_refused_in_words(self, store: Any) -> None:
        store.add_texts(["1"], ids=[name(1)])
        with pytest.raises(Exception, match=str(DIMENSION - 1)):
            store.add_texts(["short"], ids=[name(2)])
        assert texts_of(store.similarity_search("0", k=2)) == ["1"]

    def test_a_vector_of_nan_does_not_break_the_store(self, store: Any) -> None:
        store.add_texts(["1"], ids=[name(1)])
        with pytest.raises(Exception, match=r"(?i)nan|finite"):
            store.add_texts(["nan"], ids=[name(2)])
        assert texts_of(store.similarity_search("0", k=2)) == ["1"]

    def test_all_are_found_where_k_is_larger(self, store: Any) -> None:
        store.add_texts(["1", "2", "3"])
        assert texts_of(store.similarity_search("0", k=50)) == ["1", "2", "3"]

    @pytest.mark.parametrize("k", [0, -1])
    def test_no_k_is_refused_in_words_or_finds_nothing(self, store: Any, k: int) -> None:
        store.add_texts(["1", "2", "3"])
        with refusal(str(k)):
            assert store.similarity_search("0", k=k) == []

    def test_relevance_is_the_cosine_within_0_and_1_or_in_its_order(self, store: Any) -> None:
        store.add_texts(list(TABLE), ids=[name(i) for i in range(len(TABLE))])
        found = store.similarity_search_with_relevance_scores("0", k=len(TABLE))
        scores = {document.page_content: score for document, score in found}
        values = [scores[text] for text in TABLE]
        assert all(0 <= value <= 1 for value in values)
        assert values[0] == pytest.approx(1, abs=1e-5)
        assert values == sorted(values, reverse=True)
        assert values[0] > values[1] > values[2]

    def test_a_threshold_keeps_what_reaches_it(self, store: Any) -> None:
        store.add_texts(list(TABLE), ids=[name(i) for i in range(len(TABLE))])
        options = {"k": 4, "score_threshold": 0.85}
        retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs=options)
        assert texts_of(retriever.invoke("0")) == ["0", str(NEAR)]

    def test_a_filter_finds_k_however_far_they_are(self, store: Any) -> None:
        documents = [Document(str(i), metadata={"far": i >= 95}, id=name(i)) for i in range(100)]
        store.add_documents(documents)
        options = self.far(len(documents))
        assert texts_of(store.similarity_search("0", k=4, **options)) == ["95", "96", "97", "98"]

    def test_a_filter_binds_mmr(self, store: Any) -> None:
        documents = [Document(str(i), metadata={"far": i >= 95}, id=name(i)) for i in range(100)]
        store.add_documents(documents)
        options = self.far(len(documents))
        found = store.max_marginal_relevance_search("0", k=3, **options)
        assert len(found) == 3
        assert all(document.metadata["far"] for document in found)

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
    def test_mmr_is_that_of_langchain(self, store: Any, share: float) -> None:
        angles = [str(angle) for angle in (3, 4, 5, 20, 40, 41, 60, 75, 76, 290)]
        store.add_texts(angles, ids=[name(i) for i in range(len(angles))])
        made = Angles()
        places = maximal_marginal_relevance(
            np.array(made.embed_query("0")), made.embed_documents(angles), lambda_mult=share, k=4
        )
        found = store.max_marginal_relevance_search("0", k=4, fetch_k=len(angles), lambda_mult=share)
        assert texts_of(found) == [angles[place] for place in places]

    def test_an_unknown_keyword_of_a_search_is_refused(self, store: Any) -> None:
        store.add_texts(["1"])
        with pytest.raises(Exception, match="filtr"):
            store.similarity_search("0", k=1, filtr={"a": 1})

    def test_an_unknown_field_of_a_retriever_is_refused(self, store: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            store.as_retriever(filter={"a": 1})

    def test_to_delete_no_ids_is_no_error(self, store: Any) -> None:
        store.add_texts(["1"], ids=[name(1)])
        store.delete([])
        assert texts_of(store.similarity_search("0", k=1)) == ["1"]

    def test_none_deletes_nothing(self, store: Any) -> None:
        store.add_texts(["1"], ids=[name(1)])
        with refusal():
            store.delete(None)
        assert texts_of(store.similarity_search("0", k=1)) == ["1"]

    def test_the_same_id_again_replaces(self, store: Any) -> None:
        store.add_texts(["1"], ids=[name(1)])
        store.add_texts(["2"], ids=[name(1)])
        assert texts_of(store.similarity_search("0", k=2)) == ["2"]

    def test_sixteen_threads_add_and_search(self, store: Any) -> None:
        def work(number: int) -> int:
            store.add_texts([str(number)], ids=[name(number)])
            return len(store.similarity_search("0", k=200))

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)  # threads switch as often as possible
        try:
            with ThreadPoolExecutor(16) as pool:
                assert min(pool.map(work, range(160))) >= 1
        finally:
            sys.setswitchinterval(before)
        assert len(store.similarity_search("0", k=200)) == 160

    async def test_embeddings_that_can_be_awaited_are(self, tmp_path: Path) -> None:
        embedding = Awaited()
        store = type(self).opening(tmp_path / "store", embedding, DIMENSION)
        await store.aadd_texts(["1", "2"], ids=[name(1), name(2)])
        assert texts_of(await store.asimilarity_search("0", k=1)) == ["1"]
        assert "0" not in embedding.questions

    def test_the_indexing_api_replaces_what_has_changed(self, store: Any) -> None:
        records = InMemoryRecordManager("records")
        records.create_schema()

        def synced(*texts: str) -> Any:
            documents = [Document(text, metadata={"source": "a"}) for text in texts]
            return index(
                documents, records, store, cleanup="incremental", source_id_key="source", key_encoder="blake2b"
            )

        assert synced("1", "2")["num_added"] == 2
        assert synced("1", "2")["num_skipped"] == 2
        assert synced("1", "3")["num_deleted"] == 1
        assert sorted(texts_of(store.similarity_search("0", k=5))) == ["1", "3"]

    def test_what_is_reopened_finds_the_same(self, store: Any, tmp_path: Path) -> None:
        store.add_texts(["1", "2"], metadatas=[{"a": 1}, {"a": 2}], ids=[name(1), name(2)])
        before = store.similarity_search_with_score("0", k=2)
        type(self).peer.save(store, tmp_path / "store")
        for held in ("kb", "client"):  # for stores whose folder a process may open only once
            if hasattr(store, held) and hasattr(getattr(store, held), "close"):
                getattr(store, held).close()
        after = type(self).opening(tmp_path / "store", Angles(), DIMENSION).similarity_search_with_score("0", k=2)
        assert [document for document, _ in after] == [document for document, _ in before]
        assert [score for _, score in after] == pytest.approx([score for _, score in before], abs=1e-6)
