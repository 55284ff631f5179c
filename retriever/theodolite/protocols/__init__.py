"""What the parts promise one another. Read this first.

Any object that fits a protocol can be passed: there is nothing to inherit and nothing to register.
`theodolite.testing` ships the contract each implementation must pass.

`parts` are what a collection is put together from, `requests` describe a search as plain data, and `engine` is the
seam for other stores, with `capabilities` that only some have. Everywhere: a higher score is better; arrays are numpy
arrays unless noted otherwise.
"""

from theodolite.protocols.capabilities import Duplicates, Indexing, Maintenance, Notes, folder_of, require
from theodolite.protocols.engine import Engine
from theodolite.protocols.parts import Boost, Candidates, Embedder, Reranker, RerankerLike
from theodolite.protocols.requests import Answer, Fusion, Request, Scope

__all__ = [
    "Answer",
    "Boost",
    "Candidates",
    "Duplicates",
    "Embedder",
    "Engine",
    "Fusion",
    "Indexing",
    "Maintenance",
    "Notes",
    "Request",
    "Reranker",
    "RerankerLike",
    "Scope",
    "folder_of",
    "require",
]
