"""Readers: from files to passages.

`find` lists the files under some paths, `read` turns one into documents: passages of a size the embedder reads.
"""

from theodolite.files.readers.find import File, Options, Repaired, Skipped, find
from theodolite.files.readers.passages import read
from theodolite.files.readers.splitting import Splitter

__all__ = ["File", "Options", "Repaired", "Skipped", "Splitter", "find", "read"]
