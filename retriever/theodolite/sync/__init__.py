"""Files and folders kept in step with a collection."""

from theodolite.sync.report import Progress, Relocated, Report
from theodolite.sync.run import sync

__all__ = ["Progress", "Relocated", "Report", "sync"]
