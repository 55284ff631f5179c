"""The command `info`."""

import platform
import sqlite3
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from theodolite.cli import output
from theodolite.cli.opening import open_collection
from theodolite.cli.options import Collection, Json

_OF_THIS_PROCESS = {"columns", "read_only"}  # the command itself has filtered nothing and opened read-only


def info(location: Collection, json_: Json = False) -> None:
    """Show the contents and settings of a collection.

    \b
    Examples:
      theodolite info kb
      theodolite info kb --json
    """
    with open_collection(location) as kb:
        values = kb.info()
    packages = {name: version(name) for name in ("theodolite", "numpy", "numkong")}
    versions = {**packages, "sqlite": sqlite3.sqlite_version, "python": platform.python_version()}
    if json_:
        output.say_json({**values, "versions": versions})
    else:
        listed = ", ".join(f"{name} {number}" for name, number in versions.items())
        output.show_mapping({**_lines(values), "versions": listed})


def _lines(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `Retriever.info`, each on one line, without those that are empty."""
    left_out = _OF_THIS_PROCESS if values["transforms"] else {*_OF_THIS_PROCESS, "transforms", "raw_dimension"}
    lines = {name: value for name, value in values.items() if value is not None and name not in left_out}
    if values["transforms"]:
        lines["transforms"] = ", ".join(values["transforms"])
    if unreadable := lines.pop("unreadable_dates", None):
        lines["unreadable_dates"] = ", ".join(f"{name}: {count:,}" for name, count in unreadable.items())
    if (approximate := values.get("approximate")) is not None:
        lines["approximate"] = output.index_line(approximate)
    if (recommended := values.get("recommended")) is not None:
        lines["recommended"] = f"reindex with {recommended['index']}: {output.estimate_line(recommended)}"
    return lines
