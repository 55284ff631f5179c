"""Our own candidate indexes keep the contract."""

import pytest

from theodolite.protocols import Candidates
from theodolite.testing import CandidatesContract

pytest.importorskip("hnswlib")
pytest.importorskip("faiss")
pytest.importorskip("rabitqlib")

from theodolite.indexes.faiss import FaissIndex
from theodolite.indexes.hnsw import HnswIndex
from theodolite.indexes.symqg import SymqgIndex


class TestHnsw(CandidatesContract):
    def candidates(self) -> Candidates:
        return HnswIndex(M=8, ef_construction=60)


class TestSymqg(CandidatesContract):
    def candidates(self) -> Candidates:
        return SymqgIndex(ef_construction=60)


@pytest.mark.thorough
class TestSymqgInFourBits(CandidatesContract):
    def candidates(self) -> Candidates:
        return SymqgIndex(degree=64, ef_construction=60, bits=4)


class TestFlat(CandidatesContract):
    def candidates(self) -> Candidates:
        return FaissIndex("Flat")


@pytest.mark.thorough
class TestFaissHnsw(CandidatesContract):
    def candidates(self) -> Candidates:
        return FaissIndex("HNSW16")


class TestLsh(CandidatesContract):
    def candidates(self) -> Candidates:
        return FaissIndex("LSH")


class TestIvf(CandidatesContract):
    least = 624

    def candidates(self) -> Candidates:
        return FaissIndex("IVF16,SQ4")


@pytest.mark.thorough
class TestPreTransform(CandidatesContract):
    least = 312

    def candidates(self) -> Candidates:
        return FaissIndex("PCA16,IVF8_HNSW8,SQ8")


@pytest.mark.thorough
class TestRefined(CandidatesContract):
    def candidates(self) -> Candidates:
        return FaissIndex("SQ4,RFlat")
