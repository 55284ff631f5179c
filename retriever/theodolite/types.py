"""Values that cross module borders: the arguments and results of users."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, NewType, Protocol, SupportsFloat, overload

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import EngineError
from theodolite.explanation import Explanation
from theodolite.frozen import frozen
from theodolite.metadata import as_json
from theodolite.origin import Origin
from theodolite.vectors.metrics import DEFAULT_METRIC, MetricName, get_metric
from theodolite.verdict import Verdict

if TYPE_CHECKING:  # imported where they are asked for
    from theodolite.analysis.highlights import Highlight
    from theodolite.citing.context import Context
    from theodolite.citing.window import Expand

Mode = Literal["dense", "lexical", "hybrid"]
"""How documents are found: by vectors, by words, or by both, fused by rank."""

FieldKind = Literal["string", "number", "boolean", "date", "list", "mapping", "none"]
"""Kinds of metadata values: `date` is a date, a datetime or a string that names one, `string` any other string."""

Norms = Literal["auto", "unit", "any"]
"""The norms that vectors may have: `unit` refuses a batch with norms outside [0.98, 1.02]."""


class SupportsArray(Protocol):
    """An object that numpy can read as an array, such as a torch tensor."""

    def __array__(self) -> NDArray[Any]: ...


VectorLike = NDArray[Any] | SupportsArray | Sequence[SupportsFloat]
"""One vector, (d,): an array, a tensor, or a list of numbers."""

VectorsLike = NDArray[Any] | SupportsArray | Iterable[VectorLike]
"""Several vectors, (n, d): an array, a tensor, or an iterable of vectors."""

Instant = date | str | float
"""A date, a datetime, an ISO-8601 string, or seconds since 1970. Without an offset it is UTC."""

Vectors = NewType("Vectors", NDArray[np.float32])
"""Shape (n, d), float32, C-contiguous, finite, and of unit length where the metric is cosine.

Only `theodolite.vectors.prepare.prepare` makes one.
"""

Rows = NDArray[np.int64]
"""Shape (n,): row numbers. A row number is never reused within a collection's generation."""

Scores = NDArray[np.float32]
"""Shape (n,), higher is better: cosine in [-1, 1], the dot product, or minus the Euclidean distance."""

Mask = NDArray[np.bool_]
"""Shape (rows,): True where a row is eligible."""


class Transform(Protocol):
    """A step that every vector passes before it is stored (see `theodolite.vectors.transforms`)."""

    @property
    def spec(self) -> Any:
        """The specification, fitted or not."""
        ...

    @property
    def input_dimension(self) -> int | None:
        """The dimension of the vectors it takes; None until it is fitted."""
        ...

    @property
    def gain(self) -> float:
        """The largest factor by which it can lengthen a vector."""
        ...

    @property
    def subtracts_mean(self) -> bool:
        """Whether it subtracts a mean."""
        ...

    def output_dimension(self, dimension: int) -> int:
        """Return the output dimension for an input dimension. Raises ConfigError if it cannot take that dimension."""
        ...

    def rows_needed(self, dimension: int) -> int:
        """Return the number of rows of this dimension that fitting needs."""
        ...

    def fit_sample(self, sample: NDArray[Any]) -> "Transform":
        """Return the transform fitted to a sample, (n, d)."""
        ...

    def apply(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the transformed rows, (n, d). Only a fitted transform can."""
        ...


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """A collection's record of its embedder, so that `Retriever.open` can make it again.

    Attributes:
        name: as `embedder=` takes it: a name on the Hugging Face hub, or "plug-in:argument". Of an object of the
            program, the name of the object or of its class.
        revision: the commit of the model on the hub.
        precision: the data type to compute in.
        query_prompt: put before each query; None for the model's own.
        document_prompt: put before each document; None for the model's own.
        by_name: whether the name makes the embedder. It does not if the program passed an object of its own.
    """

    name: str
    revision: str | None = None
    precision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    by_name: bool = True


@dataclass(frozen=True, slots=True)
class Space:
    """The pinned properties of a collection's vectors.

    Attributes:
        metric: how vectors are compared.
        dimension: the dimension of stored vectors; None until the first batch settles it.
        norms: the norms of vectors as they are given; `auto` until the first batch settles it.
        transforms: applied before vectors are stored; fitted by the first batch.
    """

    metric: MetricName = DEFAULT_METRIC
    dimension: int | None = None
    norms: Norms = "auto"
    transforms: tuple[Transform, ...] = ()

    @property
    def raw_dimension(self) -> int | None:
        """The dimension of the vectors as they are given; None until it is settled."""
        return self.transforms[0].input_dimension if self.transforms else self.dimension

    @property
    def normalizes(self) -> bool:
        """Whether vectors are normalized before they are stored, after any transforms."""
        metric = get_metric(self.metric)
        return metric.normalizes or (bool(self.transforms) and metric.gives_cosines(self.norms))

    @property
    def stored(self) -> "Space":
        """The space of vectors read from the store, which are transformed already."""
        unit = self.norms == "unit" and (self.normalizes or not self.transforms)
        return Space(self.metric, self.dimension, "unit" if unit else "any")


@frozen()
class Document:
    """A passage of text with an id and metadata.

    Attributes:
        text: the text to embed and search. It may be empty if the caller brings the vector.
        metadata: JSON values, dates and datetimes under string keys (see `theodolite.metadata`).
        id: unique in a collection. If empty, `add` derives it from text and metadata.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    __hash__ = None  # type: ignore[assignment]  # metadata is a mapping: documents compare, but do not hash


@dataclass(frozen=True, slots=True)
class Version:
    """How the rules for versions judge a hit; None on hits that are simply current.

    Attributes:
        current: whether it is current at `as_of`.
        successors: its successors: for `Superseded` the keys at the end of the chain, for `Latest` the newest value of
            `by`.
        absent: keys of successors that are named but missing. A document stays current without them.
        substitutes: for a hit that fails the filter and substitutes for documents that pass it: their keys
            (`Superseded`), or the value of `per` that it shares with them (`Latest`).
        ended: whether its own period is over (`Valid`).
    """

    current: bool = True
    successors: tuple[Any, ...] = ()
    absent: tuple[Any, ...] = ()
    substitutes: tuple[Any, ...] = ()
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The effect of one ranking stage on a hit.

    Attributes:
        stage: `similarity`, `lexical`, a boost's name, `fusion`, `rerank`, `dedupe`, `diversity`.
        value: the stage's score of the hit, or the factor it multiplied the score by.
        before, after: the hit's place among the documents of the stage, from 1; None where it had none.
        note: the reason for the value, in words.
    """

    stage: str
    value: float
    before: int | None
    after: int | None
    note: str = ""


@frozen(repr=False)
class Hit:
    """One ranked passage.

    Attributes:
        document: the passage.
        score: orders the list, higher is better: the similarity, unless boosts, fusion or a reranker act.
        rank: the place in the list, from 1.
        scores: each part of the score by name: `similarity` (the metric's own value), `relevance` in [0, 1] (not for
            dot), `lexical` (BM25), `fusion`, each boost's factor under its name, `rerank` (the reranker's raw score)
            and `rerank_relevance` (the same, calibrated to [0, 1]).
        version: how the rules for versions judge it; None if it is simply current.
        duplicates: near-duplicates of this hit that were left out, best first.
        steps: the effect of each stage, in order; empty if similarity alone decided.
        highlighter: finds `highlights` in the text; None if the query was a vector.
    """

    document: Document
    score: float
    rank: int
    scores: Mapping[str, float]
    version: Version | None = None
    duplicates: tuple["Hit", ...] = ()
    steps: tuple[Step, ...] = ()
    highlighter: "Callable[[str], tuple[Highlight, ...]] | None" = field(default=None, compare=False)

    @property
    def highlights(self) -> "tuple[Highlight, ...]":
        """The sentences of the passage that have words of the query, best first; found when they are read.

        Words match as in lexical search, in all languages that it knows. Empty if no word matches, or the query was a
        vector. `Retriever.highlight` ranks sentences by their vectors instead.
        """
        return () if self.highlighter is None else self.highlighter(self.document.text)

    def explain(self) -> Explanation:
        """Explain why the hit has its rank: `print` the result, or use its `to_dict()`."""
        return Explanation(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the hit as JSON values, dates as ISO-8601 strings: `text`, `metadata`, and all of `explain()`."""
        explained = self.explain().to_dict()
        return {**explained, "text": self.document.text, "metadata": as_json(self.document.metadata)}

    def __repr__(self) -> str:
        from theodolite.display import hit_line  # imported where something is shown

        return hit_line(self)

    def _repr_html_(self) -> str:
        from theodolite.display import hit_html

        return hit_html(self)


@frozen()
class Trace:
    """How an answer was found.

    Attributes:
        path: `scan` (codes of all blocks), `rows` (exact on the eligible rows), `index` (an approximate index
            proposed rows), or `empty`. In a scope only `scope` or `empty`, and `scored` and `proposed` are 0, because
            they would reveal what lies outside.
        rows: live documents in the collection, or in the scope.
        eligible: documents that the filter admits.
        scored: rows whose exact similarity was computed.
        proposed: rows that an approximate index proposed.
        complete: whether the list is proven to be the true top k. It is for everything the flat index answers.
        truncated_tokens: tokens at the end of the query that the embedder did not read.
        timings: seconds per stage: `embed`, `search`, `fetch`.
        commit: increases with each commit; answers with the same number saw the same documents. 0 in a scope, where it
            would reveal other commits, and for engines that do not count.
        mode: how the documents were found.
        superseded: documents of the collection or scope that rules for versions left out.
        rerank: the outcome of the reranking: empty without one, `ok`, or `fallback: ` and the reason.
        truncated: passages that the reranker did not read to their end.
        notes: sentences about this search that the caller should know, such as that no document contains a word of the
            query, that the filter cannot match, or that dates cannot be read.
    """

    path: str
    rows: int
    eligible: int
    scored: int
    proposed: int = 0
    complete: bool = True
    truncated_tokens: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)
    commit: int = 0
    mode: Mode = "dense"
    superseded: int = 0
    rerank: str = ""
    truncated: int = 0
    notes: tuple[str, ...] = ()


@frozen(repr=False)
class Hits(Sequence[Hit]):
    """The result of one search: a sequence of `Hit`, best first, with a `trace`.

    At a prompt and in a notebook it shows a table.

    Attributes:
        verdict: how likely the collection answers the question; None unless searches are calibrated.
    """

    items: tuple[Hit, ...]
    trace: Trace
    origin: Origin | None = field(default=None, compare=False)
    verdict: Verdict | None = None

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.items)

    def to_dict(self) -> dict[str, Any]:
        """Return `hits`, `trace` and `verdict` as JSON values, dates as ISO-8601 strings."""
        trace = {**asdict(self.trace), "timings": dict(self.trace.timings), "notes": list(self.trace.notes)}
        verdict = None if self.verdict is None else self.verdict.to_dict()
        return {"hits": [hit.to_dict() for hit in self.items], "trace": trace, "verdict": verdict}

    def feedback(self, document_id: str, grade: int) -> None:
        """Keep a judgment of these hits: how well a document answers the question, from 0 (not at all).

        It is stored in a file of its own in the collection's folder, with the question's text, and nothing else is.
        `Retriever.export_judgments` returns it. The latest judgment of a question and a document counts.

        Args:
            document_id: a hit, or another document of the collection that should have been found.
            grade: a whole number, such as 0 to 3.

        Raises:
            InputError: there is no such document, the grade is invalid, or the query was a vector.
            EngineError: the collection is closed or opened read-only. UnsupportedError: it is on a server.
        """
        collection = None if self.origin is None else self.origin.collection()
        if self.origin is None or collection is None:
            raise EngineError("the collection of these hits is closed: open it, and call kb.feedback(hits, ...)")
        collection.feedback(self, document_id, grade, None, self.origin.scope)

    def context(
        self, tokens: int = 2000, *, expand: "Expand" = None, count: "Callable[[str], int] | None" = None
    ) -> "Context":
        """Return the passages as a text for a prompt, best first, with numbered sources; `str` is the text.

        Passages that follow one another are merged. Neighbors are read from the collection, as the search could find
        them: by its scope, filter, `accept` and version rules.

        Args:
            tokens: the most tokens that the text may have. Hits that do not fit are named in `left_out`.
            expand: what each hit is read with: `"section"` for the rest of its section, `Window(1)` for one neighbor on
                each side, None for nothing. Files that the command line has added have the fields for it, `path` and
                `chunk`; for others name yours: `Window(1, group="page", order="number")`.
            count: returns the number of tokens of a text; None for the embedder's tokenizer.

        Raises:
            InputError: an argument out of range, no hit with the fields that `expand` needs, or not even one fits.
            ConfigError: there is no tokenizer: pass `count`.
            EngineError: the collection is closed.
        """
        collection = None if self.origin is None else self.origin.collection()
        if collection is None:
            raise EngineError("the collection of these hits is closed: open it, and search again")
        made: Context = collection.context(self, tokens, expand, count)
        return made

    async def acontext(
        self, tokens: int = 2000, *, expand: "Expand" = None, count: "Callable[[str], int] | None" = None
    ) -> "Context":
        """`context`, awaited."""
        from theodolite.async_pool import in_thread

        return await in_thread(self.context, tokens, expand=expand, count=count)

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`: `rank`, `score`, `id`, `text`, `scores.<part>` and `metadata.<field>`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from theodolite.tables import to_pandas

        return to_pandas(self.items)

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table` with the columns of `to_pandas`.

        A column with values of several kinds, or mappings, has them as JSON texts.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        from theodolite.tables import to_arrow

        return to_arrow(self.items)

    def __repr__(self) -> str:
        from theodolite.display import hits_table

        return hits_table(self)

    def _repr_html_(self) -> str:
        from theodolite.display import hits_html

        return hits_html(self)


@dataclass(frozen=True, slots=True)
class Field:
    """A summary of one metadata field.

    Attributes:
        count: how many documents have the field, even as None.
        kinds: how many have each kind of value, most frequent first.
        values: each value, with how many documents have it (or a list with it), most frequent first; empty if there are
            more different values than asked for. None, mappings and lists do not count; dates and datetimes are
            instants in UTC.
        numbers: the lowest and the highest number, outside of lists; None without numbers.
        dates: the first and the last instant, in UTC, outside of lists; None without dates.
        elements: how many have a list with an element of each kind, most frequent first.
        unreadable_dates: how many have a string that looks like a date and is not one, such as "3/1/2025", outside of
            lists.
    """

    count: int
    kinds: Mapping[FieldKind, int]
    values: tuple[tuple[Any, int], ...] = ()
    numbers: tuple[float, float] | None = None
    dates: tuple[datetime, datetime] | None = None
    elements: Mapping[FieldKind, int] = field(default_factory=dict)
    unreadable_dates: int = 0


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two documents whose vectors have nearly the same direction.

    Attributes:
        first, second: the documents; `first` was written earlier.
        similarity: the cosine of their vectors in [-1, 1], whatever the collection's metric.
    """

    first: Document
    second: Document
    similarity: float
