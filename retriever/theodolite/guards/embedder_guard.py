"""Checks that the embedder still produces the vectors the collection was built with."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from theodolite.embedders.options import OnDrift, When
from theodolite.errors import ConfigError, DriftWarning, EmbedderDriftError, EngineError, Override, warn_caller
from theodolite.forking import register_at_fork
from theodolite.guards.canary import (
    TEXTS,
    Canary,
    Kind,
    as_raw,
    describe,
    encode,
    encode_function,
    filler_text,
    long_text,
    record,
)
from theodolite.guards.drift import KIND_NAMES, Drift, EmbedderCheck, canary_drifts, compare
from theodolite.guards.known_answers import KnownAnswer, as_answers, read_answers, store_answers, wrong_answers
from theodolite.guards.noise import Doubles, Noise, measure
from theodolite.guards.notes import keep_note, read_note
from theodolite.guards.sampled_documents import (
    MAX_DOCUMENTS,
    Entry,
    add_documents,
    read_sample,
    sample_drift,
    sample_noise,
    unchanged_entries,
)
from theodolite.protocols import Embedder, Engine, Notes
from theodolite.types import Document, Vectors
from theodolite.vectors.metrics import get_metric

NOTE = "canary"

_OLD_INT8 = Noise(batch=0.98, norm=0.02)
"""Between int8 vectors of earlier versions, which shared a scale within a batch, and the present ones, which do not."""


class EmbedderGuard:
    """Compares an embedder with the canary that is stored with a collection, and records a canary if there is none.

    Before the embedder is used, `ensure_checked` compares it once. Embedders with coroutines are also compared with
    themselves (`check_async`), because the canary is recorded through the plain methods.

    Attributes:
        differs: whether the embedder has changed, and is used nevertheless.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: Embedder,
        name: str,
        *,
        on_drift: OnDrift,
        when: When,
        noise: bool = True,
        expect: Any = None,
    ) -> None:
        """
        Args:
            name: the name of the embedder, for messages.
            on_drift: whether an embedder that has changed raises an error or a warning.
            when: whether to compare the embedder now, when it is first used, or never.
            noise: whether to measure the embedder's noise when the canary is recorded.
            expect: known answers (see `as_answers`); None for those stored with the collection.

        Raises:
            EmbedderDriftError: the embedder is compared now, and has changed.
            ConfigError: the known answers are invalid.
        """
        self._engine = engine
        self._embedder = embedder
        self._name = name
        self._on_drift = on_drift
        self._measure_noise = noise
        self._expect = None if expect is None else as_answers(expect, engine.partition)
        self.differs = False
        self._lock = threading.RLock()
        self._checked = when == "off"
        self._async_checked = {"query", "document"} if when == "off" else set[str]()
        self._sample: list[Entry] | None = None  # None until it is read
        self._sampling = when != "off" and isinstance(engine, Notes)  # until the sample is full
        register_at_fork(self)
        if when != "off" and expect is None and not isinstance(engine, Notes):
            warn_caller(_no_notes(engine), DriftWarning)
        if when == "open":
            self.ensure_checked()

    def ensure_checked(self, *, adding: bool = False) -> None:
        """Compare the embedder unless that was done. An empty collection has nothing to compare it with.

        Args:
            adding: whether documents are about to be added; an empty collection then gets a canary.

        Raises:
            EmbedderDriftError: the embedder has changed, and `on_drift` is "refuse".
        """
        if not self._checked:
            with self._lock:
                self._check_or_record(adding)

    def needs_async_check(self, kind: str) -> bool:
        """Return whether `check_async` has not been called for this kind of text."""
        return kind not in self._async_checked

    def check_async(self, kind: Kind, text: str, vector: Any) -> None:
        """Compare a vector that a coroutine of the embedder returned, (d,), with the vector of the plain method.

        Raises:
            EmbedderDriftError: they differ, and `on_drift` is "refuse".
        """
        method = self._embedder.encode_query if kind == "query" else self._embedder.encode_document

        def embed(texts: tuple[str, ...]) -> Doubles:
            return as_raw(method(texts), len(texts))

        expected, got = embed((text,)), as_raw(vector[None], 1)
        drift = compare(kind, (text,), expected, got, None) if expected.shape == got.shape else None
        if drift is not None and drift.failed.any():  # the noise of another batch may explain it
            noise = measure(embed, TEXTS, embed(TEXTS), filler_text((*TEXTS, long_text(None))))
            drift = replace(drift, noise=noise)
        if drift is None or drift.failed.any():
            difference = f"{expected.shape[1]} and {got.shape[1]} dimensions"
            if drift is not None:
                norms = drift.norms[0]
                difference = f"a cosine of {drift.cosines[0]:.3f}, norms of {norms[0]:.3g} and {norms[1]:.3g}"
            self._refuse_or_warn(
                f"encode_{kind} and aencode_{kind} of {self._name} return different vectors for {text[:40]!r}: "
                f"{difference}. Only encode_{kind} is compared with the collection; use the same model for both",
                kind=kind,
                text=text,
            )
        self._async_checked.add(kind)

    def after_add(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Sample some of the first documents that were stored with vectors of this embedder, to compare them later."""
        if not self._sampling:
            return
        with self._lock:
            try:
                sample = self._sample
                if sample is None:
                    sample = unchanged_entries(self._engine, read_sample(self._engine))
                if len(sample) < MAX_DOCUMENTS:
                    sample = add_documents(self._engine, sample, documents, vectors)
            except EngineError:  # another writer is at work; the next batch tries again
                return
            self._sample, self._sampling = sample, len(sample) < MAX_DOCUMENTS

    def check(self) -> EmbedderCheck:
        """Compare the embedder now, without raising an error if it has changed."""
        text = read_note(self._engine, NOTE)
        canary = None if text is None else Canary.from_json(text)
        noise = self._recorded_noise(canary)
        drifts: list[Drift] = []
        if canary is not None:
            query, document = encode(self._embedder, canary.texts)
            if query.shape[1] != canary.query.shape[1]:
                raise ConfigError(
                    f"the embedder has {query.shape[1]} dimensions, and the canary of the collection has "
                    f"{canary.query.shape[1]}. Pass the embedder the collection was built with",
                    expected=canary.query.shape[1],
                    got=query.shape[1],
                )
            drifts += canary_drifts(canary, query, document, noise)
        sampled = sample_drift(self._engine, self._embedder, read_sample(self._engine), noise.get("document"))
        canary_agrees = canary is not None and not any(drift.failed.any() for drift in drifts)
        if sampled is not None and sampled.failed.any() and canary is not None and canary_agrees:
            # The fixed texts have not changed. The documents may differ because they were embedded in other batches.
            measured = measure(
                encode_function(self._embedder, "document"), canary.texts[:-1], document[:-1], filler_text(canary.texts)
            )
            noise["corpus"] = sample_noise(self._engine, self._embedder, sampled).worst(measured)
            sampled = replace(sampled, noise=noise["corpus"])
        drifts += [] if sampled is None else [sampled]
        answers = read_answers(self._engine) if self._expect is None else self._expect
        is_filled = bool(self._engine.count())
        wrong = wrong_answers(self._engine, self._embedder, answers, noise.get("query")) if is_filled else ()
        unsteady = self._noise_warning(noise)
        if unsteady:
            unsteady = f"{unsteady}. Nothing else has changed. Re-embed the documents after fixing it"
        now = describe(self._embedder, self._name)
        result = EmbedderCheck(tuple(drifts), None if canary is None else canary.about, now, wrong, noise, unsteady)
        if result.ok and is_filled and canary is not None and not unsteady and self._expect is None:
            self._checked = True  # nothing is left for `ensure_checked` to do
        return result

    def _recorded_noise(self, canary: Canary | None) -> dict[str, Noise]:
        if canary is None:
            return {}
        if canary.version == 1 and getattr(self._embedder, "precision", None) == "int8":
            return {"query": _OLD_INT8, "document": _OLD_INT8}
        return dict(canary.noise or {})

    def _noise_warning(self, noise: Mapping[str, Noise]) -> str:
        """Describe noise that changes results; empty if it does not."""
        if any(each is _OLD_INT8 for each in noise.values()):
            return (
                f"the collection was filled by an earlier version, in which int8 vectors of {self._name} depended on "
                "the other texts of their batch. They no longer do"
            )
        norms = not get_metric(self._engine.space.metric).normalizes
        harmful = [(kind, each) for kind, each in noise.items() if each.changes_results(norms=norms)]
        if not harmful:
            return ""
        kind, worst = min(harmful, key=lambda pair: pair[1].cosine)
        return (
            f"{self._name} returns different vectors for the same text (as {KIND_NAMES[kind]}), so search results "
            f"would be partly random: {worst.describe()}"
        )

    def _check_or_record(self, adding: bool) -> None:
        if self._checked:  # another thread did it in the meantime
            return
        is_empty = self._engine.space.dimension is None or not self._engine.count()
        if not is_empty:
            self._check_and_report()
        elif adding:
            self._record_canary(replace=True)
            self._sample = []
        if self._expect is not None:
            self._store_answers(self._expect)
        self._checked = not is_empty or adding

    def _check_and_report(self) -> None:
        result = self.check()
        if not result.ok:
            self.differs = True
            self._sampling = False  # new vectors differ from those the collection was built with
            details = {name: value for name, value in result.to_dict().items() if name != "message"}
            self._refuse_or_warn(result.message(), **details)
            return
        if result.unsteady:
            warn_caller(result.unsteady, DriftWarning)
        is_writable = isinstance(self._engine, Notes) and not self._engine.info().get("read_only", False)
        if result.recorded is None and is_writable:
            self._record_canary(replace=False)

    def _record_canary(self, *, replace: bool) -> None:
        canary = record(self._embedder, self._name, noise=self._measure_noise)
        unsteady = self._noise_warning(canary.noise or {})
        if unsteady and replace and self._on_drift == "refuse":
            noise = {kind: each.to_dict() for kind, each in (canary.noise or {}).items()}
            raise EmbedderDriftError(
                f"{unsteady}. Nothing was stored.",
                override=Override("on_drift", "warn", "store the documents anyway"),
                noise=noise,
            )
        if unsteady:
            warn_caller(unsteady, DriftWarning)
        with suppress(EngineError):  # read-only, or another writer is at work: a later opening records it
            keep_note(self._engine, NOTE, canary.to_json(), replace=replace)

    def _store_answers(self, answers: tuple[KnownAnswer, ...]) -> None:
        with suppress(EngineError):
            if answers != read_answers(self._engine):
                store_answers(self._engine, answers)

    def _refuse_or_warn(self, message: str, **details: Any) -> None:
        if self._on_drift == "refuse":
            raise EmbedderDriftError(
                message, override=Override("on_drift", "warn", "use this embedder anyway"), **details
            )
        warn_caller(message, DriftWarning)


def _no_notes(engine: Engine) -> str:
    """Return the warning for an engine that does not support notes."""
    return (
        f"the engine {type(engine).__name__} cannot store notes, so an embedder that has changed since the collection "
        "was built goes undetected. Pass known answers (expect=[...]) to check it, or canary='off' to accept that"
    )
