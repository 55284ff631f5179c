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

if TYPE_CHECKING:
    from theodolite.agents import SearchTool
    from theodolite.auditing.audit import audit
    from theodolite.auditing.findings import Audit, Finding
    from theodolite.citing import Context, QuoteCheck, Window, verify_quotes
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
    from theodolite.evaluation import Calibration, Comparison, Diff, Evaluation, JudgedQuestions, Recall, WhyNot
    from theodolite.evaluation.diff import diff
    from theodolite.filters import F, instant
    from theodolite.forking import ForkGate, register_at_fork
    from theodolite.monitoring import Alert, Monitor
    from theodolite.protocols import Boost, Candidates, Embedder, Engine, Fusion, Reranker
    from theodolite.ranking.boosts import Authority, Freshness
    from theodolite.ranking.diversity import MMR
    from theodolite.ranking.options import SearchOptions
    from theodolite.ranking.versions import Latest, Superseded, Valid
    from theodolite.reporting import Report
    from theodolite.rerankers.stage import Rerank
    from theodolite.retriever import Retriever
    from theodolite.settings import CollectionSettings
    from theodolite.types import Document, Duplicate, EmbedderSpec, Field, Hit, Hits, Trace
    from theodolite.vectors.transforms import Center, Pca, Truncate, Whiten
    from theodolite.verdict import Verdict

    __version__: str

__all__ = [
    "Alert",
    "Audit",
    "Authority",
    "Boost",
    "Calibration",
    "Candidates",
    "Center",
    "CollectionNotFoundError",
    "CollectionNotFoundWarning",
    "CollectionSettings",
    "Comparison",
    "ConfigError",
    "Context",
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
    "QuoteCheck",
    "RECORDED",
    "Recall",
    "Report",
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
    "Verdict",
    "Whiten",
    "WhyNot",
    "Window",
    "audit",
    "diff",
    "instant",
    "register_at_fork",
    "verify_quotes",
]

# Imported when they are first asked for: `theodolite search` needs none of them where a server runs, not even numpy.
_MODULES = {
    "Alert": "theodolite.monitoring",
    "Audit": "theodolite.auditing.findings",
    "Authority": "theodolite.ranking.boosts",
    "Boost": "theodolite.protocols",
    "Calibration": "theodolite.evaluation.calibration",
    "Candidates": "theodolite.protocols",
    "Center": "theodolite.vectors.transforms",
    "CollectionNotFoundError": "theodolite.errors",
    "CollectionNotFoundWarning": "theodolite.errors",
    "CollectionSettings": "theodolite.settings",
    "Comparison": "theodolite.evaluation",
    "ConfigError": "theodolite.errors",
    "Context": "theodolite.citing",
    "CorruptionError": "theodolite.errors",
    "Diff": "theodolite.evaluation",
    "Document": "theodolite.types",
    "DocumentError": "theodolite.errors",
    "DriftWarning": "theodolite.errors",
    "Duplicate": "theodolite.types",
    "Embedder": "theodolite.protocols",
    "EmbedderDriftError": "theodolite.errors",
    "EmbedderOptions": "theodolite.embedders.options",
    "EmbedderSpec": "theodolite.types",
    "Engine": "theodolite.protocols",
    "EngineError": "theodolite.errors",
    "Evaluation": "theodolite.evaluation",
    "F": "theodolite.filters",
    "Field": "theodolite.types",
    "FilterError": "theodolite.errors",
    "Finding": "theodolite.auditing.findings",
    "ForkGate": "theodolite.forking",
    "Freshness": "theodolite.ranking.boosts",
    "Fusion": "theodolite.protocols",
    "Hit": "theodolite.types",
    "Hits": "theodolite.types",
    "IndexWarning": "theodolite.errors",
    "InputError": "theodolite.errors",
    "IntegrityError": "theodolite.errors",
    "JudgedQuestions": "theodolite.evaluation",
    "JudgmentWarning": "theodolite.errors",
    "Latest": "theodolite.ranking.versions",
    "LockedError": "theodolite.errors",
    "MMR": "theodolite.ranking.diversity",
    "ManifestError": "theodolite.errors",
    "MetadataWarning": "theodolite.errors",
    "MetricMismatchError": "theodolite.errors",
    "MissingExtraError": "theodolite.errors",
    "Monitor": "theodolite.monitoring",
    "Pca": "theodolite.vectors.transforms",
    "QuoteCheck": "theodolite.citing",
    "RECORDED": "theodolite.embedders.options",
    "Recall": "theodolite.evaluation",
    "Report": "theodolite.reporting",
    "Rerank": "theodolite.rerankers.stage",
    "RerankError": "theodolite.errors",
    "Reranker": "theodolite.protocols",
    "Retriever": "theodolite.retriever",
    "SearchOptions": "theodolite.ranking.options",
    "SearchTool": "theodolite.agents",
    "Superseded": "theodolite.ranking.versions",
    "TheodoliteError": "theodolite.errors",
    "Trace": "theodolite.types",
    "Truncate": "theodolite.vectors.transforms",
    "TruncationWarning": "theodolite.errors",
    "UnfinishedCopyWarning": "theodolite.errors",
    "UnsupportedError": "theodolite.errors",
    "Valid": "theodolite.ranking.versions",
    "VectorError": "theodolite.errors",
    "Verdict": "theodolite.verdict",
    "Whiten": "theodolite.vectors.transforms",
    "WhyNot": "theodolite.evaluation",
    "Window": "theodolite.citing",
    "audit": "theodolite.auditing.audit",
    "diff": "theodolite.evaluation.diff",
    "instant": "theodolite.filters",
    "register_at_fork": "theodolite.forking",
    "verify_quotes": "theodolite.citing",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes tens of milliseconds, and few programs ask

        found = globals()[name] = version("theodolite")
        return found
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
