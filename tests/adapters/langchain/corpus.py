"""Ids of documents, for the tests of the LangChain adapter."""

from langchain_core.documents import Document


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]
