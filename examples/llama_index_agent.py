"""A LlamaIndex agent that searches the sample handbook when it needs to.

Without a language model a stand-in searches for every question and quotes the first passage it gets. To use a model
that can call tools, install its integration and name it:

    THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5 python examples/llama_index_agent.py "How long do refunds take?"
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM

from llama_index_theodolite import TheodoliteRetriever, as_tool
from models import embedder_name, llama_index_model
from theodolite import Document, Latest, Retriever

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"

QUESTIONS = ["How long do refunds take?", "Can a customer return an opened stove that has not been used?"]

SYSTEM = "You answer questions about Quillmoor, a company. Look each of them up first, and name the passage."


def looking_up() -> LLM:
    """Return a stand-in for a language model. It searches for the question, then quotes the first passage it gets."""

    def answer(messages: Sequence[ChatMessage], **kwargs: Any) -> ChatMessage:
        last = messages[-1]
        if last.role == MessageRole.TOOL:
            return ChatMessage(role="assistant", content=(last.content or "").partition("\n\n")[0])
        sent = {"query": last.content, "filter": {"source": ["policy", "wiki"]}}
        call = ToolCallBlock(tool_call_id="1", tool_name="search_handbook", tool_kwargs=sent)
        return ChatMessage(role="assistant", blocks=[call])

    return MockFunctionCallingLLM(response_generator=answer)


def agent(kb: Retriever, llm: LLM) -> FunctionAgent:
    """Return an agent with one tool. It finds English passages that are in force; the model chooses the sources."""
    versions = Latest(per="policy_id", by="effective_from")
    retriever = TheodoliteRetriever(kb, similarity_top_k=4, scope={"lang": "en"}, versions=versions)
    tool = as_tool(
        retriever,
        "search_handbook",
        "Finds passages of the handbook. The query is a question or its key words.",
        fields=["source", "published"],
    )
    return FunctionAgent(tools=[tool], llm=llm, system_prompt=SYSTEM, streaming=False)


async def asked(answering: FunctionAgent, question: str) -> tuple[str, list[str]]:
    """Return the answer, and the ids of the passages that were read."""
    running, read = answering.run(question), []
    async for event in running.stream_events():
        if isinstance(event, ToolCallResult) and not event.tool_output.is_error:
            read += [one.node.node_id for one in event.tool_output.raw_output]
    return str(await running), read


async def main(questions: list[str]) -> None:
    with Retriever.open(embedder=embedder_name()) as kb:
        entries = [json.loads(line) for line in HANDBOOK.read_text(encoding="utf-8").splitlines()]
        await kb.aadd([Document(entry["text"], entry["metadata"], entry["id"]) for entry in entries])
        answering = agent(kb, llama_index_model(looking_up()))
        for question in questions:
            answer, read = await asked(answering, question)
            print(f"{question}\n  {answer}\n  Read: {', '.join(read) or 'nothing'}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or QUESTIONS))
