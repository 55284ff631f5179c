"""Overview: everything a page shows about a collection, measured once, as plain data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.audit import audit
from theodolite.auditing.findings import SEVERITIES, Finding
from theodolite.engines.missing import MissingCollection
from theodolite.errors import EngineError, InputError, did_you_mean
from theodolite.evaluation.evaluate import evaluate
from theodolite.evaluation.judgments import Judgments
from theodolite.evaluation.lists import Collection
from theodolite.evaluation.questions import Questions
from theodolite.evaluation.recall import Recall, measure
from theodolite.evaluation.result import Evaluation
from theodolite.filters import Filter
from theodolite.indexes.ann.calibration import synthetic_queries
from theodolite.overview import health
from theodolite.overview.groups import Group, groups, has_value
from theodolite.overview.map import Map, project
from theodolite.overview.questions import HeatMap, heat_map
from theodolite.overview.sample import MAX_DOCUMENTS, Progress, Sample, draw, evenly
from theodolite.overview.similarity import NEAR, Histogram, Similarities, compare
from theodolite.protocols import Duplicates, Engine
from theodolite.ranking.options import SearchOptions
from theodolite.types import Document, Field, Hits, Space, Vectors

if TYPE_CHECKING:  # a layer above; it is passed in
    from theodolite.retriever import Retriever

_PAIRED = 20_000  # documents up to which all pairs are compared
_PAIRS = 20  # near-duplicates that are listed
_QUERIES, _EXACT_QUERIES = 200, 50  # queries that an index is measured with, and exact search
_FEW = 20  # questions below which they are made of documents
_VALUES = 20  # values of a field that are listed
_OLD = 1000  # hits among which old versions are looked for, to name some
_BINS = 60
_STEPS = 6  # of a measurement, after the documents are read


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures about a collection that pages show.

    Attributes:
        name: the collection's folder or URL, or "in memory".
        created: when this was measured.
        info: `kb.info()`.
        total: how many documents the collection has, those that pass the filter.
        documents: the documents of the map: all of them, or an evenly spaced sample.
        map: their places and clusters.
        color: the field that the map is colored by; None for clusters.
        fields: the metadata fields by name.
        similarities: how similar documents are; None with fewer than two.
        norms: the lengths of the vectors; None if all have unit length.
        findings: what the guards and checks say, the most severe first.
        duplicates: near-duplicates, at most 20: two ids and their cosine.
        recall: the recall of the index and latencies; None if they were not measured.
        monitor: the monitor's report; None if there is none.
        heat: questions beside documents; None without questions.
        evaluation: the evaluation with judged questions; None without judgments.
        notes: sentences that a reader of the figures should know.
    """

    name: str
    created: datetime
    info: Mapping[str, Any]
    total: int
    documents: list[Document]
    map: Map
    color: str | None = None
    fields: Mapping[str, Field] = field(default_factory=dict)
    similarities: Similarities | None = None
    norms: Histogram | None = None
    findings: tuple[Finding, ...] = ()
    duplicates: tuple[tuple[str, str, float], ...] = ()
    recall: Recall | None = None
    monitor: Mapping[str, Any] | None = None
    heat: HeatMap | None = None
    evaluation: Evaluation | None = None
    notes: tuple[str, ...] = ()

    @property
    def sampled(self) -> bool:
        """Whether the map shows some of the documents only."""
        return len(self.documents) < self.total

    def groups(self) -> list[Group]:
        """Return the documents of the map by color."""
        return groups(self.map, self.documents, self.color)


def examine(
    kb: "Retriever",
    *,
    questions: Questions | None = None,
    judgments: Judgments | None = None,
    by: str | None = None,
    color: str | None = None,
    where: Filter | None = None,
    count: int = MAX_DOCUMENTS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Overview:
    """Measure everything that a page shows. See `Retriever.report`.

    Args:
        progress: called before each step; an exception it raises ends the measurement.
    """
    steps = _Steps(progress)
    collection = Collection(kb._searcher, kb._engine, kb._scope)
    engine, scope = collection.engine, collection.scope
    missing = isinstance(engine, MissingCollection)
    info = kb.info()
    fields = {} if missing else engine.fields(where, values=_VALUES, scope=scope)
    notes: list[str] = []
    with draw(engine, where, scope, count=count, progress=progress) as sample:
        steps.begin("Drawing the map")
        base = Overview(
            name=str(info.get("location") or kb.location or "in memory"),
            created=datetime.now(UTC).replace(microsecond=0),
            info=info,
            total=sample.total,
            documents=sample.documents,
            map=project(sample.vectors, engine.space.metric, seed=seed),
            color=color,
            fields=fields,
        )
        if not sample.documents:
            absent = "The collection does not exist yet: the first document that is added creates it."
            return replace(base, notes=(absent if missing else "There are no documents, so there is nothing to draw.",))
        if color is not None and not any(has_value(each, color) for each in sample.documents):
            known = f"Known: {', '.join(fields) or 'none'}"
            raise InputError(f"no document has the field {color!r}.{did_you_mean(color, fields)} {known}")
        if not sample.complete:
            notes.append(
                f"The map, the similarities and the audit are of {len(sample.documents):,} evenly spaced documents "
                f"out of {sample.total:,}."
            )
        options = SearchOptions(where=where)
        heat, asked, evaluation = None, None, None
        if questions is not None:
            heat, asked = heat_map(collection, questions, options, judgments, by)
        if questions is not None and judgments is not None:
            evaluation = evaluate(collection, questions, judgments, options, [options.k], by=by, index=False)
        steps.begin("Comparing documents")
        similar = compare(sample.vectors, asked, seed=seed)
        ids = [document.id for document in sample.documents]
        steps.begin("Auditing the vectors")
        audited = audit(sample.vectors, metric=engine.space.metric, ids=ids, seed=seed)
        norms = _norms(sample.vectors)
        steps.begin("Looking for near-duplicates")
        duplicates = _duplicates(kb, sample, similar, where, notes)
        steps.begin("Measuring the index")
        recall = None if scope is not None else _recall(engine, info, sample, asked, where, notes)
    steps.begin("Verifying stored data")
    monitor = None if scope is not None else health.monitored(kb)
    found = [*audited.findings, *_health(kb, collection, info, fields, notes), *health.alerts(monitor)]
    found.sort(key=lambda finding: -SEVERITIES.index(finding.severity))
    return replace(
        base,
        similarities=similar,
        norms=norms,
        findings=tuple(found),
        duplicates=duplicates,
        recall=recall,
        monitor=monitor,
        heat=heat,
        evaluation=evaluation,
        notes=tuple(notes),
    )


class _Steps:
    """Numbers the steps of a measurement."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._begun = 0

    def begin(self, name: str) -> None:
        self._begun += 1
        if self._progress is not None:
            self._progress(name, self._begun, _STEPS)


def _health(
    kb: "Retriever", collection: Collection, info: Mapping[str, Any], fields: Mapping[str, Field], notes: list[str]
) -> Iterator[Finding]:
    """Return the findings beside those of the audit and the monitor."""
    if "truncated" in info:
        yield health.texts(info)
    yield from health.dates(fields)
    yield from health.versions(*_old_versions(collection))
    if collection.scope is not None:
        notes.append("This is a part of the collection: stored data, embedder, index and monitor belong to the whole.")
        return
    texts = kb._session.parts.texts
    yield from health.stored_data(kb, collection.engine)
    if texts.is_made or texts.spec is not None:
        yield from health.embedder(kb, loaded=texts.is_made)
    yield from health.whole_collection(collection.engine, info)


def _old_versions(collection: Collection) -> tuple[int | None, tuple[str, ...]]:
    """Return how many documents the version rules leave out, and some of their ids; None if there are no rules."""
    searcher, dimension = collection.searcher, collection.engine.space.raw_dimension
    if not searcher.rules or dimension is None:
        return None, ()
    vector = np.full((1, dimension), dimension**-0.5, np.float32)  # any question does: rules come before similarity

    def search(options: SearchOptions) -> Hits:
        return searcher.run(options, searcher.prepare(options, None, vector, collection.scope, probe=True))[0]

    shown = search(SearchOptions(k=_OLD, superseded="show"))
    old = [hit.document.id for hit in shown if hit.version is not None and not hit.version.current]
    return search(SearchOptions(k=1)).trace.superseded, tuple(old[:3])


def _norms(vectors: NDArray[np.float32]) -> Histogram | None:
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if np.ptp(norms) <= 0.02 * norms.max():
        return None
    counts, edges = np.histogram(norms, _BINS)
    return Histogram(tuple(edges.tolist()), tuple((counts / len(norms)).tolist()))


def _duplicates(
    kb: "Retriever", sample: Sample, similar: Similarities | None, where: Filter | None, notes: list[str]
) -> tuple[tuple[str, str, float], ...]:
    """Return near-duplicates; none if there are too many documents to compare all pairs."""
    if sample.total > _PAIRED:
        probes, near = (0, 0.0) if similar is None else (similar.probes, similar.near)
        found_some = f"about {near:.1%} have one, by a sample" if near else f"none of {probes:,} in a sample has one"
        notes.append(
            f"Near-duplicates are not listed for more than {_PAIRED:,} documents: {found_some}. "
            "`theodolite duplicates` lists all."
        )
        return ()
    if not isinstance(kb._engine, Duplicates):
        return ()
    found: list[tuple[str, str, float]] = []
    for pair in kb.duplicates(NEAR, where=where):
        if len(found) == _PAIRS:
            notes.append(f"The first {_PAIRS} near-duplicates are listed. `theodolite duplicates` lists all.")
            break
        found.append((pair.first.id, pair.second.id, float(pair.similarity)))
    return tuple(found)


def _recall(
    engine: Engine,
    info: Mapping[str, Any],
    sample: Sample,
    asked: NDArray[np.float32] | None,
    where: Filter | None,
    notes: list[str],
) -> Recall | None:
    """Measure the index with the questions, if there are at least 20, else with sampled documents and noise."""
    if asked is not None and len(asked) >= _FEW:
        queries = Vectors(asked)
    else:
        count = _QUERIES if info.get("approximate") else _EXACT_QUERIES
        rows = np.array(sample.vectors[evenly(len(sample.documents), count)])
        queries = synthetic_queries(rows, Space(engine.space.metric, engine.space.dimension, "any"))
    try:
        measured = measure(engine, queries, (1, 5, 10), where, efforts=True)
    except EngineError as error:
        notes.append(f"The recall of the index was not measured: {error}")
        return None
    return measured if queries is asked else replace(measured, kind="noise")
