"""One document as the page shows it, and the stages that a collection's searches can have."""

import time
from typing import Any

from theodolite.evaluation.why_not import version_status
from theodolite.filters import In, lookup
from theodolite.filters.values import MISSING
from theodolite.metadata import as_json
from theodolite.ranking.options import SearchOptions
from theodolite.ranking.versions import Latest, Superseded, Versions, to_json
from theodolite.retriever import Retriever
from theodolite.serving import results
from theodolite.serving.collections import Served
from theodolite.serving.errors import not_found
from theodolite.types import Document
from theodolite.vectors.metrics import get_metric

NEAR = 0.95
"""The cosine from which on documents are shown as near-duplicates."""

_OTHERS = 20  # documents of one group of versions that are shown


def stages(served: Served, kb: Retriever) -> dict[str, Any]:
    """Return what a collection's searches can have: modes, relevance, rules for versions, a reranker, calibrations."""
    info = kb.info()
    has_model = served.problem is None and kb.embedder is not None
    return {
        "documents": info["documents"],
        "metric": kb.metric,
        "embedder": info.get("embedder"),
        "problem": served.problem,
        "modes": ["dense", "hybrid", "lexical"] if has_model else ["lexical"],
        "relevance": kb.relevance is not None,
        "rules": to_json(kb._searcher.rules),
        "rerank": served.rerank is not None,
        "calibrations": [each for each in info.get("calibrations", ()) if not each["withdrawn"]],
    }


def describe(kb: Retriever, name: str) -> dict[str, Any]:
    """Return a document with its versions and near-duplicates.

    Raises:
        HttpError: it is not stored (404).
    """
    engine, scope = kb._engine, kb._scope
    found = engine.get([name], scope=scope) if engine.space.dimension is not None else []
    if not found:
        raise not_found(f"document {name!r:.200}")
    ((document, vector),) = found
    described = {**results.document_as_json(document), "versions": None, "near": _near(kb, name)}
    if rules := kb._searcher.rules:
        status = version_status(engine, scope, Versions(rules, int(time.time() * 1e6), "show"), document, vector)
        version = status.version
        described["versions"] = {
            "begun": status.begun,
            "current": status.begun and (version is None or version.current),
            "ended": version is not None and version.ended,
            "absent": [] if version is None else as_json(list(version.absent)),
            "newer": list(status.newer),
            "others": _others(kb, document),
        }
    return described


def _near(kb: Retriever, name: str) -> list[dict[str, Any]]:
    """Return documents of nearly the same direction, whether they are current or not."""
    if get_metric(kb.metric).gives_cosines(kb._engine.space.norms):
        hits = kb.search_with(SearchOptions(k=_OTHERS, versions=[]), like=name)
        return [{"id": hit.document.id, "similarity": hit.score} for hit in hits if hit.score >= NEAR]
    return []


def _others(kb: Retriever, document: Document) -> list[str]:
    """Return other documents that rules for versions compare with one."""
    found: dict[str, None] = {}
    for rule in kb._searcher.rules:
        field = rule.per if isinstance(rule, Latest) else rule.key if isinstance(rule, Superseded) else None
        value = MISSING if field is None else lookup(document.metadata, field)
        if field is None or value is MISSING or value is None:
            continue
        same = kb._engine.documents(In(field, (value,)), limit=_OTHERS + 1, scope=kb._scope)
        found |= dict.fromkeys(other.id for other, _ in same if other.id != document.id)
    return list(found)[:_OTHERS]
