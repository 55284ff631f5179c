"""The cases of the filter benchmark: fields of documents, and filters of known selectivity on them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth import Floats, Ids, Mask
from theodolite.types import Vectors

SHARES = (50, 20, 10, 4, 1, 0.1, 0.01)  # per cent
PAIRS = {4: 5, 1: 10}  # per cent of the conjunction: values of each of its two keywords
FAR = (10, 1)  # per cent, farthest from the query
REGIONS = 8
EACH = 5  # queries a region

Column = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition: a field equals a value, or is below it."""

    field: str
    op: Literal["eq", "lt"]
    value: bool | int | str


Rule = tuple[Clause, ...]
"""All clauses hold; none is no filter."""


@dataclass(frozen=True, slots=True)
class Case:
    """Queries by number, each with the number of its rule."""

    name: str
    rules: list[Rule]
    asked: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Vectors (n, d), one value of each field for every row, and the queries with their cases.

    Attributes:
        spare: other queries, for those who tune themselves.
    """

    vectors: Vectors
    fields: dict[str, Column]
    queries: Vectors
    spare: Vectors
    cases: list[Case]

    def metadata(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Return the fields of some rows as plain Python values."""
        columns = [values[start:stop].tolist() for values in self.fields.values()]
        return [dict(zip(self.fields, row, strict=True)) for row in zip(*columns, strict=True)]

    def mask(self, rule: Rule) -> Mask:
        """Return the mask of the rows that match a rule."""
        mask = np.ones(len(self.vectors), np.bool_)
        for clause in rule:
            values = self.fields[clause.field]
            mask &= values == clause.value if clause.op == "eq" else values < clause.value
        return mask


def make(vectors: Vectors, pool: Vectors, repeat: int, seed: int = 17) -> Corpus:
    """Make a corpus with fields, from at least repeat + 100 queries.

    The first half of the pool is spare. Of the other, the first `repeat` are asked with the filters that know nothing
    of vectors; of the rest, 8 seeds with their nearest queries are the regions.
    """
    rng = np.random.default_rng(seed)
    rows = len(vectors)
    spare, others = pool[: len(pool) // 2], pool[len(pool) // 2 :]
    plain, rest = others[:repeat], others[repeat:]
    regions = _regions(rest, rng)
    fields: dict[str, Column] = {}
    for share in SHARES:
        chosen = np.zeros(rows, np.bool_)
        chosen[rng.choice(rows, max(1, round(rows * share / 100)), replace=False)] = True
        fields[_single(share)] = chosen
    for count in PAIRS.values():
        for side in ("left", "right"):
            names = np.array([f"{side}-{number}" for number in range(count)])
            fields[f"{side}{count}"] = names[rng.integers(0, count, rows)]
    for number, region in enumerate(regions):
        order = np.argsort(vectors @ rest[region[0]], kind="stable")
        rank = np.empty(rows, np.int64)
        rank[order] = 1000 * np.arange(rows) // rows
        fields[f"near{number}"] = rank

    everyone = [(number, 0) for number in range(len(plain))]
    cases = [Case("none", [()], everyone)]
    cases += [Case(f"{share:g} %", [(Clause(_single(share), "eq", True),)], everyone) for share in SHARES]
    for share, count in PAIRS.items():
        both = tuple(Clause(f"{side}{count}", "eq", f"{side}-1") for side in ("left", "right"))
        cases.append(Case(f"two, {share} %", [both], everyone))
    far = [(len(plain) + EACH * region + i, region) for region in range(len(regions)) for i in range(EACH)]
    for share in FAR:
        rules: list[Rule] = [(Clause(f"near{region}", "lt", 10 * share),) for region in range(len(regions))]
        cases.append(Case(f"far, {share} %", rules, far))
    queries = np.concatenate([plain, *(rest[region] for region in regions)])
    return Corpus(vectors, fields, Vectors(queries), Vectors(spare), cases)


def _single(share: float) -> str:
    return f"in_{share:g}".replace(".", "_")


def _regions(queries: Floats, rng: np.random.Generator) -> list[Ids]:
    """Return groups of neighboring queries: seeds, each followed by its nearest queries."""
    seeds = rng.choice(len(queries), REGIONS, replace=False)
    return [np.argsort(-(queries @ queries[seed]), kind="stable")[:EACH] for seed in seeds]
