"""Readers turn files into passages.

`find` lists the files under some paths. `read` turns a file into documents: passages that fit the embedder.
"""

from theodolite.files.readers.find import File, Options, Repaired, Skipped, find
from theodolite.files.readers.passages import read
from theodolite.files.readers.splitting import Splitter

__all__ = ["File", "Options", "Repaired", "Skipped", "Splitter", "find", "read"]
