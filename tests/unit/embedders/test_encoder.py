"""Embedding texts: truncation, progress, and invalid texts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theodolite import (
    ConfigError,
    Document,
    DocumentError,
    EmbedderOptions,
    InputError,
    Retriever,
    TruncationWarning,
    UnsupportedError,
)
from theodolite.embedders.encoder import Encoder
from theodolite.testing import HashingEmbedder
from theodolite.types import Space


class Short(HashingEmbedder):
    """Reads eight words, two of them its own."""

    max_tokens = 8

    def __init__(self) -> None:
        super().__init__(64)
        self.counted: list[str] = []

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.counted += texts
        return [len(text.split()) + 2 for text in texts]

    def encode_document(
        self, texts: Sequence[str], /, *, progress: Callable[[int], None] = lambda n: None
    ) -> NDArray[np.float32]:
        found = super().encode_document([" ".join(text.split()[:6]) for text in texts])
        for _ in texts:
            progress(1)
        return found


SIX, SEVEN, TEN = ("one two three four five six seven eight nine ten".rsplit(maxsplit=n)[0] for n in (4, 3, 1))
TEN += " ten"


def test_truncated_texts_are_reported_and_counted_until_deleted(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=Short()) as kb:
        with pytest.warns(TruncationWarning, match=r"2 of 3 documents .* 8 tokens .* first 'b' with 9") as caught:
            kb.add([Document(SIX, id="a"), Document(SEVEN, id="b"), Document(TEN, id="c")])
        assert [Path(each.filename) for each in caught] == [Path(__file__)]
        assert kb.info()["truncated"] == 2
        kb.update("b", {"x": 1})
        assert kb.info()["truncated"] == 2
        kb.add([Document(SIX, id="b")])
        assert kb.info()["truncated"] == 1
    with Retriever.open(tmp_path / "kb") as kb:
        assert kb.info()["truncated"] == 1
        kb.delete("c")
        assert kb.info()["truncated"] == 0


def test_equal_ids_are_truncated_each_for_themselves() -> None:
    """Within a partition the last one counts; the same id in another partition is another document."""
    for texts, expected in (((SIX, TEN, SIX), 0), ((SIX, SIX, TEN), 1), ((TEN, SIX, SIX), 1), ((TEN, TEN, SIX), 1)):
        with Retriever.open(embedder=EmbedderOptions(Short(), on_truncate="ignore"), partition="tenant") as kb:
            tenants = ("bolt", "acme", "acme")
            kb.add([Document(text, {"tenant": tenant}, "a") for text, tenant in zip(texts, tenants, strict=True)])
            assert kb.info()["truncated"] == expected


def test_truncation_can_be_refused_or_ignored() -> None:
    with Retriever.open(embedder=EmbedderOptions(Short(), on_truncate="error")) as kb:
        with pytest.raises(DocumentError, match=r"2 of 3 .* Nothing of this batch") as caught:
            kb.add([Document(SIX, id="a"), Document(SEVEN, id="b"), Document(TEN, id="c")])
        assert caught.value.ids == ["b", "c"]
        assert kb.count() == 0
        kb.add([Document(SIX, id="a")])
        with pytest.raises(InputError, match="last 2 tokens of query 0"):
            kb.search(TEN.rsplit(maxsplit=2)[0])
    with Retriever.open(embedder=EmbedderOptions(Short(), on_truncate="ignore")) as kb:
        kb.add([Document(TEN, id="c")])
        assert kb.info()["truncated"] == 1
    for embedder in (None, Short()):
        with pytest.raises(ConfigError, match="on_truncate is 'maybe'"):
            Retriever.open(embedder=EmbedderOptions(embedder, on_truncate="maybe"))  # type: ignore[arg-type]  # what is tested


def test_the_trace_tells_what_of_a_query_was_not_read() -> None:
    with Retriever.open(embedder=Short()) as kb:
        kb.add([Document(SIX, id="a")])
        with pytest.warns(TruncationWarning, match="query 1"):
            few, many = kb.search_many([SIX, TEN])
        assert (few.trace.truncated_tokens, many.trace.truncated_tokens) == (0, 4)
        with pytest.warns(TruncationWarning, match="query 0"):  # its vector is cached, the truncation is not
            assert kb.search(TEN).trace.truncated_tokens == 4


def test_short_texts_need_no_counting() -> None:
    embedder = Short()
    with Retriever.open(embedder=embedder) as kb:
        kb.add([Document("ab cd", id="a"), Document("é", id="b"), Document("abcdefgh", id="c")])
    assert embedder.counted == ["", "é", "abcdefgh"]


def test_embedders_that_cannot_tell() -> None:
    with Retriever.open(embedder=HashingEmbedder(16)) as kb:
        kb.add([Document("long " * 10_000, id="a")])
        assert kb.info()["truncated"] == 0
        assert kb.search("long " * 10_000).trace.truncated_tokens == 0


@pytest.mark.parametrize(("embedder", "steps"), [(Short(), [1, 1, 1]), (HashingEmbedder(16), [2, 1])])
def test_progress(embedder: Any, steps: list[int]) -> None:
    done: list[int] = []
    with Retriever.open(embedder=embedder) as kb:
        kb.add(["a", "b", "c"], batch_size=2, progress=done.append)
        assert done == steps
        kb.add(["d", "e", "f"], vectors=np.eye(3, embedder.dimension), batch_size=2, progress=done.append)
        assert done[len(steps) :] == [2, 1]


def test_an_interrupted_add_keeps_whole_batches() -> None:
    def stop(done: int) -> None:
        if kb.count() == 4:
            raise KeyboardInterrupt

    with Retriever.open(embedder=Short()) as kb:
        with pytest.raises(KeyboardInterrupt):
            kb.add([Document(f"text {n}", id=f"{n}") for n in range(10)], batch_size=4, progress=stop)
        assert kb.count() == 4
        kb.add([Document(f"text {n}", id=f"{n}") for n in range(10)], batch_size=4)
        assert kb.count() == 10


def test_models_that_cannot_count() -> None:
    class Dumb(Short):
        def count_tokens(self, texts: Sequence[str]) -> list[int]:
            raise UnsupportedError("no tokenizer")

    with Retriever.open(embedder=EmbedderOptions(Dumb(), on_truncate="error")) as kb:
        kb.add([Document(TEN, id="a")])
        assert kb.info()["truncated"] == 0
        assert kb.search(TEN).trace.truncated_tokens == 0


def test_of_equal_ids_the_last_text_counts() -> None:
    with Retriever.open(embedder=EmbedderOptions(Short(), on_truncate="ignore")) as kb:
        kb.add([Document(TEN, id="a"), Document("short", id="a"), Document("short", id="b"), Document(TEN, id="b")])
        assert kb.info() | {"truncated": 1, "documents": 2} == kb.info()


def test_warnings_name_the_caller() -> None:
    with Retriever.open(embedder=Short()) as kb:
        for call in (lambda: kb.add([TEN]), lambda: kb.search(TEN), lambda: kb.search_many([TEN])):
            with pytest.warns(TruncationWarning) as caught:
                call()
            assert [each.filename for each in caught] == [__file__]


def test_questions_are_counted_with_their_own_prompt() -> None:
    class Prompted(Short):
        def count_tokens(self, texts: Sequence[str], *, query: bool = False) -> list[int]:
            return [tokens + 3 * query for tokens in super().count_tokens(texts)]

    with Retriever.open(embedder=Prompted()) as kb:
        kb.add([Document(SIX, id="a")])
        with pytest.warns(TruncationWarning):
            assert kb.search(SIX).trace.truncated_tokens == 3


def test_norms_are_reported_before_normalization() -> None:
    """Norms are reported before normalization, and not again for cached queries."""
    seen: list[list[float]] = []

    class Long(HashingEmbedder):
        def encode_query(self, texts: Any) -> Any:
            return 40 * super().encode_query(texts)

    encoder = Encoder(Long(8), Space, seen=lambda norms: seen.append(norms.tolist()))
    encoder.queries(["one", "two"])
    encoder.queries(["one"])
    assert seen == [pytest.approx([40, 40])]
