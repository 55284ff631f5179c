"""Tools to test your own parts: contracts to subclass, an exact oracle, and an embedder that needs no model.

    from theodolite.testing import EmbedderContract

    class TestMyEmbedder(EmbedderContract):
        def embedder(self):
            return MyEmbedder()

pytest collects the class and checks the object that the factory returns against every rule of the protocol. This
package does not import pytest: the checks raise AssertionError themselves, also under `python -O`.
"""

from theodolite.testing.candidates import CandidatesContract
from theodolite.testing.contracts import BoostContract, EmbedderContract, RerankerContract
from theodolite.testing.dict_engine import DictEngine
from theodolite.testing.engines import EngineContract
from theodolite.testing.hashing import HashingEmbedder
from theodolite.testing.oracle import brute_force, top_k

__all__ = [
    "BoostContract",
    "CandidatesContract",
    "DictEngine",
    "EmbedderContract",
    "EngineContract",
    "HashingEmbedder",
    "RerankerContract",
    "brute_force",
    "top_k",
]
