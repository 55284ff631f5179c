"""Recommend products from vectors whose length matters: a two-tower model, compared by dot product.

One tower turns a user's purchases into a vector; the other turns each product into one. Both are trained so that their
dot product is large for purchased products. Best sellers get long vectors, as they should. Normalizing the vectors, as
for texts, would lose this information. The script holds some purchases back, and prints how many of them are found by
dot product, by cosine, and by recommending the best sellers.

Shop, users and purchases are invented, and the same in every run.
"""

import argparse
import sys
from itertools import product

import numpy as np
from numpy.typing import NDArray

from theodolite import Document, Retriever, TheodoliteError

LINES = ["Arran", "Bowfell", "Cader", "Dunmore", "Exmoor", "Fairfield", "Glencoe", "Helvellyn", "Idris", "Jura"]
LINES += ["Kinder", "Lomond", "Malham", "Nevis", "Orkney"]
KINDS = ["axe", "boots", "compass", "gloves", "hammock", "jacket", "lamp", "map", "mat", "pack", "rope", "sledge"]
KINDS += ["socks", "stove", "tent", "torch"]
USERS = 2000

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
"""Shape (users, products): whether a user bought a product."""


def catalog() -> list[Document]:
    return [
        Document(f"{line} {kind}", {"kind": kind, "line": line}, f"{line}-{kind}".lower())
        for kind, line in product(KINDS, LINES)
    ]


def purchases(users: int, products: list[Document], rng: np.random.Generator, each: int = 20) -> Flags:
    """Simulate the purchases of users with different tastes, in a shop where some products sell far better."""
    kinds = np.array([KINDS.index(item.metadata["kind"]) for item in products])
    lines = np.array([LINES.index(item.metadata["line"]) for item in products])
    appeal = 1.5 * rng.normal(size=len(products))
    for_kinds = 2.0 * rng.normal(size=(users, 4)) @ rng.normal(size=(4, len(KINDS))) / 2
    for_lines = 1.5 * rng.normal(size=(users, 4)) @ rng.normal(size=(4, len(LINES))) / 2
    wishes = appeal + for_kinds[:, kinds] + for_lines[:, lines] + rng.gumbel(size=(users, len(products)))
    bought = np.zeros(wishes.shape, dtype=bool)
    np.put_along_axis(bought, np.argsort(-wishes, axis=1)[:, :each], True, axis=1)
    return bought


def hold_back(bought: Flags, rng: np.random.Generator, each: int = 5) -> Flags:
    """Choose `each` random purchases of every user."""
    hidden = np.zeros(bought.shape, dtype=bool)
    np.put_along_axis(hidden, np.argsort(-(bought * rng.random(bought.shape)), axis=1)[:, :each], True, axis=1)
    return hidden


def train(bought: Flags, rng: np.random.Generator, dimension: int = 8, steps: int = 100) -> tuple[Array, Array]:
    """Return the vectors of users and products. Both towers are linear, trained on squared errors with Adam."""
    share = bought / bought.sum(axis=1, keepdims=True)
    towers = 0.1 * rng.normal(size=(2, bought.shape[1], dimension))
    mean, square = np.zeros_like(towers), np.zeros_like(towers)
    for step in range(1, steps + 1):
        users, items = share @ towers[0], towers[1]
        error = users @ items.T - bought
        gradient = np.stack([share.T @ (error @ items), error.T @ users]) / len(bought) + 1e-4 * towers
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        towers -= 0.1 * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return share @ towers[0], towers[1]


def recommend(
    kb: Retriever, users: Array, owned: list[list[str]], *, k: int = 10, where: dict[str, str] | None = None
) -> list[list[str]]:
    """Return, for each user, the k products with the best-matching vectors, without those the user has."""
    answers = kb.search_many(vectors=users, k=k + max(map(len, owned)), where=where)
    return [
        [hit.document.id for hit in hits if hit.document.id not in has][:k]
        for hits, has in zip(answers, owned, strict=True)
    ]


def run(liked: list[str]) -> None:
    rng = np.random.default_rng(7)
    products = catalog()
    ids = np.array([product.id for product in products])
    bought = purchases(USERS, products, rng)
    hidden = hold_back(bought, rng)
    known = bought & ~hidden
    by_sales = np.argsort(-known.sum(axis=0))
    users, items = train(known, rng)
    owned = [ids[row].tolist() for row in known]

    with Retriever.open(metric="dot", norms="any") as kb:
        kb.add(products, vectors=items)
        best = ids[by_sales].tolist()
        found = {
            "dot product": recommend(kb, users, owned),
            "cosine": by_cosine(products, items, users, owned),
            "best sellers": [[id for id in best if id not in has][:10] for has in owned],
        }
        print(f"{len(products)} products, {USERS:,} users. Of the purchases held back, ten recommendations contain:")
        for name, lists in found.items():
            hits = sum(len({*ids[row]} & {*names}) for row, names in zip(hidden, lists, strict=True))
            print(f"  {name:<12}  {hits / hidden.sum():.0%}")
        lengths = np.linalg.norm(items, axis=1)[by_sales]
        print(
            f"Mean length of vectors: {lengths[:20].mean():.2f} (20 best sellers), {lengths[-20:].mean():.2f} (last 20)"
        )

        tents = recommend(kb, users[:1], owned[:1], k=5, where={"kind": "tent"})
        print(f"\nA user who has {', '.join(owned[0])}")
        print(f"  may want      {', '.join(found['dot product'][0][:5])}")
        print(f"  of the tents  {', '.join(tents[0])}")
        print(f"\nMore like {' and '.join(liked)}")
        print(f"  {', '.join(hit.document.id for hit in kb.search(like=liked, k=5))}")


def by_cosine(products: list[Document], items: Array, users: Array, owned: list[list[str]]) -> list[list[str]]:
    """Recommend from the same vectors, compared only by direction."""
    with Retriever.open(metric="cosine") as kb:
        kb.add(products, vectors=items)
        return recommend(kb, users, owned)


def main() -> int:
    parser = argparse.ArgumentParser(description="Recommend products by dot product, and compare with other rankings.")
    parser.add_argument(
        "--like",
        nargs="+",
        default=["nevis-stove", "nevis-lamp"],
        metavar="PRODUCT",
        help="show more like these (default: nevis-stove nevis-lamp)",
    )
    options = parser.parse_args()
    try:
        run(options.like)
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
