"""Where the watch over embedders meets other parts: known answers, transforms, the monitor, clear()."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.test_guards_watch import PASSAGES, Plain, Unnormalised

from theodolite import EmbedderDriftError, Pca, Retriever


@pytest.mark.parametrize("factor", [50.0, float("nan")])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_known_answers_of_an_embedder_that_has_changed(tmp_path: Path, metric: Any, factor: float) -> None:
    """The doors would refuse its questions; the watch is to say what has changed, and a check to raise nothing."""

    class Scaled(Plain):
        def _encode(self, texts: Sequence[str]) -> Any:
            return super()._encode(texts) * np.float32(factor)

    with Retriever.open(tmp_path / "kb", embedder=Plain(), metric=metric, expect=[("refunds", "d0", -2, 1)]) as kb:
        kb.add(PASSAGES)
    with pytest.raises(EmbedderDriftError):
        Retriever.open(tmp_path / "kb", embedder=Scaled())
    with Retriever.open(tmp_path / "kb", embedder=Scaled(), canary="off") as kb:
        assert not kb.check_embedder().ok


def test_lost_normalisation_is_told_as_such_behind_transforms(tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder, embedder=Plain(), metric="dot", transforms=[Pca(8)]) as kb:
        kb.add([f"{document.text} {i}" for i, document in enumerate(PASSAGES * 2)])
        assert kb._engine.space.norms == "unit"
    with pytest.raises(EmbedderDriftError, match="a normalisation step has gone"):
        Retriever.open(folder, embedder=Unnormalised())
