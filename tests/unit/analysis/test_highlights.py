"""Highlights: the sentences of a passage that match a query, and their positions."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite import ConfigError, Document, InputError, Retriever
from theodolite.analysis.highlights import ByWords, Highlight
from theodolite.analysis.sentences import MAX_LENGTH, sentences
from theodolite.testing import HashingEmbedder

TEXT = """# Refunds

Refunds are paid by card. After Dr. J. Smith approves, refunds take five working days, e.g. from
Monday to Friday. Ask "why?" any time!

- Shipping is free.
- getUserName came with version 1.2.3

返金の手続きは五日かかります。注文番号を準備してください。送料は無料です"""


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def best(query: str, text: str = TEXT) -> str | None:
    found = ByWords(query)(text)
    return found[0].text if found else None


def test_sentences() -> None:
    assert split(TEXT) == [
        "# Refunds",
        "Refunds are paid by card.",
        "After Dr. J. Smith approves, refunds take five working days, e.g. from\nMonday to Friday.",
        'Ask "why?" any time!',
        "- Shipping is free.",
        "- getUserName came with version 1.2.3",
        "返金の手続きは五日かかります。",
        "注文番号を準備してください。",
        "送料は無料です",
    ]


@pytest.mark.parametrize("text", ["", " \n\n", "...", "?! \n - "])
def test_no_sentences(text: str) -> None:
    assert sentences(text) == []


@given(st.text(alphabet="ab .!?。\n#-,1A", max_size=1000))
def test_sentences_are_short_in_order_and_lose_no_word(text: str) -> None:
    spans = sentences(text)
    assert all(0 <= start < end <= len(text) and end - start <= MAX_LENGTH for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(place in covered for place, character in enumerate(text) if character.isalnum())


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("how long do refunds take?", "After Dr. J. Smith approves"),
        ("refund", "Refunds are paid by card."),  # stemmed, and not the heading
        ("who ships for free", "- Shipping is free."),
        ("get_user_name", "- getUserName came"),
        ("v1.2.3", "- getUserName came"),
        ("返金", "返金の手続きは五日かかります。"),
        ("注文番号", "注文番号を準備してください。"),
        ("送", "送料は無料です"),
        ("無料", "送料は無料です"),
    ],
)
def test_the_best_sentence(query: str, sentence: str) -> None:
    found = best(query)
    assert found is not None
    assert found.startswith(sentence)


@pytest.mark.parametrize("query", ["zebra", "", "???", "猫"])
def test_no_word_in_common(query: str) -> None:
    assert ByWords(query)(TEXT) == ()


def test_offsets_scores_and_order() -> None:
    found = ByWords("refunds take days")(TEXT)
    assert [TEXT[each.start : each.end] for each in found] == [each.text for each in found]
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert ByWords("Refunds card")("Refunds are paid by card.") == (Highlight(0, 25, "Refunds are paid by card.", 1.0),)


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(None, embedder=HashingEmbedder(64)) as kb:
        kb.add([Document(TEXT, id="a"), Document("Refunds take days. Nothing else does.", id="b")])
        yield kb


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_hits_have_highlights_in_each_mode(kb: Retriever, mode: str) -> None:
    hits = kb.search("how long do refunds take?", mode=mode)  # type: ignore[arg-type]  # a Mode
    by_id = {hit.document.id: hit.highlights[0] for hit in hits}
    assert by_id["b"] == Highlight(0, 18, "Refunds take days.", by_id["b"].score)
    assert by_id["a"].text.startswith("After Dr. J. Smith")
    again = pickle.loads(pickle.dumps(hits))  # noqa: S301 - ours
    assert [hit.highlights for hit in again] == [hit.highlights for hit in hits]
    assert kb.search_many(["refunds", "zebra"])[1][0].highlights == ()


def test_a_vector_alone_highlights_nothing(kb: Retriever) -> None:
    hits = kb.search(vector=np.ones(64))
    assert [hit.highlights for hit in hits] == [(), ()]
    with pytest.raises(InputError, match="pass the text to compare with as query"):
        kb.highlight(hits)
    assert kb.highlight(hits, "refunds take days")[0].highlights


async def test_highlights_by_vectors(kb: Retriever) -> None:
    hits = kb.search("nothing else does")
    found = await kb.ahighlight(hits)
    assert found.trace == hits.trace
    assert [hit.document.id for hit in found] == [hit.document.id for hit in hits]
    for hit in found:
        text = hit.document.text
        assert [(each.start, each.end) for each in sorted(hit.highlights, key=lambda one: one.start)] == sentences(text)
        embedder = HashingEmbedder(64)
        vectors = np.array(embedder.encode_document([each.text for each in hit.highlights]), np.float64)
        (query,) = np.array(embedder.encode_query(["nothing else does"]), np.float64)
        cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        assert np.array([each.score for each in hit.highlights]) == pytest.approx(cosines, abs=1e-6)
        assert (np.diff(cosines) <= 1e-6).all()
    assert kb.highlight(found, "paid by card")[0].highlights != found[0].highlights
    assert [hit.highlights for hit in kb.highlight(found)] == [hit.highlights for hit in found]


def test_highlights_by_vectors_need_an_embedder() -> None:
    with Retriever.open(None) as kb:
        kb.add([Document("One. Two.", id="a")], vectors=[[1.0, 0.0]])
        hits = kb.search(vector=[1.0, 0.0])
        with pytest.raises(ConfigError, match="without an embedder"):
            kb.highlight(hits, "one")
        empty = replace(hits, items=())
        assert kb.highlight(empty) == empty
