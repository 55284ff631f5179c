"""A folder from somebody else: only regular files are opened, nothing outside is read or written, nothing hangs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from theodolite import Retriever

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes are those of POSIX")

KINDS = ("link", "pipe", "folder")
MORE = ("dangling", "linked folder", "socket", "device")
TRUTH = ("store.sqlite", "store.sqlite-wal", "store.sqlite-shm", "store.sqlite-journal", "vectors-1.f32")
DERIVED = ("codes-1", "codes-1/000000.codes", "columns-1", "COLUMN", "INDEX", "INDEX/native", "INDEX/rows.npy")
BESIDE = ("monitor.sqlite", "records.sqlite", "judgments.sqlite")
OTHERS = ("index-partial", "writer.pid", "build.lock", "orphan-1-5.f32", *BESIDE)

# In a separate process: if it hangs, it is killed; if it crashes, the test reports it.
CHILD = """
import logging, os, shutil, socket, stat, sys
from pathlib import Path

import numpy as np
from theodolite import Document, Retriever, TheodoliteError
from theodolite.engines.local.derived.columns import column_files

for module in list(sys.modules.values()):  # small blocks and columns, so that all kinds of files are there
    if getattr(module, "__name__", "").startswith("theodolite.") and getattr(module, "BLOCK", None) == 1 << 14:
        module.BLOCK = 128
column_files._MIN_ROWS = 1
logging.disable(logging.CRITICAL)
base, kind, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]

def vectors(count):
    return np.random.default_rng(1).standard_normal((count, 4))

def fill(kb):
    kb.add([Document(f"text {n}", {"n": n % 5}, f"d{n}") for n in range(150)], vectors=vectors(150))

sound = base / "sound"
with Retriever.open(sound, monitor=True) as kb:
    fill(kb)
    kb.reindex("hnsw")
    assert kb.count({"n": 1}) == 30
    for question in vectors(3):
        kb.search(vector=question)
real = {"COLUMN": next((sound / "columns-1").iterdir()).relative_to(sound).as_posix(),
        "INDEX": next(path.name for path in sound.glob("index-[0-9]*"))}
(sound / "vectors-1.f32").open("ab").write(b"a write that was cut off")

def plant(path):
    victim = base / "victim"
    shutil.rmtree(victim, ignore_errors=True)
    (victim / "inside").mkdir(parents=True)
    (victim / "file").write_bytes(b"the victim's own" * 100)
    (victim / "inside" / "mine").write_text("mine")
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind == "link":
        path.symlink_to(victim / "file")
    elif kind == "dangling":
        path.symlink_to(victim / "not there")
    elif kind == "linked folder":
        path.symlink_to(victim / "inside", target_is_directory=True)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.chdir(path.parent)  # paths of sockets are short
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    elif kind == "device":
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero never ends
        except PermissionError:
            sys.exit(77)
    else:
        path.mkdir()
    return victim

def tree(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

question = vectors(3)
OPERATIONS = {
    "search": lambda kb: [[hit.document.id for hit in hits] for hits in kb.search_many(vectors=question, k=5)],
    "filter": lambda kb: kb.count({"n": 1}),
    "add": lambda kb: kb.add([Document("text 7", {"n": 2}, "d7")], vectors=question[:1]),
    "delete": lambda kb: kb.delete("d7"),
    "verify": lambda kb: kb.verify().warnings and None,
    "reindex": lambda kb: kb.reindex("hnsw:M=8"),
    "backup": lambda kb: kb.backup(base / "copy"),
    "repair": lambda kb: kb.repair() and None,
    "clear": lambda kb: kb.clear(),
}
with Retriever.open(sound, read_only=True) as kb:
    expected = {name: OPERATIONS[name](kb) for name in ("search", "filter")}
for name in names:
    for suffix in real:
        name = name.replace(suffix, real[suffix])
    case = base / "case"
    shutil.rmtree(case, ignore_errors=True)
    shutil.rmtree(base / "copy", ignore_errors=True)
    shutil.copytree(sound, case)
    victim = plant(case / name)
    before = tree(victim)
    outcomes = []
    for read_only in (True, False):
        shutil.rmtree(base / "copy", ignore_errors=True)
        try:
            with Retriever.open(case, create=False, read_only=read_only, monitor=True) as kb:
                for label, work in OPERATIONS.items():
                    try:
                        found = work(kb)
                    except TheodoliteError as error:
                        outcomes.append(f"{label}: {type(error).__name__}: {error}")
                    else:
                        assert label not in expected or found == expected[label], (name, label, found)
                if kb.monitor:
                    kb.monitor.flush()
        except TheodoliteError as error:
            outcomes.append(f"open: {type(error).__name__}: {error}")
    assert tree(victim) == before, (name, "outside was written")
    assert not any(b"the victim's own" in data for data in tree(base / "copy").values()), (name, "outside was read")
    print(name, "|", " ; ".join(outcomes), flush=True)
"""


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE)])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    names: tuple[str, ...] = (*TRUTH, *DERIVED, *OTHERS)
    if kind in ("dangling", "socket", "linked folder"):
        names = ("store.sqlite", "store.sqlite-wal", "vectors-1.f32", "codes-1", "INDEX", "index-partial", "writer.pid")
    command = [sys.executable, "-W", "error", "-c", CHILD, str(tmp_path), kind, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    if done.returncode == 77:
        pytest.skip("devices cannot be made here")
    assert done.returncode == 0, done.stdout + done.stderr
    reported = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert len(reported) == len(names)
    for name in TRUTH:
        if name in reported:
            assert f"{name} is a" in reported[name], (name, reported[name])
            assert "not a file; it is not opened" in reported[name], (name, reported[name])
    for name in reported.keys() - set(TRUTH) - {"build.lock"}:  # writes continue, and repair() repairs what it can
        assert not re.search(r"repair: (?!EngineError: \S+ is opened read-only)", reported[name]), reported[name]
        assert "open:" not in reported[name], (name, reported[name])


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "v1") as kb:
        kb.add(["a"], vectors=np.ones((1, 4)))
    (tmp_path / "current").symlink_to("v1")
    with Retriever.open(tmp_path / "current") as kb:
        kb.add(["b"], vectors=np.ones((1, 4)))
        assert kb.verify().warnings == ()
        assert kb.location == tmp_path / "current"


def test_the_files_of_the_report(tmp_path: Path) -> None:
    """Links in place of files that are written without being read: writer.pid, and the remains of a cut-off write."""
    (tmp_path / "authorized_keys").write_text("the victim's own\n")
    (tmp_path / "bashrc").write_text("export A=1\n")
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        kb.add(["a"], vectors=np.ones((1, 8)))
    with (folder / "vectors-1.f32").open("ab") as file:
        file.write(b"ssh-ed25519 ATTACKER\n")
    (folder / "orphan-1-2.f32").symlink_to("../authorized_keys")
    (folder / "writer.pid").unlink()
    (folder / "writer.pid").symlink_to("../bashrc")
    with Retriever.open(folder) as kb:
        kb.add(["b"], vectors=np.ones((1, 8)))
        assert any("writer.pid" in warning.message for warning in kb.verify().warnings)
        assert "writer.pid" in " ".join(kb.repair().repaired)
    assert (tmp_path / "authorized_keys").read_text() == "the victim's own\n"
    assert (tmp_path / "bashrc").read_text() == "export A=1\n"
    assert (folder / "orphan-1-2.f32").read_bytes() == b"ssh-ed25519 ATTACKER\n"
