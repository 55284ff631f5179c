"""Verdict: how likely a collection answers a question, judged by the scores of the hits."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Label = Literal["strong", "weak", "none", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How likely the collection answers a question. `Retriever.calibrate` teaches it, from judged questions.

    It speaks of the question, not of one passage, and it is a probability, not a proof.

    Attributes:
        label: `strong`: probably answered; `weak`: less sure; `none`: the scores are lower than those of nearly all
            questions with an answer, or nothing was found; `unknown`: the calibration does not hold for this search.
        probability: the probability that the collection answers the question; None if unknown.
        reason: why it is unknown; else empty.
    """

    label: Label
    probability: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return asdict(self)
