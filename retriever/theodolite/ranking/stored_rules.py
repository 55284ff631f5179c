"""Stored rules: what a collection takes for current, unless a search is given other rules."""

import json
from collections.abc import Iterable

from theodolite.errors import MALFORMED, ConfigError, CorruptionError, EngineError, LockedError
from theodolite.protocols import Engine
from theodolite.ranking.versions import Rule, as_rules, from_json, to_json

_NOTE = "versions"


def standing(engine: Engine, given: Rule | Iterable[Rule] | None) -> tuple[Rule, ...]:
    """The collection's rules; those given are kept where there are none yet.

    Raises:
        ConfigError: those given are others than those that are kept.
    """
    kept = _kept(engine)
    if given is None:
        return kept or ()
    rules = as_rules(given)
    if kept is None:
        try:
            if rules:
                engine.remember(_NOTE, json.dumps(to_json(rules)), replace=False)
        except LockedError:
            raise
        except EngineError:  # opened to be read only: they hold as long as it is open
            return rules
        kept = _kept(engine) or ()
    if kept != rules:
        raise ConfigError(
            f"the collection's rules for versions are {list(kept)}, not {list(rules)}: open it without versions= to "
            "follow them, pass others to search(), or change them for all with keep_versions()"
        )
    return rules


def keep(engine: Engine, given: Rule | Iterable[Rule]) -> tuple[Rule, ...]:
    """Make these the collection's rules."""
    rules = as_rules(given)
    engine.remember(_NOTE, json.dumps(to_json(rules)))
    return rules


def _kept(engine: Engine) -> tuple[Rule, ...] | None:
    text = engine.note(_NOTE)
    if text is None:
        return None
    try:
        return from_json(json.loads(text))
    except (ConfigError, *MALFORMED) as error:
        raise CorruptionError(f"the collection's rules for versions are damaged: {text!r:.200}") from error
