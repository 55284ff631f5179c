"""Versions: rules for which of several documents is the current one. They are data; engines evaluate them.

A rule is hard: a search does not find documents that are not current. Rules act in this order:

1. A document *begins* at the latest date in its fields `Latest.by`, `Valid.start` and `Superseded.since`. Before it
   begins it does not exist, for any rule.
2. `Valid`: a document *ends* at `end` and is not current from that instant on. It still supersedes what it replaced.
3. `Latest`: of the documents with the same value of `per`, those with the highest `by` are current.
4. `Superseded`: a document is not current if a successor of its key is stored.

Rules see all documents of the scope, and a document is current if every rule says so. Filters apply afterwards.
Documents of different partitions never affect each other.

Keys and values of `per` compare as in filters: 1 equals 1.0, but neither True nor "1"; dates equal ISO-8601 strings
of the same instant. None, an empty string, a list and a mapping count as missing.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from theodolite.errors import MALFORMED, ConfigError, CorruptionError, EngineError, InputError, LockedError
from theodolite.filters import instant
from theodolite.metadata import MAX_FIELD
from theodolite.protocols import Engine, Notes, require
from theodolite.types import Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NOTE = "versions"  # the engine's note that holds a collection's rules

SupersededPolicy = Literal["hide", "show", "substitute"]
"""How a search treats documents that are not current: leave them out, mark them, or find successors in their place."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest of the documents with the same `per`: those with the highest `by`.

    Ties are all current: passages of one document share both fields. `by` is a date (or an ISO-8601 string) or a
    number, such as a version number; dates come after numbers. A document without `by`, or with another kind of value,
    is older than all that have one. A document without `per` is always current.
    """

    per: str
    by: str

    kind: ClassVar[str] = "latest"

    def __post_init__(self) -> None:
        _check_fields(self, ("per", "by"))


@dataclass(frozen=True, slots=True)
class Valid:
    """Documents within their period: start <= as_of < end. A date is its midnight in UTC.

    A field that is missing or holds no date sets no limit. Pass at least one of the two.
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
    """Documents that no other document replaces.

    Passages of one document share a `key`. `by` of an old document names the key of its successor, or a list of keys;
    `replaces` of a new document names what it replaces. Pass at least one of the two.

    A successor that is missing (not stored, outside the scope, or not begun) supersedes nothing: the old document
    stays current, and its hit names the missing key. Chains are followed, also through missing keys. Documents in a
    cycle do not supersede each other; a document that the cycle leads to supersedes all of it. A document without a
    key is current, and its links are ignored.

    Args:
        since: the field with the date at which a document begins. Without it, `as_of` cannot go back in time.
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
        superseded: `hide` leaves out documents that are not current; `show` finds them, too, and marks them;
            `substitute` finds a current successor that fails the filter in place of a document that passes it.
    """

    rules: tuple[Rule, ...]
    as_of: int
    superseded: SupersededPolicy = "hide"


def as_rules(given: Any) -> tuple[Rule, ...]:
    """Return a rule or an iterable of rules as a tuple. Raises ConfigError for anything else."""
    if isinstance(given, Rule):
        return (given,)
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping)):
        raise ConfigError(f"versions is {given!r}; expected a list of rules: Latest, Valid, Superseded")
    rules = tuple(given)
    for rule in rules:
        if not isinstance(rule, Rule):
            raise ConfigError(f"{rule!r} is not a rule for versions; use Latest, Valid or Superseded")
    return rules


def as_instant(given: Instant, name: str = "as_of") -> int:
    """Return microseconds since 1970 of a date, a datetime, an ISO-8601 string or seconds.

    Raises:
        InputError: it is none of these, or outside the years 1 to 9999. `name` is what messages call it.
    """
    moment = None
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        with suppress(OverflowError, ValueError):  # infinite, NaN, or too far away for a date
            moment = (_EPOCH + timedelta(seconds=given) - _EPOCH) // _MICROSECOND
    else:
        moment = instant(given)
    if moment is None:
        raise InputError(
            f"{name} is {given!r:.80}; expected a date, a datetime, a string such as '2025-03-01', or seconds since "
            "1970, in the years 1 to 9999"
        )
    return moment


def read_rules(engine: Engine) -> tuple[Rule, ...] | None:
    """Read the collection's own rules; None if none were ever stored.

    Raises:
        CorruptionError: they are damaged.
    """
    text = engine.read_note(_NOTE) if isinstance(engine, Notes) else None
    if text is None:
        return None
    try:
        return from_json(json.loads(text))
    except (ConfigError, *MALFORMED) as error:
        raise CorruptionError(f"the collection's rules for versions are damaged: {text!r:.200}") from error


def write_rules(engine: Engine, given: Rule | Iterable[Rule]) -> tuple[Rule, ...]:
    """Store rules as the collection's own, replacing earlier ones."""
    rules = as_rules(given)
    require(engine, Notes, "keep_versions()").write_note(_NOTE, json.dumps(to_json(rules)))
    return rules


def settle_rules(engine: Engine, given: Rule | Iterable[Rule] | None) -> tuple[Rule, ...]:
    """Return the collection's own rules; store the given ones first if it has none yet.

    Raises:
        ConfigError: the given rules differ from the stored ones.
    """
    stored = read_rules(engine)
    if given is None:
        return stored or ()
    rules = as_rules(given)
    if not isinstance(engine, Notes):  # they hold while it is open
        return rules
    if stored is None:
        try:
            if rules:
                engine.write_note(_NOTE, json.dumps(to_json(rules)), replace=False)
        except LockedError:
            raise
        except EngineError:  # opened read-only: they hold while it is open
            return rules
        stored = read_rules(engine) or ()
    if stored != rules:
        raise ConfigError(
            f"the collection's rules for versions are {list(stored)}, not {list(rules)}. Open it without versions= to "
            "use them, pass others to search(), or change them for all with keep_versions()"
        )
    return rules


def to_json(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    """Return rules as JSON values."""
    return [{"kind": rule.kind, **asdict(rule)} for rule in rules]


def from_json(given: Any) -> tuple[Rule, ...]:
    """Read the output of `to_json`. Raises ConfigError."""
    try:
        rules = []
        for entry in given:
            fields = dict(entry)
            rules.append(_KINDS[fields.pop("kind")](**fields))
        return tuple(rules)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"these are not rules for versions: {given!r:.200}") from error


def fields(rules: Iterable[Rule]) -> tuple[str, ...]:
    """Return the metadata fields that the rules read."""
    named = (value for rule in rules for value in asdict(rule).values() if value is not None)
    return tuple(dict.fromkeys(named))


def dates_of(rule: Rule) -> list[str]:
    """Return the metadata fields that a rule reads as dates."""
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
