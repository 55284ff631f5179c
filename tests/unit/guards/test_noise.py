"""An embedder's noise: measured when a collection is created, tolerated later, refused if results depend on it."""

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.guards.test_embedder_guard import DIMENSION, PASSAGES, OtherModel, Plain, Unnormalized, built

from theodolite import Document, DriftWarning, EmbedderDriftError, EmbedderOptions, Retriever
from theodolite.guards.noise import MIN_COSINE, NORM_TOLERANCE, Noise, noise_between
from theodolite.guards.notes import keep_note, read_note


class Quantized(Plain):
    """One scale for the whole batch, as dynamic quantization has it: a vector depends on the texts beside it."""

    levels = 5

    def _encode(self, texts: Sequence[str]) -> Any:
        raw = super()._encode(texts) * np.array([[1 + min(len(text), 100) / 100] for text in texts], np.float32)
        scale = np.abs(raw).max(initial=1e-9) / self.levels
        rounded = np.round(raw / scale) + 0.01 * raw
        return rounded / np.linalg.norm(rounded, axis=1, keepdims=True)


class OneByOne(Quantized):
    def _encode(self, texts: Sequence[str]) -> Any:
        return np.concatenate([super(OneByOne, self)._encode([text]) for text in texts])


class Slightly(Quantized):
    """Cosines of about 0.9995 between batches: less than a change that is refused."""

    levels = 60


class Dropout(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.draw = np.random.default_rng(0)

    def _encode(self, texts: Sequence[str]) -> Any:
        found = super()._encode(texts)
        return found * (self.draw.random(found.shape) > 0.1)


class Overflows(Plain):
    def _encode(self, texts: Sequence[str]) -> Any:
        found = super()._encode(texts)
        return found if len(texts) < 16 else np.where(np.arange(len(texts))[:, None] == 3, np.float32("nan"), found)


class Sorts(Plain):
    """Returns vectors in the order in which the texts were computed."""

    def _encode(self, texts: Sequence[str]) -> Any:
        return super()._encode(sorted(texts, key=len))


class Lengths(Plain):
    """Directions are exact, lengths depend on the batch."""

    def _encode(self, texts: Sequence[str]) -> Any:
        return super()._encode(texts) * np.float32(1 + 0.2 / len(texts))


@contextmanager
def silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


NOISY: list[tuple[Callable[[], Any], str]] = [
    (Quantized, r"Quantized .* \(as a \w+\).*cosines between batches are as low as 0\.\d+\. Embed one text"),
    (Dropout, r"a text embedded alone twice has a cosine of 0\.\d+\. Is dropout on"),
    (Overflows, r"NaN or infinite in one batch and not in another"),
    (Sorts, r"cosines between batches are as low as -?0\.\d+\."),
]


@pytest.mark.parametrize(("noisy", "message"), NOISY)
def test_noise_that_changes_results_is_refused_when_the_collection_is_made(
    tmp_path: Path, noisy: Any, message: str
) -> None:
    with Retriever.open(tmp_path / "kb", embedder=noisy()) as kb:
        for _ in range(2):
            with pytest.raises(EmbedderDriftError, match=message) as error:
                kb.add(PASSAGES)
        assert "Nothing was stored. Pass EmbedderOptions(on_drift='warn')" in str(error.value)
        assert set(error.value.noise) == {"query", "document"}
        assert len(kb) == 0
    # Another embedder may fill it.
    with Retriever.open(tmp_path / "kb", embedder=Plain()) as kb:
        kb.add(PASSAGES)


@pytest.mark.parametrize("count", [1, 8, 30])
@pytest.mark.parametrize("size", [1, 3, 1024])
def test_one_text_at_a_time_there_is_no_noise(tmp_path: Path, count: int, size: int) -> None:
    with silence():
        with Retriever.open(tmp_path / "kb", embedder=OneByOne()) as kb:
            kb.add(PASSAGES[:count], batch_size=size)
        with Retriever.open(tmp_path / "kb", embedder=OneByOne()) as kb:
            check = kb.check_embedder()
    assert check.ok
    assert check.noise["document"].cosine == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("count", [1, 8, 30])
def test_noise_below_a_change_is_allowed_for(tmp_path: Path, count: int) -> None:
    with silence():
        with Retriever.open(tmp_path / "kb", embedder=Slightly()) as kb:
            kb.add(PASSAGES[:count])
        with Retriever.open(tmp_path / "kb", embedder=Slightly()) as kb:
            noise = kb.check_embedder().to_dict()["noise"]
    assert MIN_COSINE < noise["document"]["batch"] < 0.9999
    for changed in (OtherModel(), Unnormalized(), Plain(query_prefix="query: ")):
        with pytest.raises(EmbedderDriftError):
            Retriever.open(tmp_path / "kb", embedder=changed)


def test_a_collection_made_in_spite_of_noise_opens_with_a_warning(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Quantized(), on_drift="warn")) as kb:
        with pytest.warns(DriftWarning, match="between batches") as caught:
            kb.add(PASSAGES)
        assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(DriftWarning, match=r"between batches.* Re-embed the documents after fixing it"):
        kb = Retriever.open(tmp_path / "kb", embedder=Quantized())
    with kb:
        assert kb.check_embedder().ok
        assert "between batches" in kb.check_embedder().to_dict()["unsteady"]
    with pytest.raises(EmbedderDriftError, match="another model"):
        Retriever.open(tmp_path / "kb", embedder=OtherModel())


def test_without_measuring_the_noise_shows_when_documents_differ(tmp_path: Path) -> None:
    """The fixed texts are always embedded in the same batches; the documents were in another one."""
    with silence(), Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Quantized(), canary_noise=False)) as kb:
        kb.add(PASSAGES)
    with pytest.warns(DriftWarning, match=r"as a document of the collection.* between batches"):
        Retriever.open(tmp_path / "kb", embedder=Quantized(), create=True).close()
    for changed in (OtherModel, Plain):
        with pytest.raises(EmbedderDriftError):
            Retriever.open(tmp_path / "kb", embedder=changed())


@pytest.mark.parametrize(("noise", "calls"), [(True, 5), (False, 2)])
def test_calls_when_the_canary_is_made(tmp_path: Path, noise: bool, calls: int) -> None:
    embedder = Plain()
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(embedder, canary_noise=noise)) as kb:
        assert embedder.calls == 0
        kb.add(PASSAGES)
        assert embedder.calls == 2 * calls + 1, "for each side, and the documents"
        kb.add(PASSAGES)
        assert embedder.calls == 2 * calls + 2, "it is made once"
    again = Plain()
    with Retriever.open(tmp_path / "kb", embedder=again) as kb:
        assert again.calls == 2 * 2 + 1
        assert (kb.check_embedder().to_dict()["noise"] is not None) == noise


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_lengths_matter_where_scores_depend_on_them(tmp_path: Path, metric: Any) -> None:
    with Retriever.open(tmp_path / "kb", embedder=Lengths(), metric=metric) as kb:
        if metric == "cosine":
            kb.add(PASSAGES)
        else:
            with pytest.raises(EmbedderDriftError, match=r"norms differ by up to \d+\.\d%"):
                kb.add(PASSAGES)
    if metric == "cosine":
        with silence():
            Retriever.open(tmp_path / "kb", embedder=Lengths(), create=True).close()


@pytest.mark.parametrize("noise", [0.0, 1e-13, 1e-7, 4e-5, 2e-4])
def test_the_tolerance_of_an_embedder_with_little_noise(noise: float) -> None:
    found = Noise(1 - noise, 1 - noise / 2, noise)
    assert (found.min_cosine, found.norm_tolerance) == (MIN_COSINE, NORM_TOLERANCE)
    assert not found.changes_results(norms=True)


def test_the_tolerance_comes_from_the_noise() -> None:
    assert Noise(1.0, 0.9994).min_cosine == pytest.approx(0.9976)
    assert Noise(0.9994, 1.0).min_cosine == pytest.approx(0.9976)
    assert Noise(norm=0.01).norm_tolerance == pytest.approx(0.04)
    assert Noise(1.0, 0.998).changes_results(norms=False)
    assert Noise(norm=0.03).changes_results(norms=True)
    assert not Noise(norm=0.03).changes_results(norms=False)


def test_figures_of_noise() -> None:
    one, other = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])
    found = noise_between((one, one), (one, other), (one, 2 * one))
    assert [found.alone, found.batch, found.norm] == pytest.approx([1.0, 0.6, 0.5])
    nothing = np.array([[0.0, 0.0]])
    assert noise_between((nothing, nothing), (nothing, nothing)) == Noise()
    assert noise_between((one, one), (one, nothing)).batch == -1
    assert noise_between((one, one), (one, one * np.nan)).batch == -1


def forget_noise(folder: Path) -> None:
    """Make the canary one of the versions that did not measure."""
    with Retriever.open(folder) as kb:
        canary = json.loads(read_note(kb._engine, "canary") or "")
        del canary["noise"]
        keep_note(kb._engine, "canary", json.dumps({**canary, "version": 1}))


def test_canaries_of_earlier_versions(tmp_path: Path) -> None:
    folder = built(tmp_path)
    forget_noise(folder)
    with silence():
        Retriever.open(folder, embedder=Plain(), create=True).close()
    for changed in (OtherModel, Quantized, Unnormalized):
        with pytest.raises(EmbedderDriftError):
            Retriever.open(folder, embedder=changed())


class Int8(Plain):
    precision = "int8"


class Earlier(Plain):
    """The int8 vectors of earlier versions: cosines of 0.985 to the vectors of now."""

    def _encode(self, texts: Sequence[str]) -> Any:
        turned = super()._encode(texts) + np.float32(0.24) / DIMENSION**0.5 * np.cos(np.arange(DIMENSION) ** 2)
        return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def test_int8_of_earlier_versions_opens_with_a_warning(tmp_path: Path) -> None:
    folder = built(tmp_path, Earlier())
    with pytest.raises(EmbedderDriftError):
        Retriever.open(folder, embedder=Int8())
    forget_noise(folder)
    with pytest.warns(DriftWarning, match=r"by an earlier version, .*Re-embed the documents"):
        Retriever.open(folder, embedder=Int8(), create=True).close()

    class OtherInt8(OtherModel):
        precision = "int8"

    for changed in (Plain, OtherInt8):
        with pytest.raises(EmbedderDriftError):
            Retriever.open(folder, embedder=changed())


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_known_answers_hold_to_the_score_that_a_search_shows(tmp_path: Path, metric: Any) -> None:
    """Questions are embedded together when they are checked, and one by one when they are asked."""
    questions = ["refunds", "what is paid for parcels", "gift cards"]
    with Retriever.open(tmp_path / "kb", embedder=Slightly(), metric=metric) as kb:
        kb.add(PASSAGES)
        best = [(question, kb.search(question, k=1)[0]) for question in questions]
    expect = [(question, hit.document.id, hit.scores["similarity"], hit.scores["similarity"]) for question, hit in best]
    with silence():
        Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Slightly(), expect=expect), create=True).close()
    off = [(question, name, low + 0.1, high + 0.1) for question, name, low, high in expect]
    with pytest.raises(EmbedderDriftError, match="expected "):
        Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Slightly(), expect=off))


async def test_what_is_awaited_may_have_shared_a_batch(tmp_path: Path) -> None:
    class Awaited(Slightly):
        async def aencode_query(self, texts: Sequence[str], /) -> Any:
            return self.encode_query(texts)

        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            return self.encode_document(texts)

    class Other(Awaited):
        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            return OtherModel().encode_document(texts)

    with silence(), Retriever.open(tmp_path / "kb", embedder=Awaited()) as kb:
        await kb.aadd(PASSAGES)
        assert len(await kb.asearch_many(["refunds", "parcels"])) == 2
    with Retriever.open(tmp_path / "kb", embedder=Other()) as kb, pytest.raises(EmbedderDriftError, match="aencode_d"):
        await kb.aadd([Document("more")])


def test_read_only_folders_are_not_measured(tmp_path: Path) -> None:
    """The result could not be stored, so each opening would measure again."""
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(PASSAGES, vectors=Plain().encode_document([document.text for document in PASSAGES]))
    embedder = Plain()
    Retriever.open(tmp_path / "kb", embedder=embedder, read_only=True).close()
    assert embedder.calls == 0


def test_a_filled_collection_that_has_no_canary_opens_with_a_warning(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb") as kb:
        kb.add(PASSAGES, vectors=OneByOne().encode_document([document.text for document in PASSAGES]))
    with pytest.warns(DriftWarning, match="between batches"):
        Retriever.open(tmp_path / "kb", embedder=Quantized(), create=True).close()


def test_async_and_plain_opening_agree(tmp_path: Path) -> None:
    """A noisy embedder is refused for its noise when documents are awaited, too."""

    class Awaited(Quantized):
        async def aencode_document(self, texts: Sequence[str], /) -> Any:
            return self.encode_document(texts)

    with Retriever.open(tmp_path / "kb", embedder=Awaited()) as kb:
        with pytest.raises(EmbedderDriftError, match="between batches"):
            asyncio.run(kb.aadd(PASSAGES))
        assert len(kb) == 0
