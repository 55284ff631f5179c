"""The sections of a report: texts, pictures and tables, which pages and Markdown show in their own ways."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from theodolite.auditing.findings import Finding
from theodolite.display import Markup, number, shortened
from theodolite.overview.groups import Group
from theodolite.overview.overview import Overview
from theodolite.overview.sample import evenly
from theodolite.overview.similarity import NEAR
from theodolite.reporting import charts
from theodolite.reporting.map_picture import draw_map

_LISTED = 2000  # documents of the map whose texts are listed
_TEXT = 240  # columns of a text
_VALUES = 8  # values of a field that are named
_CELL = 80


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: what it shows as text, and how to draw it."""

    alt: str
    draw: Callable[[], Markup]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `details` says that it is long, or repeats a picture: pages fold it."""

    caption: str
    head: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    kind: str = ""
    details: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report under a heading."""

    name: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def sections(overview: Overview) -> list[Section]:
    """Return the sections that have something to show."""
    return [section for make in _SECTIONS for section in make(overview)]


def _summary(overview: Overview) -> Iterator[Section]:
    info = overview.info
    facts = [
        ("documents", f"{overview.total:,}"),
        ("dimension", info.get("dimension") or "not known yet"),
        ("metric", info.get("metric")),
        ("embedder", info.get("embedder") or "vectors are given"),
        ("index", info.get("index") or "exact"),
        ("partition", info.get("partition") or "none"),
        ("bytes", f"{info['bytes']:,}" if isinstance(info.get("bytes"), int) else "not known"),
    ]
    severe = [finding for finding in overview.findings if finding.severity in ("warning", "error")]
    verdict = "No warnings." if not severe else f"{len(severe)} of {len(overview.findings)} checks found a problem."
    text = (verdict, *overview.notes) if overview.findings else overview.notes
    yield Section("summary", "Summary", text, (), (Table("The collection", ("setting", "value"), facts),))


def _findings(overview: Overview) -> Iterator[Section]:
    if not overview.findings:
        return

    def row(finding: Finding) -> tuple[str, ...]:
        return finding.name, finding.severity, finding.found, finding.meaning, finding.advice or "-"

    head = ("check", "severity", "found", "cause and meaning", "cure")
    reported = [row(finding) for finding in overview.findings if finding.severity != "ok"]
    passed = [row(finding)[:-1] for finding in overview.findings if finding.severity == "ok"]
    text = () if reported else ("All checks passed.",)
    tables = [Table("Checks that found something", head, reported, "findings")] if reported else []
    if passed:
        tables.append(Table(f"{len(passed)} checks that passed", head[:-1], passed, details=True))
    yield Section("findings", "What the checks say", text, (), tuple(tables))


def _map(overview: Overview) -> Iterator[Section]:
    if not overview.documents:
        return
    found, colored = overview.map, overview.groups()
    what = "cluster" if overview.color is None else f"the field {shortened(overview.color, 40)!r}"
    shown = "all" if not overview.sampled else f"{len(overview.documents):,} of {overview.total:,}"
    explained = sum(found.variance[:2])
    text = (
        f"Each point is a document; {shown} documents are drawn. Points that are near each other have similar vectors. "
        f"The axes are the first two principal components, which explain {explained:.0%} of the variance: documents "
        "that lie together here may still differ in the other dimensions.",
        f"Colors and numbers show {what}s. Clusters are by k-means, named after their most central passage. "
        if overview.color is None
        else f"Colors and numbers show {what}.",
    )
    rows = evenly(len(overview.documents), _LISTED).tolist()
    alt = f"Map of {len(overview.documents):,} documents, colored by {what}. The table below lists the groups."

    def draw() -> Markup:
        return draw_map(found, colored, overview.documents, rows, alt)

    listed = [_listed(overview, row, colored_as) for row, colored_as in zip(rows, _names(colored, rows), strict=True)]
    yield Section(
        "map",
        "Map",
        text,
        (Picture(alt, draw),),
        (
            Table("Groups of the map", ("number", "color", "documents", "name", "example"), _legend(colored), "legend"),
            Table(f"{len(rows):,} documents of the map", ("id", "group", "text"), listed, "texts", details=True),
        ),
    )


def _legend(colored: list[Group]) -> list[tuple[Any, ...]]:
    return [
        (
            group.color or "-",
            Markup(f'<span class="swatch s{group.color}"></span>'),
            f"{len(group.rows):,}",
            group.name,
            shortened(group.example, _CELL),
        )
        for group in colored
    ]


def _names(colored: list[Group], rows: list[int]) -> list[str]:
    of = {row: str(group.color or group.name) for group in colored for row in group.rows.tolist()}
    return [of.get(row, "-") for row in rows]


def _listed(overview: Overview, row: int, group: str) -> tuple[str, str, str]:
    document = overview.documents[row]
    return shortened(document.id, _CELL), group, shortened(document.text, _TEXT)


def _similarities(overview: Overview) -> Iterator[Section]:
    found = overview.similarities
    if found is None:
        return
    text = (
        f"Two random documents have a cosine of {found.mean:.3f} on average (standard deviation {found.std:.3f}), a "
        f"document and its nearest {found.median:.3f} (median). The further the two curves are apart, the better a "
        "search can tell what belongs together.",
        f"Cosines of random directions of this dimension vary by {found.noise:.3f}: smaller differences mean little. "
        f"{found.near:.1%} of the documents have a near-duplicate (a cosine of at least {NEAR}).",
    )
    alt = (
        f"Distributions of cosines: random pairs around {found.mean:.2f}, nearest neighbors around {found.median:.2f}."
    )
    rows = [
        ("two random documents", f"{found.mean:.3f}", f"{found.std:.3f}"),
        ("random directions", "0", f"{found.noise:.3f}"),
    ]
    yield Section(
        "similarities",
        "Similarities",
        text,
        (Picture(alt, lambda: charts.similarities(found)),),
        (Table(f"Cosines, of {found.probes:,} documents", ("of", "mean", "standard deviation"), rows, details=True),),
    )


def _spectrum(overview: Overview) -> Iterator[Section]:
    found = overview.map
    if len(found.variance) < 2:
        return
    rows = [(f"{share:.0%}", f"{found.components_for(share):,}") for share in (0.5, 0.8, 0.9, 0.95, 0.99)]
    half, most = found.components_for(0.5), found.components_for(0.99)
    text = (
        f"{half:,} of {found.dimension:,} principal components explain half of the variance, {most:,} explain 99 % "
        f"(of {found.fitted:,} documents). If few explain nearly all, fewer dimensions would do (Pca).",
    )
    alt = f"Variance explained by the first components: 50 % by {half:,}, 99 % by {most:,} of {found.dimension:,}."
    table = Table("Components for a share of the variance", ("variance", "components"), rows, details=True)
    yield Section("dimensions", "Dimensions", text, (Picture(alt, lambda: charts.spectrum(found.variance)),), (table,))


def _norms(overview: Overview) -> Iterator[Section]:
    found = overview.norms
    if found is None:
        return
    low, high = found.edges[0], found.edges[-1]
    text = (f"The lengths of the vectors are between {low:.4g} and {high:.4g}.",)
    alt = f"Distribution of the lengths of the vectors, {low:.4g} to {high:.4g}."
    yield Section("norms", "Lengths of vectors", text, (Picture(alt, lambda: charts.norms(found)),))


def _duplicates(overview: Overview) -> Iterator[Section]:
    if not overview.duplicates:
        return
    rows = [(shortened(a, _CELL), shortened(b, _CELL), f"{cosine:.4f}") for a, b, cosine in overview.duplicates]
    text = (
        "These documents crowd each other's results. A search with dedupe= folds them, version rules hide old ones.",
    )
    table = Table(f"Pairs with a cosine of at least {NEAR}", ("earlier", "later", "similarity"), rows)
    yield Section("duplicates", "Near-duplicates", text, (), (table,))


def _questions(overview: Overview) -> Iterator[Section]:
    heat = overview.heat
    if heat is None:
        return
    shown = f"{len(heat.questions):,} of {heat.total:,}" if len(heat.questions) < heat.total else f"{heat.total:,}"
    text = (
        f"Similarity ({heat.metric}) of {shown} questions with the {len(heat.documents):,} documents that "
        f"rank first. A dot marks the first {heat.k} hits of a question, a ring a document that is judged relevant.",
        "A bright column is a document that is found for nearly every question. A row without a bright cell is a "
        "question that nothing answers.",
    )
    alt = f"Heat map of {len(heat.questions)} questions and {len(heat.documents)} documents. The table has the hits."
    rows = []
    for place, question in enumerate(heat.questions):
        ranked = sorted((rank, column) for column, rank in enumerate(heat.ranks[place].tolist()) if rank)
        named = [
            f"{shortened(heat.documents[column], _CELL)} ({number(float(heat.similarities[place, column]))})"
            for _, column in ranked[:3]
        ]
        rows.append((shortened(question, _TEXT), ", ".join(named) or "none of these"))
    table = Table("The first hits of each question", ("question", "documents"), rows, details=True)
    yield Section(
        "questions", "Questions and documents", text, (Picture(alt, lambda: charts.heat_map(heat)),), (table,)
    )


def _evaluation(overview: Overview) -> Iterator[Section]:
    found = overview.evaluation
    if found is None:
        return
    rows = [
        (name, f"{mean:.4f}", "{:.4f} to {:.4f}".format(*found.intervals[name])) for name, mean in found.metrics.items()
    ]
    rows += [(f"judged@{k}", f"{share:.4f}", "") for k, share in found.judged.items()]
    text = (f"{found.questions:,} questions, {found.judgments:,} judgments, {found.mode} search.", *found.notes)
    alt = (
        "Metrics with their intervals: " + ", ".join(f"{name} {mean:.2f}" for name, mean in found.metrics.items()) + "."
    )
    table = Table("Metrics", ("metric", "mean", "95 % interval"), rows)
    yield Section("evaluation", "Evaluation", text, (Picture(alt, lambda: charts.evaluation(found)),), (table,))


def _recall(overview: Overview) -> Iterator[Section]:
    found = overview.recall
    if found is None:
        return
    low, high = found.interval[found.k]
    made = "the questions" if found.kind == "given" else "stored vectors with noise, harder than most real questions"
    answered = f"{found.approximate:.0%} were answered by the approximate index, the others exactly."
    if found.approximate == 1:
        answered = "All were answered by the approximate index."
    if found.efforts:
        answered += " The line shows what the index finds with less and with more effort."
    if not overview.info.get("approximate"):
        answered = "There is no approximate index: all searches are exact."
    text = (
        f"Measured with {found.queries:,} queries: {made}. {answered} Latencies are of one search at a time, without "
        "embedding.",
    )
    alt = f"Recall@{found.k} 1.0 at {1e3 * found.exact.p50:.2f} ms exactly"
    rows = [("exact", "1.0000", "", *_milliseconds(found.exact))]
    if found.approximate:
        alt += f", {found.recall[found.k]:.3f} at {1e3 * found.index.p50:.2f} ms with the index"
        interval = f"{low:.4f} to {high:.4f}"
        rows.insert(0, ("with the index", f"{found.recall[found.k]:.4f}", interval, *_milliseconds(found.index)))
    alt += "."
    efforts = [
        (
            f"{each.effort:,} proposals",
            f"{each.recall:.4f}",
            "{:.4f} to {:.4f}".format(*each.interval),
            *_milliseconds(each.latency),
        )
        for each in found.efforts
    ]
    head = ("search", f"recall@{found.k}", "95 % interval", "p50, ms", "p95, ms", "p99, ms")
    yield Section(
        "recall",
        "Recall against latency",
        text,
        (Picture(alt, lambda: charts.recall(found)),),
        (
            Table("Recall and latency", head, rows),
            *([Table("With other efforts", head, efforts, details=True)] if efforts else []),
        ),
    )


def _milliseconds(latency: Any) -> tuple[str, str, str]:
    return f"{1e3 * latency.p50:.2f}", f"{1e3 * latency.p95:.2f}", f"{1e3 * latency.p99:.2f}"


def _monitor(overview: Overview) -> Iterator[Section]:
    found = overview.monitor
    if not found:
        return
    windows = found["windows"]
    rows = [
        (
            each["start"][:16].replace("T", " "),
            f"{each['searches']:,}",
            f"{each['empty']:,}",
            _known(each["similarity"]["p50"]),
            _known(None if each["seconds"]["p95"] is None else 1e3 * each["seconds"]["p95"]),
        )
        for each in windows
    ]
    text = tuple(
        each
        for each in (
            f"{found['searches']:,} searches were recorded.",
            found["note"] or "",
            *_baseline(found["baseline"]),
        )
        if each
    )
    table = Table("Hours", ("hour (UTC)", "searches", "empty", "similarity, p50", "ms, p95"), rows, details=True)
    alt = f"Similarity of the first hit and latency in {len(windows)} hours."
    pictures = (Picture(alt, lambda: charts.over_time(windows)),) if len(windows) > 1 else ()
    yield Section("monitor", "Monitor", text, pictures, (table,) if rows else ())


def _baseline(found: Any) -> tuple[str, ...]:
    if found is None:
        return ()
    name = "The baseline" if found["complete"] else "The baseline, still being gathered,"
    return (f"{name} is {found['searches']:,} searches with a similarity of {_known(found['similarity'])}.",)


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _fields(overview: Overview) -> Iterator[Section]:
    if not overview.fields:
        return
    rows = []
    for name, found in overview.fields.items():
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items())
        values = ", ".join(f"{shortened(str(value), 30)} ({count:,})" for value, count in found.values[:_VALUES])
        if not values and found.dates:
            values = f"{found.dates[0]:%Y-%m-%d} to {found.dates[1]:%Y-%m-%d}"
        elif not values and found.numbers:
            values = f"{found.numbers[0]:g} to {found.numbers[1]:g}"
        rows.append((shortened(name, _CELL), f"{found.count:,}", kinds, values or "many"))
    table = Table("Metadata fields", ("field", "documents", "kinds", "values"), rows)
    yield Section("fields", "Fields", (), (), (table,))


_SECTIONS = (
    _summary,
    _findings,
    _map,
    _similarities,
    _spectrum,
    _norms,
    _duplicates,
    _questions,
    _evaluation,
    _recall,
    _monitor,
    _fields,
)
