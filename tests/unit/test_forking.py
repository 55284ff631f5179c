"""A forked child gets new locks, pools, threads and connections instead of its parent's."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.crossing import untrained

ROOT = Path(__file__).parents[2]
MADE = {
    "Lock",
    "RLock",
    "Condition",
    "Event",
    "Semaphore",
    "BoundedSemaphore",
    "Barrier",
    "Thread",
    "local",
    "ThreadPoolExecutor",
}
ALONE = {
    "theodolite/forking": "the mechanism itself",
    "flat/codes": "a thread-local: what is in it belongs to the threads",
    "flat/index": "the same",
    "flat/scan": "the same",
}

# Walks everything of theodolite and its adapters that is alive, finds what a fork breaks, holds every lock in another
# thread, forks, and looks again in the child.
CODE = """
import collections, gc, json, os, queue, signal, sqlite3, sys, threading, types
from concurrent.futures import ThreadPoolExecutor
import asyncio
import numpy as np
from langchain_theodolite import TheodoliteRecordManager, TheodoliteVectorStore
from llama_index_theodolite import TheodoliteVectorStore as LlamaIndexStore
from theodolite import Document, Freshness, Latest, Monitor, Rerank, Retriever
from theodolite.embedders.onnx.embedder import OnnxEmbedder
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.rerankers.cross_encoder import CrossEncoderReranker

folder, bert, crossing, cache = sys.argv[1:]
texts = [{"id": f"d{i}", "text": f"passage {i}", "metadata": {"n": i, "at": "2026-01-01"}} for i in range(64)]
monitor = Monitor(interval=1000.0)
torch_kb = Retriever.open(folder + "/torch", embedder=SentenceTransformerEmbedder(bert, device="cpu"),
                          monitor=monitor, versions=Latest(per="n", by="at"))
onnx_kb = Retriever.open(folder + "/onnx", embedder=OnnxEmbedder(bert, cache=cache))
torch_kb.add(texts)
onnx_kb.add(texts)
torch_kb.reindex("hnsw")
onnx_kb.reindex("faiss:HNSW16")
rerank = Rerank(CrossEncoderReranker(crossing, device="cpu"), candidates=4)
store = TheodoliteVectorStore.from_retriever(torch_kb)
records = TheodoliteRecordManager(store, "all")
records.update(["a"])
nodes = LlamaIndexStore(kb=torch_kb)

def use(kb):
    fresh = Freshness("at", half_life="30d")
    kb.search("passage", k=2, where={"n": {"$lt": 9}}, rerank=rerank, boosts=[fresh], mode="hybrid")
    kb.search("passage 7", k=2)
    kb.fields()
    asyncio.run(kb.asearch("passage", k=1))
    kb.add([{"id": f"new-{os.getpid()}", "text": "new"}])
    kb.verify()

for kb in (torch_kb, onnx_kb):
    use(kb)
monitor.flush()

OURS = ("theodolite", "langchain_theodolite", "llama_index_theodolite")
LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)
WANTED = (*LOCKS, threading.Event, threading.Thread, ThreadPoolExecutor, sqlite3.Connection)

def ours(name):
    return str(name).split(".")[0] in OURS

def members(one):
    found = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(one, name):
                found[name] = getattr(one, name)
    return found

def inside(value, path, depth=0):
    if isinstance(value, WANTED) or type(value).__name__ == "InferenceSession":
        yield path, value
    elif depth < 3 and isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        for number, item in enumerate(list(value)):
            yield from inside(item, f"{path}[{number}]", depth + 1)
    elif depth < 3 and isinstance(value, dict):
        for key, item in list(value.items()):
            yield from inside(item, f"{path}[{key!r:.30}]", depth + 1)

def everything():
    for name, module in list(sys.modules.items()):
        if ours(name):
            for attribute, value in list(vars(module).items()):
                yield from inside(value, f"{name}.{attribute}")
    for one in gc.get_objects():
        kind = type(one)
        if ours(kind.__module__) and not isinstance(one, type):
            for attribute, value in members(one).items():
                yield from inside(value, f"{kind.__name__}.{attribute}")

found = list(everything())
owners = sorted({path for path, _ in found})
print(json.dumps(owners))
old = {id(value): path for path, value in found}

ready, done = threading.Semaphore(0), threading.Event()
def hold(lock):
    while lock.acquire(blocking=False) and not isinstance(lock, (type(threading.RLock()), threading.Condition)):
        pass
    ready.release()
    done.wait()
held = [value for path, value in found if isinstance(value, LOCKS) and path != "theodolite.forking._forking"]
for lock in held:
    threading.Thread(target=hold, args=(lock,), daemon=True).start()
for _ in held:
    ready.acquire()

child = os.fork()
if not child:
    signal.alarm(90)  # a child that hangs is killed
    kept = sorted({path for path, value in everything() if id(value) in old and path != "TemporaryFolder"})
    print(json.dumps(kept))
    for kb in (torch_kb, onnx_kb):
        use(kb)
    records.update(["b"])
    assert store.similarity_search("passage", k=1)
    sys.stdout.flush()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.stdout.flush()
os._exit(0)
"""

EXPECTED = {
    "Approximate._lock",
    "Columns._lock",
    "BoostFactors._lock",
    "FieldSummaries._lock",
    "Graph._running",
    "Journal._connections[0]",
    "IndexManager._closing",
    "IndexManager._thread_lock",
    "Ledger._held[0]",
    "Ledger._lock",
    "Monitor._flushing",
    "Monitor._thread",
    "QueryCache._lock",
    "DocumentCache._lock",
    "ScoreCache._lock",
    "ValueCountsCache._lock",
    "VersionStateCache._building",
    "Store._idle[0]",
    "Store._writing",
    "Tokenizer._idle[0]",
    "FairLock._gate",
    "FairLock._lock",
    "SnapshotManager._lock",
    "EmbedderGuard._lock",
    "Workers._lock",
    "Workers._places",
    "_Pool._executor",
    "_Pool._lock",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
@pytest.mark.thorough
def test_everything_that_a_fork_breaks_is_new_in_a_child(tmp_path: Path, tiny_folder: Path) -> None:
    crossing = untrained(tmp_path / "crossing")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        CODE,
        str(tmp_path),
        str(tiny_folder),
        str(crossing),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3, (done.stdout, done.stderr)
    found, kept, code = lines
    missing = EXPECTED - set(found)
    assert not missing, missing
    assert [path for path in kept if path != "theodolite.forking._forking"] == []
    assert code == 0, done.stderr


def _made(tree: ast.AST, own: set[str]) -> bool:
    calls = (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        call == "sqlite3.connect" or (call.removeprefix("threading.") in MADE and call not in own) for call in calls
    )


def _kept(tree: ast.AST, own: set[str]) -> list[str]:
    """Return the attributes and globals to which locks, threads and pools are assigned.

    Args:
        own: the names of the module's own classes, such as a `Condition` of SQL.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _made(node.value, own):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [ast.unparse(target) for target in targets]
    return found


def test_every_class_that_keeps_a_lock_registers_itself() -> None:
    """A new class with a lock that does not handle forks fails here."""
    missing = []
    for source in ("retriever", "adapters"):
        for path in sorted((ROOT / source).rglob("*.py")):
            if f"{path.parent.name}/{path.stem}" in ALONE:
                continue
            tree = ast.parse(path.read_text())
            own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
            missing += [
                f"{path.stem}: {name}"
                for node in tree.body
                if not isinstance(node, (ast.ClassDef, ast.FunctionDef))
                for name in _kept(node, own)
            ]
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    kept = [name for name in _kept(node, own) if name.startswith("self.")]
                    if kept and "register_at_fork(self)" not in ast.unparse(node):
                        missing.append(f"{path.stem}.{node.name}: {kept}")
    assert missing == []


def test_only_one_module_speaks_to_the_system() -> None:
    speaking = [
        path.stem
        for source in ("retriever", "adapters")
        for path in (ROOT / source).rglob("*.py")
        if "os.register_at_fork" in path.read_text()
    ]
    assert speaking == ["forking"]
