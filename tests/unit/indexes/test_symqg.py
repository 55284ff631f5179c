"""SymphonyQG where it differs from what the contract asks of every index: sizes, dimensions, stops, threads, forks."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite.errors import ConfigError, CorruptionError, UnsupportedError, VectorError
from theodolite.indexes import symqg
from theodolite.testing import top_k
from theodolite.testing.checks import together
from theodolite.types import Space, Vectors
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

pytest.importorskip("rabitqlib")

METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")
FAST = 40  # ef_construction


def drawn(count: int, dimension: int = 64, metric: MetricName = "cosine", seed: int = 3) -> tuple[Vectors, Space]:
    return prepare(np.random.default_rng(seed).standard_normal((count, dimension)), Space(metric))


def built(vectors: Vectors, space: Space, **settings: int) -> symqg.SymqgIndex:
    index = symqg.SymqgIndex(**{"ef_construction": FAST} | settings)
    index.build(vectors, space)
    return index


def one(vectors: Vectors, row: int = 0) -> Vectors:
    return Vectors(vectors[row : row + 1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"degree": 16}, "degree is 16; expected a multiple of 32"),
        ({"degree": 33}, "degree is 33"),
        ({"degree": True}, "degree is True"),
        ({"ef_construction": 0}, "ef_construction is 0; expected an int from 1"),
        ({"bits": 3}, "bits is 3; expected 4 or 8"),
        ({"bits": "8"}, "bits is '8'"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        symqg.SymqgIndex(**settings)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 2, 3, 31, 32, 33, 63, 64, 65, 384, 1536, 2048])
def test_any_dimension(dimension: int, metric: MetricName, tmp_path: Path) -> None:
    """rabitqlib takes 64 or more."""
    vectors, space = drawn(200, dimension, metric)
    index = built(vectors, space)
    index.save(tmp_path / "index")
    assert (tmp_path / "index").stat().st_size == index.estimate(200, dimension)["file"]
    loaded = symqg.SymqgIndex(ef_construction=FAST)
    loaded.load(tmp_path / "index", space)
    shares = []
    for row in range(0, 200, 20):
        found = index.propose(one(vectors, row), 100)
        assert loaded.propose(one(vectors, row), 100).tolist() == found.tolist()
        shares.append(np.isin(top_k(vectors[row], vectors, metric, 10)[0], found).mean())
    assert np.mean(shares) > (0.9 if dimension > 2 else 0.4)  # in one or two dimensions many rows tie or nearly do


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 34, 64])
def test_few_rows_are_ranked_exactly_or_by_a_small_graph(count: int, metric: MetricName, tmp_path: Path) -> None:
    vectors, space = drawn(count, 64, metric)
    index = built(vectors, space)
    index.save(tmp_path / "index")
    loaded = symqg.SymqgIndex(ef_construction=FAST)
    loaded.load(tmp_path / "index", space)
    query = drawn(1, 64, metric, seed=9)[0]
    for each in (index, loaded):
        found = each.propose(query, count + 5)
        assert sorted(found.tolist()) == list(range(count))
        if count <= 32:
            assert found.tolist() == top_k(query[0], vectors, metric, count)[0].tolist()
    assert len(index.propose(query, 0)) == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [20, 300])
def test_questions_without_a_direction(count: int, metric: MetricName) -> None:
    """NaN, infinite and huge ones get no proposals, and so an exact answer; a zero one gets some."""
    vectors, space = drawn(count, 64, metric)
    index = built(vectors, space)
    for bad in (np.nan, np.inf, -np.inf, 3e38, 1e16):
        assert len(index.propose(Vectors(np.full((1, 64), bad, np.float32)), 10)) == 0
    assert len(np.unique(index.propose(Vectors(np.zeros((1, 64), np.float32)), 10))) == 10


@pytest.mark.parametrize("metric", METRICS)
def test_many_equal_rows(metric: MetricName, tmp_path: Path) -> None:
    vectors, space = drawn(2, 64, metric)
    for same in (np.repeat(vectors[:1], 100, axis=0), np.repeat(vectors, 100, axis=0)):
        index = built(Vectors(same), space)
        index.save(tmp_path / "index")
        symqg.SymqgIndex(ef_construction=FAST).load(tmp_path / "index", space)
        assert len(np.unique(index.propose(one(vectors), len(same)))) == len(same)


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_lengths(metric: MetricName, tmp_path: Path) -> None:
    """Vectors of any usual length; those for which the library's numbers overflow are refused."""
    vectors, space = drawn(200, 64, metric)
    for factor in (1e-30, 1e-6, 1e6):
        index = built(Vectors(vectors * np.float32(factor)), space)
        index.save(tmp_path / "index")
        symqg.SymqgIndex(ef_construction=FAST).load(tmp_path / "index", space)
        assert len(index.propose(one(vectors), 50)) == 50
    for factor in (1e12, 1e30):
        with pytest.raises(UnsupportedError, match="vectors may not be longer than 1e"):
            built(Vectors(vectors * np.float32(factor)), space)


def test_inner_products_of_rows_of_different_lengths() -> None:
    draw = np.random.default_rng(0)
    centers = draw.standard_normal((40, 64))
    raw = centers[draw.integers(40, size=4000)] + 0.6 * draw.standard_normal((4000, 64))
    raw *= np.exp(draw.standard_normal((4000, 1)))
    vectors, space = prepare(raw, Space("dot"))
    index = built(vectors, space, ef_construction=200)
    near = prepare(centers[:30] + 0.6 * draw.standard_normal((30, 64)), space)[0]
    shares = [np.isin(top_k(query, vectors, "dot", 10)[0], index.propose(Vectors(query[None]), 200)) for query in near]
    assert np.mean(shares) > 0.9


def test_a_question_of_another_dimension() -> None:
    for count in (20, 200):
        vectors, space = drawn(count, 70)
        index = built(vectors, space)
        for other in (64, 71):
            with pytest.raises(VectorError, match=f"vectors have dimension {other}; the graph has 70"):
                index.propose(drawn(1, other)[0], 5)
            with pytest.raises(VectorError, match=f"dimension {other}"):
                index.build(drawn(300, other)[0], space)


def test_more_rows_are_built_from_the_start() -> None:
    vectors, space = drawn(300)
    index = built(Vectors(vectors[:20]), space)
    done: list[int] = []
    for count in (20, 150, 300):
        index.build(Vectors(vectors[:count]), space, done.append)
        assert len(index) == count == 20 + sum(done)
        assert index.propose(one(vectors, count - 1), 5)[0] == count - 1


def test_proposals_are_bounded() -> None:
    """The time of a search grows with the square of its proposals; where more are needed, the exact search is due."""
    vectors, space = drawn(6000, 8)
    index = built(vectors, space)
    assert len(index.propose(one(vectors), 6000)) == 4096


def test_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="build it first"):
        symqg.SymqgIndex().save(tmp_path / "index")


def test_threads_get_what_one_alone_gets() -> None:
    """Also if they search with different efforts, and in batches of the same graph."""
    vectors, space = drawn(3000, 96)
    index = built(vectors, space)
    efforts = (7, 50, 200, 1000)
    expected = [[index.propose(one(vectors, row), n).tolist() for row in range(100)] for n in efforts]

    def work(number: int) -> None:
        for turn in range(400):
            row = (turn * 7 + number) % 100
            assert index.propose(one(vectors, row), efforts[number]).tolist() == expected[number][row]

    together(4, work)


class Native:
    """A build of the library that takes as long as the test wants."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.began.set()
        assert self.may_end.wait(60)


class Stop(Exception):
    pass


def test_a_build_that_is_stopped_returns_at_once_and_the_next_one_waits_for_it() -> None:
    builds, native = symqg._Builds(), Native()

    def stop(count: int) -> None:
        assert count == 0
        if native.began.is_set():
            raise Stop

    with pytest.raises(Stop):
        builds.run(native, stop)
    with pytest.raises(Stop):  # the first one still runs
        builds.run(native, stop)
    native.may_end.set()
    ended: list[int] = []
    builds.run(lambda: ended.append(1), None)
    assert ended == [1]


def test_an_error_of_the_library_is_reported_and_the_next_build_runs() -> None:
    builds = symqg._Builds()

    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(ConfigError, match="symqg cannot index these vectors: no"):
        builds.run(fail, None)
    builds.run(lambda: None, None)


def test_a_stopped_build_leaves_the_index_as_it_was() -> None:
    vectors, space = drawn(3000)
    index = built(Vectors(vectors[:200]), space)
    before = index.propose(one(vectors), 10).tolist()

    def stop(count: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        index.build(vectors, space, stop)
    assert (len(index), index.propose(one(vectors), 10).tolist()) == (200, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_ends_a_build_and_the_process(tmp_path: Path) -> None:
    code = (
        "import signal\n"
        "import numpy as np\n"
        "from theodolite import Document, Retriever\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells ignore it in the background
        "kb = Retriever.open()\n"
        "vectors = np.random.default_rng(0).standard_normal((20_000, 64))\n"
        "kb.add([Document('t', id=str(i)) for i in range(len(vectors))], vectors=vectors, batch_size=None)\n"
        "try:\n"
        "    kb.reindex('symqg:ef_construction=6000', progress=lambda n: n or print('building', flush=True))\n"
        "except KeyboardInterrupt:\n"
        "    print(kb.info()['index'], len(kb.search(vector=vectors[0], k=3)))\n"
        "kb.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for _ in range(15):  # the last of these come while the library builds
                assert process.stdout.readline() == "building\n"
            process.send_signal(signal.SIGINT)
            left, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert left.split("\n")[-2] == "flat 3"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_searches_and_builds() -> None:
    """Also while a build of the parent is under way, whose thread the child lacks."""
    code = (
        "import os, threading\n"
        "import numpy as np\n"
        "from theodolite.indexes import symqg\n"
        "from theodolite.types import Space, Vectors\n"
        "symqg.processors = lambda: 2\n"
        "vectors = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)\n"
        "space = Space('l2', 64)\n"
        "index = symqg.SymqgIndex(ef_construction=40)\n"
        "index.build(vectors, space)\n"
        "expected = index.propose(vectors[:1], 20).tolist()\n"
        "began, end = threading.Event(), threading.Event()\n"
        "native = threading.Thread(target=symqg._BUILDS.run, args=(lambda: (began.set(), end.wait(60)), None))\n"
        "native.start()\n"
        "began.wait(60)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    assert index.propose(vectors[:1], 20).tolist() == expected\n"
        "    other = symqg.SymqgIndex(ef_construction=40)\n"
        "    other.build(vectors, space)\n"
        "    assert len(other.propose(vectors[:1], 20)) == 20\n"
        "    os._exit(7)\n"
        "_, status = os.waitpid(child, 0)\n"
        "end.set()\n"
        "native.join()\n"
        "print(os.waitstatus_to_exitcode(status))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "7\n", done.stderr


def test_a_processor_without_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symqg, "instruction_sets", lambda: ["sse"])
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    with pytest.raises(UnsupportedError, match="a processor with AVX2 and FMA"):
        symqg.SymqgIndex()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    symqg.SymqgIndex()


class TestFiles:
    @pytest.fixture
    def graph(self, tmp_path: Path) -> tuple[Path, Space]:
        vectors, space = drawn(300, 70)
        built(vectors, space).save(tmp_path / "index")
        return tmp_path / "index", space

    def refused(self, path: Path, space: Space, match: str, **settings: int) -> None:
        with pytest.raises(CorruptionError, match=match):
            symqg.SymqgIndex(**{"ef_construction": FAST} | settings).load(path, space)

    def test_of_other_settings(self, graph: tuple[Path, Space]) -> None:
        path, space = graph
        for settings in ({"degree": 64}, {"bits": 4}):
            self.refused(path, space, "index is damaged: it is not a graph of dimension 70 with", **settings)
        for other in (Space("cosine", 71), Space("cosine", 96), Space("cosine", 32), Space("l2", 70)):
            self.refused(path, other, "it is not a graph of dimension")
        symqg.SymqgIndex().load(path, Space("dot", 70))  # the same products

    @pytest.mark.parametrize(
        ("at", "value", "message"),
        [
            (0, b"x", "not a graph"),
            (8, b"\2", "not a graph"),  # another version
            (12, b"\0\0\0\0\0\0\0\1", "it has [0-9]+ bytes, not those of 72057594037927936 rows"),
            (12, b"\x2b", "not those of"),
            (44, b"\xff\xff\xff\xff", "not those of"),  # where searches begin
            (58, b"\0\0\x80\x7f", "center of its vectors is not finite"),
            (-4 - 48, b"\x2c\1\0\0", "links to rows that do not exist"),  # row 300
        ],
    )
    def test_damaged(self, graph: tuple[Path, Space], at: int, value: bytes, message: str) -> None:
        path, space = graph
        data = bytearray(path.read_bytes())
        at %= len(data)
        data[at : at + len(value)] = value
        path.write_bytes(data)
        self.refused(path, space, message)

    def test_factors_that_are_not_finite(self, graph: tuple[Path, Space]) -> None:
        path, space = graph
        good = path.read_bytes()
        layout = symqg._Layout(300, 70, 32, 8)
        for at in (layout.code, layout.code + 4, layout.links - 256, layout.links - 4):
            data = bytearray(good)
            at += layout.start + 77 * layout.row
            data[at : at + 4] = b"\0\0\xc0\x7f"
            path.write_bytes(data)
            self.refused(path, space, "rows from 0 on have factors that are not finite")

    def test_cut_off_or_longer(self, graph: tuple[Path, Space]) -> None:
        path, space = graph
        good = path.read_bytes()
        for bad in (b"", good[:7], good[:57], good[:100], good[:-1], good + b"x", good * 2):
            path.write_bytes(bad)
            self.refused(path, space, "is damaged")

    def test_of_few_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "index"
        vectors, space = drawn(20, 8)
        built(vectors, space).save(path)
        good = path.read_bytes()
        nan = good[:-4] + b"\0\0\xc0\x7f"
        for bad in (good[:10], good[:-1], good + b"x", good[:8] + b"\x21" + good[9:], good[:8] + b"\0" + good[9:], nan):
            path.write_bytes(bad)
            self.refused(path, space, "is damaged")
        path.write_bytes(good)
        for other in (Space("l2", 8), Space("cosine", 9)):
            self.refused(path, other, "does not hold rows of dimension")
