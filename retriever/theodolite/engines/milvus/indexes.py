"""Approximate indexes of a Milvus collection: their names, and the effort that reaches a target recall."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from theodolite.engines import refusals

FLAT = "flat"

# The name, the settings of the build, and the parameter of a search that sets its effort, with its steps.
_KINDS: Mapping[str, tuple[dict[str, Any], str, tuple[int, ...]]] = {
    "flat": ({"index_type": "FLAT", "params": {}}, "", ()),
    "hnsw": (
        {"index_type": "HNSW", "params": {"M": 16, "efConstruction": 200}},
        "ef",
        (64, 128, 256, 512, 1024, 2048, 4096),
    ),
    "ivf": ({"index_type": "IVF_FLAT", "params": {"nlist": 1024}}, "nprobe", (8, 16, 32, 64, 128, 256, 512, 1024)),
}


@dataclass(frozen=True, slots=True)
class IndexSetting:
    """The index of a collection, and how much effort a search makes.

    Attributes:
        name: flat, hnsw or ivf.
        effort: the minimum of the search parameter; a search for n documents uses n if that is more.
        target_recall: the recall that the calibration aims at.
        recall: measured at this effort; None without an approximate index.
    """

    name: str = FLAT
    effort: int = 0
    target_recall: float = 0.0
    recall: float | None = field(default=None)

    @property
    def index_type(self) -> str:
        return str(_KINDS[self.name][0]["index_type"])

    def parameters(self, n: int) -> dict[str, Any]:
        """Return the search parameters for n documents."""
        name = _KINDS[self.name][1]
        if not name:
            return {}
        return {name: max(self.effort, n) if name == "ef" else self.effort}

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None) -> "IndexSetting":
        return cls() if text is None else cls(**json.loads(text))


def build_settings(name: str, metric_type: str) -> dict[str, Any]:
    """Return the settings to build an index with. Raises ConfigError for unknown names."""
    if name not in _KINDS:
        raise refusals.unknown_index(name, list(_KINDS))
    return {**_KINDS[name][0], "metric_type": metric_type}


def calibrated(name: str, target_recall: float, recall_at: Callable[[dict[str, Any]], list[float]]) -> IndexSetting:
    """Return the setting with the least effort whose recall reaches the target.

    The lower bound of the mean recall has to reach it: a small sample is lucky half of the time.

    Args:
        recall_at: returns the recall of each query with these search parameters.
    """
    _, parameter, steps = _KINDS[name]
    best = IndexSetting(name, steps[-1] if steps else 0, target_recall)
    for effort in steps:
        recalls = np.array(recall_at({parameter: effort}))
        mean = float(recalls.mean())
        error = float(recalls.std(ddof=1) / np.sqrt(len(recalls))) if len(recalls) > 1 else 0.0
        best = IndexSetting(name, effort, target_recall, mean)
        if mean - 2 * error >= target_recall:
            break
    return best
