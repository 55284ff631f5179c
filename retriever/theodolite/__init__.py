"""theodolite: an embedded retriever for RAG. Documents and vectors in, ranked passages out.

>>> from theodolite import Document, Retriever
>>> with Retriever.open("kb", embedder="all-MiniLM-L6-v2") as kb:
...     ids = kb.add([Document("Refunds take five working days.", {"lang": "en"}, id="refunds")])
...     for hit in kb.search("how long do refunds take?", k=5, where={"lang": "en"}):
...         print(hit.document.id)
refunds
"""

from theodolite.errors import (
    ConfigError,
    CorruptionError,
    DocumentError,
    DriftWarning,
    EmbedderDriftError,
    EngineError,
    FilterError,
    InputError,
    IntegrityError,
    LockedError,
    ManifestError,
    MetricMismatchError,
    MissingExtraError,
    TheodoliteError,
    TruncationWarning,
    UnsupportedError,
    VectorError,
)
from theodolite.filters import F
from theodolite.guards.audit.audit import audit
from theodolite.guards.audit.findings import Audit, Finding
from theodolite.protocols import Boost, Candidates, Embedder, Engine, Reranker
from theodolite.quality import Alert, Monitor, Recall
from theodolite.retriever import Retriever
from theodolite.transforms import Center, Pca, Truncate, Whiten
from theodolite.types import Document, Hit, Hits, Trace

__all__ = [
    "Alert",
    "Audit",
    "Boost",
    "Candidates",
    "Center",
    "ConfigError",
    "CorruptionError",
    "Document",
    "DocumentError",
    "DriftWarning",
    "Embedder",
    "EmbedderDriftError",
    "Engine",
    "EngineError",
    "F",
    "FilterError",
    "Finding",
    "Hit",
    "Hits",
    "InputError",
    "IntegrityError",
    "LockedError",
    "ManifestError",
    "MetricMismatchError",
    "MissingExtraError",
    "Monitor",
    "Pca",
    "Recall",
    "Reranker",
    "Retriever",
    "TheodoliteError",
    "Trace",
    "Truncate",
    "TruncationWarning",
    "UnsupportedError",
    "VectorError",
    "Whiten",
    "audit",
]
