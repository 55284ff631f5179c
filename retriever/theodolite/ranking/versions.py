"""Versions: rules for which of several documents is the current one, as data. Engines evaluate them.

A rule is hard: what is not current is not found. In the order of what a rule says:

1. A document *begins* at the latest of what `Latest.by`, `Valid.start` and `Superseded.since` say of it, where these
   are dates. What has not begun by `as_of` is not there, for no rule.
2. `Valid`: it *ends* at `end`; from that instant on it is not current. What has ended still succeeds what it replaced.
3. `Latest`: of the documents with the same value of `per`, those with the highest `by` are current.
4. `Superseded`: a document whose key has a successor that is there is not current.

All rules look at all documents of the scope, and a document is current if all of them say so. Only then filters apply.
Documents of one partition have nothing to do with those of another.

Values of `per`, and keys, are the same as in filters: 1 and 1.0, but not 1 and True or "1"; dates and ISO-8601 strings
where they name one instant. None, an empty string, a list and a mapping count as missing.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from theodolite.errors import ConfigError, InputError
from theodolite.filters import instant
from theodolite.metadata import MAX_FIELD

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Latest:
    """Of the documents with the same `per`, the newest: those with the highest `by`.

    All that tie for it are current: passages of one document share both. `by` is a date (see `theodolite.filters`; an
    ISO-8601 string counts) or a number, such as that of a version; dates come after numbers. A document without
    `by`, or with something else in it, is older than all that have one. A document without `per` stands alone.
    """

    per: str
    by: str

    kind: ClassVar[str] = "latest"

    def __post_init__(self) -> None:
        _check_fields(self, ("per", "by"))


@dataclass(frozen=True, slots=True)
class Valid:
    """Documents within their time: start <= as_of < end. A date is its midnight in UTC.

    A field that is missing, or is no date, sets no limit. Give one of the two at least.
    """

    start: str | None = None
    end: str | None = None

    kind: ClassVar[str] = "valid"

    def __post_init__(self) -> None:
        _check_fields(self, ("start", "end"))
        if self.start is None and self.end is None:
            raise ConfigError("Valid names no field: give start, end, or both")


@dataclass(frozen=True, slots=True)
class Superseded:
    """Documents that no other one replaces.

    Documents share a `key` where they are passages of one. `by` of an old document names the key of its successor, or
    a list of them; `replaces` of a new one names what it replaces. Give one of the two at least.

    A successor that is not there (not stored, outside the scope, or not begun) supersedes nothing: the old document
    stays, and its hit says what is missing. Chains are followed, through keys that are not there, too. In a circle
    nobody supersedes one another; what leads out of it supersedes all of it. A document without a key is current, and
    its links say nothing.

    Args:
        since: the field that says when a document begins, such as its date; without it `as_of` takes nothing back.
    """

    key: str
    by: str | None = None
    replaces: str | None = None
    since: str | None = None

    kind: ClassVar[str] = "superseded"

    def __post_init__(self) -> None:
        _check_fields(self, ("key", "by", "replaces", "since"))
        if self.by is None and self.replaces is None:
            raise ConfigError("Superseded names no link: give by, replaces, or both")


Rule = Latest | Valid | Superseded

_KINDS: dict[str, type[Rule]] = {rule.kind: rule for rule in (Latest, Valid, Superseded)}


@dataclass(frozen=True, slots=True)
class Versions:
    """Rules, and how one search applies them.

    Attributes:
        rules: in any order; at least one.
        as_of: microseconds since 1970, UTC.
        include_superseded: whether what is no longer current is found, too, and marked.
        substitute: whether a successor that fails the filter is found in place of a document that passes it.
    """

    rules: tuple[Rule, ...]
    as_of: int
    include_superseded: bool = False
    substitute: bool = False


def as_rules(given: Any) -> tuple[Rule, ...]:
    """A rule or an iterable of them. Raises ConfigError for anything else."""
    if isinstance(given, Rule):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
        raise ConfigError(f"versions is {given!r}; it must be a list of rules: Latest, Valid, Superseded")
    rules = tuple(given)
    for rule in rules:
        if not isinstance(rule, Rule):
            raise ConfigError(f"{rule!r} is no rule for versions: use Latest, Valid or Superseded")
    return rules


def as_instant(given: Any, now: float, what: str = "as_of") -> int:
    """Microseconds since 1970: of a date, a datetime, an ISO-8601 string or seconds; of `now` (seconds) for None.

    Raises:
        InputError: it is none of these, or beyond the years 1 to 9999; `what` names it.
    """
    if given is None:
        return int(now * 1e6)
    moment = None
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        with suppress(OverflowError, ValueError):  # infinite, NaN, or too far away for a date
            moment = (_EPOCH + timedelta(seconds=given) - _EPOCH) // _MICROSECOND
    else:
        moment = instant(given)
    if moment is None:
        raise InputError(
            f"{what} is {given!r:.80}; it must be a date, a datetime, a string such as '2025-03-01', or seconds since "
            "1970, in the years 1 to 9999"
        )
    return moment


def to_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Rules as JSON values."""
    return [{"kind": rule.kind, **asdict(rule)} for rule in rules]


def from_json(given: Any) -> tuple[Rule, ...]:
    """What `to_json` gave. Raises ConfigError."""
    try:
        rules = []
        for entry in given:
            fields = dict(entry)
            rules.append(_KINDS[fields.pop("kind")](**fields))
        return tuple(rules)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"these are no rules for versions: {given!r:.200}") from error


def fields(rules: Iterable[Rule]) -> tuple[str, ...]:
    """The metadata fields they read."""
    named = (value for rule in rules for value in asdict(rule).values() if value is not None)
    return tuple(dict.fromkeys(named))


def dates_of(rule: Rule) -> list[str]:
    """The metadata fields that a rule reads as dates."""
    match rule:
        case Latest(by=by):
            return [by]
        case Valid(start=start, end=end):
            return [field for field in (start, end) if field is not None]
        case Superseded(since=since):
            return [] if since is None else [since]


def _check_fields(rule: Any, names: tuple[str, ...]) -> None:
    optional = {"start", "end", "replaces", "since"} | ({"by"} if isinstance(rule, Superseded) else set())
    for name in names:
        value = getattr(rule, name)
        if value is None and name in optional:
            continue
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{type(rule).__name__}: {name} is {value!r}; it must be the name of a metadata field")
        if len(value) > MAX_FIELD:
            raise ConfigError(f"{type(rule).__name__}: {name} has {len(value):,} characters, at most {MAX_FIELD:,}")
