"""A LangChain agent that searches the sample handbook when it needs to.

Without a language model a stand-in searches for every question and quotes the first passage it gets. To use a model
that can call tools, install its integration and name it:

    THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5 python examples/langchain_agent.py "How long do refunds take?"
"""

import json
import sys
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import create_retriever_tool

from langchain_theodolite import TheodoliteVectorStore
from models import embedder_name, langchain_model
from theodolite import Latest, Retriever

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"

QUESTIONS = ["How long do refunds take?", "Can a customer return an opened stove that has not been used?"]

SYSTEM = "You answer questions about Quillmoor, a company. Look each of them up first, and name the day of the source."


class LookingUp(BaseChatModel):
    """A stand-in for a language model. Searches for the question, then quotes the first passage it gets."""

    tool: str = ""

    def bind_tools(self, tools: Any, **kwargs: Any) -> "LookingUp":
        return self.model_copy(update={"tool": tools[0].name})

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            answer = AIMessage(str(last.text).partition("\n\n")[0] or "The handbook does not say.")
        else:
            call = {"name": self.tool, "args": {"query": str(last.text)}, "id": f"call-{len(messages)}"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "looking-up"


def agent(store: TheodoliteVectorStore, model: BaseChatModel) -> Any:
    """Return an agent with one tool. It finds English policies and wiki pages; of each policy the version in force."""
    retriever = store.as_retriever(
        search_kwargs={
            "k": 4,
            "filter": {"lang": "en", "source": ["policy", "wiki"]},
            "versions": Latest(per="policy_id", by="effective_from"),
        }
    )
    tool = create_retriever_tool(
        retriever,
        "search_handbook",
        "Finds passages of the handbook. The query is a question or its key words.",
        document_prompt=PromptTemplate.from_template("({source}, {published}) {page_content}"),
        response_format="content_and_artifact",
    )
    return create_agent(model, tools=[tool], system_prompt=SYSTEM)


def main(questions: list[str]) -> None:
    with Retriever.open(embedder=embedder_name()) as kb:
        store = TheodoliteVectorStore.from_retriever(kb)
        entries = [json.loads(line) for line in HANDBOOK.read_text(encoding="utf-8").splitlines()]
        store.add_documents([Document(entry["text"], id=entry["id"], metadata=entry["metadata"]) for entry in entries])
        answering = agent(store, langchain_model(LookingUp()))
        for question in questions:
            messages = answering.invoke({"messages": [{"role": "user", "content": question}]})["messages"]
            read = [document.id for message in messages for document in getattr(message, "artifact", None) or []]
            print(f"{question}\n  {messages[-1].text}\n  Read: {', '.join(read) or 'nothing'}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or QUESTIONS)
