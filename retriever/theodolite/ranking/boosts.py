"""Boosts: bounded preferences for new documents, and for sources with authority.

A boost multiplies relevance by 1 - weight × (1 - g), where g in [0, 1] rates a document. So a boost of weight w never
overturns a gap in relevance of more than w, relative to the better document.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, InputError, did_you_mean
from theodolite.filters import Compare, Filter, Not, Or, instant
from theodolite.filters.values import equal
from theodolite.metadata import MAX_FIELD
from theodolite.protocols import Boost
from theodolite.types import Mask

Doubles = NDArray[np.float64]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "y": 365.25 * _DAY}
_SHORT = re.compile(r"(\d+(?:\.\d+)?)([smhdwy])", re.ASCII)
# ISO 8601. Months are left out: they have no length.
_ISO = re.compile(r"P(?=.)(\d+Y)?(\d+W)?(\d+D)?(?:T(?=.)(\d+H)?(\d+M)?(\d+S)?)?", re.ASCII)
_WORDS = re.compile(r"(\d+(?:\.\d+)?)\s*(sec|min|h|d|w|y|mo)[a-z]*", re.ASCII | re.IGNORECASE)
_TAKEN = (
    "similarity",
    "relevance",
    "lexical",
    "fusion",
    "rerank",
    "rerank_relevance",
    "dedupe",
    "diversity",
    "version",
)


@final
@dataclass(frozen=True, slots=True)
class Freshness:
    """A preference for new documents: g = floor + (1 - floor) × 2^(-max(0, age - grace) / half_life).

    The field holds dates as filters read them: a date, a datetime, or an ISO-8601 string; naive ones are UTC, a date is
    its midnight. Other values count as missing, also lists and numbers: a number may be a year, or seconds or
    milliseconds since 1970, and nothing says which.

    Attributes:
        field: the metadata field with the date; a dotted path names a field within mappings.
        half_life: above 0: a timedelta, "180d", "12h", "30m", "2w", "90s", "1y" (365.25 days), or ISO 8601 ("P180D").
        weight: the largest share of relevance to lose, in [0, 1). 1 needs a floor: factors of 0 have no order.
        floor: g of infinitely old documents, in [0, 1].
        grace: the age up to which documents count as new; like `half_life`, or 0.
        missing: documents without a date keep their relevance (`neutral`), count as infinitely old (`oldest`), or
            make a search that could find one raise InputError (`error`).
        future: dates after now count as now (`now`), or make a search that could find one raise InputError (`error`).
        name: the factor's name in `Hit.scores`; two boosts of one search need different names.

    Raises:
        ConfigError: settings outside these bounds.
    """

    field: str
    half_life: str | timedelta
    weight: float = 0.2
    floor: float = 0.0
    grace: str | timedelta | Literal[0] = 0
    missing: Literal["neutral", "oldest", "error"] = "neutral"
    future: Literal["now", "error"] = "now"
    name: str = "freshness"
    _half_life: int = dataclasses.field(init=False, repr=False, compare=False)  # both in microseconds
    _grace: int = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self)
        half_life = duration(self.half_life, "half_life") // _MICROSECOND
        if not half_life:
            raise ConfigError(f"half_life is {self.half_life!r}; it must be above 0")
        grace = 0 if self.grace == 0 else duration(self.grace, "grace") // _MICROSECOND
        _check_share("floor", self.floor)
        _check_weight(self.weight, self.floor, "Use a weight below 1, or a floor above 0")
        _check_choice("missing", self.missing, ("neutral", "oldest", "error"))
        _check_choice("future", self.future, ("now", "error"))
        object.__setattr__(self, "_half_life", half_life)
        object.__setattr__(self, "_grace", grace)

    def factors(self, values: Sequence[Any], now: float, /) -> Doubles:
        """Return a factor in (0, 1] for each value (None if missing), shape (n,); `now` in seconds since 1970, UTC."""
        moments = [instant(value) for value in values]
        found = self.of_instants(np.array([moment or 0 for moment in moments], np.int64), now)
        found[[moment is None for moment in moments]] = self.of_missing
        return found

    def of_instants(self, moments: NDArray[np.int64], now: float) -> Doubles:
        """Return the factors of instants in microseconds since 1970, UTC, shape (n,)."""
        late = np.maximum((_present(now) - _EPOCH) // _MICROSECOND - self._grace - moments, 0)
        return _weighted(self.weight, self.floor + (1.0 - self.floor) * np.exp2(late / -self._half_life))

    @property
    def of_missing(self) -> float:
        """The factor of values that are not dates."""
        return 1.0 - self.weight * (1.0 - self.floor) if self.missing == "oldest" else 1.0

    def refuses(self, now: float) -> Filter | None:
        """Return the filter for documents that a search is refused for; None if there are none."""
        present = _present(now)
        undated = Not(Or((Compare(self.field, "$lte", present), Compare(self.field, "$gt", present))))
        later = Compare(self.field, "$gt", present)
        match self.missing, self.future:
            case "error", "error":
                return Or((undated, later))
            case "error", _:
                return undated
            case _, "error":
                return later
        return None

    @property
    def refusal(self) -> str:
        """The reason: what these documents have in common."""
        why = []
        if self.missing == "error":
            why.append(f"no date in {self.field!r} (missing='error')")
        if self.future == "error":
            why.append(f"a date in {self.field!r} that is still to come (future='error')")
        return f"have {' or '.join(why)}"

    def describe(self, value: Any, now: float) -> str:
        """Explain the factor of a value, in words."""
        moment = instant(value)
        if moment is None:
            return f"no date in {self.field}, {'the oldest' if self.missing == 'oldest' else 'left as it is'}"
        age = _present(now) - _EPOCH - moment * _MICROSECOND
        text = value if isinstance(value, str) else value.isoformat()
        old = f"{_words(age)} old" if age >= timedelta(0) else f"{_words(-age)} ahead"
        grace = ", as good as new" if age // _MICROSECOND <= self._grace else ""
        return f"{self.field} {text}, {old}{grace}"


@final
@dataclass(frozen=True, slots=True)
class Authority:
    """A preference for some sources: g is the level of the field's value in a table.

    Values are looked up as filters compare them: 1 is 1.0 but not True, strings are compared exactly. For a list the
    element with the highest level counts. The level of None is also that of documents without the field.

    Attributes:
        field: the metadata field with the source; a dotted path names a field within mappings.
        levels: levels in [0, 1] by value: a string, number, boolean or None. It is copied.
        default: the level of all other values; None for the lowest in the table, so that no source wins only because
            it is not in the table.
        weight: the largest share of relevance to lose, in [0, 1). 1 needs levels above 0: factors of 0 have no order.
        name: the factor's name in `Hit.scores`; two boosts of one search need different names.

    Raises:
        ConfigError: settings outside these bounds.
    """

    field: str
    levels: Mapping[Any, float] = dataclasses.field(compare=False)
    default: float | None = None
    weight: float = 0.2
    name: str = "authority"
    # In Python 1 equals True, so the types are compared, too.
    _table: tuple[tuple[str, Any, float], ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_names(self)
        if not isinstance(self.levels, Mapping) or not self.levels:
            raise ConfigError(f"levels is {self.levels!r}; it must map values to levels, such as {{'policy': 1.0}}")
        for value, level in self.levels.items():
            if not isinstance(value, (str, int, float, type(None))) or value != value:
                raise ConfigError(f"levels has the key {value!r}; keys must be strings, numbers, booleans or None")
            _check_share(f"the level of {value!r}", level)
        if self.default is not None:
            _check_share("default", self.default)
        lowest = min([*self.levels.values(), *([] if self.default is None else [self.default])])
        _check_weight(self.weight, lowest, "Use a weight below 1, or levels above 0")
        # An enum's members are strings, but print otherwise.
        levels = {str.__str__(v) if isinstance(v, str) else v: float(level) for v, level in self.levels.items()}
        entries = [(type(value).__name__, value, level) for value, level in levels.items()]
        object.__setattr__(self, "levels", levels)
        object.__setattr__(self, "_table", tuple(sorted(entries, key=lambda entry: (entry[2], repr(entry)))))

    @property
    def table(self) -> list[tuple[Any, float]]:
        """The values in the table and their factors, the lowest factor first."""
        return [(value, self._factor(level)) for _, value, level in self._table]

    @property
    def of_others(self) -> float:
        """The factor of values that are not in the table."""
        return self._factor(self._table[0][2] if self.default is None else self.default)

    def factors(self, values: Sequence[Any], now: float = 0.0, /) -> Doubles:
        """Return a factor in (0, 1] for each value (None if missing), shape (n,); `now` is ignored."""
        return np.array([self._factor(self._level(value)[0]) for value in values], np.float64)

    def describe(self, value: Any, now: float = 0.0) -> str:
        """Explain the factor of a value, in words."""
        level, named = self._level(value)
        what = f"no {self.field}" if value is None else f"{self.field} {value!r}"
        return f"{what}, level {level:g}{'' if named else ' by default'}"

    def _level(self, value: Any) -> tuple[float, bool]:
        """Return the level of a value, and whether it is in the table."""
        if isinstance(value, str):  # tables may be long
            named = self.levels.get(value)
        else:
            named = next((level for _, wanted, level in reversed(self._table) if equal(value, wanted)), None)
        if named is not None:
            return named, True
        return (self._table[0][2] if self.default is None else self.default), False

    def _factor(self, level: float) -> float:
        return 1.0 - self.weight * (1.0 - level)


def as_boosts(given: Any) -> tuple[Boost, ...]:
    """Return a boost or an iterable of boosts as a tuple. Raises ConfigError for anything else, or equal names."""
    if isinstance(given, tuple) and not given:  # the usual case; checking a protocol is slow
        return ()
    if _is_boost(given):
        given = (given,)
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
        raise ConfigError(f"boosts is {given!r}; expected a list of boosts, such as Freshness and Authority")
    boosts = tuple(given)
    names: set[str] = set(_TAKEN)
    for boost in boosts:
        if not _is_boost(boost):
            raise ConfigError(f"{boost!r} is not a Boost: expected name, field and factors(values, now)")
        if boost.name in names:
            raise ConfigError(f"the name {boost.name!r} of {boost!r} is taken. Pass another name, name='...'")
        names.add(boost.name)
    return boosts


def check_refusals(
    boosts: Iterable[Boost],
    now: float,
    mask_of: Callable[[Filter], Mask],
    eligible: Mask | None,
    total: int,
    id_of: Callable[[int], str],
) -> None:
    """Refuse a search if a boost refuses one of the documents that it may find.

    Args:
        now: seconds since 1970, UTC.
        mask_of: returns the rows of live documents that pass a filter, shape (rows,).
        eligible: the rows that the search may find, shape (rows,); None for all live ones.
        total: the number of these rows.
        id_of: returns the id of a row's document.

    Raises:
        InputError: with `boost`, `count` and `first`, an id.
    """
    for boost, tree in refused_documents(boosts, now):
        refused = mask_of(tree) if eligible is None else mask_of(tree) & eligible
        count = int(np.count_nonzero(refused))
        if count:
            raise refusal(boost, count, total, id_of(int(refused.argmax())))


def refused_documents(boosts: Iterable[Boost], now: float) -> Iterator[tuple[Boost, Filter]]:
    """Yield each boost that refuses some documents, with the filter that these pass."""
    for boost in boosts:
        refuses = getattr(boost, "refuses", None)
        tree = refuses(now) if refuses else None
        if tree is not None:
            yield boost, tree


def refusal(boost: Boost, count: int, total: int, first: str) -> InputError:
    """Return the error for a search that may find documents that a boost refuses."""
    why = getattr(boost, "refusal", "are refused")
    return InputError(
        f"{boost.name}: {count} of {total} eligible documents {why}, first {first!r}. Correct their metadata, leave "
        "them out with where, or let the boost accept them",
        boost=boost.name,
        count=count,
        first=first,
    )


def duration(given: Any, what: str) -> timedelta:
    """Read a duration of at least 0: a timedelta, a number with a unit, or ISO 8601 ("P180D", "PT12H").

    Units are s, m (minutes), h, d, w and y (365.25 days).

    Raises:
        ConfigError: anything else, above all a number without a unit.
    """
    try:
        if isinstance(given, timedelta):
            found = given
        elif isinstance(given, str) and (short := _SHORT.fullmatch(given)):
            found = timedelta(seconds=float(short[1]) * _SECONDS[short[2]])
        elif isinstance(given, str) and (iso := _ISO.fullmatch(given)):
            parts = (part for part in iso.groups() if part)
            found = timedelta(seconds=sum(int(part[:-1]) * _SECONDS[part[-1].lower()] for part in parts))
        else:
            raise ConfigError(f"{what} is {given!r}; {_advice(given)}")
    except OverflowError:
        raise ConfigError(f"{what} is {given!r}, which is too long; use a shorter one, or no boost at all") from None
    if found < timedelta(0):
        raise ConfigError(f"{what} is {given!r}; it cannot be negative")
    return found


def _advice(given: Any) -> str:
    usual = "it must be a timedelta or a number with a unit (s, m, h, d, w, y), such as '180d' or '12h'"
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return f"a number has no unit: did you mean '{given:g}d'?"
    words = _WORDS.fullmatch(given.strip()) if isinstance(given, str) else None
    if words is None:
        return usual
    if words[2].lower() == "mo":
        return f"months differ in length: did you mean '{float(words[1]) * 30:g}d'?"
    return f"{usual}. Did you mean '{words[1]}{words[2][0].lower()}'?"


def _is_boost(given: Any) -> bool:
    # A class has the methods, too, but no name.
    return isinstance(given, Boost) and isinstance(given.name, str) and isinstance(given.field, str)


def _weighted(weight: float, good: Doubles) -> Doubles:
    return 1.0 - weight * (1.0 - good)


def _present(now: float) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=now)
    except (OverflowError, ValueError):
        raise InputError(f"now is {now!r}; it must be in seconds since 1970, before the year 10000") from None


def _words(age: timedelta) -> str:
    for unit, seconds in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        number = int(age.total_seconds() // seconds)
        if number:
            return f"{number:,} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"


def _check_names(boost: Freshness | Authority) -> None:
    for what, name in (("field", boost.field), ("name", boost.name)):
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{type(boost).__name__}: {what} is {name!r}; it must be a string that is not empty")
        if len(name) > MAX_FIELD:
            raise ConfigError(f"{type(boost).__name__}: {what} has {len(name):,} characters, at most {MAX_FIELD:,}")


def _check_share(what: str, share: Any) -> None:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ConfigError(f"{what} is {share!r}; it must be a number in [0, 1]")


def _check_weight(weight: Any, lowest: float, advice: str) -> None:
    """Raise ConfigError if a factor could be 0, which would make all such documents equally bad."""
    _check_share("weight", weight)
    if 1.0 - weight * (1.0 - lowest) <= 0:
        raise ConfigError(f"with weight {weight!r} a factor could be 0, and documents would lose their order. {advice}")


def _check_choice(what: str, given: Any, known: tuple[str, ...]) -> None:
    if given not in known:
        listed = ", ".join(map(repr, known))
        raise ConfigError(f"{what} is {given!r}; it must be one of {listed}.{did_you_mean(given, known)}")
