"""Damage collections in many ways, and report each outcome: `hostile.py FOLDER`, seeds on stdin, outcomes out.

A process of its own, since damage may end it. What is sound is built once, in FOLDER; a case is a copy with one file
damaged, and looked at as a user would: opened, searched, verified. Blocks and columns are made small, so that small
collections have all kinds of files.
"""

import logging
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from theodolite import CorruptionError, Document, ManifestError, Retriever
from theodolite.engines.local.derived.columns import column_files

DIMENSION = 8
ROWS = 300
INDEXES = (None, "hnsw:M=8,ef_construction=40", "faiss:IVF4,Flat")
OPERATIONS = ("flip", "flip", "flip", "byte", "zeros", "cut", "extend", "empty", "gone", "folder", "foreign", "other")

Answers = dict[str, Any]


def small() -> None:
    """Blocks of 128 rows, and columns of all sizes kept in files."""
    for name, module in list(sys.modules.items()):
        if name.startswith("theodolite.") and getattr(module, "BLOCK", None) == 1 << 14:
            module.BLOCK = 128  # type: ignore[attr-defined]
    column_files._MIN_ROWS = 1


def documents(start: int, stop: int, version: int, partition: bool) -> list[Document]:
    found = []
    for number in range(start, stop):
        metadata: dict[str, Any] = {"n": number % 5, "tags": ["a", "b"][: number % 3], "version": version}
        if partition:
            metadata["tenant"] = f"t{number % 2}"
        found.append(Document(f"text {number} of version {version}", metadata, f"d{number:04}"))
    return found


def write(folder: Path, seed: int, index: str | None, partition: bool, *, hot: bool) -> list[Answers]:
    """Build a collection. Returns its answers after its last commits."""
    rng = np.random.default_rng(seed)
    kb = Retriever.open(folder, partition="tenant" if partition else None)
    for start in range(0, ROWS, 75):
        kb.add(documents(start, start + 75, 0, partition), vectors=rng.standard_normal((75, DIMENSION)))
    kb.add(documents(20, 40, 1, partition), vectors=rng.standard_normal((20, DIMENSION)))
    kb.delete(where={"n": 4})
    if index is not None:
        kb.reindex(index)
    kb.warm("n", "tags", "tenant", "version")
    history = []
    if hot:
        history.append(answers(kb))
        kb.add(documents(ROWS, ROWS + 5, 0, partition), vectors=rng.standard_normal((5, DIMENSION)))
    history.append(answers(kb))
    if hot:  # as a killed process leaves it: the log is not folded in
        shutil.copytree(folder, folder.with_name("hot"))
        kb.close()
        shutil.rmtree(folder)
        folder.with_name("hot").rename(folder)
        (folder / "store.sqlite-shm").unlink()
    else:
        kb.close()
    return history


def answers(kb: Retriever) -> Answers:
    """Return everything that a collection returns."""
    queries = np.random.default_rng(99).standard_normal((6, DIMENSION))
    reported: Answers = {
        "documents": sorted(
            (document.id, document.text, str(dict(document.metadata)), vector.tobytes())
            for document, vector in kb.documents(vectors=True)
        ),
        "count": kb.count(),
        "filtered": [kb.count({"n": 3}), kb.count({"tags": {"$contains": "b"}}), kb.count({"version": {"$gte": 1}})],
    }
    for name, where in (("all", None), ("some", {"n": [1, 2]})):
        reported[name] = [
            [(hit.document.id, round(hit.score, 5)) for hit in hits]
            for hits in kb.search_many(vectors=queries, k=5, where=where)
        ]
    return reported


def exact(reported: Answers, index: str | None) -> bool:
    """Return whether the hits equal those of a float64 scan over the returned documents."""
    vectors = np.stack([np.frombuffer(one[3], np.float32) for one in reported["documents"]]).astype(float)
    queries = np.random.default_rng(99).standard_normal((6, DIMENSION))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = np.sort(queries @ vectors.T, axis=1)[:, ::-1][:, :5]
    return bool(np.allclose(best, [[score for _, score in hits] for hits in reported["all"]], atol=2e-5))


class Bench:
    """Intact collections, and the cases made from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sound: list[tuple[Path, str | None, list[Answers]]] = []
        for index in INDEXES:
            for partition in (False, True):
                for hot in (False, True):
                    place = folder / f"sound-{len(self.sound)}"
                    history = write(place / "kb", len(self.sound), index, partition, hot=hot)
                    write(place / "other", 1000 + len(self.sound), index, partition, hot=False)
                    assert all(exact(reported, index) for reported in history)
                    self.sound.append((place, index, history))

    def case(self, seed: int) -> str:
        """Run one case. Returns its operation, file and outcome."""
        rng = np.random.default_rng(seed)
        place, _, history = self.sound[int(rng.integers(len(self.sound)))]
        copy = self.folder / "case"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(place / "kb", copy)
        files = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
        name = files[int(rng.integers(len(files)))]
        operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
        damage(copy, name, operation, place / "other", files, rng)
        outcome = look(copy, history, read_only=bool(rng.integers(2)))
        return f"{operation} {kind(name)} {outcome}"


def kind(name: Path) -> str:
    first = name.parts[0]
    return (
        name.name
        if first.startswith(("store", "writer", "build"))
        else first.split("-")[0] + (f"/{name.name}" if first.startswith("index") else "")
    )


def damage(copy: Path, name: Path, operation: str, other: Path, files: list[Path], rng: np.random.Generator) -> None:
    path = copy / name
    data = bytearray(path.read_bytes())
    place = int(rng.integers(len(data))) if data else 0
    match operation:
        case "flip" if data:
            data[place] ^= 1 << int(rng.integers(8))
        case "byte" if data:
            data[place] = int(rng.integers(256))
        case "zeros":
            data[place : place + 64] = bytes(len(data[place : place + 64]))
        case "cut":
            del data[place:]
        case "extend":
            data += bytes(rng.integers(0, 256, int(rng.integers(1, 5000)), np.uint8)) if place % 2 else bytes(place + 1)
        case "empty":
            data.clear()
        case "foreign":  # the same file of another collection
            if (other / name).exists():
                data = bytearray((other / name).read_bytes())
        case "other":  # another file of this collection
            data = bytearray((copy / files[int(rng.integers(len(files)))]).read_bytes())
    path.unlink()
    if operation == "folder":
        path.mkdir()
        (path / "x").write_bytes(b"x")
    elif operation != "gone":
        path.write_bytes(data)


def look(folder: Path, history: list[Answers], *, read_only: bool) -> str:
    """Open, search, verify. Raises AssertionError if something is wrong and nothing reports it."""
    reported: Answers | None = None
    try:
        kb = Retriever.open(folder, create=False, read_only=read_only)
    except (CorruptionError, ManifestError):
        return "refused"
    with kb:
        try:
            reported = answers(kb)
            outcome = "right" if reported == history[-1] else "before" if reported in history else "wrong"
        except CorruptionError:
            outcome = "raised"
        try:
            found = kb.verify()
        except CorruptionError as error:
            problems = error.verification.problems
            # Of what is derived only SQLite's own indexes answer without a check.
            if all(problem.derived and problem.part != "database" for problem in problems):
                assert outcome in ("right", "before"), f"{outcome}, but only what is derived is damaged: {problems}"
                return f"{outcome}, repairable"
            return f"{outcome}, verified"
        except ManifestError:
            return f"{outcome}, verified"
        assert outcome in ("right", "before"), f"{outcome}, and verify is content"
        return f"{outcome}, {'warned' if found.warnings else 'harmless'}"


def main() -> None:
    logging.disable()
    small()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bench = Bench(Path(sys.argv[1]))
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print(bench.case(int(line)), flush=True)
        except Exception:  # any error is reported
            print("FAILED " + traceback.format_exc().replace("\n", "\\n"), flush=True)


if __name__ == "__main__":
    main()
