"""A LangChain chat about the sample handbook. The index is stored in a folder and updated only where needed.

Without a language model it quotes the passages it finds. To use one, install its integration and name it:

    THEODOLITE_CHAT_MODEL=anthropic:claude-sonnet-4-5 python examples/langchain_chat.py
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_core.language_models import BaseChatModel, SimpleChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from langchain_theodolite import TheodoliteRecordManager, TheodoliteVectorStore
from models import embedder_name, langchain_model
from theodolite import Latest, Retriever, TheodoliteError

HANDBOOK = Path(__file__).parent / "data" / "handbook.jsonl"

SYSTEM = """Answer from the passages alone and cite them by number, like this: [1]. If they do not answer, say so.

{passages}"""

REMEMBERED = 6  # messages


class Quoting(SimpleChatModel):
    """A stand-in for a language model. Answers with the passages."""

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        return "\n".join(line for line in str(messages[0].text).splitlines() if line.startswith("["))

    @property
    def _llm_type(self) -> str:
        return "quoting"


def fill(store: TheodoliteVectorStore, handbook: Path = HANDBOOK) -> str:
    """Bring the store up to date with the handbook. Unchanged passages are not embedded again."""
    entries = [json.loads(line) for line in handbook.read_text(encoding="utf-8").splitlines()]
    documents = [Document(entry["text"], metadata={**entry["metadata"], "name": entry["id"]}) for entry in entries]
    done = index(documents, TheodoliteRecordManager(store, "handbook"), store, cleanup="full", key_encoder="blake2b")
    return "{num_added} passages added, {num_deleted} deleted, {num_skipped} unchanged".format_map(done)


def chat(store: TheodoliteVectorStore, model: BaseChatModel) -> None:
    """Answer questions from the console until the input ends."""
    retriever = store.as_retriever(
        search_kwargs={
            "k": 3,
            "filter": {"lang": "en", "source": ["policy", "wiki"]},
            "versions": Latest(per="policy_id", by="effective_from"),
        }
    )
    history: list[BaseMessage] = []
    while True:
        question = input("> " if sys.stdin.isatty() else "").strip()
        if not question:
            continue
        before = [str(message.text) for message in history if isinstance(message, HumanMessage)][-1:]
        found = retriever.invoke("\n".join([*before, question]))  # a follow-up is too short to search for alone
        passages = "\n".join(f"[{number}] {document.page_content}" for number, document in enumerate(found, start=1))
        asked = HumanMessage(question)
        answer = ""
        for part in model.stream([SystemMessage(SYSTEM.format(passages=passages)), *history, asked]):
            print(part.text, end="", flush=True)
            answer += str(part.text)
        names = [f"[{number}] {document.metadata['name']}" for number, document in enumerate(found, start=1)]
        print(f"\n\nSources: {', '.join(names) or 'none'}\n")
        history = [*history, asked, AIMessage(answer)][-REMEMBERED:]


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask the handbook of an invented company; Ctrl-C ends it.")
    parser.add_argument("--to", default="kb-langchain", metavar="FOLDER", help="the index (default: %(default)s)")
    options = parser.parse_args()
    try:
        with Retriever.open(options.to, embedder=embedder_name()) as kb:
            store = TheodoliteVectorStore.from_retriever(kb)
            print(f"{fill(store)}.\nWhat would you like to know about Quillmoor?\n")
            chat(store, langchain_model(Quoting()))
    except (EOFError, KeyboardInterrupt):
        print("Goodbye.")
    except TheodoliteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
