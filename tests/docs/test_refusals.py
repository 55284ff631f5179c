"""The page of refusals matches the code: each message there is raised here, word for word."""

import asyncio
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import Center, Document, EmbedderOptions, Pca, Retriever, TheodoliteError
from theodolite.files.sync import sync
from theodolite.guards.notes import keep_note
from theodolite.testing import HashingEmbedder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "refusals.md"
D = 32

Scenario = Callable[[Path], None]


class Embedder(HashingEmbedder):
    max_tokens = 60

    def __init__(self, change: Callable[[Sequence[str], Any], Any] | None = None, *, limit: int = 60) -> None:
        super().__init__(D)
        self.max_tokens = limit
        self._change = change

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def _encode(self, texts: Sequence[str]) -> Any:
        cut = [" ".join(text.split(" ")[: self.max_tokens]) for text in texts]
        if self._change is None:
            return super()._encode(cut)
        return self._change(cut, super()._encode)


def longer(texts: Sequence[str], encode: Any) -> Any:
    return encode(texts) * np.float32(7)


def turned(texts: Sequence[str], encode: Any) -> Any:
    return encode(texts)[:, ::-1].copy()


def accents(texts: Sequence[str], encode: Any) -> Any:
    return encode([re.sub("[^\x00-\x7f]", " x ", text) for text in texts])


def noise(texts: Sequence[str], encode: Any) -> Any:
    return encode(texts) + np.float32(0.03) * np.cos(np.arange(D, dtype=np.float32))


def nothing(texts: Sequence[str], encode: Any) -> Any:
    return encode(texts) * np.float32(np.nan)


class Prompted(Embedder):
    def encode_query(self, texts: Sequence[str], /) -> Any:
        return super().encode_query(["query: " + text for text in texts])


def made(folder: Path, **settings: Any) -> Path:
    with Retriever.open(folder / "kb", **{"embedder": Embedder(), **settings}) as kb:
        kb.add([Document(f"Passage {i} says how refunds are paid.", {"tenant": "a"}, f"d{i}") for i in range(6)])
    return folder / "kb"


def drifted(change: Any = None, **options: Any) -> Scenario:
    def play(folder: Path) -> None:
        Retriever.open(made(folder), embedder=Embedder(change, **options))

    return play


def prompted(folder: Path) -> None:
    Retriever.open(made(folder), embedder=Prompted())


def by_chance(folder: Path) -> None:
    draw = np.random.default_rng(0)
    made(folder, embedder=Embedder(lambda texts, encode: encode(texts) * (draw.random((len(texts), D)) > 0.2)))


def canary_lost(folder: Path) -> None:
    with Retriever.open(made(folder)) as kb:
        keep_note(kb._engine, "canary", None)
    Retriever.open(folder / "kb", embedder=Embedder(turned))


def awaited_otherwise(folder: Path) -> None:
    class Otherwise(Embedder):
        async def aencode_query(self, texts: Sequence[str], /) -> Any:
            return self.encode_query(texts)[:, ::-1].copy()

    with Retriever.open(made(folder), embedder=Otherwise()) as kb:
        asyncio.run(kb.asearch("refunds"))


def expecting(document: str) -> Scenario:
    def play(folder: Path) -> None:
        Retriever.open(made(folder), embedder=EmbedderOptions(Embedder(), expect=[("refunds", document, -0.9, -0.8)]))

    return play


def other_dimension(folder: Path) -> None:
    Retriever.open(made(folder), embedder=HashingEmbedder(D + 1))


def without_embedder(folder: Path) -> None:
    with Retriever.open(made(folder)) as kb:
        kb.search("refunds")


def adding(vectors: Any, **settings: Any) -> Scenario:
    def play(folder: Path) -> None:
        with Retriever.open(**settings) as kb:
            kb.add(["north", "east"], vectors=np.eye(2))
            kb.add(["more", "and more"], vectors=vectors)

    return play


def long_query(folder: Path) -> None:
    with Retriever.open(metric="dot") as kb:
        kb.add(["north", "east"], vectors=[[1.0, 0.0], [0.0, 3.0]])
        kb.search_many(vectors=np.tile([2.0, 0.0], (40, 1)))
        kb.search(vector=[80.0, 0.0])


def truncated(folder: Path) -> None:
    with Retriever.open(embedder=EmbedderOptions(Embedder(), on_truncate="error")) as kb:
        kb.add(["word " * 100])


def opened(**settings: Any) -> Scenario:
    def play(folder: Path) -> None:
        Retriever.open(made(folder), **settings)

    return play


def other_norms(folder: Path) -> None:
    Retriever.open(made(folder, metric="dot"), norms="any")


def unknown_operator(folder: Path) -> None:
    with Retriever.open(made(folder)) as kb:
        kb.count({"year": {"$gtee": 2024}})


def newer(folder: Path) -> None:
    path = made(folder) / "store.sqlite"
    data = bytearray(path.read_bytes())
    data[60:64] = (99).to_bytes(4, "big")
    path.write_bytes(data)
    Retriever.open(folder / "kb")


def foreign(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    Retriever.open(folder)


def half(folder: Path) -> None:
    (made(folder) / "store.sqlite").unlink()
    Retriever.open(folder / "kb")


def damaged(folder: Path) -> None:
    path = made(folder) / "vectors-1.f32"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with Retriever.open(folder / "kb") as kb:
        kb.verify()


def locked(folder: Path) -> None:
    with Retriever.open(made(folder)) as kb, _writing(kb), Retriever.open(folder / "kb", lock_timeout=0.01) as other:
        other.delete("d0")


@contextmanager
def _writing(kb: Retriever) -> Any:
    with kb._engine._store.write():  # type: ignore[attr-defined]  # the local engine's
        yield


def synced(*, gone: bool = False, recorded: bool = True, empty: bool = False) -> Scenario:
    """A folder is indexed; then another one of the same name, or the same one when it is empty."""

    def run(folder: Path) -> None:
        for project in ("a", "b"):
            (folder / project / "docs").mkdir(parents=True)
            (folder / project / "docs" / "hours.md").write_text(f"When project {project} is open.")
        with Retriever.open(embedder=HashingEmbedder(D)) as kb:
            sync(kb, [folder / "a" / "docs"])
            if gone or empty:
                (folder / "a" / "docs" / "hours.md").unlink()
            if not recorded:
                keep_note(kb._engine, "sources", None)
            sync(kb, [folder / ("a" if empty else "b") / "docs"])

    return run


SCENARIOS: list[Scenario] = [
    drifted(longer),
    drifted(turned),
    drifted(accents),
    drifted(limit=20),
    prompted,
    drifted(noise),
    drifted(nothing),
    canary_lost,
    by_chance,
    awaited_otherwise,
    expecting("d0"),
    expecting("nobody"),
    other_dimension,
    without_embedder,
    adding([[0.0, 1.0], [3.0, 4.0]], metric="dot"),
    long_query,
    adding([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
    adding([[0.0, 1.0], [3.0, np.nan]]),
    adding([[0.0, 1.0], [0.0, 0.0]]),
    adding([[0.0, 1.0]] * 2, transforms=[Pca(2)]),
    adding(np.ones((2, 2), np.int8)),
    truncated,
    opened(metric="l2"),
    other_norms,
    opened(b=0.4),
    opened(transforms=[Center()]),
    adding([[0.0, 5.0]] * 2, metric="dot", norms="any", transforms=[Center()]),
    opened(partition="tenant"),
    opened(index="hnsw"),
    unknown_operator,
    synced(),
    synced(gone=True),
    synced(recorded=False),
    synced(empty=True),
    newer,
    foreign,
    half,
    damaged,
    locked,
]


def messages() -> list[str]:
    return re.findall(r"^> (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_each_message_has_a_scenario() -> None:
    assert len(messages()) == len(SCENARIOS)


@pytest.mark.parametrize(("message", "scenario"), list(zip(messages(), SCENARIOS, strict=True)))
def test_messages(message: str, scenario: Scenario, tmp_path: Path) -> None:
    with pytest.raises(TheodoliteError) as error:
        scenario(tmp_path)
    shutil.rmtree(tmp_path)
    pattern = ".*".join(map(re.escape, message.split("…")))
    assert re.fullmatch(pattern, f"{type(error.value).__name__}: {error.value}")
