"""HNSW and FAISS where they differ from what the contract asks of every index; indexes by name; estimates."""

import struct
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import plugins
from theodolite.errors import ConfigError, CorruptionError, MissingExtraError, UnsupportedError, VectorError
from theodolite.indexes.faiss import FaissIndex
from theodolite.indexes.hnsw import HnswIndex
from theodolite.indexes.registry import canonical, estimate, make_index, recommended_index
from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

pytest.importorskip("hnswlib")
pytest.importorskip("faiss")

ROOT = Path(__file__).resolve().parents[3]


def rows(count: int, dimension: int = 16, metric: MetricName = "cosine", seed: int = 3) -> tuple[Vectors, Space]:
    return prepare(np.random.default_rng(seed).standard_normal((count, dimension)), Space(metric))


def built(index: Any, count: int = 500, metric: MetricName = "cosine") -> tuple[Any, Vectors, Space]:
    vectors, space = rows(count, metric=metric)
    index.build(vectors, space)
    return index, vectors, space


@pytest.mark.parametrize("index", [HnswIndex(), FaissIndex("Flat")])
def test_vectors_of_another_dimension(index: Any) -> None:
    """hnswlib reads beyond the end of a query that is too short."""
    index, vectors, space = built(index)
    for other in (8, 17):
        with pytest.raises(VectorError, match=f"vectors have dimension {other}; the (graph|index) has 16"):
            index.propose(rows(1, other)[0], 5)
        with pytest.raises(VectorError, match=f"dimension {other}"):
            index.build(rows(600, other)[0], space)
    assert len(index) == 500
    assert index.propose(Vectors(vectors[:1]), 1).tolist() == [0]


class TestHnsw:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"M": 1}, r"hnsw: M is 1; expected an int from 2 to 1000"),
            ({"M": "a"}, r"hnsw: M is 'a'"),
            ({"M": True}, r"hnsw: M is True"),
            ({"ef_construction": 0}, r"hnsw: ef_construction is 0; expected an int from 1"),
            ({"ef_search": -1}, r"hnsw: ef_search is -1; expected an int from 0"),
        ],
    )
    def test_settings_out_of_range(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            HnswIndex(**settings)

    def test_rows_that_no_link_leads_to_are_no_error(self) -> None:
        """hnswlib raises if it finds fewer rows than k."""
        index = HnswIndex(M=2, ef_construction=2)
        vectors, space = rows(4000)
        index.build(vectors, space)
        with pytest.raises(RuntimeError, match="contiguous 2D array"):
            index._graph.knn_query(vectors[:1], k=4000, num_threads=1)
        found = index.propose(Vectors(vectors[:1]), 4000)
        assert 0 < len(found) < 4000
        assert len(np.unique(found)) == len(found)

    def test_ef_search_is_the_least_effort_also_after_loading(self, tmp_path: Path) -> None:
        index, vectors, space = built(HnswIndex(M=4, ef_construction=20, ef_search=200), 3000)
        index.save(tmp_path / "index")
        loaded = HnswIndex(M=4, ef_construction=20, ef_search=200)
        loaded.load(tmp_path / "index", space)
        poor = HnswIndex(M=4, ef_construction=20)
        poor.load(tmp_path / "index", space)
        truth = np.argsort(-(vectors[:100] @ vectors.T), axis=1)[:, 5]  # the fifth nearest, not the row itself

        def recall(one: HnswIndex) -> float:
            return float(np.mean([truth[i] in one.propose(Vectors(vectors[i : i + 1]), 10) for i in range(100)]))

        assert recall(index) == recall(loaded) > recall(poor) + 0.05

    def test_an_index_grows_by_building_more(self) -> None:
        vectors, space = rows(600)
        index = HnswIndex()
        index.build(Vectors(vectors[:300]), space)
        index.build(vectors, space)
        assert len(index) == 600
        assert index.propose(Vectors(vectors[599:]), 1).tolist() == [599]

    def test_vectors_that_cannot_be_read_end_a_build_which_goes_on_later(self) -> None:
        class Unreadable(np.ndarray[Any, Any]):
            def __getitem__(self, key: Any) -> Any:
                if key.start >= 2048:
                    raise OSError("the disk is gone")
                return np.asarray(self)[key]

        vectors, space = rows(3000)
        index = HnswIndex(M=4, ef_construction=20)
        with pytest.raises(OSError, match="the disk is gone"):
            index.build(Vectors(vectors.view(Unreadable)), space)
        assert len(index) == 2048
        index.build(vectors, space)
        assert len(index) == 3000

    def test_there_is_nothing_to_save(self, tmp_path: Path) -> None:
        for index in (HnswIndex(), FaissIndex("Flat")):
            with pytest.raises(ConfigError, match="build it first"):
                index.save(tmp_path / "index")

    def test_a_file_of_other_settings(self, tmp_path: Path) -> None:
        index, _, space = built(HnswIndex(M=8, ef_construction=100))
        index.save(tmp_path / "index")
        for other in (HnswIndex(M=9, ef_construction=100), HnswIndex(M=8, ef_construction=101)):
            with pytest.raises(CorruptionError, match="index is damaged: it is not a graph of dimension 16 with M="):
                other.load(tmp_path / "index", space)
        with pytest.raises(CorruptionError, match="is it a graph for another metric"):
            HnswIndex(M=8, ef_construction=100).load(tmp_path / "index", Space("l2", 16))
        HnswIndex(M=8, ef_construction=100).load(tmp_path / "index", Space("dot", 16))  # the same products

    def test_a_damaged_header_is_refused(self, tmp_path: Path) -> None:
        """Such files make hnswlib answer nonsense, allocate gigabytes, or end the process."""
        index, vectors, space = built(HnswIndex())
        path = tmp_path / "index"
        index.save(path)
        good = path.read_bytes()
        refused = 0
        for byte in range(96):
            for bit in range(8):
                bad = bytearray(good)
                bad[byte] ^= 1 << bit
                if bytes(bad[8:16]) != good[8:16] or 48 <= byte < 56 or 80 <= byte < 88:
                    continue  # room for more rows, which is not believed; where a search begins; a rounding
                path.write_bytes(bad)
                with pytest.raises(CorruptionError):
                    HnswIndex().load(path, space)
                refused += 1
        assert refused == 8 * (96 - 8 - 8 - 8)
        path.write_bytes(good[:8] + struct.pack("@N", 1 << 60) + good[16:])
        loaded = HnswIndex()
        loaded.load(path, space)
        assert loaded.propose(Vectors(vectors[:1]), 1).tolist() == [0]


class TestFaiss:
    @pytest.mark.parametrize("factory", ["", "  ", None, 5])
    def test_no_factory_string(self, factory: Any) -> None:
        with pytest.raises(ConfigError, match="is not a factory string such as 'IVF1024,PQ48'"):
            FaissIndex(factory)

    @pytest.mark.parametrize("factory", ["Nonsense", "IVF16,PQ7", "IVF"])
    def test_a_factory_string_that_faiss_does_not_know(self, factory: str) -> None:
        vectors, space = rows(100)
        with pytest.raises(ConfigError, match=f"'{factory}' cannot be built for dimension 16"):
            FaissIndex(factory).build(vectors, space)

    @pytest.mark.parametrize(
        ("factory", "needed"), [("IVF16,Flat", 624), ("PQ4x4", 624), ("IVF4,PQ4x6", 2496), ("PCA8,IVF32,SQ8", 1248)]
    )
    def test_too_few_rows_to_train_on(self, factory: str, needed: int, capfd: pytest.CaptureFixture[str]) -> None:
        vectors, space = rows(needed)
        with pytest.raises(ConfigError, match=f"at least {needed} rows to train on; there are {needed - 1}") as caught:
            FaissIndex(factory).build(Vectors(vectors[:-1]), space)
        assert (caught.value.rows, caught.value.needed) == (needed - 1, needed)
        index = FaissIndex(factory)
        index.build(vectors, space)
        assert len(index) == needed
        assert capfd.readouterr().err == ""  # FAISS warns there

    def test_what_cannot_be_added_to(self) -> None:
        vectors, space = rows(100)
        index = FaissIndex("IDMap,Flat")
        with pytest.raises(ConfigError, match=r"cannot index these vectors: .*add does not make sense") as caught:
            index.build(vectors, space)
        assert caught.value.factory == "IDMap,Flat"
        assert len(index) == 0

    def test_an_index_without_inner_products(self) -> None:
        """Unit vectors are as near by distance as by angle; others are not."""
        for metric in ("cosine", "l2"):
            assert len(built(FaissIndex("LSH"), metric=metric)[0]) == 500
        vectors, space = rows(100, metric="dot")
        with pytest.raises(UnsupportedError, match="faiss: 'LSH' does not support the metric 'dot'"):
            FaissIndex("LSH").build(vectors, space)

    @pytest.mark.parametrize("factory", ["IVF16,SQ8", "HNSW4", "PCA8,IVF16,SQ8", "IVF16,SQ8,RFlat", "IVF16_HNSW4,SQ8"])
    def test_more_proposals_look_farther(self, factory: str) -> None:
        index, vectors, _ = built(FaissIndex(factory), 4000)
        exact = np.argsort(-(vectors[:50] @ vectors.T), axis=1)[:, :40]

        def recall(n: int) -> float:
            found = [index.propose(Vectors(vectors[i : i + 1]), n)[:40] for i in range(50)]
            return float(np.mean([np.isin(exact[i], found[i]).mean() for i in range(50)]))

        assert recall(2000) > recall(40)

    def test_effort_is_given_with_the_call(self) -> None:
        """All threads share the settings of the index."""
        index, vectors, _ = built(FaissIndex("IVF16,SQ8"), 1000)
        assert index._index.nprobe == 1
        index.propose(Vectors(vectors[:1]), 900)
        assert index._index.nprobe == 1

    @pytest.mark.thorough
    def test_product_quantisation(self, tmp_path: Path) -> None:
        index, vectors, space = built(FaissIndex("IVF8,PQ8x4"), 700)
        index.save(tmp_path / "index")
        loaded = FaissIndex("IVF8,PQ8x4")
        loaded.load(tmp_path / "index", space)
        hits = [i in loaded.propose(Vectors(vectors[i : i + 1]), 70) for i in range(50)]
        assert np.mean(hits) > 0.8

    def test_a_file_of_another_index(self, tmp_path: Path) -> None:
        index, _, space = built(FaissIndex("HNSW8"))
        path = tmp_path / "index"
        index.save(path)
        with pytest.raises(CorruptionError, match="index does not hold 'HNSW16' for cosine and dimension 16"):
            FaissIndex("HNSW16").load(path, space)
        with pytest.raises(CorruptionError, match="does not hold 'HNSW8' for l2"):
            FaissIndex("HNSW8").load(path, Space("l2", 16))
        path.write_bytes(b"something else\n" * 9)
        with pytest.raises(CorruptionError, match="index is not an index of FAISS"):
            FaissIndex("HNSW8").load(path, space)

    def test_training_twice_gives_the_same(self) -> None:
        first, vectors, _ = built(FaissIndex("IVF8,PQ4x4"), 700)
        second, _, _ = built(FaissIndex("IVF8,PQ4x4"), 700)
        for i in range(20):
            query = Vectors(vectors[i : i + 1])
            assert first.propose(query, 30).tolist() == second.propose(query, 30).tolist()


class TestNames:
    @pytest.mark.parametrize(
        ("spec", "written"),
        [
            ("hnsw", "hnsw:M=16,ef_construction=200,ef_search=0"),
            ("hnsw:", "hnsw:M=16,ef_construction=200,ef_search=0"),
            (" hnsw : ef_search=50, M = 32 ", "hnsw:M=32,ef_construction=200,ef_search=50"),
            ("faiss:IVF1024,PQ48", "faiss:IVF1024,PQ48"),
            ("faiss: LSH", "faiss:LSH"),
            ("symqg", "symqg:degree=32,ef_construction=200,bits=8"),
        ],
    )
    def test_the_spec_written_out(self, spec: str, written: str) -> None:
        assert canonical(spec) == written
        assert canonical(written) == written

    def test_settings(self) -> None:
        made: Any = make_index("hnsw:M=32,ef_construction=400", ef_search=7)
        assert (made.M, made.ef_construction, made.ef_search) == (32, 400, 7)
        assert canonical("hnsw:M=32", ef_search=7) == "hnsw:M=32,ef_construction=200,ef_search=7"
        flat: Any = make_index("faiss:IVF1024,PQ48")
        assert flat.factory == "IVF1024,PQ48"

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("hnws", "there are no indexes named 'hnws'. Did you mean 'hnsw'"),
            ("", "there are no indexes named ''"),
            ("hnsw:m=32", "hnsw has no setting 'm'. Did you mean 'M'"),
            ("hnsw:ef_contruction=32", "Did you mean 'ef_construction'"),
            ("hnsw:colour=32", r"no setting 'colour'. Known: M, ef_construction, ef_search"),
            ("hnsw:32", r"'32' is not a setting; expected name=value"),
            ("hnsw:M=8,M=9", "M is given twice"),
            (None, "named by a string such as 'hnsw', not by None"),
        ],
    )
    def test_names_that_lead_nowhere(self, spec: Any, message: str) -> None:
        for ask in (make_index, canonical):
            with pytest.raises(ConfigError, match=message):
                ask(spec)

    def test_settings_of_a_wrong_type(self) -> None:
        with pytest.raises(ConfigError, match="M is 'many'; expected an int"):
            make_index("hnsw:M=many")
        with pytest.raises(ConfigError, match="is not a factory string"):
            make_index("faiss")
        with pytest.raises(ConfigError, match="settings are part of the spec, not nprobe"):
            canonical("faiss:LSH", nprobe=3)

    def test_an_index_of_another_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The text after the colon reaches it as one string."""

        class Acme(HnswIndex):
            def __init__(self, argument: str = "") -> None:
                super().__init__()
                self.argument = argument

        factories: dict[str, Callable[..., Any]] = {"acme": Acme, "list": list}
        monkeypatch.setattr("theodolite.indexes.registry.load", lambda _, name: factories[name])
        made: Any = make_index("acme:M=3,other:4")
        assert made.argument == "M=3,other:4"
        assert canonical("acme:M=3,other:4") == "acme:M=3,other:4"
        assert canonical("acme") == "acme"
        with pytest.raises(ConfigError, match="'list' makes a list, which lacks a method of Candidates"):
            make_index("list")

    def test_faiss_is_registered_as_other_packages_register_theirs(self) -> None:
        points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
        assert points["theodolite.indexes"]["faiss"] == "theodolite.indexes.faiss:FaissIndex"
        assert "faiss" not in plugins._TABLE["indexes"]
        assert plugins.load("indexes", "faiss") is FaissIndex

    @pytest.mark.parametrize(
        ("spec", "package", "extra"),
        [("hnsw", "hnswlib", "hnsw"), ("faiss:LSH", "faiss", "faiss"), ("symqg", "rabitqlib", "symqg")],
    )
    def test_a_missing_package(self, spec: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'theodolite\[{extra}\]'"):
            make_index(spec)


class TestEstimates:
    @pytest.mark.thorough
    def test_hnsw_takes_the_bytes_it_was_estimated_at(self, tmp_path: Path) -> None:
        vectors, space = rows(5000, 24)
        for spec in ("hnsw", "hnsw:M=5", "hnsw:M=40,ef_construction=50"):
            index = make_index(spec)
            index.build(vectors, space)
            index.save(tmp_path / "index")
            expected = estimate(spec, 5000, 24)
            assert abs((tmp_path / "index").stat().st_size / expected["file"] - 1) < 0.02
            assert expected["memory"] >= expected["file"]
            assert expected["seconds"] > 0

    def test_more_takes_longer(self) -> None:
        base = estimate("hnsw", 10_000, 384)
        for spec, count, dimension in (
            ("hnsw", 20_000, 384),
            ("hnsw", 10_000, 768),
            ("hnsw:M=32", 10_000, 384),
            ("hnsw:ef_construction=400", 10_000, 384),
        ):
            more = estimate(spec, count, dimension)
            assert more["seconds"] > base["seconds"]
            assert more["file"] >= base["file"]

    @pytest.mark.parametrize(
        "factory", ["Flat", "HNSW16", "LSH", "IVF8,SQ8", "IVF8,PQ4x4", "PCA8,IVF8,SQ4", "SQ4,RFlat", "IVF8_HNSW8,Flat"]
    )
    def test_faiss_takes_the_bytes_it_was_estimated_at(self, factory: str, tmp_path: Path) -> None:
        vectors, space = rows(5000, 24)
        index = make_index(f"faiss:{factory}")
        index.build(vectors, space)
        index.save(tmp_path / "index")
        expected = estimate(f"faiss:{factory}", 5000, 24)
        assert abs((tmp_path / "index").stat().st_size / expected["file"] - 1) < 0.1
        assert expected["peak"] >= expected["memory"] == expected["file"]

    def test_what_is_not_known_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nothing = {"seconds": None, "memory": None, "file": None, "peak": None}
        assert estimate("faiss:IDMap,Flat", 1000, 32) == nothing
        assert estimate("faiss:Nonsense", 1000, 32) == nothing
        assert estimate("faiss:IVF64,PQ8", 1000, 32)["seconds"] is None
        monkeypatch.setitem(sys.modules, "hnswlib", None)
        assert estimate("hnsw", 1000, 32) == nothing

    @pytest.mark.parametrize("spec", ["hnsw", "symqg"])
    def test_of_nothing(self, spec: str) -> None:
        assert estimate(spec, 0, 384) == {"seconds": 0, "memory": 0, "file": 0, "peak": 0}


class TestRecommended:
    def test_the_first_that_is_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rabitqlib")
        assert recommended_index() == "symqg"
        assert canonical("auto") == canonical("symqg")
        assert type(make_index("auto")).__name__ == "SymqgIndex"
        monkeypatch.setitem(sys.modules, "rabitqlib", None)
        assert recommended_index() == "hnsw"
        assert canonical("auto") == canonical("hnsw")
        monkeypatch.setitem(sys.modules, "hnswlib", None)
        assert recommended_index() == "symqg"
        with pytest.raises(MissingExtraError, match=r"pip install 'theodolite\[symqg\]'"):
            make_index("auto")

    def test_a_processor_that_cannot_use_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rabitqlib")
        monkeypatch.setattr("theodolite.indexes.symqg.instruction_sets", list)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        assert recommended_index() == "hnsw"
        assert estimate("symqg", 1000, 32)["memory"] is None
