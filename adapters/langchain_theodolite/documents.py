"""Conversion between LangChain documents and theodolite documents. The two sides share no objects."""

from typing import Any

from langchain_core.documents import Document

from theodolite import Document as Passage
from theodolite import InputError


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
