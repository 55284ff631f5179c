"""The first steps of a new user: size of the installation, time of a search from the command line, speed and memory of
indexing.

    python benchmarks/first_mile.py
    python benchmarks/first_mile.py --venvs /tmp/venvs --rows 500 --markdown

Three ways to run all-MiniLM-L6-v2, each in its own virtual environment: `theodolite[cli,embed]` (onnxruntime),
`theodolite[cli,sentence-transformers]` (torch), and `chromadb` with its default embedding function (onnxruntime). All
use the same model: it is exported here, served to theodolite from a hub on the loopback interface, and put into
Chroma's download folder. Needs the extras `minilm` and `onnx`; `pip` needs an index of packages.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

NAME = "sentence-transformers/all-MiniLM-L6-v2"
WAYS = {
    "embed": f"{ROOT}[cli,embed]",
    "torch": f"{ROOT}[cli,sentence-transformers]",
    "chroma": "chromadb==1.5.9",
}
QUESTION = "How long do refunds take?"

# Each prints one line of JSON; what runs before `started` is the model's start.
INDEX = """
import json, resource, sys, time
import numpy as np
texts = json.load(open(sys.argv[1]))
from theodolite import Document, Retriever
from theodolite.embedders.resolve import resolve
embedder = resolve("all-MiniLM-L6-v2")
embedder.encode_document(texts[:1])
with Retriever.open("kb", embedder=embedder) as kb:
    started = time.perf_counter()
    kb.add([Document(text, id=str(number)) for number, text in enumerate(texts)])
    seconds = time.perf_counter() - started
np.save(sys.argv[2], embedder.encode_document(texts[:100]))
print(json.dumps({"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
CHROMA_INDEX = """
import json, resource, sys, time
import numpy as np
texts = json.load(open(sys.argv[1]))
import chromadb
from chromadb.utils.embedding_functions import DefaultEmbeddingFunction
embed = DefaultEmbeddingFunction()
embed(texts[:1])
collection = chromadb.PersistentClient("kb").create_collection("passages", embedding_function=embed)
started = time.perf_counter()
collection.add(ids=[str(number) for number in range(len(texts))], documents=texts)
seconds = time.perf_counter() - started
np.save(sys.argv[2], np.array(embed(texts[:100])))
print(json.dumps({"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
CHROMA_SEARCH = """
import sys
import chromadb
collection = chromadb.PersistentClient("kb").get_collection("passages")
print(collection.query(query_texts=[sys.argv[1]], n_results=5)["documents"])
"""


def paragraphs(count: int) -> list[str]:
    """Return paragraphs of our documentation, of 100 to 900 characters each."""
    found = [
        part[:900]
        for page in sorted((ROOT / "docs").glob("*.md"))
        for part in page.read_text(encoding="utf-8").split("\n\n")
        if len(part) >= 100 and part[0].isalpha()
    ]
    if len(found) < count:
        raise SystemExit(f"there are {len(found)} paragraphs: pass --rows")
    return [found[number * len(found) // count] for number in range(count)]


def virtual_environment(folder: Path, requirement: str) -> Path:
    """Return the Python of a virtual environment with the requirement, made unless the folder is there."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
    return python


def installed(folder: Path) -> int:
    """Return the bytes of an environment: all of it, pip included."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def publish(root: Path) -> None:
    """Write the model's repository as on the hub: weights in safetensors, and a graph."""
    from theodolite.embedders import minilm
    from theodolite.embedders.onnx.embedder import OnnxEmbedder

    source = minilm.bundled()
    if source is None:
        raise SystemExit("install the extra minilm")
    shutil.copytree(source, root / NAME)
    (root / NAME / "onnx").mkdir()
    shutil.copy(OnnxEmbedder(NAME).folder / "model.onnx", root / NAME / "onnx" / "model.onnx")


def unpack_for_chroma(repository: Path, home: Path) -> None:
    """Put the model where Chroma looks for it before it downloads anything."""
    target = home / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2" / "onnx"
    target.mkdir(parents=True)
    names = ("config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    for path in [*(repository / name for name in names), repository / "onnx" / "model.onnx"]:
        shutil.copy(path, target / path.name)


def run(command: list[Any], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def searches(command: list[Any], folder: Path, environment: dict[str, str], repeat: int) -> dict[str, float]:
    """Time a command in new processes; the first run fills the caches of the system and does not count."""
    taken, memory = [], 0.0
    for _ in range(repeat + 1):
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} failed")
        taken.append(time.perf_counter() - started)
        memory = max(memory, usage.ru_maxrss)
    return {"best": min(taken[1:]), "median": float(np.median(taken[1:])), "memory": memory}


def measure(way: str, python: Path, texts: Path, hub: str, repository: Path, repeat: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))},
            "HOME": place,
            "XDG_CACHE_HOME": f"{place}/.cache",
            "HF_HOME": f"{place}/huggingface",
            "HF_ENDPOINT": hub,
            "ANONYMIZED_TELEMETRY": "False",
        }
        search = [python, "-m", "theodolite", "search", "kb", QUESTION]
        if way == "chroma":
            unpack_for_chroma(repository, home)
            search = [python, "-c", CHROMA_SEARCH, QUESTION]
        code = CHROMA_INDEX if way == "chroma" else INDEX
        indexed = json.loads(run([python, "-c", code, texts, home / "v.npy"], home, environment).splitlines()[-1])
        vectors = np.load(home / "v.npy").tolist()
        return {"index": indexed, "search": searches(search, home, environment, repeat), "vectors": vectors}


def report(runs: dict[str, Any], rows: int, markdown: bool) -> list[str]:
    from benchmarks.measure import table, verdict

    reference = np.array(runs["torch"]["vectors"]) if "torch" in runs else None
    cells, verdicts = [], []
    for way, found in runs.items():
        rate, cosine = rows / found["index"]["seconds"], None
        if reference is not None:
            vectors = np.array(found["vectors"])
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
            cosine = float(((vectors * reference).sum(axis=1) / lengths).min())
        cells.append(
            [
                way,
                f"{found['bytes'] / 1e6:.0f}",
                f"{found['search']['best']:.2f}",
                f"{found['search']['median']:.2f}",
                f"{found['search']['memory'] / 1024:.0f}",
                f"{rate:.1f}",
                f"{found['index']['memory'] / 1024:.0f}",
                "–" if cosine is None else f"{cosine:.6f}",
            ]
        )
        if way == "embed":
            verdicts.append(verdict("embed: installed", found["bytes"] / 1e6, 350, unit=" MB"))
            verdicts.append(verdict("embed: a search from the command line", found["search"]["best"], 2, unit=" s"))
            if "torch" in runs:
                times = rate / (rows / runs["torch"]["index"]["seconds"])
                verdicts.append(verdict("embed: passages a second, times torch's", times, 1.5, least=True))
                verdicts.append(verdict("embed: lowest cosine to torch", cosine or 0, 0.9999, least=True))
    head = ["", "installed MB", "search s, best", "median", "its MB", "passages/s", "its MB", "lowest cosine to torch"]
    return [table(head, cells, markdown), "", *verdicts]


def main() -> int:
    from tests.hub_server import serve

    from benchmarks.measure import machine, progress, write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--venvs", type=Path, help="keep the environments here, and use them again")
    parser.add_argument("--rows", type=int, default=300, help="paragraphs of our documentation to index")
    parser.add_argument("--repeat", type=int, default=5, help="searches, each in a new process")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    options = parser.parse_args()
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        publish(root / "hub")
        (root / "texts.json").write_text(json.dumps(paragraphs(options.rows)))
        with serve(root / "hub") as server:
            for way in options.only:
                progress(f"{way}: install")
                folder = (options.venvs or root).resolve() / way
                python = virtual_environment(folder, WAYS[way])
                progress(f"{way}: measure")
                size = installed(folder)
                found = measure(way, python, root / "texts.json", server.url, root / "hub" / NAME, options.repeat)
                runs[way] = {**found, "bytes": size}
    print(machine() + "\n")
    print("\n".join(report(runs, options.rows, options.markdown)))
    write_json(options.json, {way: {**found, "vectors": None} for way, found in runs.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
