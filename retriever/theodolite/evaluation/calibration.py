"""Calibration: what judged questions say about the scores of one kind of search, as it is stored with a collection."""

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from theodolite.display import html_table
from theodolite.errors import MALFORMED, ConfigError
from theodolite.evaluation.conformal import highest_coverage, low_coverage, questions_needed, rank_of
from theodolite.evaluation.documents_sample import DocumentsSample
from theodolite.evaluation.score_model import ScoreModel
from theodolite.ranking.search_settings import describe
from theodolite.types import Hits
from theodolite.verdict import Verdict

STRONG = 0.8
"""The probability from which a verdict is strong."""

LOST = 0.05
"""The share of questions with an answer whose verdict may be `none`."""

TELLS = 0.6
"""The AUROC below which scores say too little for a verdict."""

COVERAGES = (0.8, 0.9, 0.95)
"""The coverages that a table shows."""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Promise:
    """How a search with `coverage=` ends its list, and the coverage it promises.

    Attributes:
        coverage: the share of answerable questions, like those of the calibration, with a relevant passage in the list.
        distance: how far below the first hit's score the last one may lie.
        average: the coverage that calibrations have on average; at least `coverage`.
        low: the 5th percentile of the true coverage of calibrations with as many questions.
        hits: the median length of the list, for the calibration questions.
    """

    coverage: float
    distance: float
    average: float
    low: float
    hits: float


@dataclass(frozen=True, slots=True)
class Separation:
    """How well the first hit's score tells one kind of unanswerable questions from answerable ones.

    Attributes:
        kind: `evidence taken out`: the calibration questions, searched without their relevant documents; or
            `other questions`: those passed as `unanswerable`.
        questions: how many there are.
        auroc: how often an answerable question has the higher score; 0.5 says nothing, 1 everything.
        let_through: the share of them whose score is at least that of 95 % of the answerable ones.
    """

    kind: str
    questions: int
    auroc: float
    let_through: float


@dataclass(frozen=True, slots=True, repr=False)
class Calibration:
    """The meaning of scores for one kind of search, learned from judged questions. `print` shows a table.

    `Retriever.calibrate` makes it and stores it with the collection. `hits.verdict` and `search(coverage=...)` use it.

    Attributes:
        questions: how many questions with an answer it is made of.
        max_hits: the length of the lists that were searched for a relevant passage.
        gaps: the score of the first hit minus that of the best relevant one, ascending. Questions without a relevant
            passage in the list have none.
        lengths: for each of the coverages in the table, the median length of the list.
        separations: how well scores tell apart questions with and without an answer.
        brier: the cross-validated Brier score of the probabilities, 0 at best.
        unanswerable_share: the assumed share of questions without an answer.
        none_below: the score below which a verdict is `none`; None if the questions are too few to say.
        strong_from: the score from which a verdict is `strong`; None if no score is enough.
        model: the probability of an answer, by the score of the first hit.
        empty: the probability of an answer where nothing is found.
        settings: the settings of the search, without the plain ones.
        space: metric, dimension, norms and transforms of the collection, and a digest of its embedder's canary.
        sample: some of its documents, to notice changes.
        at: when it was made, in seconds since 1970.
        notes: sentences that a reader of the figures should know.
    """

    questions: int
    max_hits: int
    gaps: tuple[float, ...]
    lengths: Mapping[float, float]
    separations: tuple[Separation, ...]
    brier: float
    unanswerable_share: float
    none_below: float | None
    strong_from: float | None
    model: ScoreModel
    empty: float
    settings: Mapping[str, Any]
    space: Mapping[str, Any]
    sample: DocumentsSample
    at: float
    notes: tuple[str, ...] = field(default=())

    @property
    def highest_coverage(self) -> float:
        """The highest coverage that a search can promise."""
        return highest_coverage(len(self.gaps), self.questions)

    @property
    def tells(self) -> bool:
        """Whether scores say enough about answers for a verdict."""
        return self.auroc >= TELLS and self.brier < self.unanswerable_share * (1 - self.unanswerable_share)

    @property
    def auroc(self) -> float:
        """The mean AUROC of the kinds of unanswerable questions, which the probabilities weigh equally."""
        return sum(each.auroc for each in self.separations) / len(self.separations)

    def promise(self, coverage: float) -> Promise:
        """Return what a search with this coverage promises.

        Raises:
            ConfigError: the questions are too few, or too many of them have no relevant passage in their list.
        """
        rank = rank_of(coverage, self.questions)
        if rank > len(self.gaps):
            raise self._refusal(coverage, rank)
        return Promise(
            coverage,
            self.gaps[rank - 1],
            rank / (self.questions + 1),
            low_coverage(rank, self.questions),
            self.lengths.get(coverage, float("nan")),
        )

    def verdict(self, hits: Hits) -> Verdict:
        """Return the verdict on the hits of a search."""
        if not self.tells:
            return Verdict(
                "unknown",
                None,
                "the scores of this collection do not tell answerable from unanswerable questions (AUROC "
                f"{self.auroc:.2f})",
            )
        if not hits:
            return Verdict("none", self.empty)
        score = signal(hits, 0)
        probability = self.model(score)
        if self.none_below is not None and score < self.none_below:
            return Verdict("none", probability)
        return Verdict("strong" if probability >= STRONG else "weak", probability)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values, without the sample and the gaps."""
        return {
            **self.summary(),
            "settings": dict(self.settings),
            "max_hits": self.max_hits,
            "documents": self.sample.documents,
            "promises": [asdict(each) for each in self._promises()],
            "unanswerable": [asdict(each) for each in self.separations],
            "unanswerable_share": self.unanswerable_share,
            "brier": self.brier,
            "none_below": self.none_below,
            "strong_from": self.strong_from,
            "notes": list(self.notes),
        }

    def summary(self) -> dict[str, Any]:
        """Return the most important figures as JSON values, for `info()`."""
        return {
            "search": describe(dict(self.settings)),
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(),
            "questions": self.questions,
            "highest_coverage": self.highest_coverage,
            "tells": self.tells,
        }

    def to_json(self) -> str:
        """Return the note to store."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {
            "format": _FORMAT,
            "lengths": list(self.lengths.items()),
            "separations": [asdict(each) for each in self.separations],
            "model": asdict(self.model),
            "sample": self.sample.to_list(),
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Read a stored note. Raises one of `MALFORMED` if it is something else."""
        values = json.loads(text)
        if values.pop("format") != _FORMAT:
            raise ValueError("it was made by another version of theodolite")
        values |= {
            "gaps": tuple(map(float, values["gaps"])),
            "lengths": {float(coverage): float(length) for coverage, length in values["lengths"]},
            "separations": tuple(Separation(**each) for each in values["separations"]),
            "model": ScoreModel(**values["model"]),
            "sample": DocumentsSample.from_list(values["sample"]),
            "notes": tuple(map(str, values["notes"])),
        }
        made = cls(**values)
        str(made)  # raises if its figures are no numbers
        return made

    def __repr__(self) -> str:
        return f"<Calibration: {self._heading()}, coverage up to {self.highest_coverage:g}>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        rows = [(f"coverage {each.coverage:g}", f"{each.low:.3f}", f"{each.hits:g} hits") for each in self._promises()]
        rows += [(each.kind, f"AUROC {each.auroc:.3f}", f"{each.let_through:.0%}") for each in self.separations]
        caption = ". ".join([self._heading(), *self.notes])
        return html_table(caption, ("", "5th percentile, or AUROC", "median list, or let through"), rows)

    def _promises(self) -> list[Promise]:
        return [self.promise(each) for each in COVERAGES if rank_of(each, self.questions) <= len(self.gaps)]

    def _lines(self) -> Iterator[str]:
        yield self._heading()
        for note in self.notes:
            yield f"note: {note}"
        yield ""
        yield "coverage  distance  on average  5th percentile  median hits"
        for each in self._promises():
            yield (
                f"{each.coverage:8.2f}  {each.distance:8.4f}  {each.average:10.3f}  {each.low:14.3f}  {each.hits:11g}"
            )
        yield f"Highest coverage: {self.highest_coverage:g}"
        yield ""
        yield "unanswerable questions  count  AUROC  let through"
        for one in self.separations:
            yield f"{one.kind:<22}  {one.questions:>5,}  {one.auroc:.3f}  {one.let_through:>11.1%}"
        share = self.unanswerable_share
        yield (
            f"Brier score {self.brier:.3f}, {share * (1 - share):.3f} without scores; {share:.0%} of questions are "
            "assumed to have no answer"
        )
        if not self.tells:
            yield "Verdicts: unknown, because scores do not tell"
            return
        below = "never" if self.none_below is None else f"below a score of {self.none_below:.4g}"
        strong = "never" if self.strong_from is None else f"from {self.strong_from:.4g}"
        yield f"Verdicts: none {below}, strong {strong}"

    def _heading(self) -> str:
        return f"{self.questions:,} questions, {describe(dict(self.settings))}"

    def _refusal(self, coverage: float, rank: int) -> ConfigError:
        highest, needed = self.highest_coverage, questions_needed(coverage)
        if rank > self.questions:
            reason = f"it needs at least {needed:,} questions, and the calibration has {self.questions:,}"
        else:
            reason = (
                f"only {len(self.gaps):,} of the {self.questions:,} questions have a relevant passage among the first "
                f"{self.max_hits:,} hits, and {rank:,} are needed"
            )
        return ConfigError(
            f"coverage={coverage:g} cannot be promised: {reason}. The highest that can be promised is {highest:g}",
            coverage=coverage,
            highest=highest,
            questions=self.questions,
            needed=needed,
        )


def signal(hits: Hits | Sequence[Any], place: int) -> float:
    """Return the score of a hit that tells about answers: its similarity if fused ranks are its score."""
    hit = hits[place]
    scores = hit.scores
    return float(scores["similarity"] if "fusion" in scores and "rerank" not in scores else hit.score)


def share_from(scores: Sequence[float], least: float) -> float:
    """Return the share of ascending scores that are at least this one."""
    return 1 - bisect_left(scores, least) / len(scores)


def read(text: str) -> Calibration | str:
    """Return a stored calibration, or the reason why it cannot be read."""
    try:
        return Calibration.from_json(text)
    except MALFORMED as error:
        return f"the stored calibration cannot be read ({error})"
