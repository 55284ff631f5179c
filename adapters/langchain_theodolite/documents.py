"""Conversion between LangChain documents and theodolite documents. The two sides share no objects."""

from typing import Any

from langchain_core.documents import Document

from theodolite import Document as Passage
from theodolite import Hits, InputError
from theodolite.integration import HIT_DETAILS, hit_details, verdict_details


def to_core(document: Document) -> Passage:
    """Convert a LangChain document. Adding the result encodes it, so later changes to `document` have no effect.

    Raises:
        InputError: `document` is not a LangChain Document.
    """
    if not isinstance(document, Document):
        raise InputError(
            f"a {type(document).__name__} is not a LangChain Document; pass a list of them, or texts to add_texts"
        )
    return Passage(document.page_content, document.metadata, document.id or "")


def from_core(document: Passage, **extra: Any) -> Document:
    """Convert a stored document to a LangChain Document with the same id. The caller owns its metadata.

    Args:
        extra: further metadata entries, such as scores.
    """
    return Document(page_content=document.text, metadata={**document.metadata, **extra}, id=document.id)


def documents_of(hits: Hits, *, with_scores: bool = False) -> list[Document]:
    """Convert hits to LangChain documents.

    Where searches are calibrated, the verdict on all hits is under `theodolite` in the metadata of each.

    Args:
        with_scores: also add each hit's own details there.
    """
    if hits.verdict is None and not with_scores:
        return [from_core(hit.document) for hit in hits]
    details = [hit_details(hit) if with_scores else {} for hit in hits]
    return [
        from_core(hit.document, **{HIT_DETAILS: {**own, **verdict_details(hits)}})
        for hit, own in zip(hits, details, strict=True)
    ]
