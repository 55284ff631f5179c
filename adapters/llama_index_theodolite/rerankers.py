"""Theodolite rerankers as a LlamaIndex node postprocessor."""

from collections.abc import Sequence
from copy import copy
from typing import Any, Self

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # it is public there
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field, PrivateAttr

from theodolite import Rerank
from theodolite.integration import as_rerank, check_names

_dispatcher = get_dispatcher(__name__)


class TheodoliteRerank(BaseNodePostprocessor):
    """A node postprocessor that reranks nodes from any retriever with a theodolite reranker.

    Nodes come back best first, in new NodeWithScore objects with a calibrated `score`: in [0, 1], higher is better. A
    `SimilarityPostprocessor` can therefore follow. The raw scores determine the order; ties keep their input order. The
    nodes, their metadata, and the passed NodeWithScore objects stay unchanged. The reranker reads all passed nodes, as
    `node.get_content(MetadataMode.EMBED)`.

    Attributes:
        reranker: the name or folder of a cross-encoder, an object with `score(query, texts)`, a function of a query and
            texts, or `theodolite.Rerank(...)` with a deadline and other options. After a fallback
            (`on_error="fallback"`) nodes keep their order and their input scores.
        top_n: the number of nodes to return. None returns all.
        score_threshold: leave out nodes with a lower calibrated score; in [0, 1].
        mode: the text of a node that the reranker reads: the embedded text (with the metadata that is not excluded), or
            `MetadataMode.NONE` for the plain text.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_assignment=True)

    reranker: Any = Field(exclude=True)
    top_n: int | None = Field(default=None, ge=1)
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    mode: MetadataMode = MetadataMode.EMBED
    _stage: Rerank = PrivateAttr()
    _name: str = PrivateAttr()

    def __init__(self, reranker: Any, **fields: Any) -> None:
        """
        Args:
            reranker: see the class, as for `fields`.

        Raises:
            TypeError: fields are unknown. ValidationError: values are invalid.
            ConfigError, MissingExtraError: the reranker is invalid, or needs a package that is not installed.
        """
        check_names(fields, type(self).model_fields, type(self).__name__, _ELSEWHERE)
        super().__init__(**{"reranker": reranker, **fields})
        self._stage = as_rerank(reranker, self.score_threshold)
        self._name = (
            reranker
            if isinstance(reranker, str)
            else _name_of(reranker.reranker if isinstance(reranker, Rerank) else reranker)
        )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return copy(self)  # shares the reranker

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if "_stage" not in state["__pydantic_private__"]:  # LlamaIndex drops attributes that it cannot pickle
            raise TypeError(f"the reranker {self._name!r} cannot be pickled: create it again in the other process")
        return state

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "TheodoliteRerank"

    def raw_scores(self, nodes: Sequence[NodeWithScore], query: str) -> list[float]:
        """Return the reranker's raw score of each node, in the given order. Higher is better; the range is not fixed.

        Raises:
            RerankError: the reranker failed, missed its deadline, or did not return one finite score for each node.
        """
        found = self._stage.run(query, self._texts(nodes)) if nodes else None
        return [] if found is None or found.scores is None else found.scores.tolist()

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("a reranker needs the question: pass query_str= or query_bundle= beside the nodes")
        if not nodes:
            return []
        query, top = query_bundle.query_str, len(nodes) if self.top_n is None else self.top_n
        _dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=top, model_name=self._name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self._name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            ranked = self._ranked(nodes, query)[:top]
            event.on_end(payload={EventPayload.NODES: ranked})
        _dispatcher.event(ReRankEndEvent(nodes=ranked))
        return ranked

    def _ranked(self, nodes: Sequence[NodeWithScore], query: str) -> list[NodeWithScore]:
        found = self._stage.run(query, self._texts(nodes))
        if found.scores is None or found.calibrated is None:  # after a fallback
            return [NodeWithScore(node=one.node, score=one.score) for one in nodes]
        raw, calibrated = found.scores.tolist(), found.calibrated.tolist()
        order = sorted(range(len(nodes)), key=lambda place: -raw[place])
        return [
            NodeWithScore(node=nodes[place].node, score=calibrated[place])
            for place in order
            if calibrated[place] >= (self.score_threshold or 0)
        ]

    def _texts(self, nodes: Sequence[NodeWithScore]) -> list[str]:
        return [one.node.get_content(metadata_mode=self.mode) for one in nodes]


_ELSEWHERE = {"model": "reranker, the first argument", "keep_retrieval_score": "the nodes you passed: they are kept"}


def _name_of(reranker: Any) -> str:
    """Return the reranker's name for events."""
    named = (getattr(reranker, name, None) for name in ("name", "model_name", "__name__"))
    return next((name for name in named if isinstance(name, str)), type(reranker).__name__)
