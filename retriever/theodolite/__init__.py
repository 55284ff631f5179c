"""theodolite: an embedded retriever for RAG. Documents and vectors in, ranked passages out.

>>> from theodolite import Document, Retriever
>>> with Retriever.open("kb", embedder="all-MiniLM-L6-v2") as kb:
...     ids = kb.add([Document("Refunds take five working days.", {"lang": "en"}, id="refunds")])
...     for hit in kb.search("how long do refunds take?", k=5, where={"lang": "en"}):
...         print(hit.document.id)
refunds
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from theodolite.embedders.options import RECORDED, EmbedderOptions
from theodolite.errors import (
    CollectionNotFoundError,
    CollectionNotFoundWarning,
    ConfigError,
    CorruptionError,
    DocumentError,
    DriftWarning,
    EmbedderDriftError,
    EngineError,
    FilterError,
    IndexWarning,
    InputError,
    IntegrityError,
    JudgmentWarning,
    LockedError,
    ManifestError,
    MetadataWarning,
    MetricMismatchError,
    MissingExtraError,
    RerankError,
    TheodoliteError,
    TruncationWarning,
    UnfinishedCopyWarning,
    UnsupportedError,
    VectorError,
)
from theodolite.filters import F, instant
from theodolite.forking import ForkGate, register_at_fork
from theodolite.protocols import Boost, Candidates, Embedder, Engine, Fusion, Reranker
from theodolite.ranking.boosts import Authority, Freshness
from theodolite.ranking.diversity import MMR
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.versions import Latest, Superseded, Valid
from theodolite.retriever import Retriever
from theodolite.settings import CollectionSettings
from theodolite.types import Document, Duplicate, EmbedderSpec, Field, Hit, Hits, Trace
from theodolite.vectors.transforms import Center, Pca, Truncate, Whiten

if TYPE_CHECKING:
    from theodolite.agents import SearchTool
    from theodolite.auditing.audit import audit
    from theodolite.auditing.findings import Audit, Finding
    from theodolite.evaluation import Comparison, Diff, Evaluation, JudgedQuestions, Recall
    from theodolite.evaluation.diff import diff
    from theodolite.monitoring import Alert, Monitor
    from theodolite.rerankers.stage import Rerank

    __version__: str

__all__ = [
    "Alert",
    "Audit",
    "Authority",
    "Boost",
    "Candidates",
    "Center",
    "CollectionNotFoundError",
    "CollectionNotFoundWarning",
    "CollectionSettings",
    "Comparison",
    "ConfigError",
    "CorruptionError",
    "Diff",
    "Document",
    "DocumentError",
    "DriftWarning",
    "Duplicate",
    "Embedder",
    "EmbedderDriftError",
    "EmbedderOptions",
    "EmbedderSpec",
    "Engine",
    "EngineError",
    "Evaluation",
    "F",
    "Field",
    "FilterError",
    "Finding",
    "ForkGate",
    "Freshness",
    "Fusion",
    "Hit",
    "Hits",
    "IndexWarning",
    "InputError",
    "IntegrityError",
    "JudgedQuestions",
    "JudgmentWarning",
    "Latest",
    "LockedError",
    "MMR",
    "ManifestError",
    "MetadataWarning",
    "MetricMismatchError",
    "MissingExtraError",
    "Monitor",
    "Pca",
    "RECORDED",
    "Recall",
    "Rerank",
    "RerankError",
    "Reranker",
    "Retriever",
    "SearchOptions",
    "SearchTool",
    "Superseded",
    "TheodoliteError",
    "Trace",
    "Truncate",
    "TruncationWarning",
    "UnfinishedCopyWarning",
    "UnsupportedError",
    "Valid",
    "VectorError",
    "Whiten",
    "audit",
    "diff",
    "instant",
    "register_at_fork",
]

# Imported when they are first asked for: most programs do not, and all would wait for them.
_LATER = {
    "Alert": "theodolite.monitoring",
    "Audit": "theodolite.auditing.findings",
    "Comparison": "theodolite.evaluation",
    "Diff": "theodolite.evaluation",
    "Evaluation": "theodolite.evaluation",
    "Finding": "theodolite.auditing.findings",
    "JudgedQuestions": "theodolite.evaluation",
    "Monitor": "theodolite.monitoring",
    "Recall": "theodolite.evaluation",
    "Rerank": "theodolite.rerankers.stage",
    "SearchTool": "theodolite.agents",
    "audit": "theodolite.auditing.audit",
    "diff": "theodolite.evaluation.diff",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes tens of milliseconds, and few programs ask

        found = globals()[name] = version("theodolite")
        return found
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found
