"""Explanations: why a hit has its rank, in words and as data."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from theodolite.metadata import as_json

if TYPE_CHECKING:
    from theodolite.types import Hit, Step, Version

_SHOWN = 5  # ids of near-duplicates in words; the data has all

_STAGES = {
    "similarity": "",
    "lexical": "BM25",
    "fusion": "sum of reciprocal ranks",
    "rerank": "",
    "dedupe": "",
    "diversity": "largest similarity to a hit before it",
}
"""Words for the values of stages without a note. Any other stage is a boost, and its value a factor."""

_Line = tuple[str, str, str]  # what, how much, words


@dataclass(frozen=True, slots=True)
class Explanation:
    """The effect of each stage of a search on a hit: `print` it, or use `to_dict()`. Made by `Hit.explain()`.

    Each printed line has the stage, its value (with an x for a factor that multiplied relevance), the reason, and the
    hit's place before and after. Numbers have three significant digits; `to_dict` has all.
    """

    hit: "Hit"

    def __str__(self) -> str:
        hit = self.hit
        lines = list(_lines(hit))
        wide = max((len(what) for what, _, _ in lines), default=0)
        digits = max((len(value) for _, value, _ in lines), default=0)
        where = "near-duplicates left out" if any(map(_left_out, hit.steps)) else "list"
        head = f"{_ordinal(hit.rank)} of the {where} with score {_number(hit.score)} ({hit.document.id})"
        body = [f"  {what:<{wide}}  {value:>{digits}}  {words}".rstrip() for what, value, words in lines]
        # Ids and keys may contain newlines, which must not look like further lines.
        return "\n".join(" ".join(line.splitlines()) for line in [head, *body])

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON values: `id`, `rank`, `score`, `scores`, `steps`, `version`, `duplicates`.

        Dates and datetimes among the keys of versions are ISO-8601 strings. `version` is None for a document that is
        simply current; `duplicates` are ids with their scores.
        """
        hit = self.hit
        version = {name: as_json(value) for name, value in asdict(hit.version).items()} if hit.version else None
        return {
            "id": hit.document.id,
            "rank": hit.rank,
            "score": hit.score,
            "scores": dict(hit.scores),
            "steps": [asdict(step) for step in hit.steps],
            "version": version,
            "duplicates": [{"id": other.document.id, "score": other.score} for other in hit.duplicates],
        }


def _lines(hit: "Hit") -> Iterator[_Line]:
    stages = [step.stage for step in hit.steps]
    yield from (_step(step, hit) for step in hit.steps) if stages else _parts(hit)
    if hit.duplicates and "dedupe" not in stages:
        yield "dedupe", str(len(hit.duplicates)), _collapsed(hit)
    if hit.version:
        yield "version", "", _version(hit.version)


def _parts(hit: "Hit") -> Iterator[_Line]:
    """Yield the parts of a score without steps. The part that decides the order has the rank beside it."""
    decided = False
    for name, value in hit.scores.items():
        decides = not decided and value == hit.score
        decided |= decides
        yield name, _number(value), f"{_ordinal(hit.rank)} by {name}" if decides else ""


def _step(step: "Step", hit: "Hit") -> _Line:
    value, words = _number(step.value), [step.note or _STAGES.get(step.stage, "")]
    match step.stage:
        case "similarity" if _number(hit.scores.get("relevance", step.value)) != value:
            words.append(f"relevance {_number(hit.scores['relevance'])}")
        case "rerank" if "rerank_relevance" in hit.scores:
            words.append(f"{_number(hit.scores['rerank_relevance'])} calibrated")
        case "dedupe" if _left_out(step):
            value, words = "", ["left out for a better hit"]
        case "dedupe":
            value, words = str(len(hit.duplicates)), [_collapsed(hit)]
        case "diversity" if step.after == 1:
            words = ["no hit is before it"]
        case stage if stage not in _STAGES:
            value = f"x{value}"
    said = ", ".join(filter(None, words))
    return step.stage, value, ": ".join(filter(None, [said, _moved(step)]))


def _left_out(step: "Step") -> bool:
    """Return whether this step made the hit a near-duplicate of another."""
    return step.stage == "dedupe" and step.after is None


def _moved(step: "Step") -> str:
    if step.after is None:
        return ""
    if step.before is None:
        return f"{_ordinal(step.after)} by {step.stage}"
    if step.before == step.after:
        return f"stays {_ordinal(step.after)}"
    return f"{_ordinal(step.before)} -> {_ordinal(step.after)}"


def _collapsed(hit: "Hit") -> str:
    ids = [other.document.id for other in hit.duplicates]
    if not ids:
        return "no near-duplicates of its own"
    noun = "near-duplicate" if len(ids) == 1 else "near-duplicates"
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"{noun} left out for it ({', '.join(ids[:_SHOWN])}{more})"


def _version(version: "Version") -> str:
    said = []
    if version.ended:
        said.append("its time is over")
    if version.successors:
        said.append(f"superseded by {_listed(version.successors)}")
    if not version.current and not said:
        said.append("not current")
    if version.absent:
        stays = ", so it stays" if version.current else ""
        named, verb = ("successor", "is") if len(version.absent) == 1 else ("successors", "are")
        said.append(f"its {named} {_listed(version.absent)} {verb} not there{stays}")
    if version.substitutes:
        said.append(f"fails the filter, but succeeds {_listed(version.substitutes)}, which would pass it")
    return "; ".join(said) or "current"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(as_json(value)) for value in values)


def _number(value: float) -> str:
    """Format with three significant digits; whole numbers from 1,000 up."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
