"""theodolite.testing: the embedder, the oracle, and the checks of the contracts."""

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theodolite
from theodolite import testing
from theodolite.errors import ConfigError, DocumentError, TheodoliteError, VectorError
from theodolite.protocols import Embedder
from theodolite.testing import HashingEmbedder, brute_force, top_k
from theodolite.testing.checks import check, raising, together
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

relaxed = settings(deadline=None)


def run(code: str, **environment: str) -> str:
    """Return the output of `code` in a new interpreter."""
    root = str(Path(theodolite.__file__).parents[1])
    settings = {**os.environ, "PYTHONPATH": root, **environment}
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=settings).stdout


def test_all_is_there() -> None:
    assert list(testing.__all__) == sorted(testing.__all__)
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_needs_no_pytest() -> None:
    code = """
        import sys
        sys.modules["pytest"] = sys.modules["hypothesis"] = None
        from theodolite.testing import *
        class TestMine(EmbedderContract):
            def embedder(self):
                return HashingEmbedder()
        for name in dir(TestMine):
            if name.startswith("test_"):
                getattr(TestMine(), name)()
        print(HashingEmbedder().encode_query(["a"]).shape)
    """
    assert run("\n".join(line[8:] for line in code.splitlines())).strip() == "(1, 64)"


# The embedder.


def test_fits_the_protocol() -> None:
    embedder = HashingEmbedder(32)
    assert isinstance(embedder, Embedder)
    assert embedder.dimension == 32
    for encode in (embedder.encode_query, embedder.encode_document):
        vectors = encode(["one", "two"])
        assert vectors.shape == (2, 32)
        assert vectors.dtype == np.float32
        assert encode([]).shape == (0, 32)


def test_vectors_are_the_same_everywhere() -> None:
    """Recorded values: a change would break collections of users who test with this embedder."""
    vector = HashingEmbedder(8).encode_document(["How long do refunds take?"])[0]
    assert vector.tolist() == [np.float32(part) for part in EXPECTED]


EXPECTED = [
    -0.4472135901451111,
    0.0,
    0.3354102075099945,
    -0.3354102075099945,
    0.55901700258255,
    -0.22360679507255554,
    -0.4472135901451111,
    0.11180339753627777,
]


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_vectors_do_not_depend_on_the_process(seed: str) -> None:
    texts = ["How long do refunds take?", "Théodolite 退款 😀", ""]
    code = f"""
import json
from theodolite.testing import HashingEmbedder
print(json.dumps(HashingEmbedder(20).encode_document({texts!r}).tolist()))
"""
    assert json.loads(run(code, PYTHONHASHSEED=seed)) == HashingEmbedder(20).encode_document(texts).tolist()


@relaxed
@given(st.lists(st.text(), max_size=6), st.sampled_from((1, 2, 64, 300)))
def test_any_text_has_a_vector_of_unit_length_or_none(texts: list[str], dimension: int) -> None:
    embedder = HashingEmbedder(dimension)
    vectors = embedder.encode_document(texts)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert (np.isclose(norms, 1, atol=1e-6) | (norms == 0)).all()
    alone = [embedder.encode_document([text])[0] for text in texts]
    assert all(np.array_equal(one, other) for one, other in zip(vectors, alone, strict=True))


@pytest.mark.parametrize("text", ["", " ", "\n\t", "?!", "…", "\ud800"])
def test_a_text_without_words_has_no_length(text: str) -> None:
    vectors = HashingEmbedder().encode_document([text])
    assert not vectors.any()
    with pytest.raises(VectorError, match="zero length"):
        prepare(vectors, Space("cosine"))


@relaxed
@given(st.sampled_from("abcxyzéß退") | st.text("abc", min_size=1, max_size=3))
def test_a_word_has_a_length(text: str) -> None:
    assert HashingEmbedder(1).encode_document([text]).any()


def test_texts_that_share_words_are_near() -> None:
    embedder = HashingEmbedder()
    texts = [
        "How long do refunds take?",
        "how long, do REFUNDS take",
        "Refunds take five working days.",
        "A refund takes five working days.",
        "The cat sat on the mat.",
    ]
    cosines = embedder.encode_document(texts) @ embedder.encode_query(texts).T
    assert cosines[0, 1] == pytest.approx(1, abs=1e-6)
    assert cosines[0, 2] > cosines[0, 4] + 0.2
    assert cosines[2, 3] > cosines[2, 4] + 0.2
    # Forms of one word share trigrams.
    words = embedder.encode_document(["refunding", "refunded", "elephant"])
    assert words[0] @ words[1] > words[0] @ words[2] + 0.1


def test_finds_the_passage_that_shares_words_with_the_question() -> None:
    embedder = HashingEmbedder()
    words = ["roof", "door", "wall", "floor"]
    passages = [f"Passage {i}: the {word} of the house is {i}." for i, word in enumerate(words)]
    for i, word in enumerate(words):
        query = embedder.encode_query([f"Where is the {word}?"])[0]
        assert top_k(query, embedder.encode_document(passages), "cosine", 1)[0].tolist() == [i]


def test_the_order_and_number_of_words() -> None:
    embedder = HashingEmbedder()
    one, other, more = embedder.encode_document(["a b c", "c a b", "a b c c"])
    assert np.array_equal(one, other)
    assert not np.array_equal(one, more)


def test_prefix() -> None:
    embedder = HashingEmbedder(query_prefix="query: ")
    assert np.array_equal(embedder.encode_query(["x"]), embedder.encode_document(["query: x"]))
    assert not np.array_equal(embedder.encode_query(["x"]), embedder.encode_document(["x"]))


@pytest.mark.parametrize("dimension", [0, -1])
def test_refuses_no_dimension(dimension: int) -> None:
    with pytest.raises(ConfigError, match=f"dimension is {dimension}"):
        HashingEmbedder(dimension)


# The oracle.


def test_brute_force_by_hand() -> None:
    vectors = [[3.0, 4.0], [0.0, 2.0], [0.0, 0.0], [-3.0, -4.0]]
    assert brute_force([6.0, 8.0], vectors, "dot").tolist() == [50, 16, 0, -50]
    assert brute_force([6.0, 8.0], vectors, "cosine").tolist() == [1, 0.8, 0, -1]
    assert brute_force([3.0, 0.0], vectors, "l2").tolist() == [-4, -math.sqrt(13), -3, -math.sqrt(52)]
    assert brute_force([0.0, 0.0], vectors, "cosine").tolist() == [0, 0, 0, 0]
    assert brute_force([1.0], np.zeros((0, 1)), "dot").shape == (0,)


@relaxed
@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(1, 50))
def test_brute_force_against_exact_sums(seed: int, n: int, d: int) -> None:
    draw = np.random.default_rng(seed)
    query, vectors = draw.standard_normal(d), draw.standard_normal((n, d)) * 10.0 ** draw.uniform(-5, 5, (n, 1))
    for i in range(n):
        product = math.fsum(query * vectors[i])
        size = math.sqrt(math.fsum(query**2) * math.fsum(vectors[i] ** 2))
        assert brute_force(query, vectors, "dot")[i] == pytest.approx(product, abs=1e-13 * size)
        assert brute_force(query, vectors, "cosine")[i] == pytest.approx(product / size, abs=1e-13)
        assert brute_force(query, vectors, "l2")[i] == pytest.approx(-math.dist(query, vectors[i]), rel=1e-13)


def test_brute_force_is_in_float64() -> None:
    query, vectors = np.array([1, 1, 1], np.float32), np.array([[2**24, 1, 1]], np.float32)
    assert brute_force(query, vectors, "dot").tolist() == [2**24 + 2]
    assert brute_force(query, vectors, "dot").dtype == np.float64


def test_top_k() -> None:
    vectors = np.array([[1.0], [3.0], [2.0], [3.0], [0.0]])
    rows, scores = top_k([1.0], vectors, "dot", 3)
    assert rows.tolist() == [1, 3, 2]
    assert scores.tolist() == [3, 3, 2]
    mask = np.array([True, False, False, True, True])
    assert top_k([1.0], vectors, "dot", 2, mask)[0].tolist() == [3, 0]
    assert top_k([1.0], vectors, "dot", 9, mask)[0].tolist() == [3, 0, 4]
    assert top_k([1.0], vectors, "dot", 9, mask & False)[0].tolist() == []
    assert top_k([-1.0], vectors, "dot", 1)[0].tolist() == [4]


def test_equal_vectors_are_ties() -> None:
    draw = np.random.default_rng(1)
    for d in (3, 64, 1000):
        vectors = np.repeat(draw.standard_normal((4, d)), 50, axis=0)[draw.permutation(200)]
        for metric in ("dot", "cosine", "l2"):
            assert len(set(brute_force(draw.standard_normal(d), vectors, metric).tolist())) == 4


# The checks.


def test_check() -> None:
    check(True, "never")
    check([0], "never")
    with pytest.raises(AssertionError, match="this and that"):
        check([], "this and that")


def throw(error: BaseException) -> None:
    raise error


def test_raising() -> None:
    with raising(TheodoliteError, "it"):
        throw(DocumentError("x"))
    with pytest.raises(AssertionError, match="calling does not raise KeyError"), raising(KeyError, "calling"):
        pass
    message = r"calling raises IndexError\('x'\), not KeyError"
    with pytest.raises(AssertionError, match=message), raising(KeyError, "calling"):
        throw(IndexError("x"))
    with pytest.raises(KeyboardInterrupt), raising(KeyError, "calling"):
        throw(KeyboardInterrupt())


def test_together() -> None:
    seen: list[int] = []
    barrier = threading.Barrier(4)

    def task(number: int) -> None:
        barrier.wait(30)
        seen.append(number)

    together(4, task)
    assert sorted(seen) == [0, 1, 2, 3]

    def wrong(number: int) -> None:
        check(number != 2, "two")

    with pytest.raises(AssertionError, match="two"):
        together(4, wrong)
