"""Random trees that change between runs, against a dictionary and a fresh collection."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.unit.syncing import Embedder, paragraphs, stored

from theodolite import ConfigError, EmbedderOptions, Retriever
from theodolite.files.sync import SyncProgress, sync

FOLDERS = ["", "one", "one/two", "three"]
TIMES = (1e9, 1.1e9)


class Tree:
    """A folder of texts, and what each of them holds."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.draw = random.Random(seed)
        self.files: dict[str, list[str]] = {}
        self._made = 0
        root.mkdir(parents=True)
        for _ in range(6):
            self.make()

    def texts(self) -> set[str]:
        return {paragraphs(word) for words in self.files.values() for word in words}

    def change(self) -> None:
        """Some edits, moves and removals of files and folders; at least one file stays."""
        steps: list[Callable[[], None]] = [
            self.make,
            self.edit,
            self.move,
            self.swap,
            self.copy,
            self.remove,
            self.fold,
        ]
        for _ in range(self.draw.randrange(1, 4)):
            self.draw.choice(steps)()

    def make(self) -> None:
        self._made += 1
        self._write(self._name(), [f"{self._made}.{part}" for part in range(self.draw.randrange(1, 5))])

    def edit(self) -> None:
        words = list(self.files[self._some()])
        self._made += 1
        words.insert(self.draw.randrange(len(words) + 1), f"{self._made}.new")
        self._write(self._some(), words)

    def move(self) -> None:
        name, new = self._some(), self._name()
        words = self.files[name]
        self._delete(name)
        self._write(new, words)

    def swap(self) -> None:
        first, second = self._some(), self._some()
        words = self.files[first], self.files[second]
        self._write(second, words[0])
        self._write(first, words[1])

    def copy(self) -> None:
        self._write(self._name(), self.files[self._some()])

    def remove(self) -> None:
        if len(self.files) > 1:
            self._delete(self._some())

    def fold(self) -> None:
        """Move a whole folder."""
        source = self.draw.choice(FOLDERS[1:])
        self._made += 1
        for name in [name for name in self.files if name.startswith(f"{source}/")]:
            words = self.files[name]
            self._delete(name)
            self._write(f"moved-{self._made}/{name.rpartition('/')[2]}", words)

    def rename(self, root: Path) -> None:
        root.parent.mkdir(parents=True, exist_ok=True)
        self.root = self.root.rename(root)

    def _some(self) -> str:
        return self.draw.choice(sorted(self.files))

    def _name(self) -> str:
        folder = self.draw.choice(FOLDERS)
        return f"{folder}/{self.draw.choice('abcdefgh')}.txt".lstrip("/")

    def _write(self, name: str, words: list[str]) -> None:
        self.files[name] = words
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(paragraphs(*words))
        os.utime(path, (self.draw.choice(TIMES),) * 2)

    def _delete(self, name: str) -> None:
        del self.files[name]
        (self.root / name).unlink()


def check(kb: Retriever, tree: Tree) -> None:
    """Check that the collection equals a fresh one, vectors included, and is sound."""
    name = tree.root.name
    expected = {
        f"{name}/{file}{'' if not part else f'#{part + 1}'}": paragraphs(word)
        for file, words in tree.files.items()
        for part, word in enumerate(words)
    }
    assert stored(kb) == expected
    with Retriever.open(embedder=EmbedderOptions(Embedder(), canary="off")) as fresh:
        sync(fresh, [tree.root])
        for (document, vector), (other, same) in zip(
            kb.documents(vectors=True), fresh.documents(vectors=True), strict=True
        ):
            assert document == other
            np.testing.assert_array_equal(vector, same)
    kb.verify()


@pytest.mark.parametrize("seed", range(16))
def test_any_history_of_a_tree(tmp_path: Path, seed: int) -> None:
    """Nothing that was stored is embedded again; roots move and are renamed, runs are stopped."""
    tree, embedder = Tree(tmp_path / "0" / "docs", seed), Embedder()
    draw = tree.draw
    with Retriever.open(embedder=EmbedderOptions(embedder, canary="off")) as kb:
        for step in range(1, 8):
            held = set(stored(kb).values())
            embedder.asked = []
            stop = draw.choice([None, None, 1, 2])

            def interrupt(at: SyncProgress, stop: int | None = stop) -> None:
                if stop is not None and at.files >= stop:
                    raise KeyboardInterrupt

            size = draw.choice([1, 2, 5, 100])
            try:
                sync(kb, [tree.root], batch_size=size, progress=interrupt)
            except KeyboardInterrupt:
                kb.verify()
                sync(kb, [tree.root], batch_size=size)
            check(kb, tree)
            if stop is None:  # what a stopped run has overwritten is embedded again
                assert not held & set(embedder.asked)
            match draw.randrange(4):
                case 0:  # it moves, and little else happens
                    tree.rename(tmp_path / f"{step}" / tree.root.name)
                    tree.make()
                case 1:
                    tree.rename(tree.root.with_name(f"docs-{step}"))
                    tree.make()
                case _:
                    tree.change()


@pytest.mark.parametrize("seed", range(6))
def test_two_trees_and_parts_of_them(tmp_path: Path, seed: int) -> None:
    """Each run changes only the given paths."""
    trees = [Tree(tmp_path / "x" / "docs", seed), Tree(tmp_path / "y" / "docs", seed + 100)]
    names = ["docs", "other"]
    with Retriever.open(embedder=EmbedderOptions(Embedder(), canary="off")) as kb:
        sync(kb, [trees[0].root])
        with pytest.raises(ConfigError):
            sync(kb, [trees[1].root])
        sync(kb, [trees[1].root], source="other")
        known = {name: dict(tree.files) for name, tree in zip(names, trees, strict=True)}
        for _ in range(8):
            which = trees[0].draw.randrange(2)
            tree, files = trees[which], known[names[which]]
            tree.change()
            parts = sorted({Path(name).parts[0] for name in tree.files})
            part = tree.draw.choice(["", *parts])
            sync(kb, [tree.root / part])
            before = {name: words for name, words in files.items() if part and Path(name).parts[0] != part}
            now = {name: words for name, words in tree.files.items() if not part or Path(name).parts[0] == part}
            files.clear()
            files.update(before | now)
            paths = {document.metadata["path"] for document in kb.documents()}
            assert paths == {f"{name}/{file}" for name in names for file in known[name]}
            assert len(kb) == sum(len(words) for of in known.values() for words in of.values())
        shutil.rmtree(trees[1].root)
        sync(kb, [trees[0].root])
        assert {document.metadata["path"] for document in kb.documents() if document.id.startswith("other")} == {
            f"other/{file}" for file in known["other"]
        }
