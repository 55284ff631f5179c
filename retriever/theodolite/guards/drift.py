"""Drift: how far an embedder's vectors are from the recorded ones, and the likely cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.guards.canary import Canary
from theodolite.guards.noise import Doubles, Noise, cosines_and_norms

_UNRELATED = 0.6  # a lower median cosine suggests another model
_PLAIN = 4  # the first texts of a canary are plain English


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """A comparison of vectors with the recorded vectors of the same texts.

    Attributes:
        kind: `query`, `document`, or `corpus` for documents of the collection.
        texts: the texts, (n,).
        cosines: between the recorded vectors and the present ones, (n,); NaN if one of the two is zero or not finite.
        norms: recorded and present, (n, 2); NaN if not recorded.
        noise: the noise of the embedder, which does not count as drift.
    """

    kind: str
    texts: tuple[str, ...]
    cosines: Doubles
    norms: Doubles
    noise: Noise

    @property
    def turned(self) -> NDArray[np.bool_]:
        """Whether the direction of a vector has changed by more than noise, (n,)."""
        turned: NDArray[np.bool_] = ~(self.cosines >= self.noise.min_cosine)
        return turned

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Whether the direction or the norm of a vector has changed by more than noise, (n,)."""
        then, now = self.norms.T
        norms_agree = np.isnan(then) | (np.abs(now - then) <= self.noise.norm_tolerance * np.abs(then))
        failed: NDArray[np.bool_] = self.turned | ~norms_agree
        return failed


def compare(
    kind: str, texts: tuple[str, ...], then: Doubles, now: Doubles, noise: Noise | None, *, norms: bool = True
) -> Drift:
    """Compare the recorded vectors of texts with the present ones, (n, d) each.

    Args:
        norms: whether the recorded vectors have the norms that the embedder returned.
    """
    cosines, both_norms = cosines_and_norms(then, now)
    if not norms:
        both_norms[:, 0] = np.nan
    return Drift(kind, texts, cosines, both_norms, noise or Noise())


@dataclass(frozen=True, slots=True, eq=False)
class EmbedderCheck:
    """The result of comparing an embedder with the one the collection was built with.

    Attributes:
        drifts: the comparisons: the canary as queries and as documents, and sampled documents. Empty if nothing is
            recorded.
        recorded: name, dimension, limit and package versions of the embedder then; None if nothing is recorded.
        now: the same for the present embedder.
        wrong_answers: a sentence for each known answer that is wrong.
        noise: how much vectors of the same text vary: of `query`, `document` and perhaps `corpus`, if known.
        unsteady: a warning about noise that changes results; empty if it does not.
    """

    drifts: tuple[Drift, ...]
    recorded: dict[str, Any] | None
    now: dict[str, Any]
    wrong_answers: tuple[str, ...] = ()
    noise: Mapping[str, Noise] = field(default_factory=dict)
    unsteady: str = ""

    @property
    def ok(self) -> bool:
        """Whether the embedder has not changed."""
        return not self.wrong_answers and not any(drift.failed.any() for drift in self.drifts)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, for a health endpoint."""
        parts = {
            drift.kind: {
                "texts": len(drift.texts),
                "failed": int(np.count_nonzero(drift.failed)),
                "min_cosine": _number(_lowest(drift.cosines)),
                "norms": [_number(value) for value in _range(drift.norms[:, 1])],
                "recorded_norms": [_number(value) for value in _range(drift.norms[:, 0])],
            }
            for drift in self.drifts
        }
        message = None if self.ok else self.message()
        return {
            "ok": self.ok,
            **parts,
            "known_answers": list(self.wrong_answers),
            "noise": {kind: noise.to_dict() for kind, noise in self.noise.items()} or None,
            "unsteady": self.unsteady or None,
            "recorded": self.recorded,
            "now": self.now,
            "message": message,
        }

    def message(self) -> str:
        """Return the figures, the likely cause, and what to do."""
        if self.ok and not self.drifts:
            return "no vectors of the embedder are recorded with the collection, so there is nothing to compare with."
        if self.ok:
            return "the embedder produces the vectors the collection was built with."
        sentences = [*self._drift_sentences(), *self.wrong_answers]
        if len(sentences) == len(self.wrong_answers):
            sentences.append(_ANSWERS_ADVICE)
        return " ".join(sentences)

    def _drift_sentences(self) -> list[str]:
        failed = [drift for drift in self.drifts if drift.failed.any()]
        if not failed:
            return []
        count = sum(int(np.count_nonzero(drift.failed)) for drift in failed)
        total = sum(len(drift.texts) for drift in self.drifts)
        cosines = np.concatenate([drift.cosines for drift in self.drifts])
        norms = np.concatenate([drift.norms for drift in self.drifts])
        norms = norms[~np.isnan(norms[:, 0])]
        first = failed[0]
        text = _shortened(first.texts[int(np.argmax(first.failed))])
        figures = (
            f"Cosines {_lowest(cosines):.3f} to {np.nanmax(cosines, initial=-1):.3f}, median {_median(cosines):.3f} "
            f"(expected at least {first.noise.min_cosine:.4g})"
        )
        if len(norms):
            (low, high), (recorded_low, recorded_high) = _range(norms[:, 1]), _range(norms[:, 0])
            figures += f"; norms {low:.4g} to {high:.4g}, recorded {recorded_low:.4g} to {recorded_high:.4g}"
        return [
            f"the embedder no longer produces the vectors the collection was built with: {count} of {total} texts "
            f"differ, first {text} as {KIND_NAMES[first.kind]}. {figures}.",
            self._likely_cause(),
            *self._changed_versions(),
            _ADVICE,
        ]

    def _likely_cause(self) -> str:
        """Guess the cause from what has changed and what has not."""
        parts = {drift.kind: drift for drift in self.drifts}
        turned = {kind: drift.turned for kind, drift in parts.items()}
        cosines = np.concatenate([drift.cosines for drift in self.drifts])
        if np.isnan(cosines).any():
            return "Some vectors are now zero, NaN or infinite: the model is broken."
        if not any(some.any() for some in turned.values()):
            return "Directions agree, norms do not: a normalization step was added or removed."
        if "query" not in parts or not (turned["query"].any() or turned["document"].any()):
            return "The stored vectors come from another model, or from texts that were prepared differently."
        if np.median(cosines) < _UNRELATED:
            return "The directions have little in common: this is another model, or other weights."
        query, document = turned["query"], turned["document"]
        if query.any() != document.any():
            kind = "queries" if query.any() else "documents"
            return f"Only {kind} have changed: they get another prompt, or another encoder."
        if not query[:-1].any():
            return "Only the long text has changed: the model now reads more or fewer tokens (max_tokens)."
        if not query[:_PLAIN].any():
            return "Plain English has not changed, other texts have: another tokenizer, or another text normalization."
        return "This may be another version of the model or its tokenizer, or another precision."

    def _changed_versions(self) -> list[str]:
        then = (self.recorded or {}).get("packages", {})
        now = self.now["packages"]
        changed = [f"{name} {then[name]} → {now[name]}" for name in then if now.get(name, then[name]) != then[name]]
        names = (self.recorded or {}).get("name"), self.now["name"]
        if names[0] is not None and names[0] != names[1]:
            changed.insert(0, f"embedder {names[0]!r} → {names[1]!r}")
        return [f"Changed since then: {', '.join(changed)}."] if changed else []


KIND_NAMES = {"query": "a query", "document": "a document", "corpus": "a document of the collection"}
_ADVICE = "Pass the embedder the collection was built with, or re-embed the documents into a new collection."
_ANSWERS_ADVICE = "If this change is intended, open once with other known answers (expect=[...]), or expect=[]."


def canary_drifts(canary: Canary, query: Doubles, document: Doubles, noise: Mapping[str, Noise]) -> tuple[Drift, Drift]:
    """Compare vectors of a canary's texts, as queries and as documents, with the recorded ones."""
    return (
        compare("query", canary.texts, canary.query, query, noise.get("query")),
        compare("document", canary.texts, canary.document, document, noise.get("document")),
    )


def _lowest(values: Doubles) -> float:
    return float(np.nanmin(values, initial=np.inf)) if not np.isnan(values).all() else float("nan")


def _median(values: Doubles) -> float:
    return float(np.nanmedian(values)) if not np.isnan(values).all() else float("nan")


def _range(values: Doubles) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
