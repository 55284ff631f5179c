"""A LlamaIndex chat about the sample handbook. It uses the chat context, or rewrites follow-ups as full questions.

Without a language model it quotes the passages it finds. To use one, install its integration and name it:

    THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5 python examples/llama_index_chat.py --condense
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms import LLM, CustomLLM

from llama_index_theodolite import TheodoliteRetriever
from models import embedder_name, llama_index_model
from theodolite import Document, Latest, Retriever, TheodoliteError

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"

SYSTEM = """Answer from the passages alone. If they do not answer, say so.

<passages>
{context_str}
</passages>"""

CONDENSE = """{chat_history}

Follow-up: {question}

Write the follow-up as a question that can be understood alone."""


class Quoting(CustomLLM):
    """A stand-in for a language model. Quotes the passages, and puts the previous question before a follow-up."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        if "Follow-up: " in prompt:
            before = [line.removeprefix("user: ") for line in prompt.splitlines() if line.startswith("user: ")]
            asked = prompt.partition("Follow-up: ")[2].partition("\n")[0]
            return CompletionResponse(text=" ".join([*before[-1:], asked]))
        parts = prompt.partition("<passages>\n")[2].partition("</passages>")[0].strip().split("\n\n")
        return CompletionResponse(text="\n".join(parts[1::2]))  # each passage is its metadata, then its text

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield self.complete(prompt)


def engine(kb: Retriever, llm: LLM, condense: bool = False) -> BaseChatEngine:
    """Return a chat engine that finds English policies and wiki pages; of each policy the version in force.

    Args:
        condense: whether the language model rewrites follow-ups before the search.
    """
    retriever = TheodoliteRetriever(
        kb,
        similarity_top_k=3,
        filters={"lang": "en", "source": ["policy", "wiki"]},
        versions=Latest(per="policy_id", by="effective_from"),
    )
    if condense:
        return CondensePlusContextChatEngine.from_defaults(
            retriever, llm=llm, context_prompt=SYSTEM, condense_prompt=CONDENSE
        )
    return ContextChatEngine.from_defaults(retriever, llm=llm, context_template=SYSTEM)


def chat(talking: BaseChatEngine) -> None:
    """Answer questions from the console until the input ends."""
    while True:
        question = input("> " if sys.stdin.isatty() else "").strip()
        if question:
            answer = talking.chat(question)
            print(f"{answer}\n\nSources: {', '.join(one.node.node_id for one in answer.source_nodes) or 'none'}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the handbook of an invented company; Ctrl-C ends it.")
    parser.add_argument("--condense", action="store_true", help="rewrite follow-ups before they are searched for")
    options = parser.parse_args()
    try:
        with Retriever.open(embedder=embedder_name()) as kb:
            entries = [json.loads(line) for line in HANDBOOK.read_text(encoding="utf-8").splitlines()]
            kb.add([Document(entry["text"], entry["metadata"], entry["id"]) for entry in entries])
            print("What would you like to know about Quillmoor?\n")
            chat(engine(kb, llama_index_model(Quoting()), options.condense))
    except (EOFError, KeyboardInterrupt):
        print("Goodbye.")
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
