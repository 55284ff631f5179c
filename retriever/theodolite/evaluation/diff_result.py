"""Diff: what changed between two collections or settings, with the causes, as text and as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from theodolite.display import html_table, shortened

_ID = 48  # columns of an id in the text


class _About(NamedTuple):
    says: str
    advice: str


CAUSES: Mapping[str, _About] = {
    "absent": _About("only one collection has the document", "Add the missing documents, or delete the surplus ones."),
    "behind": _About(
        "one collection lacks later writes of the other",
        "Write the later additions, updates and deletions to the collection that lacks them, or copy it again.",
    ),
    "version": _About("only one search finds the document current", "Compare the version rules, as_of and superseded."),
    "filter": _About("only one search lets the document pass", "Compare the filters, scopes and accept functions."),
    "mode": _About("the modes or the weights of the fusion differ", "Search both in the same mode."),
    "bm25": _About(
        "the collections rank words with other settings",
        "Create one of the collections again with the other's k1 and b; they are pinned.",
    ),
    "metric": _About(
        "the metrics differ", "Create one of the collections again with the metric of the other; a metric is pinned."
    ),
    "transforms": _About("the transforms differ", "Create one of the collections again with the other's transforms."),
    "embedder": _About(
        "the same text has other vectors",
        "Use one model, revision and prompt for both collections and for questions, and embed one of them again.",
    ),
    "norms": _About(
        "the same vectors have other lengths",
        "Normalize vectors the same way before add and search, and add them again; norms='unit' refuses others.",
    ),
    "index": _About(
        "the approximate index missed what exact search finds",
        "Build the index again with a higher target_recall, or use the flat index.",
    ),
    "boost": _About("boosts act differently", "Compare the boosts, the fields they read, and as_of."),
    "threshold": _About("min_relevance lets only one pass", "Compare min_relevance and relevance=."),
    "rerank": _About(
        "reranking orders differently", "Compare the rerankers and their deadlines: see hits.trace.rerank."
    ),
    "diversity": _About("diversity or dedupe act differently", "Compare diversity and dedupe."),
    "tie": _About("documents have equal scores", "Nothing: their order is arbitrary."),
    "rounding": _About(
        "vectors or scores differ by rounding", "Nothing: the embedder or the hardware rounds differently."
    ),
    "unexplained": _About("no cause was found", "Compare single questions with hit.explain()."),
}
"""All causes by name, in the order of the stages of a search."""


@dataclass(frozen=True, slots=True)
class Change:
    """A hit that differs: it is in one list only, or its order among the common hits differs.

    Attributes:
        question, document: their ids.
        rank_a, rank_b: its place in each list, from 1; None if it is not in the list.
        cause: a name in `CAUSES`.
        also: further differences of the whole collection that concern this hit.
        detail: the cause in figures.
    """

    question: str
    document: str
    rank_a: int | None
    rank_b: int | None
    cause: str
    also: tuple[str, ...] = ()
    detail: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return {
            "question": self.question,
            "document": self.document,
            "rank_a": self.rank_a,
            "rank_b": self.rank_b,
            "cause": self.cause,
            "also": list(self.also),
            "detail": self.detail,
        }

    def __str__(self) -> str:
        places = [
            f"{'not found' if rank is None else f'rank {rank}'} in {side}"
            for rank, side in ((self.rank_a, "A"), (self.rank_b, "B"))
        ]
        question, document = shortened(self.question, _ID), shortened(self.document, _ID)
        said = f"question {question!r}, document {document!r}: {', '.join(places)}"
        return f"{said}; {self.detail}" if self.detail else said


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of differences.

    Attributes:
        name: its name in `CAUSES`.
        hits: how many changed hits it explains.
        also: how many further changed hits it concerns, that have another cause first.
        questions: in how many questions.
        effect: its share in the difference of nDCG@k, B minus A; None without judgments.
        example: the first hit that it explains, or concerns.
    """

    name: str
    hits: int
    also: int
    questions: int
    effect: float | None
    example: Change

    @property
    def advice(self) -> str:
        """Advice on the cause, in one sentence."""
        return CAUSES[self.name].advice

    def to_dict(self) -> dict[str, Any]:
        """Return the cause as JSON values."""
        return {
            "cause": self.name,
            "hits": self.hits,
            "also": self.also,
            "questions": self.questions,
            "effect": self.effect,
            "example": self.example.to_dict(),
            "advice": self.advice,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Diff:
    """The differences between two collections or settings, A and B. `print` shows a page.

    Attributes:
        questions: how many questions were searched.
        hits: how many different documents the two lists of each question hold, summed over the questions.
        changes: the hits that differ, each with its cause.
        causes: the causes, the most frequent first.
        k: the length of the lists.
        judged: how many questions have a relevant document; 0 without judgments.
        metrics: nDCG@k and recall@k of the judged questions, in A and in B.
        places: a description of A and of B.
        notes: sentences that a reader of the figures should know.
    """

    questions: int
    hits: int
    changes: tuple[Change, ...]
    causes: tuple[Cause, ...]
    k: int
    judged: int
    metrics: Mapping[str, tuple[float, float]]
    places: tuple[str, str]
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of hits that differ, from 0 to 1."""
        return len(self.changes) / self.hits if self.hits else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the differences as JSON values."""
        return {
            "a": self.places[0],
            "b": self.places[1],
            "questions": self.questions,
            "k": self.k,
            "hits": self.hits,
            "changed": len(self.changes),
            "share": self.share,
            "judged": self.judged,
            "metrics": {name: {"a": a, "b": b} for name, (a, b) in self.metrics.items()},
            "causes": [cause.to_dict() for cause in self.causes],
            "notes": list(self.notes),
            "changes": [change.to_dict() for change in self.changes],
        }

    def __repr__(self) -> str:
        first = f", mostly {self.causes[0].name}" if self.causes else ""
        return f"<Diff: {self._heading()}{first}>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        rows = [(*row, str(cause.example)) for row, cause in zip(self._rows(), self.causes, strict=True)]
        return html_table(". ".join([self._heading(), *self.notes]), (*self._head(), "example"), rows)

    def _lines(self) -> Iterator[str]:
        yield self._heading()
        yield from (f"{name}: {place}" for name, place in zip("AB", self.places, strict=True))
        for name, (a, b) in self.metrics.items():
            yield f"{name}: {a:.4f} in A, {b:.4f} in B ({b - a:+.4f})"
        yield from (f"note: {note}" for note in self.notes)
        if not self.causes:
            return
        yield ""
        rows = [self._head(), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join([f"{row[0]:<{widths[0]}}", *map(str.rjust, row[1:-1], widths[1:-1]), row[-1]]).rstrip()
            for row in rows
        ]
        yield from table
        for cause in self.causes:
            yield ""
            yield f"{cause.name}, for example {cause.example}"
            yield f"  {cause.advice}"

    def _head(self) -> tuple[str, ...]:
        effect = (f"nDCG@{self.k}",) if self.judged else ()
        return ("cause", "hits", *(("also",) if self._overlap else ()), "questions", *effect, "")

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                cause.name,
                f"{cause.hits:,}",
                *((f"{cause.also:,}",) if self._overlap else ()),
                f"{cause.questions:,}",
                *(() if cause.effect is None else (f"{cause.effect:+.4f}",)),
                CAUSES[cause.name].says,
            )
            for cause in self.causes
        ]

    @property
    def _overlap(self) -> bool:
        return any(cause.also for cause in self.causes)

    def _heading(self) -> str:
        noun = "question" if self.questions == 1 else "questions"
        return f"{self.questions:,} {noun}, {len(self.changes):,} of {self.hits:,} hits differ ({self.share:.1%})"
