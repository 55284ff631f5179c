"""The interfaces between the parts of theodolite. Read this first.

Pass any object that fits a protocol: it does not have to inherit or register anything. `theodolite.testing` ships a
contract test for each protocol.

`parts` holds the parts of a collection, such as embedders and rerankers. `engine` is the interface for other stores; it
describes a search as plain data, a request and its answer. `capabilities` lists optional features of engines.
Everywhere, a higher score is better, and arrays are numpy arrays unless noted otherwise.
"""

from theodolite.protocols.capabilities import (
    Duplicates,
    Efforts,
    EmbedsTexts,
    Indexing,
    Maintenance,
    Notes,
    Part,
    Sampling,
    folder_of,
    refuse_parts,
    require,
)
from theodolite.protocols.engine import Answer, Engine, Fusion, Request, Scope
from theodolite.protocols.parts import Boost, Candidates, Embedder, Reranker, RerankerLike

__all__ = [
    "Answer",
    "Boost",
    "Candidates",
    "Duplicates",
    "Efforts",
    "Embedder",
    "EmbedsTexts",
    "Engine",
    "Fusion",
    "Indexing",
    "Maintenance",
    "Notes",
    "Part",
    "Request",
    "Reranker",
    "RerankerLike",
    "Sampling",
    "Scope",
    "folder_of",
    "refuse_parts",
    "require",
]
