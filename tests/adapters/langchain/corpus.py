"""What the tests of the LangChain adapter read of documents."""

from langchain_core.documents import Document


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]
