"""Vectors and texts to measure with. The same seed gives the same data."""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.types import Space, Vectors
from theodolite.vectors.prepare import prepare

Floats = NDArray[np.float32]

KINDS = ("clustered", "anisotropic")
CHUNK = 50_000
_MEAN_COSINE = 0.9
_SPREAD = 0.8  # length of the noise around a cluster's center: two rows of a cluster have a cosine of 0.61
_VOCABULARY = 30_000


class Synthetic:
    """Unit vectors around random centers; `anisotropic` ones lie in a cone, with a mean pairwise cosine of 0.9."""

    def __init__(self, kind: str, rows: int, dimension: int, seed: int = 7) -> None:
        self._kind = kind
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._centers = _unit(rng.standard_normal((max(16, rows // 500), dimension), np.float32))
        self._axis = _unit(rng.standard_normal((1, dimension), np.float32))

    def vectors(self, part: int, rows: int) -> Vectors:
        """Return the rows of a part, the same ones each time."""
        rng = np.random.default_rng((self._seed, part))
        centers = self._centers[rng.integers(0, len(self._centers), rows)]
        noise = rng.standard_normal(centers.shape, np.float32)
        made = _unit(centers + np.float32(_SPREAD / np.sqrt(centers.shape[1])) * noise)
        if self._kind == "anisotropic":
            made = np.float32(np.sqrt(_MEAN_COSINE)) * self._axis + np.float32(np.sqrt(1 - _MEAN_COSINE)) * made
        return prepare(made, Space("cosine", made.shape[1]))[0]

    def queries(self, count: int) -> Vectors:
        """Draw further vectors that are not rows."""
        return self.vectors(1 << 30, count)


def write_synthetic(folder: Path, kind: str, rows: int, dimension: int, queries: int) -> None:
    """Write `rows.f32` and `queries.npy` to a folder, chunk by chunk."""
    made = Synthetic(kind, rows, dimension)
    np.save(folder / "queries.npy", made.queries(queries))
    with (folder / "rows.f32").open("wb") as file:
        for part, start in enumerate(range(0, rows, CHUNK)):
            made.vectors(part, min(CHUNK, rows - start)).tofile(file)


def write_real(folder: Path, vectors: str, queries: str | None, count: int, limit: int | None) -> None:
    """Write the same, normalized, from .npy files of float16 or float32. Without queries, the last rows are queries."""
    source = np.load(vectors, mmap_mode="r")
    asked = np.load(queries) if queries else source[len(source) - count :]
    rows = len(source) if queries else len(source) - count
    rows = min(rows, limit or rows)
    space = Space("cosine", source.shape[1])
    chosen = np.random.default_rng(7).permutation(len(asked))[:count]
    np.save(folder / "queries.npy", prepare(asked[np.sort(chosen)], space)[0])
    with (folder / "rows.f32").open("wb") as file:
        for start in range(0, rows, CHUNK):
            prepare(source[start : min(start + CHUNK, rows)], space)[0].tofile(file)


def add_options(parser: argparse.ArgumentParser, synthetic: Sequence[str]) -> None:
    """Add the command-line arguments of benchmarks on vectors: the data set, and the file for the figures."""
    parser.add_argument("--dimension", type=int, default=384, help="of synthetic vectors")
    parser.add_argument("--kinds", nargs="*", choices=[*synthetic, "real"], help="default: all kinds with data")
    parser.add_argument("--vectors", metavar="FILE.npy", help="real vectors, float16 or float32, normalized or not")
    parser.add_argument("--queries", metavar="FILE.npy", help="their queries (default: the last rows, left out)")
    parser.add_argument("--folder", help="the folder for temporary data (default: the system's temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--markdown", action="store_true", help="print tables for the documentation")
    parser.add_argument("--child", help=argparse.SUPPRESS)


def kinds_of(args: argparse.Namespace, synthetic: Sequence[str]) -> list[str]:
    """Return the requested kinds of vectors; by default all with data."""
    kinds = args.kinds or [*synthetic, *(["real"] if args.vectors else [])]
    if "real" in kinds and not args.vectors:
        raise SystemExit("kind `real` needs --vectors")
    return kinds


@contextmanager
def made(args: argparse.Namespace, kind: str, rows: int, queries: int) -> Iterator[str]:
    """Yield a temporary folder with vectors and queries of a kind."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.folder) as name:
        if kind == "real":
            write_real(Path(name), args.vectors, args.queries, queries, rows)
        else:
            write_synthetic(Path(name), kind, rows, args.dimension, queries)
        yield name


def texts(count: int, seed: int = 11, least: int = 30, most: int = 60) -> Iterator[str]:
    """Return sentences of `least` to `most` words, whose frequencies follow Zipf's law."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    lengths = rng.integers(2, 11, _VOCABULARY)
    words = np.array([f"{''.join(rng.choice(letters, length))}{i % 7 or ''}" for i, length in enumerate(lengths)])
    weights = 1 / np.arange(1, _VOCABULARY + 1)
    edges = np.cumsum(weights / weights.sum())
    for _ in range(count):
        drawn = np.searchsorted(edges, rng.random(rng.integers(least, most + 1)))
        yield " ".join(words[np.minimum(drawn, _VOCABULARY - 1)].tolist()).capitalize() + "."


def corpus_texts(path: str, count: int) -> Iterator[str]:
    """Return texts of a JSON Lines file, repeated if the file is too short."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    found = [f"{line.get('title', '')} {line['text']}".strip() for line in map(json.loads, lines)]
    return itertools.islice(itertools.cycle(found), count)


def metadata(number: int) -> dict[str, Any]:
    """Return metadata with three fields: a string with few values, a number, a date as a string."""
    return {
        "source": ("policy", "wiki", "chat", "mail", "web")[number % 5],
        "year": 2000 + number % 25,
        "published": f"2024-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
    }


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
