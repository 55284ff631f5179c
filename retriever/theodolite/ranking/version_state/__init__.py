"""Rules for versions, evaluated on columns.

Each rule gives every row an interval of time that does not depend on `as_of`: from its begin until something replaces
it. `field_arrays` turns columns into arrays by row. `succession` computes until when a row is current. `state` combines
the rules, once for a commit, and has their result for one search.
"""

from theodolite.ranking.version_state.state import VersionState, VersionStateCache

__all__ = ["VersionState", "VersionStateCache"]
