"""Rules for versions, evaluated on columns.

Each rule gives every row an interval of time, whatever `as_of` is: from when it begins until something takes its place.
`fields` turns columns into arrays by row; `latest` and `links` say until when a row is current; `intervals` puts the
rules together, once for a commit; `standing` is what one search sees of them.
"""

from theodolite.engines.local.derived.versions.state import VersionState, VersionStateCache

__all__ = ["VersionState", "VersionStateCache"]
