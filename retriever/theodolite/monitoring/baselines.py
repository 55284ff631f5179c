"""Baselines for recent searches: the first week, and the week before the last 24 hours.

The baseline is the first seven days, once they have 200 searches. Until then it is everything so far except the latest
values. The limits are wider for that time, since it does not cover daily and weekly cycles yet.
"""

import json
import sqlite3

from theodolite.monitoring.alert_rules import Past
from theodolite.monitoring.histograms import Moments

HOUR = 3600
_WEEK = 7 * 24 * HOUR
_ENOUGH = 200  # minimum number of searches in a complete baseline
_SOME = 100  # minimum number of searches in an incomplete baseline, and in a week
_YOUNG = 2.0  # tolerance of an incomplete baseline


def latest_values(connection: sqlite3.Connection, since: float = -1e18) -> dict[str, list[float]]:
    """Return the latest individual values of each series, in order."""
    found: dict[str, list[float]] = {}
    for name, value in connection.execute("SELECT name, value FROM latest WHERE start >= ? ORDER BY number", (since,)):
        found.setdefault(name, []).append(value)
    return found


def totals(connection: sqlite3.Connection, since: float, until: float) -> dict[str, Moments]:
    """Return the moments of each series over the windows that start in [since, until)."""
    rows = connection.execute(
        "SELECT name, sum(count), sum(total), sum(squares) FROM series WHERE start >= ? AND start < ? GROUP BY name",
        (since, until),
    )
    return {name: Moments(count, total, squares) for name, count, total, squares in rows}


def pasts(connection: sqlite3.Connection, now: float) -> list[Past]:
    """Return the baselines with enough searches. Store the baseline as complete once its week is over."""
    base = baseline(connection)
    if base is None:
        return []
    since = _since(connection)
    if base.tolerance == _YOUNG and now - since >= _WEEK and base.of("empty").count >= _ENOUGH:
        base = Past("the baseline", base.series)
        note(connection, "baseline", {name: [m.count, m.total, m.squares] for name, m in base.series.items()})
    found = [base]
    if base.tolerance < _YOUNG:
        day = now - 24 * HOUR
        found.append(Past("the week before", totals(connection, max(since, day - _WEEK), day)))
    return [past for past in found if past.of("empty").count >= _SOME]


def baseline(connection: sqlite3.Connection) -> Past | None:
    """Return the baseline, or everything so far except the latest values; None if nothing was measured."""
    row = connection.execute("SELECT value FROM notes WHERE name = 'baseline'").fetchone()
    if row is not None:
        return Past("the baseline", {name: Moments(*values) for name, values in json.loads(row[0]).items()})
    since = _since(connection)
    found = totals(connection, since, 1e18)
    for name, values in latest_values(connection, since).items():
        found[name] = found.get(name, Moments()) - Moments.of(values)
    return Past("the baseline so far", found, tolerance=_YOUNG) if found else None


def note(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Store a JSON value under a name."""
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))


def _since(connection: sqlite3.Connection) -> int:
    """Return the start of the baseline: the first window, or the time of the last reset."""
    row = connection.execute("SELECT value FROM notes WHERE name = 'since'").fetchone()
    if row is not None:
        return int(json.loads(row[0]))
    (first,) = connection.execute("SELECT min(start) FROM series").fetchone()
    return int(first or 0)
