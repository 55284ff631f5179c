"""From a folder of files to answers: the time, and the share that is not the embedder's.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --embedders onnx onnx-int8 --files 500
    python benchmarks/overhead.py --folder docs --markdown

Indexing: `sync` of a folder of Markdown files (made here, unless one is given) into a new collection. Query: from the
text to the hits, with a new question each time, in a collection of `--rows` passages. The embedder's time is measured
around its `encode_query` and `encode_document`; the rest is theodolite's, including counting tokens.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MODEL = "all-MiniLM-L6-v2"
K = 10


class Timed:
    """An embedder, and the seconds spent in its encode methods."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.seconds = 0.0
        for name in ("dimension", "max_tokens", "count_tokens"):
            setattr(self, name, getattr(embedder, name))

    def encode_query(self, texts: Sequence[str]) -> Any:
        return self._timed(self._embedder.encode_query, texts)

    def encode_document(self, texts: Sequence[str]) -> Any:
        return self._timed(self._embedder.encode_document, texts)

    def _timed(self, encode: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> Any:
        started = time.perf_counter()
        try:
            return encode(texts)
        finally:
            self.seconds += time.perf_counter() - started


def embedder(name: str, threads: int) -> Any:
    from theodolite.embedders.onnx.embedder import OnnxEmbedder
    from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder

    match name:
        case "torch":
            return SentenceTransformerEmbedder(MODEL, threads=threads)
        case "torch-bf16":
            return SentenceTransformerEmbedder(MODEL, threads=threads, precision="bfloat16")
        case "onnx":
            return OnnxEmbedder(MODEL, threads=threads)
        case "onnx-int8":
            return OnnxEmbedder(MODEL, threads=threads, precision="int8")
    raise SystemExit(f"no embedder is called {name}")


def write_files(folder: Path, files: int, words: int) -> None:
    """Write Markdown files of about this many words, in sections of 150."""
    from benchmarks.data import texts

    sections = texts(files * (words // 150), least=145, most=155)
    for number in range(files):
        parts = [f"## Section {part}\n\n{next(sections)}" for part in range(words // 150)]
        (folder / f"{number:05}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(parts) + "\n")


def index(task: dict[str, Any]) -> dict[str, float]:
    """Measure one indexing run, and a second one that has nothing to do."""
    from theodolite import Retriever
    from theodolite.files.sync import sync

    timed = Timed(embedder(task["embedder"], task["threads"]))
    timed.encode_document(["to load what is loaded late"])
    timed.seconds = 0.0
    with tempfile.TemporaryDirectory() as folder, Retriever.open(Path(folder) / "kb", embedder=timed) as kb:
        started = time.perf_counter()
        report = sync(kb, [task["folder"]])
        first = time.perf_counter() - started
        embedding = timed.seconds
        started = time.perf_counter()
        again = sync(kb, [task["folder"]])
        second = time.perf_counter() - started
        if again.unchanged != report.passages or timed.seconds != embedding:
            raise RuntimeError(f"the second run has changed something: {again}")
    return {
        "files": report.files,
        "passages": report.passages,
        "seconds": first,
        "embedding": embedding,
        "again": second,
    }


def query(task: dict[str, Any]) -> dict[str, list[float]]:
    """Return the seconds of each question, and the embedder's share of them."""
    import numpy as np

    from benchmarks.data import Synthetic, texts
    from theodolite import Document, Retriever

    timed = Timed(embedder(task["embedder"], task["threads"]))
    rows = task["rows"]
    source = Synthetic("clustered", rows, timed.dimension)  # type: ignore[attr-defined]  # set in a loop
    questions = [f"{text}?" for text in texts(task["repeat"] + 10, least=6, most=10)]
    with tempfile.TemporaryDirectory() as folder, Retriever.open(Path(folder) / "kb", embedder=timed) as kb:
        written = texts(rows, least=45, most=47)
        documents = [Document(next(written), {"n": number}, f"{number}") for number in range(rows)]
        kb.add(documents, vectors=np.asarray(source.vectors(0, rows)), batch_size=None)
        whole, inside = [], []
        for question in questions:
            timed.seconds = 0.0
            started = time.perf_counter()
            kb.search(question, k=K)
            whole.append(time.perf_counter() - started)
            inside.append(timed.seconds)
    return {"whole": whole[10:], "embedder": inside[10:]}


def report(runs: dict[str, dict[str, Any]], rows: int, markdown: bool) -> list[str]:
    from benchmarks.measure import percentile, table, verdict

    indexing, asking, verdicts = [], [], []
    for name, run in runs.items():
        i = run["index"]
        rest = 1 - i["embedding"] / i["seconds"]
        indexing.append(
            [
                name,
                f"{i['files'] / i['seconds']:.1f}",
                f"{i['passages'] / i['seconds']:.1f}",
                f"{i['seconds']:.2f}",
                f"{100 * rest:.1f} %",
                f"{i['again']:.2f}",
            ]
        )
        verdicts.append(verdict(f"{name}: share of indexing that is not the embedder", 100 * rest, 5, unit=" %"))
        q = run["query"]
        beside = [1e3 * (a - b) for a, b in zip(q["whole"], q["embedder"], strict=True)]
        p50, p95 = (1e3 * percentile(q["whole"], share) for share in (50, 95))
        inside = 1e3 * percentile(q["embedder"], 50)
        asking.append(
            [name, f"{p50:.2f}", f"{p95:.2f}", f"{inside:.2f}", f"{percentile(beside, 50):.2f}", f"{inside / p50:.0%}"]
        )
        verdicts.append(verdict(f"{name}: query without the embedder, p50", percentile(beside, 50), 1, unit=" ms"))
    return [
        table(
            ["indexing", "files/s", "passages/s", "seconds", "not the embedder", "second run, s"], indexing, markdown
        ),
        "",
        table(
            [f"query, {rows:,} passages", "p50 ms", "p95 ms", "embedder ms", "the rest ms", "embedder's share"],
            asking,
            markdown,
        ),
        "",
        *verdicts,
    ]


def main() -> int:
    from benchmarks.measure import child, machine, progress, write_json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedders", nargs="+", default=["torch", "torch-bf16", "onnx", "onnx-int8"])
    parser.add_argument("--folder", type=Path, help="index the files of this folder")
    parser.add_argument("--files", type=int, default=80, help="files to make, if no folder is given")
    parser.add_argument("--words", type=int, default=1200, help="words of each")
    parser.add_argument("--rows", type=int, default=20_000, help="passages to search")
    parser.add_argument("--repeat", type=int, default=200, help="questions")
    parser.add_argument("--threads", type=int, default=2, help="of the embedder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task = json.loads(options.child)
        print(json.dumps({"index": index, "query": query}[task["what"]](task)))
        return 0
    runs: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made) / "files"
        if options.folder is None:
            folder.mkdir()
            write_files(folder, options.files, options.words)
        for name in options.embedders:
            common = {"embedder": name, "threads": options.threads, "folder": str(folder.resolve())}
            common |= {"rows": options.rows, "repeat": options.repeat}
            runs[name] = {}
            for what in ("index", "query"):
                progress(f"{name}: {what}")
                runs[name][what] = child(__file__, {"what": what, **common}, options.threads)
    print(machine() + f"; {options.threads} threads\n")
    print("\n".join(report(runs, options.rows, options.markdown)))
    if options.json:
        write_json(options.json, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
