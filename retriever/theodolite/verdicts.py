"""Verdicts: the calibrations of an open collection, while they hold."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from theodolite.errors import ConfigError, EngineError, TheodoliteError
from theodolite.filters import parse
from theodolite.protocols import Engine, Notes, Scope
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.search_settings import as_text, describe, scope_settings, settings_of
from theodolite.ranking.versions import Rule
from theodolite.text_encoder import TextEncoder
from theodolite.types import Hits
from theodolite.verdict import Verdict

if TYPE_CHECKING:  # imported where something is calibrated
    from theodolite.evaluation.calibration import Calibration, Promise
    from theodolite.monitoring.monitor import Monitor

_NOTE = "calibration:"
_LOOK_AGAIN = 10.0  # seconds until notes are read again: other processes calibrate, too
_SHARE = 0.01  # of the time that checks may take while others write
_CHANGED = 0.2  # share of changed documents that withdraws a calibration
_LISTED = 20  # calibrations that `info()` shows
_HELD = 1000  # kinds of searches remembered
_DRIFT = ("similarity", "norms")  # causes of alerts that withdraw a calibration
_INDEX = ("recall",)  # those after which lists that an index has found have no verdict


@dataclass(frozen=True, slots=True)
class State:
    """A calibration, and whether it holds.

    Attributes:
        calibration: None if it cannot be read.
        reason: why it does not hold; empty if it does.
        index: why it does not hold for what an approximate index finds; empty if it does.
        commit: of the last search that was looked at.
        due: the time from which another commit is reason to check again.
        until: the time from which it is read again.
    """

    calibration: "Calibration | None"
    reason: str
    index: str
    commit: int
    due: float
    until: float


@dataclass(frozen=True, slots=True)
class Promised:
    """A search with `coverage=`.

    Attributes:
        options: the options to search with: as many hits as the calibration looked at.
        promise: how far down the list goes, and what that promises.
        note: the same, in words.
    """

    options: SearchOptions
    promise: "Promise"
    note: str


class Verdicts:
    """Judges the hits of searches by the calibrations that are stored with a collection.

    A calibration is withdrawn if the documents, the embedder or the questions have changed. Checks take at most one
    percent of the time while others write, and happen at the latest after ten seconds.
    """

    def __init__(self, engine: Engine, texts: TextEncoder, monitor: "Monitor | None") -> None:
        self._engine = engine
        self._texts = texts
        self._monitor = monitor
        self._names: frozenset[str] = frozenset()  # of the notes
        self._until = 0.0  # when the names are read again
        self._states: dict[str, State] = {}

    def attach(
        self,
        found: Sequence[Hits],
        options: SearchOptions,
        scope: Scope | None,
        rules: Sequence[Rule],
        relevance: Relevance | None,
        promised: Promised | None = None,
    ) -> list[Hits]:
        """Return the hits of searches with their verdicts; as they are if nothing is calibrated.

        Args:
            promised: with `coverage=`, how far down the lists go.

        Raises:
            ConfigError: the calibration no longer holds, and a coverage is promised.
        """
        if not found or not self._any():
            return list(found)
        state = self._state(settings_of(options, scope, rules, relevance), found[-1].trace.commit)
        if promised is not None:
            if state.reason:
                raise _withdrawn(promised.promise.coverage, state.reason)
            found = [_cut(hits, promised) for hits in found]
        return [replace(hits, verdict=_verdict(hits, state)) for hits in found]

    def attach_unknown(self, found: Sequence[Hits], reason: str) -> list[Hits]:
        """Return the hits of searches that no calibration is for."""
        verdict = Verdict("unknown", None, reason)
        return [replace(hits, verdict=verdict) for hits in found] if self._any() else list(found)

    def promise(
        self, options: SearchOptions, scope: Scope | None, rules: Sequence[Rule], relevance: Relevance | None
    ) -> Promised:
        """Return how to search with `coverage=`.

        Raises:
            ConfigError: such searches were not calibrated, the calibration no longer holds, or it cannot promise as
                much.
        """
        coverage = options.coverage or 0.0
        settings = settings_of(options, scope, rules, relevance)
        state = self._state(settings, None) if self._any() else _NONE
        if state is _NONE:
            raise ConfigError(
                f"coverage={coverage:g} needs a calibration of the same kind of search, and there is none for "
                f"{describe(settings)}. Call kb.calibrate(questions, judgments) with the same options and scope"
            )
        if state.calibration is None or state.reason:
            raise _withdrawn(coverage, state.reason)
        if options.rerank is not None and options.rerank.on_error != "raise":
            raise ConfigError("coverage= needs the scores of the reranker: pass on_error='raise' to Rerank")
        calibration = state.calibration
        promise = calibration.promise(coverage)
        note = (
            f"Hits down to {promise.distance:.4g} below the first one's score: at least one is relevant for "
            f"{coverage:.0%} of answerable questions like the {calibration.questions:,} of the calibration, on average "
            f"over calibrations (5th percentile {promise.low:.0%})"
        )
        return Promised(replace(options, coverage=None, k=calibration.max_hits), promise, note)

    def keep(self, calibration: "Calibration") -> None:
        """Store a calibration, in place of an earlier one of the same kind of search."""
        if isinstance(self._engine, Notes):
            self._engine.write_note(_note_of(calibration.settings), calibration.to_json())
        self._forget()

    def listed(self, scope: Scope | None) -> list[dict[str, Any]]:
        """Return the calibrations as JSON values, checked now; in a scope only its own."""
        self._forget()
        if not self._any():
            return []
        wanted = scope_settings(scope)
        found: list[dict[str, Any]] = []
        for name in sorted(self._names):
            state = self._read(name, 0)
            calibration = state.calibration
            if wanted is not None and (calibration is None or calibration.settings.get("scope") != wanted):
                continue
            figures = {} if calibration is None else calibration.summary()
            found.append({**figures, "withdrawn": state.reason or None})
            if len(found) == _LISTED:
                break
        return found

    def _any(self) -> bool:
        """Return whether anything is calibrated. Reads the names of the notes now and then."""
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _LOOK_AGAIN
            with suppress(EngineError):  # the search itself reports it
                names = self._engine.note_names() if isinstance(self._engine, Notes) else []
                self._names = frozenset(name for name in names if name.startswith(_NOTE))
        return bool(self._names)

    def _state(self, settings: dict[str, Any], commit: int | None) -> State:
        """Return the calibration for a kind of search, checked not long ago.

        Args:
            commit: of a search just made; None before it.
        """
        name = _note_of(settings)
        state, now = self._states.get(name), time.monotonic()
        if state is not None and now < state.until and (commit in (None, state.commit) or now < state.due):
            return state
        if len(self._states) >= _HELD:
            self._states.clear()
        state = self._states[name] = self._read(name, 0 if commit is None else commit)
        return state

    def _read(self, name: str, commit: int) -> State:
        if name not in self._names or not isinstance(self._engine, Notes):
            return _NONE
        from theodolite.evaluation.calibration import read

        started = time.monotonic()
        calibration: Calibration | None = None
        index = ""
        try:
            text = self._engine.read_note(name)
            found = None if text is None else read(text)
            if found is None:
                return _NONE
            if isinstance(found, str):
                reason = f"{found}. Call kb.calibrate() again"
            else:
                calibration, reason, index = found, self._reason(found), self._drift(found.at, _INDEX)
        except TheodoliteError as error:
            reason = f"the calibration cannot be checked: {error}"
        ended = time.monotonic()
        return State(calibration, reason, index, commit, ended + (ended - started) / _SHARE, ended + _LOOK_AGAIN)

    def _reason(self, calibration: "Calibration") -> str:
        """Return why a calibration no longer holds; empty if it does."""
        from theodolite.evaluation.calibrate import space_of

        now = space_of(self._engine)
        for name, before in calibration.space.items():
            if now.get(name) != before and not (name == "canary" and before is None):
                what = "embedder" if name == "canary" else name
                return f"the calibration was made with another {what}. Call kb.calibrate() again"
        if self._texts.is_made and self._texts.guard.differs:
            return "the embedder no longer produces the vectors that the calibration was made with"
        settings = calibration.settings
        partition, inner = settings.get("scope", (None, None))
        scope = Scope(partition, parse(inner)) if "scope" in settings else None
        changed = calibration.sample.changed(self._engine, parse(settings.get("where")), scope)
        if changed > _CHANGED:
            return (
                f"about {changed:.0%} of the {calibration.sample.documents:,} documents have changed since the "
                f"calibration, more than {_CHANGED:.0%}. Call kb.calibrate() again"
            )
        return self._drift(calibration.at, _DRIFT)

    def _drift(self, since: float, causes: Sequence[str]) -> str:
        """Return the first alert of the monitor since a time that has one of these causes; empty without one."""
        from theodolite.monitoring.journal import alerts_of

        for alert in alerts_of(self._engine) if self._monitor is None else self._monitor.alerts():
            if alert.cause in causes and alert.at.timestamp() > since:
                return f"the monitor found a drift after the calibration: {alert.message}"
        return ""

    def _forget(self) -> None:
        self._states.clear()
        self._until = 0.0


def _cut(hits: Hits, promised: Promised) -> Hits:
    """Return the hits that a promise needs, with a note that says what it is."""
    items, trace = hits.items, hits.trace
    if items:
        first = items[0].score
        items = tuple(hit for hit in items if first - hit.score <= promised.promise.distance)
    return replace(hits, items=items, trace=replace(trace, notes=(*trace.notes, promised.note)))


def _verdict(hits: Hits, state: State) -> Verdict:
    if state.calibration is None or state.reason:
        return Verdict("unknown", None, state.reason)
    if state.index and not hits.trace.complete:
        return Verdict("unknown", None, state.index)
    if hits.trace.rerank not in ("", "ok"):
        return Verdict("unknown", None, f"the reranker did not score these hits ({hits.trace.rerank})")
    return state.calibration.verdict(hits)


def _withdrawn(coverage: float, reason: str) -> ConfigError:
    return ConfigError(f"coverage={coverage:g} cannot be promised: {reason}", coverage=coverage, reason=reason)


def _note_of(settings: Mapping[str, Any]) -> str:
    return _NOTE + sha256(as_text(dict(settings)).encode()).hexdigest()[:16]


_NONE = State(
    None, "no calibration is for this kind of search: call kb.calibrate() with the same options", "", 0, 0.0, 0.0
)
"""Where nothing is calibrated for a kind of search."""
