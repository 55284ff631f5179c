"""Files and folders kept in step with a collection."""

from theodolite.files.sync.report import Progress, Relocated, Report
from theodolite.files.sync.run import sync

__all__ = ["Progress", "Relocated", "Report", "sync"]
