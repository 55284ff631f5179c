"""The embedder guard together with other parts: known answers, transforms, the monitor, clear()."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.guards.test_embedder_guard import DIMENSION, PASSAGES, OtherModel, Plain, Unnormalized

from theodolite import Center, EmbedderDriftError, EmbedderOptions, Pca, Retriever, Whiten


@pytest.mark.parametrize("factor", [50.0, float("nan")])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_known_answers_of_an_embedder_that_has_changed(tmp_path: Path, metric: Any, factor: float) -> None:
    """The guard must say what has changed before a query is refused, and a check must not raise."""

    class Scaled(Plain):
        def _encode(self, texts: Sequence[str]) -> Any:
            return super()._encode(texts) * np.float32(factor)

    with Retriever.open(
        tmp_path / "kb", embedder=EmbedderOptions(Plain(), expect=[("refunds", "d0", -2, 1)]), metric=metric
    ) as kb:
        kb.add(PASSAGES)
    with pytest.raises(EmbedderDriftError):
        Retriever.open(tmp_path / "kb", embedder=Scaled())
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Scaled(), canary="off")) as kb:
        assert not kb.check_embedder().ok


def test_lost_normalization_is_recognized_behind_transforms(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder, embedder=Plain(), metric="dot", transforms=[Pca(8)]) as kb:
        kb.add([f"{document.text} {i}" for i, document in enumerate(PASSAGES * 2)])
        assert kb._engine.space.norms == "unit"
    with pytest.raises(EmbedderDriftError, match="a normalization step was added or removed"):
        Retriever.open(folder, embedder=Unnormalized())


class Noisy(Plain):
    """The same model in another precision: cosines of 0.9998."""

    def _encode(self, texts: Sequence[str]) -> Any:
        found = super()._encode(texts)
        return found + np.float32(0.02) / DIMENSION**0.5 * np.cos(np.arange(found.size, dtype=np.float32) ** 2).reshape(
            found.shape
        )


@pytest.mark.parametrize("transform", [Center(), Whiten()])
def test_transforms_that_enlarge_rounding_cause_no_refusal(tmp_path: Path, transform: Any) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder, embedder=Plain(), transforms=[transform]) as kb:
        kb.add([f"{document.text} {i}" for i, document in enumerate(PASSAGES * 20)])
    Retriever.open(folder, embedder=Noisy(), create=True).close()
    with pytest.raises(EmbedderDriftError):
        Retriever.open(folder, embedder=OtherModel())


class Divides(Plain):
    """Knows ASCII only, and divides the zero vector of anything else by its length."""

    def _encode(self, texts: Sequence[str]) -> Any:
        known = np.array([text.isascii() for text in texts])
        return np.where(known[:, None], super()._encode(texts), np.float32(np.nan))


def test_what_was_nan_may_be_nan(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=Divides()) as kb:
        kb.add(PASSAGES)
    Retriever.open(tmp_path / "kb", embedder=Divides(), create=True).close()
    with pytest.raises(EmbedderDriftError):
        Retriever.open(tmp_path / "kb", embedder=Plain())


def test_only_documents_have_changed(tmp_path: Path) -> None:
    class Titled(Plain):
        """Puts something before passages of this collection, which the fixed texts do not show."""

        def _encode(self, texts: Sequence[str]) -> Any:
            return super()._encode([f"Handbook of colleagues {text}" if "Passage" in text else text for text in texts])

    with Retriever.open(tmp_path / "kb", embedder=Plain()) as kb:
        kb.add(PASSAGES)
    with pytest.raises(EmbedderDriftError, match="The stored vectors come from another model"):
        Retriever.open(tmp_path / "kb", embedder=Titled())


def test_an_embedder_that_cannot_embed_the_canary(tmp_path: Path) -> None:
    """The error says that the texts are ours."""

    class Ascii(Plain):
        def _encode(self, texts: Sequence[str]) -> Any:
            return super()._encode([text.encode("ascii").decode() for text in texts])

    with Retriever.open(tmp_path / "kb", embedder=Ascii()) as kb, pytest.raises(UnicodeEncodeError) as error:
        kb.add(PASSAGES)
    assert any("canary='off'" in note for note in error.value.__notes__)
    with Retriever.open(tmp_path / "kb", embedder=EmbedderOptions(Ascii(), canary="off")) as kb:
        assert len(kb.add(PASSAGES)) == len(PASSAGES)


def test_documents_take_the_places_of_those_that_are_gone(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", embedder=Plain()) as kb:
        kb.add(PASSAGES, batch_size=10)
        kb.delete([document.id for document in PASSAGES])
        kb.add(["something else"])
    with Retriever.open(tmp_path / "kb", embedder=Plain()) as kb:
        kb.add(["and again"])
        assert [drift.texts for drift in kb.check_embedder().drifts if drift.kind == "corpus"] == [("and again",)]
