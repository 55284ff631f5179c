"""How a search ranks: what the caller asks for, checked."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from theodolite.errors import ConfigError, InputError
from theodolite.protocols import Boost, Fusion
from theodolite.ranking.boosts import as_boosts
from theodolite.ranking.relevance import Relevance
from theodolite.ranking.versions import Rule, Versions, as_instant
from theodolite.types import Document, Mode
from theodolite.vectors.metrics import MetricName, get_metric

if TYPE_CHECKING:  # imported where it is wanted
    from theodolite.rerankers.stage import Rerank

Accept = Callable[[Document], bool]
"""Whether a document may be a hit."""

_MODES = get_args(Mode)
_FUSION = Fusion()
_POOL = 5  # candidates for each of the hits that diversity chooses from,
_FEWEST = 50  # and at least so many
_SPARE = 20  # what is asked for beyond k where near-duplicates are left out


@dataclass(frozen=True, slots=True)
class Ranking:
    """What one search does beside finding what is near. `plain` where that is all.

    Attributes:
        mode, boosts, now, versions, relevance, min_relevance, fusion: see `protocols.Request`.
        rerank: the reranking stage.
        diversity: how much hits are to differ from one another, from 0 to 1.
        dedupe: the cosine from which on hits count as the same.
        pool: how many documents diversity chooses from; None for so many as k says.
        accept: whether a document may be a hit; None: all may.
        told: how similarity is told as relevance; None where it cannot be.
    """

    told: Relevance | None
    mode: Mode = "dense"
    boosts: tuple[Boost, ...] = ()
    now: float = 0.0
    versions: Versions | None = None
    min_relevance: float | None = None
    fusion: Fusion = field(default_factory=Fusion)
    rerank: "Rerank | None" = None
    diversity: float = 0.0
    dedupe: float | None = None
    pool: int | None = None
    accept: Accept | None = None

    @property
    def relevance(self) -> Relevance | None:
        """What the engine needs of it."""
        return self.told if self.mode != "lexical" and (self.boosts or self.min_relevance is not None) else None

    @property
    def plain(self) -> bool:
        """Whether nothing but similarity and filters decides."""
        later = self.rerank is not None or self.diversity or self.dedupe is not None
        return self.mode == "dense" and not (self.boosts or later)

    @property
    def with_vectors(self) -> bool:
        return bool(self.diversity) or self.dedupe is not None

    @property
    def widens(self) -> bool:
        """Whether more candidates may be asked for, because near-duplicates have left too few.

        Not where a reranker leaves some out: it would come to read everything that is stored.
        """
        return self.dedupe is not None and (self.rerank is None or self.rerank.min_relevance is None)

    def wanted(self, k: int) -> int:
        """How many documents the engine is to find, for k hits."""
        wanted = [k]
        if self.rerank is not None:
            wanted.append(self.rerank.candidates)
        if self.diversity:
            wanted.append(max(_POOL * k, _FEWEST) if self.pool is None else self.pool)
        if self.dedupe is not None:
            wanted.append(k + max(k, _SPARE))
        return max(wanted)


def ranking(
    metric: MetricName,
    *,
    mode: Mode,
    boosts: Boost | Iterable[Boost],
    rules: Sequence[Rule],
    as_of: Any,
    include_superseded: bool,
    substitute: bool,
    now: float | None,
    relevance: Any,
    min_relevance: float | None,
    fusion: Fusion | None,
    rerank: Any,
    diversity: float,
    dedupe: float | None,
    pool: int | None = None,
    accept: Accept | None = None,
) -> Ranking:
    """The options of one search, checked.

    Raises:
        ConfigError, InputError: what does not fit, or would do nothing.
    """
    if mode not in _MODES:
        raise InputError(f"mode is {mode!r}; it is one of {', '.join(map(repr, _MODES))}")
    # Of no weight a boost changes nothing: the ranking is then the plain one, to the last bit.
    chosen = tuple(boost for boost in as_boosts(boosts) if getattr(boost, "weight", None) != 0)
    if min_relevance is not None:
        if mode != "dense":
            raise ConfigError(
                f"min_relevance is for dense search: in {mode} mode a document found by its words has no relevance. "
                "Leave it out, or set it on a reranker's calibrated score: rerank=Rerank(..., min_relevance=...)"
            )
        if not is_number(min_relevance) or not -math.inf < min_relevance <= 1:
            raise InputError(f"min_relevance is {min_relevance!r}; it must be a number up to 1")
    if fusion is not None and mode != "hybrid":
        raise ConfigError(f"fusion is for mode='hybrid', not for {mode!r}")
    if not rules:
        asked = [name for name, on in (("include_superseded", include_superseded), ("substitute", substitute)) if on]
        if as_of is not None and not chosen:
            asked.insert(0, "as_of")
        if asked:
            raise ConfigError(
                f"{' and '.join(asked)} would do nothing: there are no rules for versions. Pass versions=, to open() "
                "or to the search"
            )
    if not is_number(diversity) or not 0 <= diversity <= 1:
        raise InputError(f"diversity is {diversity!r}; it must be a number from 0 to 1")
    if dedupe is not None and not (is_number(dedupe) and 0 < dedupe <= 1):
        raise InputError(f"dedupe is {dedupe!r}; it must be a cosine above 0, at most 1, or None")
    if pool is not None and not diversity:
        raise ConfigError("pool would do nothing: it says what diversity chooses from. Pass diversity=, too")
    if pool is not None and (isinstance(pool, bool) or not isinstance(pool, int) or pool < 1):
        raise InputError(f"pool is {pool!r}; it must be a whole number of at least 1")
    if accept is not None and not callable(accept):
        raise InputError(f"accept is {accept!r}; it must be a function of a document. Pass filters as where=")
    told = told_relevance(metric, relevance, needed=mode != "lexical" and (bool(chosen) or min_relevance is not None))
    present = time.time() if now is None else checked_now(now)
    moment = as_instant(as_of, present)
    if now is None:
        # By the minute, so that what boosts make of a million dates serves more than one search.
        present = math.ceil((moment / 1e6 if as_of is not None else present) / 60) * 60.0
    return Ranking(
        told=told,
        mode=mode,
        boosts=chosen,
        now=present,
        versions=Versions(tuple(rules), moment, include_superseded, substitute) if rules else None,
        min_relevance=None if min_relevance is None else float(min_relevance),
        fusion=_FUSION if fusion is None else checked_fusion(fusion),
        rerank=as_rerank(rerank),
        diversity=float(diversity),
        dedupe=None if dedupe is None else float(dedupe),
        pool=pool,
        accept=accept,
    )


def told_relevance(metric: MetricName, given: Any, *, needed: bool = True) -> Relevance | None:
    """Relevance from what a caller gives: None (the metric's own), a floor, or a function.

    Returns:
        None where there is none, and none is needed. Raises ConfigError where it is.
    """
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return Relevance(metric, floor=float(given))
    if given is None and not get_metric(metric).has_relevance and not needed:
        return None
    return Relevance(metric, mapping=given)


def checked_fusion(fusion: Any) -> Fusion:
    """Raises ConfigError."""
    if not isinstance(fusion, Fusion):
        raise ConfigError(f"fusion is {fusion!r}; pass Fusion(dense=1.0, lexical=0.5), say")
    weights = (fusion.dense, fusion.lexical)
    if not all(is_number(weight) and 0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ConfigError(f"the weights of fusion are {weights}; they must be at least 0, and one of them more")
    if not is_number(fusion.constant) or not 0 <= fusion.constant < math.inf:
        raise ConfigError(f"{fusion}: constant must be a number of at least 0")
    if isinstance(fusion.depth, bool) or not isinstance(fusion.depth, int) or fusion.depth < 1:
        raise ConfigError(f"{fusion}: depth must be a whole number of at least 1")
    return fusion


def checked_now(now: Any) -> float:
    """Seconds since 1970, of a number of them, a date, a datetime or an ISO-8601 string."""
    return as_instant(now, 0.0, "now") / 1e6


def is_number(given: Any) -> bool:
    """Whether it is a number that options may be: of Python or numpy, and neither True nor False."""
    return isinstance(given, (int, float, np.integer, np.floating)) and not isinstance(given, bool)


def as_rerank(given: Any) -> "Rerank | None":
    """A reranking stage, of a stage or a reranker. Models that are named are loaded once."""
    if given is None:
        return None
    from theodolite.rerankers.stage import Rerank

    if isinstance(given, Rerank):
        return given
    return _named(given) if isinstance(given, str) else Rerank(given)


@lru_cache(maxsize=4)
def _named(name: str) -> "Rerank":
    from theodolite.rerankers.stage import Rerank

    return Rerank(name)
