"""SearchOptions: the options of a search, named, checked and documented in one place."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, final, get_args

from theodolite.errors import ConfigError, InputError
from theodolite.filters import Filter, Where, parse
from theodolite.filters.dates import from_instant
from theodolite.inputs import as_k, is_number
from theodolite.protocols import Boost, Fusion, RerankerLike
from theodolite.ranking.boosts import as_boosts
from theodolite.ranking.diversity import MMR
from theodolite.ranking.versions import Rule, SupersededPolicy, as_instant, as_rules
from theodolite.types import Document, Instant, Mode

if TYPE_CHECKING:  # imported where a search is reranked
    from theodolite.rerankers.stage import Rerank

Accept = Callable[[Document], bool]
"""Whether a document may be a hit."""

_MODES = get_args(Mode)
_SUPERSEDED = get_args(SupersededPolicy)
_FUSION = Fusion()
_POOL = 5  # candidates for each hit that diversity chooses from,
_FEWEST = 50  # and at least this many
_K = 10
_SPARE = 20  # candidates beyond k where near-duplicates are left out


@final
@dataclass(frozen=True, slots=True, init=False)
class SearchOptions:
    """The options of a search. `Retriever.search` takes the same ones; `search_with` takes them ready-made.

    Options are checked when they are created, so one object serves any number of searches. Attributes hold the values
    in one form: boosts and rules as tuples, a filter as a tree, a date as a datetime in UTC.

    Attributes:
        k: the number of hits, 10 by default; fewer only if fewer documents are eligible, or `min_relevance` leaves
            fewer. 0 with `coverage`, which decides instead.
        where: a filter on metadata (see `theodolite.filters`).
        mode: `dense` ranks by similarity, `lexical` by words (BM25), `hybrid` by both, fused by rank; `Fusion(...)` is
            `hybrid` with other weights.
        boosts: bounded factors on relevance, such as `Freshness` and `Authority`. Those of weight 0 are left out.
        versions: version rules (`Latest`, `Valid`, `Superseded`) to use instead of the collection's own; an empty
            list for none.
        as_of: the present, for versions and boosts: a date, a datetime, an ISO-8601 string, or seconds since 1970.
            Default: now. Boosts round it up to the minute.
        superseded: how to treat documents that are no longer current: `hide` leaves them out, `show` finds them,
            marked (`Hit.version`), `substitute` finds a successor that fails the filter in place of a document that
            passes it, marked.
        min_relevance: leave out passages of lower relevance, before boosts; in dense mode.
        rerank: a reranker, its name, or `Rerank(...)` with options. It reads the first 50 candidates and orders them.
        diversity: how much a hit's similarity to earlier hits counts against it, from 0 to 1, or `MMR(...)` with
            the size of the pool to choose from.
        dedupe: a cosine, such as 0.97. Of hits at least this similar, only the best stays; it lists the others.
        accept: a function of documents, for conditions that no filter can express. It runs before reranking. More and
            more documents are read until k are accepted, so a filter is faster.

        coverage: the share of answerable questions, such as 0.9, whose list must hold a relevant passage. The list is
            as long as that takes, by what `Retriever.calibrate` learned about searches with the same options. Not
            beside `k`, `dedupe`, `diversity` or `accept`.

    Raises:
        InputError: a value that is out of range or of the wrong type.
        ConfigError: options that contradict each other, or would do nothing.
        FilterError: `where` is not a filter.
        MissingExtraError: the reranker needs a package that is not installed.
    """

    k: int
    where: Filter | None
    mode: Mode | Fusion
    boosts: tuple[Boost, ...]
    versions: tuple[Rule, ...] | None
    as_of: datetime | None
    superseded: SupersededPolicy
    min_relevance: float | None
    rerank: "Rerank | None"
    diversity: MMR | None
    dedupe: float | None
    accept: Accept | None
    coverage: float | None
    # Derived once, so that no search works them out again: the mode without its weights, the weights, whether
    # similarity and the filter alone decide, and whether a stage reads the query's words.
    arms: Mode = field(init=False, repr=False, compare=False)
    fusion: Fusion = field(init=False, repr=False, compare=False)
    plain: bool = field(init=False, repr=False, compare=False)
    reads_text: bool = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        *,
        k: int | None = None,
        where: Where = None,
        mode: Mode | Fusion = "dense",
        boosts: Boost | Iterable[Boost] = (),
        versions: Rule | Iterable[Rule] | None = None,
        as_of: Instant | None = None,
        superseded: SupersededPolicy = "hide",
        min_relevance: float | None = None,
        rerank: "RerankerLike | Rerank | None" = None,
        diversity: float | MMR | None = None,
        dedupe: float | None = None,
        accept: Accept | None = None,
        coverage: float | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "k", _K if k is None else k if k == 0 and coverage is not None else as_k(k))
        put(self, "where", None if where is None else parse(where))
        put(self, "mode", mode)
        arms: Mode = "hybrid" if isinstance(mode, Fusion) else mode
        fusion = _checked_fusion(mode) if isinstance(mode, Fusion) else _FUSION
        if arms not in _MODES:
            raise InputError(f"mode is {mode!r}; expected {', '.join(map(repr, _MODES))}, or Fusion(...) for hybrid")
        put(self, "arms", arms)
        put(self, "fusion", fusion)
        # A boost of weight 0 changes nothing: without it the ranking is the plain one, to the last bit.
        chosen = () if boosts == () else tuple(b for b in as_boosts(boosts) if getattr(b, "weight", None) != 0)
        put(self, "boosts", chosen)
        put(self, "versions", None if versions is None else as_rules(versions))
        put(self, "as_of", None if as_of is None else from_instant(as_instant(as_of)))
        if superseded not in _SUPERSEDED:
            raise InputError(f"superseded is {superseded!r}; expected {', '.join(map(repr, _SUPERSEDED))}")
        put(self, "superseded", superseded)
        put(self, "min_relevance", None if min_relevance is None else _checked_relevance(min_relevance, arms))
        put(self, "rerank", None if rerank is None else as_rerank(rerank))
        put(self, "diversity", None if diversity is None else _as_mmr(diversity))
        if dedupe is not None and not (is_number(dedupe) and 0 < dedupe <= 1):
            raise InputError(f"dedupe is {dedupe!r}; expected a cosine above 0, at most 1, or None")
        put(self, "dedupe", None if dedupe is None else float(dedupe))
        if accept is not None and not callable(accept):
            raise InputError(f"accept is {accept!r}; expected a function of a document. Pass filters as where=")
        put(self, "accept", accept)
        put(self, "coverage", coverage)
        if coverage is not None:
            put(self, "coverage", _checked_coverage(coverage))
            put(self, "k", 0)
            self._check_coverage(k)
        later = self.rerank is not None or self.diversity is not None or dedupe is not None
        put(self, "plain", arms == "dense" and not chosen and not later)
        put(self, "reads_text", arms != "dense" or rerank is not None)

    def _check_coverage(self, k: int | None) -> None:
        """Raise ConfigError for options that `coverage` excludes."""
        for name, value in (
            ("k", k or None),
            ("diversity", self.diversity),
            ("dedupe", self.dedupe),
            ("accept", self.accept),
        ):
            if value is not None:
                raise ConfigError(
                    f"coverage= and {name}= exclude each other: coverage decides which hits are in the list. Leave one "
                    "out"
                )

    @property
    def needs_relevance(self) -> bool:
        """Whether the engine needs to know how similarities become relevance."""
        return self.arms != "lexical" and (bool(self.boosts) or self.min_relevance is not None)

    @property
    def with_vectors(self) -> bool:
        """Whether the candidates' vectors are needed."""
        return self.diversity is not None or self.dedupe is not None

    @property
    def widens(self) -> bool:
        """Whether more candidates are fetched where near-duplicates leave too few hits.

        Not where a reranker has a threshold: it would end up reading everything that is stored.
        """
        return self.dedupe is not None and (self.rerank is None or self.rerank.min_relevance is None)

    @property
    def candidates(self) -> int:
        """How many documents to ask the engine for."""
        if self.plain:
            return self.k
        wanted = [self.k]
        if self.rerank is not None:
            wanted.append(self.rerank.candidates)
        if self.diversity is not None:
            pool = self.diversity.pool
            wanted.append(max(_POOL * self.k, _FEWEST) if pool is None else pool)
        if self.dedupe is not None:
            wanted.append(self.k + max(self.k, _SPARE))
        return max(wanted)


def _checked_relevance(least: Any, arms: Mode) -> float:
    if arms != "dense":
        raise ConfigError(
            f"min_relevance is for dense search: in {arms} mode a document found by its words has no relevance. "
            "Leave it out, or set it on a reranker's calibrated score: rerank=Rerank(..., min_relevance=...)"
        )
    if not is_number(least) or not -math.inf < least <= 1:
        raise InputError(f"min_relevance is {least!r}; expected a number up to 1")
    return float(least)


def _checked_coverage(coverage: Any) -> float:
    if not is_number(coverage) or not 0 < coverage < 1:
        raise InputError(f"coverage is {coverage!r}; expected a share above 0 and below 1, such as 0.9")
    return float(coverage)


def _checked_fusion(fusion: Fusion) -> Fusion:
    weights = (fusion.dense, fusion.lexical)
    if not all(is_number(weight) and 0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ConfigError(f"the weights of {fusion} are {weights}; they must be at least 0, and one of them above 0")
    if not is_number(fusion.constant) or not 0 <= fusion.constant < math.inf:
        raise ConfigError(f"the constant of {fusion} must be a number of at least 0")
    if isinstance(fusion.depth, bool) or not isinstance(fusion.depth, int) or fusion.depth < 1:
        raise ConfigError(f"the depth of {fusion} must be a whole number of at least 1")
    return fusion


def _as_mmr(given: float | MMR) -> MMR | None:
    """Return the diversity stage; None for a diversity of 0, which keeps the order."""
    mmr = given if isinstance(given, MMR) else MMR(given)
    return mmr if mmr.diversity else None


def as_rerank(given: Any) -> "Rerank":
    """Return the reranking stage of a stage or a reranker. A named model is loaded once."""
    from theodolite.rerankers.stage import Rerank

    if isinstance(given, Rerank):
        return given
    return _named(given) if isinstance(given, str) else Rerank(given)


@lru_cache(maxsize=4)
def _named(name: str) -> "Rerank":
    from theodolite.rerankers.stage import Rerank

    return Rerank(name)
