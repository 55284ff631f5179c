"""The folder is replaced under an open collection: writers are refused, readers go on, both collections stay intact."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from theodolite import CorruptionError, Document, EngineError, Retriever, TheodoliteError
from theodolite.engines.local.storage import crash_points
from theodolite.guards.notes import keep_note

pytestmark = pytest.mark.skipif(os.name != "posix", reason="an open folder cannot be replaced on Windows")

DIMENSION = 4
OLD = 5
SIZES = {"same": 5, "smaller": 2, "larger": 50}


def vector(number: int) -> list[float]:
    return [1.0, number / 10, 0.0, 0.5]


def build(folder: Path, name: str, count: int) -> None:
    with Retriever.open(folder) as kb:
        for number in range(count):  # a commit each: histories of different lengths
            document = Document(f"{name} {number}", {"n": number}, f"{name}-{number}")
            kb.add([document], vectors=[vector(number)])


def ids(folder: Path) -> set[str]:
    with Retriever.open(folder, create=False) as kb:
        kb.verify()
        return {document.id for document in kb.documents()}


def named(name: str, count: int) -> set[str]:
    return {f"{name}-{number}" for number in range(count)}


class Place:
    """Two collections in a folder, and the path by which a service opened one of them."""

    def __init__(self, base: Path, count: int) -> None:
        self.base, self.count = base, count
        self.path = base / "kb"
        self.old: Path | None = base / "kb"  # where the opened one is by now
        self.new = base / "new"
        build(self.path, "old", OLD)
        build(self.new, "new", count)

    def link(self) -> None:
        """Point a link at a collection, as deployments do, before it is opened and again to switch."""
        if not self.path.is_symlink():
            self.old = self.path.rename(self.base / "v1")
            self.path.symlink_to("v1")
        else:
            (self.base / "link").symlink_to("new")
            (self.base / "link").rename(self.path)

    def moved(self) -> None:
        self.old = self.path.rename(self.base / "away")
        self.new = self.new.rename(self.path)

    def removed(self) -> None:
        shutil.rmtree(self.path)
        self.old = None
        self.new = Path(shutil.copytree(self.new, self.path))

    def gone(self) -> None:
        shutil.rmtree(self.path)
        self.old = None

    def away(self) -> None:
        self.old = self.path.rename(self.base / "away")

    def renamed_over(self) -> None:
        """Replace file by file, each written under another name and renamed, as rsync does."""
        self.old = None
        for name in os.listdir(self.new):
            shutil.copy(self.new / name, self.base / "file")
            (self.base / "file").rename(self.path / name)
        for name in set(os.listdir(self.path)) - set(os.listdir(self.new)):
            (self.path / name).unlink()
        self.new = self.path


WAYS = ["link", "moved", "removed", "gone", "away", "renamed_over"]

WRITES: dict[str, Callable[[Retriever], object]] = {
    "add": lambda kb: kb.add(["late"], vectors=[vector(9)]),
    "add many": lambda kb: kb.add([str(n) for n in range(300)], vectors=[vector(n) for n in range(300)]),
    "replace": lambda kb: kb.add([Document("other", {}, "old-1")], vectors=[vector(1)]),
    "update": lambda kb: kb.update("old-1", {"n": 7}),
    "delete": lambda kb: kb.delete("old-1"),
    "delete where": lambda kb: kb.delete(where={"n": 1}),
    "clear": lambda kb: kb.clear(),
    "compact": lambda kb: kb.compact(),
    "reindex": lambda kb: kb.reindex("hnsw"),
    "reindex flat": lambda kb: kb.reindex("flat"),
    "keep versions": lambda kb: kb.keep_versions(()),
    "remember": lambda kb: keep_note(kb._engine, "note", "value"),
    "repair": lambda kb: kb.repair(),
    "verify": lambda kb: kb.verify(),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_every_write_is_refused_and_both_collections_stay_sound(tmp_path: Path, way: str, size: str) -> None:
    place = Place(tmp_path, SIZES[size])
    if way == "link":
        place.link()
    with Retriever.open(place.path) as kb:
        kb.search(vector=vector(1))
        getattr(place, way)()
        before = contents(tmp_path)
        for name, write in WRITES.items():
            with pytest.raises(EngineError, match="no longer the one that was opened"):
                pytest.fail(f"{name}: {write(kb)}")
        assert contents(tmp_path) == before
        # Readers go on with what they have opened.
        assert {hit.document.id for hit in kb.search(vector=vector(1), k=100)} == named("old", OLD)
        assert kb.count({"n": 1}) == 1
    assert contents(tmp_path, "new", "kb") == {
        name: data for name, data in before.items() if name.startswith(("new", "kb"))
    } or way in ("link", "moved")
    if way not in ("gone", "away"):
        assert ids(place.new) == named("new", place.count)
    if place.old is not None:
        assert ids(place.old) == named("old", OLD)


def contents(folder: Path, *inside: str) -> dict[str, bytes]:
    """Return all files except those that coordinate processes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in (inside or ("",))
        for path in sorted((folder / part).rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "build.lock"))
    }


@pytest.mark.parametrize("size", SIZES)
def test_a_collection_restored_from_its_own_backup(tmp_path: Path, size: str) -> None:
    """It has the same uid, but lacks the last commits or has others."""
    build(tmp_path / "kb", "old", 2)
    with Retriever.open(tmp_path / "kb") as kb:
        kb.backup(tmp_path / "backup")
        kb.add([Document("since", {}, "since")], vectors=[vector(3)])
        with Retriever.open(tmp_path / "backup") as other:
            for number in range(SIZES[size] - 2):
                other.add([Document("x", {}, f"x-{number}")], vectors=[vector(number)])
        (tmp_path / "kb").rename(tmp_path / "away")
        (tmp_path / "backup").rename(tmp_path / "kb")
        for write in WRITES.values():
            with pytest.raises(EngineError, match="no longer the one that was opened"):
                write(kb)
        assert kb.count() == 3
    assert ids(tmp_path / "away") == {"old-0", "old-1", "since"}
    assert ids(tmp_path / "kb") == {"old-0", "old-1", *(f"x-{number}" for number in range(SIZES[size] - 2))}


@pytest.mark.parametrize("size", SIZES)
def test_files_that_are_copied_over_in_place(tmp_path: Path, size: str) -> None:
    """Overwriting cannot be prevented. But nothing is written to the mixture or answered from it."""
    place = Place(tmp_path, SIZES[size])
    with Retriever.open(place.path) as kb:
        kb.search(vector=vector(1))
        # By another process: closing a file of the database would drop this one's locks.
        subprocess.run(["cp", *(str(path) for path in place.new.iterdir()), str(place.path)], check=True)
        before = contents(tmp_path)
        for name, write in WRITES.items():
            with pytest.raises(TheodoliteError):
                pytest.fail(f"{name}: {write(kb)}")
        assert contents(tmp_path) == before
        with pytest.raises(EngineError, match="no longer the one that was opened"):
            kb.search(vector=vector(1))


@pytest.mark.parametrize("way", WAYS)
def test_threads_answer_from_what_was_opened_or_raise(tmp_path: Path, way: str) -> None:
    """Each needs its own connection, and there is only one."""
    place = Place(tmp_path, 50)
    if way == "link":
        place.link()
    found: list[set[str]] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            found.extend({hit.document.id for hit in kb.search(vector=vector(1), k=100)} for _ in range(20))
        except BaseException as error:
            errors.append(error)

    with Retriever.open(place.path, lock_timeout=2) as kb:
        kb.search(vector=vector(1))
        getattr(place, way)()
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found
    assert all(each == named("old", OLD) for each in found)
    assert all(isinstance(error, EngineError) for error in errors), errors


FORK = """
import os, sys
from theodolite import EngineError, Retriever

kb = Retriever.open(sys.argv[1])
vector = [1.0, 0.1, 0.0, 0.5]
assert len(kb.search(vector=vector, k=100)) == 5
exec(sys.argv[2])
child = os.fork()
if not child:
    results = []
    for work in (lambda: kb.search(vector=vector, k=100), lambda: kb.add(["late"], vectors=[vector])):
        try:
            results.append(sorted(hit.document.id[:3] for hit in work())[0])
        except EngineError as error:
            assert "no longer the one that was opened" in str(error), error
            results.append("refused")
    print(*results, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert len(kb.search(vector=vector, k=100)) == 5
kb.close()
"""


@pytest.mark.parametrize("way", ["link", "moved", "removed"])
def test_a_forked_child(tmp_path: Path, way: str) -> None:
    """The fork loses its connections, and new ones open the new folder. The two are never mixed."""
    place = Place(tmp_path, 50)
    if way == "link":
        place.link()
    work = {
        "link": f"os.symlink('new', {str(tmp_path / 'l')!r}); os.rename({str(tmp_path / 'l')!r}, sys.argv[1])",
        "moved": f"os.rename(sys.argv[1], {str(tmp_path / 'away')!r}); os.rename({str(place.new)!r}, sys.argv[1])",
        "removed": f"import shutil; shutil.rmtree(sys.argv[1]); shutil.copytree({str(place.new)!r}, sys.argv[1])",
    }[way]
    command = [sys.executable, "-W", "error", "-c", FORK, str(place.path), work]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    # Behind a link that was switched the old folder is still where it was.
    assert done.stdout.split() == (["old", "refused"] if way == "link" else ["refused", "refused"])
    assert ids(place.path) == named("new", 50)


def test_what_sqlite_has_not_folded_in_is_not_deleted(tmp_path: Path) -> None:
    """On closing, SQLite deletes the log by its path, which may now belong to another collection."""
    place = Place(tmp_path, 3)
    with Retriever.open(place.path) as kb:
        kb.add(["old"], vectors=[vector(7)])
        with Retriever.open(place.new) as other:
            other.add([Document("hot", {}, "hot")], vectors=[vector(4)])
            shutil.copytree(place.new, tmp_path / "hot")  # as a killed process leaves it
        assert (tmp_path / "hot" / "store.sqlite-wal").stat().st_size
        (tmp_path / "hot" / "store.sqlite-shm").unlink()
        place.path.rename(tmp_path / "away")
        (tmp_path / "hot").rename(place.path)
    assert (place.path / "store.sqlite-wal").stat().st_size
    assert ids(place.path) == {*named("new", 3), "hot"}
    assert len(ids(tmp_path / "away")) == OLD + 1


def test_an_index_is_not_built_into_the_other_folder(tmp_path: Path) -> None:
    place = Place(tmp_path, 50)
    with Retriever.open(place.path) as kb:
        vectors = np.random.default_rng(1).standard_normal((300, DIMENSION))
        kb.add([Document(f"t{n}", {}, f"t{n}") for n in range(300)], vectors=vectors)

        def replaced(name: str) -> None:
            if name == "index.saved":
                crash_points.observer = None
                place.moved()

        crash_points.observer = replaced
        try:
            with pytest.raises(EngineError, match="no longer the one that was opened"):
                kb.reindex("hnsw")
        finally:
            crash_points.observer = None
        assert not [name for name in os.listdir(place.path) if name.startswith("index")]
    assert ids(place.path) == named("new", 50)
    assert len(ids(tmp_path / "away")) == OLD + 300


@pytest.mark.parametrize("way", WAYS)
def test_a_backup_is_of_what_was_opened(tmp_path: Path, way: str) -> None:
    place = Place(tmp_path, 50)
    if way == "link":
        place.link()
    with Retriever.open(place.path) as kb:
        kb.search(vector=vector(1))
        getattr(place, way)()
        kb.backup(tmp_path / "backup")
    assert ids(tmp_path / "backup") == named("old", OLD)


# The other half: what is sound is not refused.


@pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")
def test_what_others_do_is_no_replacement(tmp_path: Path) -> None:
    """Another process adds, deletes, clears and builds an index between every two writes."""
    with Retriever.open(tmp_path / "kb") as kb, Retriever.open(tmp_path / "kb") as other:
        steps: list[Callable[[Retriever], object]] = [
            lambda one: one.add([str(n) for n in range(40)], vectors=[vector(n) for n in range(40)]),
            lambda one: one.delete(where={"n": 1}),
            lambda one: one.clear(),
            lambda one: one.add(["again"], vectors=[vector(1)]),
            lambda one: one.reindex("hnsw"),
            lambda one: one.repair(),
            lambda one: one.clear(),
            lambda one: one.clear(),
            lambda one: one.reindex("flat"),
        ]
        for number, step in enumerate(steps):
            step(other)
            kb.add([Document("mine", {}, f"mine-{number}")], vectors=[vector(number)])
            assert kb.get([f"mine-{number}"])
            kb.verify()
        shutil.rmtree(tmp_path / "kb" / "codes-1", ignore_errors=True)
        (path,) = (tmp_path / "kb").glob("vectors-*.f32")
        os.utime(path)
        assert kb.search(vector=vector(1))
        kb.add(["last"], vectors=[vector(1)])


def test_a_clear_that_failed_and_was_done_by_another(tmp_path: Path) -> None:
    """One process made the file of the new generation; the other removed it and made it again."""
    with Retriever.open(tmp_path / "kb") as kb, Retriever.open(tmp_path / "kb") as other:
        kb.add(["a"], vectors=[vector(1)])

        def fail(name: str) -> None:
            if name == "frame.written":
                crash_points.observer = None
                raise OSError(5, "Input/output error")

        crash_points.observer = fail
        try:
            with pytest.raises(EngineError):
                kb.clear()
        finally:
            crash_points.observer = None
        other.clear()
        other.add([Document("b", {}, "b")], vectors=[vector(2)])
        assert [hit.document.id for hit in kb.search(vector=vector(1))] == ["b"]
        kb.add(["c"], vectors=[vector(3)])
        kb.verify()
        assert kb.count() == other.count() == 2


@pytest.mark.parametrize("way", ["renamed", "through a link", "relative", "read-only", "parent is a link"])
def test_sound_folders_are_not_refused(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "in" / "kb", "old", OLD)
    path = tmp_path / "in" / "kb"
    if way == "renamed":
        path = (tmp_path / "in").rename(tmp_path / "out") / "kb"
    elif way == "through a link":
        (tmp_path / "link").symlink_to("in/kb")
        path = tmp_path / "link"
    elif way == "parent is a link":
        (tmp_path / "link").symlink_to("in")
        path = tmp_path / "link" / "kb"
    elif way == "relative":
        monkeypatch.chdir(tmp_path / "in")
        path = Path("kb")
    with Retriever.open(path, read_only=way == "read-only") as kb:
        monkeypatch.chdir(tmp_path)
        kb.search(vector=vector(1))
        if way != "read-only":
            kb.add(["more"], vectors=[vector(6)])
            kb.delete("old-1")
            kb.clear()
            kb.add(["more"], vectors=[vector(6)])
        kb.verify()


def test_a_damaged_vector_file_is_reported_as_damage(tmp_path: Path) -> None:
    build(tmp_path / "kb", "old", OLD)
    with Retriever.open(tmp_path / "kb") as kb:
        path = tmp_path / "kb" / "vectors-1.f32"
        data = bytearray(path.read_bytes())
        data[-16 - 64 : -16] = bytes(64)  # the header of the last frame
        path.write_bytes(data)
        with pytest.raises(CorruptionError, match="not the one that was committed"):
            kb.add(["more"], vectors=[vector(1)])
        with pytest.raises(CorruptionError, match="vectors"):
            kb.verify()


def test_threads_that_write_and_read(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", lock_timeout=60) as kb:
        kb.add(["first"], vectors=[vector(0)])

        def work(number: int) -> None:
            for step in range(10):
                kb.add([Document("t", {}, f"{number}-{step}")], vectors=[vector(step)])
                assert kb.get([f"{number}-{step}"])
                kb.search(vector=vector(step))

        errors: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not errors
        assert kb.count() == 51
        kb.verify()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, dict[str, set[str]]]:
    """Two collections that know their names, and the acknowledged documents of each."""
    for name in ("a", "b"):
        with Retriever.open(tmp_path / name) as kb:
            kb.add([Document("name", {"name": name}, "name")], vectors=[vector(0)])
    return tmp_path, {"a": {"name"}, "b": {"name"}}


@pytest.mark.slow
def test_two_hundred_replacements_under_load(two: tuple[Path, dict[str, set[str]]]) -> None:
    """Threads read and write through a path that leads to one collection and then to the other."""
    base, acknowledged = two
    path, stop = base / "kb", threading.Event()
    errors: list[BaseException] = []
    refused: Counter[str] = Counter()

    def name_of(kb: Retriever) -> str:
        (document,) = kb.get(["name"])
        return str(document.metadata["name"])

    def work(number: int) -> None:
        step = 0
        while not stop.is_set():
            try:
                with Retriever.open(path, create=False, lock_timeout=10) as kb:
                    name = name_of(kb)
                    while not stop.is_set():
                        step += 1
                        added = f"{number}-{step}"
                        kb.add([Document(f"of {name}", {"name": name}, added)], vectors=[vector(step)])
                        acknowledged[name].add(added)
                        for hit in kb.search(vector=vector(step), k=5):
                            assert hit.document.metadata["name"] == name
            except TheodoliteError as error:
                refused[f"{type(error).__name__}: {error}"] += 1
            except BaseException as error:
                errors.append(error)
                return

    (base / "a").rename(path)
    here = "a"
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            due = len(acknowledged[here]) + 3
            deadline = time.monotonic() + 5
            while len(acknowledged[here]) < due and time.monotonic() < deadline:
                time.sleep(0.002)
            other = "b" if here == "a" else "a"
            path.rename(base / here)
            (base / other).rename(path)
            here = other
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    path.rename(base / here)
    assert not errors
    assert refused.total() > 50
    for name in ("a", "b"):
        assert ids(base / name) >= acknowledged[name]
        assert len(acknowledged[name]) > 100
