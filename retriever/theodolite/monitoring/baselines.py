"""What the latest searches are held against: the baseline, and the week before the last 24 hours.

The baseline is the first seven days, once they have 200 searches. Until then it is all so far but the latest, of which
more is tolerated: it does not know days and weeks yet.
"""

import json
import sqlite3

from theodolite.monitoring.alert_rules import Past
from theodolite.monitoring.histograms import Moments

HOUR = 3600
_WEEK = 7 * 24 * HOUR
_ENOUGH = 200  # searches of a baseline
_SOME = 100  # searches of one that is still being gathered, and of a week
_YOUNG = 2.0  # its tolerance


def latest_values(connection: sqlite3.Connection, since: float = -1e18) -> dict[str, list[float]]:
    """The values kept one by one, in their order."""
    found: dict[str, list[float]] = {}
    for name, value in connection.execute("SELECT name, value FROM latest WHERE start >= ? ORDER BY number", (since,)):
        found.setdefault(name, []).append(value)
    return found


def totals(connection: sqlite3.Connection, since: float, until: float) -> dict[str, Moments]:
    """The moments of each series over the windows that begin in a time."""
    rows = connection.execute(
        "SELECT name, sum(count), sum(total), sum(squares) FROM series WHERE start >= ? AND start < ? GROUP BY name",
        (since, until),
    )
    return {name: Moments(count, total, squares) for name, count, total, squares in rows}


def pasts(connection: sqlite3.Connection, now: float) -> list[Past]:
    """What there is to compare with. Settles the baseline when its week is over."""
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
    """The baseline, or all so far but the latest; None where nothing was measured."""
    row = connection.execute("SELECT value FROM notes WHERE name = 'baseline'").fetchone()
    if row is not None:
        return Past("the baseline", {name: Moments(*values) for name, values in json.loads(row[0]).items()})
    since = _since(connection)
    found = totals(connection, since, 1e18)
    for name, values in latest_values(connection, since).items():
        found[name] = found.get(name, Moments()) - Moments.of(values)
    return Past("the baseline so far", found, tolerance=_YOUNG) if found else None


def note(connection: sqlite3.Connection, name: str, value: object) -> None:
    """Keep a JSON value under a name."""
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))


def _since(connection: sqlite3.Connection) -> int:
    """Where the baseline begins: with the first window, unless it was begun anew."""
    row = connection.execute("SELECT value FROM notes WHERE name = 'since'").fetchone()
    if row is not None:
        return int(json.loads(row[0]))
    (first,) = connection.execute("SELECT min(start) FROM series").fetchone()
    return int(first or 0)
