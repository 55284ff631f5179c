"""all-MiniLM-L6-v2: from the package that brings it, and from the hub."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.models import FakeModel, needs_minilm, stub_library

from theodolite.embedders import minilm
from theodolite.embedders.resolve import resolve
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.errors import ConfigError, CorruptionError
from theodolite.protocols import Embedder
from theodolite.testing import EmbedderContract


@needs_minilm
@pytest.mark.thorough
class TestMiniLMContract(EmbedderContract):
    @pytest.fixture(autouse=True)
    def loaded(self, mini: SentenceTransformerEmbedder) -> None:
        self.mini = mini

    def embedder(self) -> Embedder:
        return self.mini


@needs_minilm
class TestMiniLM:
    def test_what_it_is(self, mini: SentenceTransformerEmbedder) -> None:
        assert mini.name == "sentence-transformers/all-MiniLM-L6-v2"
        assert (mini.dimension, mini.max_tokens) == (384, 256)

    def test_it_tells_meanings_apart(self, mini: SentenceTransformerEmbedder) -> None:
        question = mini.encode_query(["How do I get my money back?"])
        near, far = mini.encode_document(["Refunds are paid within five days.", "Cats sleep most of the day."])
        assert question[0] @ near > question[0] @ far + 0.2

    def test_it_normalizes(self, mini: SentenceTransformerEmbedder) -> None:
        norms = np.linalg.norm(mini.encode_document(["a", "two words", "x " * 400]), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-5)

    def test_it_reads_256_tokens_and_not_128(self, mini: SentenceTransformerEmbedder) -> None:
        def texts(at: int) -> list[str]:
            """Two texts of one token a word, that differ in one word only."""
            return [" ".join(["word"] * (at - 1) + [other] + ["word"] * (400 - at)) for other in ("cat", "dog")]

        assert mini.count_tokens(texts(150)) == [402, 402]
        # The 150th word is the 151st token, [CLS] being the first; 254 words are read.
        for at, differ in ((150, True), (254, True), (255, False)):
            first, second = mini.encode_document(texts(at))
            assert (np.abs(first - second).max() > 1e-4) == differ

    def test_the_published_tokenizer_stops_at_128(self) -> None:
        """Why the limit is set; if this fails, a new version of the package may need no lift_limit."""
        folder = minilm.bundled()
        assert folder is not None
        stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        assert stored["truncation"]["max_length"] == 128

    @pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
    def test_damaged_files_are_not_used(self, name: str, tmp_path: Path) -> None:
        folder = linked(tmp_path)
        minilm.verify(folder)
        damaged = folder / name
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.unlink()
        damaged.write_bytes(content)
        with pytest.raises(CorruptionError) as caught:
            minilm.verify(folder)
        assert caught.value.file == str(damaged)
        assert caught.value.got != caught.value.expected
        for part in (str(damaged), caught.value.got, caught.value.expected, "pip install --force-reinstall"):
            assert part in str(caught.value)

    def test_missing_files(self, tmp_path: Path) -> None:
        folder = linked(tmp_path)
        (folder / "vocab.txt").unlink()
        with pytest.raises(CorruptionError, match=r"vocab\.txt of all-MiniLM-L6-v2 cannot be read"):
            minilm.verify(folder)

    def test_damage_is_found_before_anything_is_loaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(minilm, "find_spec", lambda name: spec)
        stub_library(monkeypatch, lambda *args, **settings: pytest.fail("loaded"))
        with pytest.raises(CorruptionError):
            SentenceTransformerEmbedder()

    @pytest.mark.thorough
    def test_it_loads_offline_in_silence(self, tmp_path: Path) -> None:
        """With warnings as errors, no network, and nothing but the answer on the screen."""
        code = (
            "import socket\n"
            "def refuse(*args, **settings): raise AssertionError('network')\n"
            "socket.socket.connect = socket.getaddrinfo = refuse\n"
            "from theodolite.embedders.resolve import resolve\n"
            "embedder = resolve('sentence-transformers/all-MiniLM-L6-v2')\n"
            "print(embedder.encode_query(['hello']).shape)\n"
        )
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "(1, 384)\n", "")


class TestMiniLMFromTheHub:
    """Without the network: the library is replaced."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        asked: list[Any] = []

        class Hub(FakeModel):
            def __init__(self, *args: Any, **settings: Any) -> None:
                super().__init__()
                asked.append((args, settings))

            def preprocess(self, texts: list[str]) -> dict[str, Any]:
                return {"input_ids": np.zeros((1, int(self.max_seq_length or 0)))}

        stub_library(monkeypatch, Hub)
        monkeypatch.setattr("theodolite.embedders.hub.list_files", lambda source: {})
        return asked

    @pytest.mark.parametrize("name", sorted(minilm.NAMES))
    def test_without_the_package(self, name: str, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(minilm, "find_spec", lambda name: None)
        embedder = SentenceTransformerEmbedder(name)
        ((args, settings),) = asked
        assert args == ("sentence-transformers/all-MiniLM-L6-v2",)
        assert settings["local_files_only"] is False
        assert settings["model_kwargs"] == {"use_safetensors": True}
        assert embedder.name == "sentence-transformers/all-MiniLM-L6-v2"
        assert embedder.max_tokens == 256

    def test_a_revision_is_of_the_hub(self, asked: list[Any]) -> None:
        embedder = SentenceTransformerEmbedder(revision="abc")
        ((args, settings),) = asked
        assert args == ("sentence-transformers/all-MiniLM-L6-v2",)
        assert settings["revision"] == "abc"
        assert embedder.name == "sentence-transformers/all-MiniLM-L6-v2@abc"

    @pytest.mark.parametrize("name", ["acme/model@v1.5", "acme/model@refs/pr/3", "all-MiniLM-L6-v2@abc"])
    def test_the_name_leads_to_the_model_again(self, name: str, asked: list[Any]) -> None:
        embedder = resolve(name)
        again = resolve(getattr(embedder, "name", None))
        assert isinstance(again, SentenceTransformerEmbedder)
        assert again.name == getattr(embedder, "name", None)
        assert asked[0] == asked[1]
        assert asked[0][1]["revision"] == name.partition("@")[2]

    def test_two_revisions(self, asked: list[Any]) -> None:
        assert SentenceTransformerEmbedder("acme/model@a", revision="a").name == "acme/model@a"
        with pytest.raises(ConfigError, match="revision='b' name different revisions"):
            SentenceTransformerEmbedder("acme/model@a", revision="b")

    def test_other_names_go_to_the_hub_as_they_are(self, asked: list[Any]) -> None:
        embedder = SentenceTransformerEmbedder("acme/model-1.5")
        assert asked[0][0] == ("acme/model-1.5",)
        assert (embedder.name, embedder.max_tokens) == ("acme/model-1.5", 5)

    def test_a_library_that_ignores_the_limit(self) -> None:
        model = SimpleNamespace(tokenize=lambda texts: {"input_ids": np.zeros((1, 128))})
        with pytest.raises(ConfigError, match="reads 128 tokens of a long text, not 256"):
            minilm.lift_limit(model)


def linked(tmp_path: Path) -> Path:
    """A copy of the model's folder, made of links."""
    original = minilm.bundled()
    assert original is not None
    folder = tmp_path / "model"
    shutil.copytree(original, folder, copy_function=os.symlink)
    return folder
