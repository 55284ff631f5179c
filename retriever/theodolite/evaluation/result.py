"""Evaluation: the result of evaluating a collection with judged questions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from theodolite.display import html_table, shortened
from theodolite.errors import MALFORMED, InputError
from theodolite.evaluation.recall import Recall
from theodolite.evaluation.text_files import PathOf, write_text

if TYPE_CHECKING:  # compare imports this module
    from theodolite.evaluation.compare import Comparison

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A place in the list of a question.

    Attributes:
        id: the id of the document, or the value of the field that is judged, such as a path.
        score: the score of the search; of several passages, of the best one.
        passage: the id of that passage.
    """

    id: str
    score: float
    passage: str


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """The quality of a collection's searches, measured with judged questions. `print` shows a table.

    Attributes:
        metrics: the mean of each metric over the questions: `nDCG@10`, `MRR@10`, `MAP@10`, `recall@10`,
            `precision@10`, `success@10`, and the same for other lengths of list.
        intervals: the 95 % bootstrap interval of each mean.
        per_question: the metrics of each question, by its id.
        judged: for each k, the share of the first k that have a judgment. The others count as not relevant.
        left_out: questions that are not counted, because no document is judged relevant.
        unanswered: questions without any hit, which count 0.
        synthetic: how many of the questions were made from documents.
        k: the lengths of list.
        by: the field that is judged, such as "path"; None for documents.
        mode: the mode of the searches.
        judgments: the number of judgments of the questions.
        unknown: ids that are judged and not in the collection. Relevant ones count as missed.
        notes: sentences that a reader of the figures should know.
        digest: a digest of the judgments. Results are only comparable with the same one.
        index: the recall of the index against exact search, with latencies; None if it was not measured.
        run: the list of each question, by its id. `write_run` writes it to a file.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    per_question: Mapping[str, Mapping[str, float]]
    judged: Mapping[int, float]
    left_out: int
    unanswered: int
    synthetic: int
    k: tuple[int, ...]
    by: str | None
    mode: str
    judgments: int
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    index: Recall | None = None
    run: Mapping[str, Sequence[Ranked]] = field(default_factory=dict)

    @property
    def questions(self) -> int:
        """How many questions count."""
        return len(self.per_question)

    def compare(self, other: "Evaluation") -> "Comparison":
        """Compare with another evaluation of the same questions and judgments, by a paired test.

        Args:
            other: the second one. Differences are its means minus those of this one.

        Raises:
            InputError: the two have other questions, other judgments, or no metric in common.
        """
        from theodolite.evaluation.compare import compare  # imports this module

        return compare(self, other)

    def write_run(self, path: PathOf) -> None:
        """Write the lists as a run file of TREC, for other tools.

        Each line is a question, our score, a document, its rank, a score and a tag. Tools ignore ranks, and break ties
        of scores in their own ways, so the score falls strictly with the rank. They ignore the second column, which
        holds our own score. White space in ids is percent-encoded, because it separates columns.

        Raises:
            InputError: the evaluation was read from JSON, which holds no lists.
            EngineError: the file cannot be written.
        """
        if not self.run:
            raise InputError("this evaluation has no lists to write: it was read from JSON. Evaluate again")
        write_text(path, list(self._run_lines()))

    def _run_lines(self) -> Iterator[str]:
        tag = "theodolite-synthetic" if self.synthetic else "theodolite"
        for question, found in self.run.items():
            for rank, each in enumerate(found, start=1):
                score = len(found) - rank + 1
                yield f"{_word(question)} {each.score:.9g} {_word(each.id)} {rank} {score} {tag}\n"

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON values, without the lists. `from_dict` reads it."""
        return {
            "questions": self.questions,
            "left_out": self.left_out,
            "unanswered": self.unanswered,
            "synthetic": self.synthetic,
            "k": list(self.k),
            "by": self.by,
            "mode": self.mode,
            "metrics": {
                name: {"mean": mean, "interval": list(self.intervals[name])} for name, mean in self.metrics.items()
            },
            "judged": {str(k): share for k, share in self.judged.items()},
            "judgments": {"count": self.judgments, "unknown": list(self.unknown), "digest": self.digest},
            "notes": list(self.notes),
            "index": None if self.index is None else self.index.to_dict(),
            "per_question": {question: dict(values) for question, values in self.per_question.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Evaluation":
        """Return an evaluation from `to_dict()`, to compare with. It has no lists, and no figures of the index.

        Raises:
            InputError: these are not the values of an evaluation.
        """
        try:
            metrics = {str(name): float(each["mean"]) for name, each in values["metrics"].items()}
            found = cls(
                metrics=metrics,
                intervals={
                    name: (float(values["metrics"][name]["interval"][0]), float(values["metrics"][name]["interval"][1]))
                    for name in metrics
                },
                per_question={
                    str(question): {name: float(each[name]) for name in metrics}
                    for question, each in values["per_question"].items()
                },
                judged={int(k): float(share) for k, share in values["judged"].items()},
                left_out=int(values["left_out"]),
                unanswered=int(values["unanswered"]),
                synthetic=int(values["synthetic"]),
                k=tuple(int(k) for k in values["k"]),
                by=None if values["by"] is None else str(values["by"]),
                mode=str(values["mode"]),
                judgments=int(values["judgments"]["count"]),
                unknown=tuple(map(str, values["judgments"]["unknown"])),
                notes=tuple(map(str, values["notes"])),
                digest=str(values["judgments"]["digest"]),
            )
            if not found.per_question or not metrics:
                raise ValueError("no questions")
            return found
        except MALFORMED as error:
            raise InputError(
                "this is not an evaluation: expected the values of Evaluation.to_dict(), or the output of "
                "`theodolite evaluate --json`"
            ) from error

    def __repr__(self) -> str:
        name = next(iter(self.metrics))
        low, high = self.intervals[name]
        return f"<Evaluation: {self._counted()}, {name} {self.metrics[name]:.4f} ({low:.4f} to {high:.4f})>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        caption = [self._heading(), *self.notes]
        rows = [
            (name, f"{mean:.4f}", "{:.4f} to {:.4f}".format(*self.intervals[name]))
            for name, mean in self.metrics.items()
        ]
        rows += [(f"judged@{k}", f"{share:.4f}", "") for k, share in self.judged.items()]
        table = html_table(". ".join(caption), ("", "mean", "95 % interval"), rows)
        return table if self.index is None else table + self.index._repr_html_()

    def _lines(self) -> Iterator[str]:
        yield self._heading()
        for note in self.notes:
            yield f"note: {note}"
        yield ""
        for name, mean in self.metrics.items():
            low, high = self.intervals[name]
            yield f"{name:<16}{mean:.4f}   95 % interval {low:.4f} to {high:.4f}"
        for k, share in self.judged.items():
            yield f"{f'judged@{k}':<16}{share:.4f}"
        if self.index is not None:
            yield ""
            yield "The index, against exact search:"
            yield from str(self.index).splitlines()

    def _heading(self) -> str:
        what = "documents" if self.by is None else f"values of {shortened(self.by, 40)!r}"
        return f"{self._counted()}, {self.judgments:,} judged {what}, {self.mode} search"

    def _counted(self) -> str:
        kind = "synthetic question" if self.synthetic == self.questions else "question"
        text = f"{self.questions:,} {kind}{'' if self.questions == 1 else 's'}"
        if 0 < self.synthetic < self.questions:
            text += f" ({self.synthetic:,} synthetic)"
        return text


def _word(name: str) -> str:
    """Return an id without white space."""
    return _SPACE.sub(lambda found: quote(found[0]), name)
