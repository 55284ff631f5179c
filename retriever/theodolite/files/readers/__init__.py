"""Readers turn files into passages.

`find` lists the files under some paths. `read` turns a file into documents: passages that fit the embedder. Each format
has a reader, which `registry.FORMATS` names with its suffixes.
"""

from theodolite.files.readers.find import find
from theodolite.files.readers.options import Options, RecordMap
from theodolite.files.readers.passages import read
from theodolite.files.readers.results import File, Note, Repaired, Skipped
from theodolite.files.readers.splitting import Splitter

__all__ = ["File", "Note", "Options", "RecordMap", "Repaired", "Skipped", "Splitter", "find", "read"]
