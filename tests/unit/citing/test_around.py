"""`kb.neighbors` reads a passage among those of its text, by position or by the numbers in ids."""

from collections.abc import Iterator
from typing import Any

import pytest

from theodolite import Document, InputError, Retriever
from theodolite.testing import HashingEmbedder


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        for path in ("guide.md", "other.md"):
            kb.add(
                Document(f"Part {n} of {path}.", {"path": path, "chunk": n, "odd": n % 2}, f"{path}-{n * 7 % 11}")
                for n in range(8)
            )
        kb.add(Document(f"Page {n}.", {}, "book" if n == 1 else f"book#{n}") for n in range(1, 6))
        yield kb


def texts(kb: Retriever, name: str, *size: int) -> list[str]:
    return [document.text for document in kb.neighbors(name, *size)]


def test_positions_place_a_passage_whatever_its_id(kb: Retriever) -> None:
    assert texts(kb, "guide.md-10") == [f"Part {n} of guide.md." for n in (2, 3, 4)]
    assert texts(kb, "guide.md-0", 2) == [f"Part {n} of guide.md." for n in (0, 1, 2)]
    assert texts(kb, "guide.md-10", 100) == [f"Part {n} of guide.md." for n in range(8)]


def test_numbers_in_ids_place_a_passage_without_a_position(kb: Retriever) -> None:
    assert texts(kb, "book#3") == ["Page 2.", "Page 3.", "Page 4."]
    assert texts(kb, "book", 2) == ["Page 1.", "Page 2.", "Page 3."]
    assert texts(kb, "book#5", 9) == [f"Page {n}." for n in range(1, 6)]


def test_none_are_read_beyond_the_scope(kb: Retriever) -> None:
    assert texts(kb.scoped(odd=1), "guide.md-10", 2) == [f"Part {n} of guide.md." for n in (1, 3, 5)]
    assert texts(kb.scoped(odd=0), "guide.md-10") == []


def test_a_passage_alone_and_one_that_is_not_stored(kb: Retriever) -> None:
    assert texts(kb, "book#3", 0) == ["Page 3."]
    assert texts(kb, "nothing") == []


@pytest.mark.parametrize("size", [-1, True, 1.5, "1"])
def test_other_sizes_are_refused(kb: Retriever, size: Any) -> None:
    with pytest.raises(InputError, match="size"):
        kb.neighbors("book", size)


def test_a_partitioned_collection_is_read_in_one_partition() -> None:
    with Retriever.open(embedder=HashingEmbedder(), partition="team") as kb:
        kb.add(Document(f"{team} {n}", {"team": team}, f"a#{n}") for team in ("x", "y") for n in (1, 2, 3))
        assert texts(kb.scoped(team="y"), "a#2") == ["y 1", "y 2", "y 3"]
        with pytest.raises(InputError, match=r"kb\.scoped\(team="):
            kb.neighbors("a#2")
