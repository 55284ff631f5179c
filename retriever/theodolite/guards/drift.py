"""Drift: how far an embedder's vectors are from those it gave before, and what that looks like."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.guards.canary import Canary
from theodolite.guards.noise import Doubles, Noise
from theodolite.guards.noise import compare as cosines_and_lengths

_UNRELATED = 0.6  # median cosine below which it is likely another model
_PLAIN = 4  # the first of the fixed texts are ASCII


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Vectors of some texts now, beside those recorded.

    Attributes:
        kind: `query`, `document`, or `corpus` for documents of the collection.
        texts: what was encoded, (n,).
        cosines: between now and then, (n,); NaN where either is not finite or one of them is zero.
        norms: (n, 2): recorded, now; NaN where they are not recorded.
        noise: of the encoder, which is no drift.
    """

    kind: str
    texts: tuple[str, ...]
    cosines: Doubles
    norms: Doubles
    noise: Noise

    @property
    def turned(self) -> NDArray[np.bool_]:
        """(n,): cosines lower than noise explains."""
        turned: NDArray[np.bool_] = ~(self.cosines >= self.noise.min_cosine)
        return turned

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(n,): cosines lower, or norms farther apart, than noise explains."""
        then, now = self.norms.T
        lengths = np.isnan(then) | (np.abs(now - then) <= self.noise.norm_tolerance * np.abs(then))
        failed: NDArray[np.bool_] = self.turned | ~lengths
        return failed


def compare(
    kind: str, texts: tuple[str, ...], then: Doubles, now: Doubles, noise: Noise | None, *, norms: bool = True
) -> Drift:
    """Both (n, d). `norms=False`: the lengths of `then` are not those the embedder gave."""
    cosines, lengths = cosines_and_lengths(then, now)
    if not norms:
        lengths[:, 0] = np.nan
    return Drift(kind, texts, cosines, lengths, noise or Noise())


@dataclass(frozen=True, slots=True, eq=False)
class EmbedderCheck:
    """What comparing an embedder with the one the collection was built with has found.

    Attributes:
        drifts: what was compared: the canary through both encoders, and documents. Empty: there was nothing.
        recorded: of the embedder then, see `canary.about`; None where nothing is recorded.
        now: the same of the embedder compared.
        broken: known answers that do not hold, in words.
        noise: how much vectors of the same text differ: of `query`, `document` and perhaps `corpus`, if it is known.
        unsteady: what is wrong with that, in words; empty where nothing is.
    """

    drifts: tuple[Drift, ...]
    recorded: dict[str, Any] | None
    now: dict[str, Any]
    broken: tuple[str, ...] = ()
    noise: Mapping[str, Noise] = field(default_factory=dict)
    unsteady: str = ""

    @property
    def ok(self) -> bool:
        return not self.broken and not any(drift.failed.any() for drift in self.drifts)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for a health endpoint."""
        parts = {
            drift.kind: {
                "texts": len(drift.texts),
                "failed": int(np.count_nonzero(drift.failed)),
                "min_cosine": _number(_least(drift.cosines)),
                "norms": [_number(value) for value in _range(drift.norms[:, 1])],
                "recorded_norms": [_number(value) for value in _range(drift.norms[:, 0])],
            }
            for drift in self.drifts
        }
        message = None if self.ok else self.message()
        return {
            "ok": self.ok,
            **parts,
            "known_answers": list(self.broken),
            "noise": {kind: noise.to_dict() for kind, noise in self.noise.items()} or None,
            "unsteady": self.unsteady or None,
            "recorded": self.recorded,
            "now": self.now,
            "message": message,
        }

    def message(self) -> str:
        """What has changed, with the figures, what that looks like, and what to do."""
        said = [*self._drifted(), *self.broken]
        if said:
            return " ".join(said)
        if not self.drifts:
            return "no vectors of the embedder are recorded with the collection, so there is nothing to compare with."
        return "the embedder gives the vectors the collection was built with."

    def _drifted(self) -> list[str]:
        bad = [drift for drift in self.drifts if drift.failed.any()]
        if not bad:
            return []
        count, total = (sum(int(np.count_nonzero(drift.failed)) for drift in bad), sum(map(_size, self.drifts)))
        cosines = np.concatenate([drift.cosines for drift in self.drifts])
        norms = np.concatenate([drift.norms for drift in self.drifts])
        norms = norms[~np.isnan(norms[:, 0])]
        first = bad[0]
        place = int(np.argmax(first.failed))
        said = (
            f"the embedder does not give the vectors the collection was built with: {count} of {total} texts differ. "
            f"Cosines {_least(cosines):.3f} to {np.nanmax(cosines, initial=-1):.3f}, median "
            f"{_median(cosines):.3f} (at least {first.noise.min_cosine:.4g} is expected)"
        )
        if len(norms):
            (low, high), (least, most) = _range(norms[:, 1]), _range(norms[:, 0])
            said += f"; norms {low:.4g} to {high:.4g}, recorded {least:.4g} to {most:.4g}"
        said += f"; first {_shown(first.texts[place])} as {KIND_NAMES[first.kind]}. "
        return [said + self._looks_like(), self._versions() + _ADVICE]

    def _looks_like(self) -> str:
        """A guess at the cause, from what has changed and what has not."""
        parts = {drift.kind: drift for drift in self.drifts}
        turned = {kind: drift.turned for kind, drift in parts.items()}
        cosines = np.concatenate([drift.cosines for drift in self.drifts])
        if np.isnan(cosines).any():
            return "Some vectors are zero, NaN or infinite now: the model does not work."
        if not any(some.any() for some in turned.values()):
            return "Directions agree, lengths do not: a normalisation step has gone, or come."
        if "query" not in parts or not (turned["query"].any() or turned["document"].any()):
            return "It is another model than the one the stored vectors are from, or the texts were prepared otherwise."
        if np.median(cosines) < _UNRELATED:
            return "The directions have little in common: it is another model, or other weights."
        query, document = turned["query"], turned["document"]
        if query.any() != document.any():
            kind = "questions" if query.any() else "passages"
            return f"Only {kind} have changed: another prompt, or another encoder for them."
        if not query[:-1].any():
            return "Only the long text has changed: it now reads more of a text, or less (max_tokens)."
        if not query[:_PLAIN].any():
            return "Plain English has not changed, other texts have: another tokenizer, or other normalisation of text."
        return "It may be another version of the model, its tokenizer or its precision."

    def _versions(self) -> str:
        then = (self.recorded or {}).get("packages", {})
        now = self.now["packages"]
        changed = [f"{name} {then[name]} → {now[name]}" for name in then if now.get(name, then[name]) != then[name]]
        names = (self.recorded or {}).get("name"), self.now["name"]
        if names[0] is not None and names[0] != names[1]:
            changed.insert(0, f"embedder {names[0]!r} → {names[1]!r}")
        return f"Since then: {', '.join(changed)}. " if changed else ""


KIND_NAMES = {"query": "a question", "document": "a passage", "corpus": "a document of the collection"}
_ADVICE = (
    "Pass the embedder it was built with, or embed the documents anew in another collection; on_drift='warn' opens it "
    "all the same."
)


def against(canary: Canary, query: Doubles, document: Doubles, noise: Mapping[str, Noise]) -> tuple[Drift, Drift]:
    return (
        compare("query", canary.texts, canary.query, query, noise.get("query")),
        compare("document", canary.texts, canary.document, document, noise.get("document")),
    )


def _size(drift: Drift) -> int:
    return len(drift.texts)


def _least(values: Doubles) -> float:
    return float(np.nanmin(values, initial=np.inf)) if not np.isnan(values).all() else float("nan")


def _median(values: Doubles) -> float:
    return float(np.nanmedian(values)) if not np.isnan(values).all() else float("nan")


def _range(values: Doubles) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    return (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))


def _number(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
