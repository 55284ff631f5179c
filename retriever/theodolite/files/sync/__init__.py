"""Keep a collection in sync with files and folders."""

from theodolite.files.sync.report import Relocated, SyncProgress, SyncReport
from theodolite.files.sync.run import sync

__all__ = ["SyncProgress", "Relocated", "SyncReport", "sync"]
