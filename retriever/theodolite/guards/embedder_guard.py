"""The watch over an embedder: held to what it gave when the collection was built, before anybody sees a result."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from theodolite.embedders.options import OnDrift, When
from theodolite.errors import ConfigError, DriftWarning, EmbedderDriftError, EngineError, warn_caller
from theodolite.forking import register_at_fork
from theodolite.guards.canary import TEXTS, Canary, Kind, about, encode, encoder, filler, long_text, raw, record
from theodolite.guards.drift import KIND_NAMES, Drift, EmbedderCheck, against, compare
from theodolite.guards.known_answers import KnownAnswer, as_answers, broken, keep_answers, read_answers
from theodolite.guards.noise import Doubles, Noise, measure
from theodolite.guards.notes import keep_note, read_note
from theodolite.guards.sampled_documents import MOST, Entry, drift_of, join, noise_of, read_sample, still_stored
from theodolite.protocols import Embedder, Engine, Notes
from theodolite.types import Document, Vectors
from theodolite.vectors.metrics import get_metric

NOTE = "canary"

_OLD_INT8 = Noise(batch=0.98, norm=0.02)
"""Between vectors that earlier versions computed in int8, in batches with a common scale, and the exact ones of now."""


class EmbedderGuard:
    """Compares an embedder with the canary of a collection, or makes that canary where there is none."""

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
            name: what the embedder is called in messages.
            on_drift: whether what has changed is an error or a warning.
            when: whether the embedder is compared now, or when it is first used, or never.
            noise: whether to measure the embedder's noise when the canary is made.
            expect: known answers (see `as_answers`); None: those kept with the collection.

        Raises:
            EmbedderDriftError: it is compared now, and has changed.
            ConfigError: known answers that are none.
        """
        self._engine = engine
        self._embedder = embedder
        self._name = name
        self._on_drift = on_drift
        self._measures = noise
        self._expect = None if expect is None else as_answers(expect, engine.partition)
        self._lock = threading.RLock()
        self._done = when == "off"
        self._alike = {"query", "document"} if when == "off" else set[str]()  # sides that were seen to give the same
        self._sample: list[Entry] | None = None  # once read; no more join a full one
        self._sampling = when != "off" and isinstance(engine, Notes)
        register_at_fork(self)
        if when != "off" and expect is None and not isinstance(engine, Notes):
            warn_caller(_no_notes(engine), DriftWarning)
        if when == "open":
            self.ready()

    def ready(self, *, adding: bool = False) -> None:
        """Before the embedder is used: compare it, once. An empty collection has nothing to compare it with.

        Raises:
            EmbedderDriftError: it has changed, and `on_drift` is "refuse".
        """
        if not self._done:
            with self._lock:
                self._settle(adding)

    def unlike(self, kind: str) -> bool:
        """Whether nobody has looked yet if what is awaited is what the canary was made of."""
        return kind not in self._alike

    def awaited(self, kind: Kind, text: str, vector: Any) -> None:
        """Compare the awaited vector of a text, (d,), with what the embedder gives when it is called, once for a kind.

        Raises:
            EmbedderDriftError: they differ, and `on_drift` is "refuse".
        """
        method = self._embedder.encode_query if kind == "query" else self._embedder.encode_document

        def embed(texts: tuple[str, ...]) -> Doubles:
            return raw(method(texts), len(texts))

        called, given = embed((text,)), raw(vector[None], 1)
        found = compare(kind, (text,), called, given, None) if called.shape == given.shape else None
        if found is not None and found.failed.any():  # what was awaited may have shared a batch with others
            found = replace(found, noise=measure(embed, TEXTS, embed(TEXTS), filler((*TEXTS, long_text(None)))))
        if found is None or found.failed.any():
            told = f"{called.shape[1]} and {given.shape[1]} dimensions"
            if found is not None:
                told = (
                    f"a cosine of {found.cosines[0]:.3f}, norms of {found.norms[0, 0]:.3g} and {found.norms[0, 1]:.3g}"
                )
            message = (
                f"encode_{kind} and aencode_{kind} of {self._name} do not give the same vector: {told} for "
                f"{text[:40]!r}. What the collection is guarded by is the first; make both the same model"
            )
            if self._on_drift == "refuse":
                raise EmbedderDriftError(message, kind=kind, text=text)
            warn_caller(message, DriftWarning)
        self._alike.add(kind)

    def added(self, documents: Sequence[Document], vectors: Vectors) -> None:
        """Documents have been stored, with vectors of this embedder: some of the first join the canary."""
        if not self._sampling:
            return
        with self._lock:
            try:
                held = still_stored(self._engine, read_sample(self._engine)) if self._sample is None else self._sample
                if len(held) < MOST:
                    held = join(self._engine, held, documents, vectors)
            except EngineError:  # others are writing; the next batch will do
                return
            self._sample, self._sampling = held, len(held) < MOST

    def check(self) -> EmbedderCheck:
        """Compare now. Nothing is raised for what has changed."""
        text = read_note(self._engine, NOTE)
        canary = None if text is None else Canary.from_json(text)
        noise = self._recorded_noise(canary)
        drifts: list[Drift] = []
        if canary is not None:
            query, document = encode(self._embedder, canary.texts)
            if query.shape[1] != canary.query.shape[1]:
                raise ConfigError(
                    f"the embedder gives {query.shape[1]} dimensions; the canary of the collection has "
                    f"{canary.query.shape[1]}. Pass the embedder it was built with",
                    expected=canary.query.shape[1],
                    got=query.shape[1],
                )
            drifts += against(canary, query, document, noise)
        sampled = drift_of(self._engine, self._embedder, read_sample(self._engine), noise.get("document"))
        if (
            sampled is not None
            and canary is not None
            and sampled.failed.any()
            and not any(d.failed.any() for d in drifts)
        ):
            # The fixed texts have not changed: is it the batches in which the documents were embedded?
            measured = measure(
                encoder(self._embedder, "document"), canary.texts[:-1], document[:-1], filler(canary.texts)
            )
            noise["corpus"] = noise_of(self._engine, self._embedder, sampled).worst(measured)
            sampled = replace(sampled, noise=noise["corpus"])
        drifts += [] if sampled is None else [sampled]
        answers = read_answers(self._engine) if self._expect is None else self._expect
        failed = broken(self._engine, self._embedder, answers, noise.get("query")) if self._engine.count() else ()
        unsteady = self._unsteady(noise)
        if unsteady:
            unsteady = f"{unsteady}. Nothing else has changed. Index the documents again afterwards"
        now = about(self._embedder, self._name)
        return EmbedderCheck(tuple(drifts), None if canary is None else canary.about, now, failed, noise, unsteady)

    def _recorded_noise(self, canary: Canary | None) -> dict[str, Noise]:
        if canary is None:
            return {}
        if canary.version == 1 and getattr(self._embedder, "precision", None) == "int8":
            return {"query": _OLD_INT8, "document": _OLD_INT8}
        return dict(canary.noise or {})

    def _unsteady(self, noise: Mapping[str, Noise]) -> str:
        """What is wrong with noise, in words; empty where results do not depend on it."""
        if any(each is _OLD_INT8 for each in noise.values()):
            return (
                f"the collection was filled with {self._name} by an earlier version, where vectors in int8 depended on "
                "the texts that shared a batch; now they do not"
            )
        norms = not get_metric(self._engine.space.metric).normalizes
        found = [(kind, each) for kind, each in noise.items() if each.changes_results(norms=norms)]
        if not found:
            return ""
        kind, worst = min(found, key=lambda each: each[1].cosine)
        return (
            f"{self._name} does not always give the same vector for the same text, as {KIND_NAMES[kind]}, so hits "
            f"would depend on chance: {worst.describe()}"
        )

    def _settle(self, adding: bool) -> None:
        if self._done:  # by another thread, meanwhile
            return
        empty = self._engine.space.dimension is None or not self._engine.count()
        if not empty:
            self._compare()
        elif adding:
            self._record(replace=True)
            self._sample = []
        if self._expect is not None:
            self._keep(self._expect)
        self._done = not empty or adding

    def _compare(self) -> None:
        found = self.check()
        if not found.ok:
            self._sampling = False  # what it gives is not what the collection was built with
            if self._on_drift == "refuse":
                details = {name: value for name, value in found.to_dict().items() if name != "message"}
                raise EmbedderDriftError(found.message(), **details)
            warn_caller(found.message(), DriftWarning)
            return
        if found.unsteady:
            warn_caller(found.unsteady, DriftWarning)
        writable = isinstance(self._engine, Notes) and not self._engine.info().get("read_only", False)
        if found.recorded is None and writable:
            self._record(replace=False)

    def _record(self, *, replace: bool) -> None:
        canary = record(self._embedder, self._name, noise=self._measures)
        unsteady = self._unsteady(canary.noise or {})
        if unsteady and replace and self._on_drift == "refuse":
            noise = {kind: each.to_dict() for kind, each in (canary.noise or {}).items()}
            raise EmbedderDriftError(
                f"{unsteady}. Nothing is stored; on_drift='warn' stores the documents all the same", noise=noise
            )
        if unsteady:
            warn_caller(unsteady, DriftWarning)
        with suppress(EngineError):  # read-only, or others are writing: another time
            keep_note(self._engine, NOTE, canary.to_json(), replace=replace)

    def _keep(self, answers: tuple[KnownAnswer, ...]) -> None:
        with suppress(EngineError):
            if answers != read_answers(self._engine):
                keep_answers(self._engine, answers)


def _no_notes(engine: Engine) -> str:
    """The warning for an engine that keeps no notes."""
    return (
        f"the engine {type(engine).__name__} keeps no notes, so an embedder that has changed since the collection was "
        "built is not noticed. Pass known answers (expect=[...]) to check it, or canary='off' if that is acceptable"
    )
