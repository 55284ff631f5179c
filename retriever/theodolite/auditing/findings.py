"""The result of an audit: findings that can be printed, compared and stored."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from theodolite.types import Norms
from theodolite.vectors.metrics import MetricName

Severity = Literal["ok", "note", "warning", "error"]

SEVERITIES: tuple[Severity, ...] = ("ok", "note", "warning", "error")

_SHOWN = 5  # rows named in a line
_LISTED = 100  # rows listed in `rows`


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: the check: `norms`, `metric_disagreement`, `duplicates`, ...
        severity: `ok`, `note` (good to know), `warning` (look into it) or `error` (the vectors are refused or give
            wrong results).
        found: the figures as text.
        meaning: what they mean for retrieval.
        advice: what to do; empty if nothing needs to be done.
        values: the figures, as JSON values.
        rows: the first 100 rows concerned, from 0; in the finding `queries`, rows of the queries.
        ids: ids of these rows, if known.
    """

    name: str
    severity: Severity
    found: str
    meaning: str
    advice: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()

    __hash__ = None  # type: ignore[assignment]  # values is a mapping


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The settings to open a collection of these vectors with, and why."""

    metric: MetricName
    norms: Norms
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class Audit:
    """The result of `audit`. Print it, or use `to_dict()`.

    Attributes:
        rows, dimension, dtype: the number, dimension and dtype of the vectors.
        metric: the metric they are compared by; None if it was not given.
        recommended: the metric and norms to open a collection with.
        findings: the most severe first. Checks that do not apply, for example with too few rows, have none.
    """

    rows: int
    dimension: int
    dtype: str
    metric: MetricName | None
    recommended: Recommendation
    findings: tuple[Finding, ...]

    __hash__ = None  # type: ignore[assignment]  # findings do not hash

    @property
    def severity(self) -> Severity:
        """The severity of the most severe finding."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default="ok")

    @property
    def typical_cosine(self) -> float | None:
        """The mean cosine of two random vectors, at least 0: the score of unrelated texts. None if rows are too few.

        Pass it to `Retriever.open(..., relevance=...)`, so that relevance starts there.
        """
        found = next((finding for finding in self.findings if finding.name == "anisotropy"), None)
        return None if found is None else max(0.0, float(found.values["mean"]))

    @property
    def ok(self) -> bool:
        """Whether there is no warning and no error."""
        return self.severity in ("ok", "note")

    def __getitem__(self, name: str) -> Finding:
        """Return the finding of this name. Raises KeyError."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        plain = asdict(self)
        findings = [{**one, "rows": list(one["rows"]), "ids": list(one["ids"])} for one in plain.pop("findings")]
        return {**plain, "severity": self.severity, "findings": findings}

    def heading(self) -> str:
        """Return the size and dtype of the vectors, in a line."""
        return f"{self.rows:,} vectors, {self.dimension} dimensions, {self.dtype}"

    def lines(self, width: int = 100) -> list[tuple[str, str]]:
        """Return the lines of text, each with its kind: `heading`, `text`, `blank`, or the severity of a finding."""
        advised = f'metric="{self.recommended.metric}", norms="{self.recommended.norms}": {self.recommended.reason}'
        out = [("heading", self.heading()), *_wrapped("text", advised, width, "use  ", "     "), ("blank", "")]
        room = max((len(finding.name) for finding in self.findings), default=0) + 2
        for finding in self.findings:
            first = f"{finding.severity:<7}  {finding.name:<{room}}"
            indent = " " * len(first)
            out += _wrapped(finding.severity, finding.found, width, first, indent)
            if finding.severity != "ok":
                said = f"{finding.meaning} {finding.advice}".strip()
                out += _wrapped("text", said, width, indent, indent)
        return out

    def __str__(self) -> str:
        return "\n".join(line for _, line in self.lines())

    def __repr__(self) -> str:
        severe = [f"{each.severity} {each.name}" for each in self.findings if each.severity in ("warning", "error")]
        return f"<Audit: {self.heading()}; {', '.join(severe) or 'no warnings'}>"

    def _repr_html_(self) -> str:
        from theodolite.display import html_table  # imported in notebooks

        best = self.recommended
        caption = f'{self.heading()}; use metric="{best.metric}", norms="{best.norms}": {best.reason}'
        rows = [
            (one.severity, one.name, one.found, "" if one.severity == "ok" else f"{one.meaning} {one.advice}".strip())
            for one in self.findings
        ]
        return html_table(caption, ("", "check", "found", "meaning"), rows)


def name_rows(rows: Sequence[int], ids: Sequence[str] | None) -> str:
    """Name the first few rows, for a message."""
    shown = [f"{row}" if ids is None else ids[row] for row in rows[:_SHOWN]]
    more = ", …" if len(rows) > _SHOWN else ""
    what = "" if ids is not None else "row " if len(rows) == 1 else "rows "
    return f"{what}{', '.join(shown)}{more}"


def first_rows(rows: Sequence[int]) -> tuple[int, ...]:
    """Return the rows that a finding lists: the first 100."""
    return tuple(rows[:_LISTED])


def share(part: int, whole: int) -> str:
    """Format a percentage; 0 and 100 only if exact."""
    percent = 100 * part / whole
    if part and percent < 0.1:
        return "below 0.1 %"
    if part < whole and percent > 99.9:
        return "over 99.9 %"
    return f"{percent:.3g} %"


def _wrapped(kind: str, text: str, width: int, first: str, indent: str) -> list[tuple[str, str]]:
    lines = textwrap.wrap(text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
    return [(kind, line) for line in lines]
