"""A LangChain chain over the sample handbook. It retrieves the rules in force and answers from them.

Without a language model it quotes the first passage. To use one, install its integration and name it:

    THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5 python examples/langchain_chain.py "How long do refunds take?"
"""

import json
import sys
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, SimpleChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough

from langchain_theodolite import TheodoliteVectorStore
from models import embedder_name, langchain_model
from theodolite import Latest, Retriever

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"

QUESTIONS = [
    "How many days do customers have to return unused goods?",
    "How long do refunds take?",
    "Who pays the postage when a customer sends something back?",
]

PROMPT = ChatPromptTemplate.from_template(
    """Answer the question from the passages alone and cite them by number. If they do not answer it, say so.

{passages}

{question}"""
)


class Quoting(SimpleChatModel):
    """A stand-in for a language model. Answers with the first passage of the prompt."""

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        lines = str(messages[-1].text).splitlines()
        return next((line for line in lines if line.startswith("[1]")), "There is no such passage.")

    @property
    def _llm_type(self) -> str:
        return "quoting"


def numbered(documents: list[Document]) -> str:
    """Format the passages for the prompt, with numbers."""
    return "\n".join(
        f"[{number}] ({document.metadata['source']}, {document.metadata['published']}) {document.page_content}"
        for number, document in enumerate(documents, start=1)
    )


def answering(store: TheodoliteVectorStore, model: BaseChatModel) -> Runnable[str, str]:
    """Return a chain that answers from English policies and wiki pages; of each policy the version in force."""
    retriever = store.as_retriever(
        search_kwargs={
            "k": 4,
            "filter": {"lang": "en", "source": ["policy", "wiki"]},
            "versions": Latest(per="policy_id", by="effective_from"),
        }
    )
    given = {"passages": retriever | numbered, "question": RunnablePassthrough()}
    return given | PROMPT | model | StrOutputParser()


def main(questions: list[str]) -> None:
    with Retriever.open(embedder=embedder_name()) as kb:
        store = TheodoliteVectorStore.from_retriever(kb)
        entries = [json.loads(line) for line in HANDBOOK.read_text(encoding="utf-8").splitlines()]
        store.add_documents([Document(entry["text"], id=entry["id"], metadata=entry["metadata"]) for entry in entries])
        chain = answering(store, langchain_model(Quoting()))
        for question, answer in zip(questions, chain.batch(questions), strict=True):
            print(f"{question}\n  {answer}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or QUESTIONS)
