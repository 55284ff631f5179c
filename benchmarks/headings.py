"""The quality of a search with and without `--with-headings`: nDCG@10 on judged collections.

    python benchmarks/headings.py shared/data
    python benchmarks/headings.py shared/data --sets covidfaq --chunk-tokens 64 --embedder onnx-int8:all-MiniLM-L6-v2

Each document becomes a Markdown file, with its title as the heading, and is indexed as by `theodolite index`. A
document has the rank of its first passage. The folder holds collections: `corpus.jsonl` (id, title, text),
`queries.jsonl` (id, text) and `qrels.tsv` (query, document, grade). Needs the extras `cli` and `embed`.
"""

import argparse
import csv
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from theodolite import Retriever
from theodolite.files.readers import Options
from theodolite.files.sync import sync

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PASSAGES = 100  # hits per question; the first ten documents among them count


def judgments(folder: Path) -> dict[str, dict[str, float]]:
    """Return the grades of documents, for each query with a relevant document."""
    grades: defaultdict[str, dict[str, float]] = defaultdict(dict)
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as lines:
        for query, document, grade in csv.reader(lines, delimiter="\t"):
            grades[query][document] = float(grade)
    return {query: each for query, each in grades.items() if any(each.values())}


def write_files(corpus: Path, folder: Path) -> dict[str, str]:
    """Write a Markdown file for each document, and return the documents' ids by the names of their files."""
    from benchmarks.judged import records

    names = {}
    for number, document in enumerate(records(corpus)):
        heading = "" if document["title"] in ("", document["text"]) else f"# {document['title']}\n\n"
        name = f"{number}.md"
        (folder / name).write_text(heading + document["text"], encoding="utf-8")
        names[name] = document["id"]
    return names


def scores(
    files: Path,
    names: Mapping[str, str],
    queries: Sequence[str],
    grades: Sequence[Mapping[str, float]],
    options: Options,
    embedder: str,
) -> tuple[int, np.ndarray]:
    """Return the number of passages, and the nDCG@10 of each query."""
    from benchmarks.judged import ndcg

    with Retriever.open(embedder=embedder) as kb:
        sync(kb, [files], options=options)
        found = kb.search_many(queries, k=PASSAGES)
        passages = len(kb)
    values = []
    for hits, relevant in zip(found, grades, strict=True):
        documents = dict.fromkeys(names[Path(str(hit.document.metadata["path"])).name] for hit in hits)
        values.append(ndcg(list(documents), relevant))
    return passages, np.array(values)


def main() -> int:
    from benchmarks.judged import records
    from benchmarks.measure import machine, progress, table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the collections")
    parser.add_argument("--sets", nargs="+", default=["covidfaq", "cranfield"])
    parser.add_argument("--chunk-tokens", nargs="+", type=int, default=[256, 64])
    parser.add_argument("--embedder", default="all-MiniLM-L6-v2")
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    given = parser.parse_args()
    rows = []
    for name in given.sets:
        folder = given.data / name
        graded = judgments(folder)
        asked = {query["id"]: query["text"] for query in records(folder / "queries.jsonl") if query["id"] in graded}
        queries, grades = list(asked.values()), [graded[query] for query in asked]
        with tempfile.TemporaryDirectory() as made:
            names = write_files(folder / "corpus.jsonl", Path(made))
            for tokens in given.chunk_tokens:
                outcome = []
                for with_headings in (False, True):
                    progress(f"{name}: {tokens} tokens, {'with' if with_headings else 'without'} headings")
                    options = Options(chunk_tokens=tokens, with_headings=with_headings)
                    outcome.append(scores(Path(made), names, queries, grades, options, given.embedder))
                (passages, before), (more, after) = outcome
                difference = after - before
                error = difference.std(ddof=1) / np.sqrt(len(difference))
                change = f"{difference.mean():+.4f} ± {error:.4f}"
                figures = [f"{passages:,}", f"{before.mean():.4f}", f"{more:,}", f"{after.mean():.4f}"]
                rows.append([name, str(tokens), *figures, change])
                progress(" ".join(rows[-1]))
    head = ["", "tokens", "passages", "nDCG@10", "with headings", "nDCG@10", "difference ± standard error"]
    print(machine() + "\n")
    print(table(head, rows, given.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
