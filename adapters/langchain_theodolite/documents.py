"""Documents across the border: metadata stays what it is, and nothing is shared between the two sides."""

from typing import Any

from langchain_core.documents import Document

from theodolite import Document as Passage
from theodolite import InputError


def to_core(document: Document) -> Passage:
    """The document as theodolite stores it. It is encoded when it is added, so nothing of it is shared later.

    Raises:
        InputError: it is none.
    """
    if not isinstance(document, Document):
        raise InputError(
            f"a {type(document).__name__} is no Document of LangChain; pass a list of them, or texts to add_texts"
        )
    return Passage(document.page_content, document.metadata, document.id or "")


def from_core(document: Passage, **extra: Any) -> Document:
    """The stored document as LangChain's, with its id; its metadata is the caller's own: each answer is read anew.

    Args:
        extra: further entries of its metadata, for those who ask for scores there.
    """
    return Document(page_content=document.text, metadata={**document.metadata, **extra}, id=document.id)
