"""What the parts promise one another. Read this first.

Any object that fits a protocol can be passed: there is nothing to inherit and nothing to register.
`theodolite.testing` ships the contract each implementation must pass.

`parts` are what a collection is put together from, `requests` what a search is as plain data, and `engine` where
both meet: the seam for a distributed store. Everywhere: a higher score is better; arrays are numpy arrays unless said
otherwise.
"""

from theodolite.protocols.engine import Engine
from theodolite.protocols.parts import Boost, Candidates, Embedder, Reranker, RerankerLike
from theodolite.protocols.requests import Answer, Fusion, Request, Scope

__all__ = [
    "Answer",
    "Boost",
    "Candidates",
    "Embedder",
    "Engine",
    "Fusion",
    "Request",
    "Reranker",
    "RerankerLike",
    "Scope",
]
