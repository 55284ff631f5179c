"""A LlamaIndex query engine over the sample handbook. It retrieves the rules in force and answers from them.

Without a language model it quotes the first passage. To use one, install its integration and name it:

    THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5 python examples/llama_index_query.py "How long do refunds take?"
"""

import json
import sys
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.llms import LLM, CustomLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters

from llama_index_theodolite import TheodoliteRetriever
from models import embedder_name, llama_index_model
from theodolite import Document, Latest, Retriever

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"

QUESTIONS = [
    "How many days do customers have to return unused goods?",
    "How long do refunds take?",
    "Who pays the postage when a customer sends something back?",
]

PROMPT = PromptTemplate(
    """Answer the question from the passages alone. If they do not answer it, say so.

Passages:
{context_str}

Question: {query_str}"""
)


class Quoting(CustomLLM):
    """A stand-in for a language model. Answers with the text of the first passage of the prompt."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        metadata, passage, *_ = prompt.partition("Passages:\n")[2].split("\n\n")  # of the first passage
        day = next(line for line in metadata.splitlines() if line.startswith("published: "))
        return CompletionResponse(text=f"{passage} ({day})")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield self.complete(prompt)


def answering(kb: Retriever, llm: LLM) -> RetrieverQueryEngine:
    """Return an engine that answers from English policies and wiki pages; of each policy the version in force."""
    filters = MetadataFilters(
        filters=[
            MetadataFilter(key="lang", value="en"),
            MetadataFilter(key="source", value=["policy", "wiki"], operator=FilterOperator.IN),
        ]
    )
    versions = Latest(per="policy_id", by="effective_from")
    retriever = TheodoliteRetriever(kb, similarity_top_k=4, filters=filters, versions=versions)
    return RetrieverQueryEngine.from_args(retriever, llm=llm, text_qa_template=PROMPT)


def main(questions: list[str]) -> None:
    with Retriever.open(embedder=embedder_name()) as kb:
        entries = [json.loads(line) for line in HANDBOOK.read_text(encoding="utf-8").splitlines()]
        kb.add([Document(entry["text"], entry["metadata"], entry["id"]) for entry in entries])
        engine = answering(kb, llama_index_model(Quoting()))
        for question in questions:
            answer = engine.query(question)
            print(f"{question}\n  {answer}\n  From: {', '.join(one.node.node_id for one in answer.source_nodes)}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or QUESTIONS)
