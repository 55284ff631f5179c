"""Models of the Hugging Face hub: fetched from a server on the loopback interface, verified, and found offline."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from tests.hub_server import COMMIT, HubServer, connect, serve
from tests.unit.models import Floats, tiny_bert

from theodolite import Document, Retriever
from theodolite.embedders import hub
from theodolite.embedders.onnx.embedder import OnnxEmbedder
from theodolite.embedders.resolve import model_embedder, resolve
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.errors import ConfigError, CorruptionError, MissingExtraError, UnsupportedError

pytest.importorskip("onnxruntime", reason="the extra embed is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")

TEXTS = ["a", "a somewhat longer text", "", "x" * 200, "Grüße aus 東京"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights for torch and for onnxruntime, as sentence-transformers publishes them."""
    place = tmp_path_factory.mktemp("published")
    folder = tiny_bert(place / "tiny", Normalize(), pooling="cls")
    exported = OnnxEmbedder(folder, cache=place / "cache").folder
    (folder / "onnx").mkdir()
    shutil.copy(exported / "model.onnx", folder / "onnx" / "model.onnx")
    (folder / "onnx" / "model_quantized.onnx").write_bytes(b"never fetched")
    return folder


@pytest.fixture
def server(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The hub, with the model `acme/tiny`; its cache and ours are new folders."""
    (tmp_path / "repositories" / "acme").mkdir(parents=True)
    shutil.copytree(repository, tmp_path / "repositories" / "acme" / "tiny")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.setattr("theodolite.embedders.hub.cache_folder", lambda: tmp_path / "own" / "theodolite")
    with serve(tmp_path / "repositories") as running:
        connect(monkeypatch, running.url, tmp_path / "cache")
        yield running


def disconnect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server listens at port 9 of this machine."""
    connect(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")


def in_new_process(code: str, server: HubServer, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """Run code with the hub's own variables."""
    places = {"HF_HUB_CACHE": str(tmp_path / "cache"), "XDG_CACHE_HOME": str(tmp_path / "own"), "HF_HUB_OFFLINE": "0"}
    environment = {**os.environ, "HF_ENDPOINT": server.url, **places}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models--acme--tiny" / "snapshots" / COMMIT


def lowest_cosine(first: Floats, second: Floats) -> float:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / lengths).min())


class TestPublishedGraph:
    def test_a_name_runs_on_onnxruntime_with_the_vectors_of_torch(self, server: HubServer, repository: Path) -> None:
        found = resolve("acme/tiny")
        torch = SentenceTransformerEmbedder(repository, device="cpu")
        assert isinstance(found, OnnxEmbedder)
        assert (found.name, found.dimension, found.max_tokens) == ("acme/tiny", torch.dimension, torch.max_tokens)
        assert found.prompts == torch.prompts == ("find: ", "text: ")
        assert lowest_cosine(found.encode_query(TEXTS), torch.encode_query(TEXTS)) >= 0.9999
        assert lowest_cosine(found.encode_document(TEXTS), torch.encode_document(TEXTS)) >= 0.9999
        assert found.count_tokens(TEXTS) == torch.count_tokens(TEXTS)

    @pytest.mark.parametrize(
        "pooling", ["mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("cls", "mean")]
    )
    def test_poolings_of_a_folder(self, pooling: Any, repository: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(repository, tmp_path / "model"))
        path = folder / "1_Pooling" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pooling_mode": pooling}))
        torch = SentenceTransformerEmbedder(folder, device="cpu")
        found = resolve(folder)
        assert isinstance(found, OnnxEmbedder)
        assert found.dimension == torch.dimension
        assert lowest_cosine(found.encode_document(TEXTS), torch.encode_document(TEXTS)) >= 0.9999

    def test_older_settings_of_the_pooling(self, repository: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(repository, tmp_path / "model"))
        older = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(older))
        torch = SentenceTransformerEmbedder(folder, device="cpu").encode_document(TEXTS)
        assert lowest_cosine(OnnxEmbedder(folder).encode_document(TEXTS), torch) >= 0.9999

    def test_only_what_is_needed_is_fetched(self, server: HubServer, tmp_path: Path) -> None:
        resolve("acme/tiny")
        files = {path.relative_to(snapshot(tmp_path)).as_posix() for path in snapshot(tmp_path).rglob("*.*")}
        assert "onnx/model.onnx" in files
        assert not {"model.safetensors", "onnx/model_quantized.onnx"} & files

    def test_weights_beside_the_graph_are_fetched(self, server: HubServer, tmp_path: Path) -> None:
        for name in ("model.onnx_data", "Constant_7_attr__value", "model_fp16.onnx_data"):
            (server.root / "acme" / "tiny" / "onnx" / name).write_bytes(b"weights")
        resolve("acme/tiny")
        files = {path.name for path in (snapshot(tmp_path) / "onnx").iterdir()}
        assert files == {"model.onnx", "model.onnx_data", "Constant_7_attr__value"}

    def test_the_second_time_nothing_is_asked(
        self, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = resolve("acme/tiny")
        assert isinstance(first, OnnxEmbedder)
        asked = len(server.requests)
        again = resolve("acme/tiny")
        assert len(server.requests) == asked
        disconnect(monkeypatch, tmp_path)
        assert isinstance(again, OnnxEmbedder)
        np.testing.assert_array_equal(again.encode_query(TEXTS), first.encode_query(TEXTS))

    @pytest.mark.parametrize("revision", ["v1", COMMIT])
    def test_a_revision(self, revision: str, server: HubServer) -> None:
        found = resolve(f"acme/tiny@{revision}")
        assert isinstance(found, OnnxEmbedder)
        assert found.name == f"acme/tiny@{revision}"
        assert f"GET /api/models/acme/tiny/revision/{revision}?blobs=true" in server.requests

    def test_a_collection_of_one_opens_with_the_other(self, server: HubServer, tmp_path: Path) -> None:
        texts = ["a", "some words", "other words", "Grüße aus 東京"]
        found = []
        for name in ("acme/tiny", "sentence-transformers:acme/tiny"):
            with Retriever.open(tmp_path / "kb", embedder=name) as kb:
                if not len(kb):
                    kb.add([Document(text, id=text) for text in texts])
                found.append([(hit.document.id, round(hit.score, 4)) for hit in kb.search("a few words", k=4)])
        assert found[0] == found[1]

    def test_a_new_process_imports_neither_torch_nor_the_hubs_client(self, server: HubServer, tmp_path: Path) -> None:
        code = (
            "import sys\n"
            "from theodolite.embedders.resolve import resolve\n"
            "print(resolve('acme/tiny').encode_query(['a']).shape)\n"
            "heavy = {'torch', 'transformers', 'sentence_transformers', 'onnx', 'huggingface_hub.hf_api', 'httpx'}\n"
            "print(sorted(heavy & set(sys.modules)))\n"
        )
        shown = []
        for _ in range(2):
            done = in_new_process(code, server, tmp_path)
            shown.append(done.stdout.splitlines())
            assert ("Fetching" in done.stderr) == (len(shown) == 1)  # progress while it loads
        assert [lines[0] for lines in shown] == ["(1, 32)", "(1, 32)"]
        assert shown[1][1] == "[]"


class TestWithoutGraph:
    def test_the_model_runs_on_torch(self, server: HubServer) -> None:
        shutil.rmtree(server.root / "acme" / "tiny" / "onnx")
        assert isinstance(resolve("acme/tiny"), SentenceTransformerEmbedder)

    def test_parts_that_onnxruntime_cannot_run(self, server: HubServer, tmp_path: Path) -> None:
        """The graph is not even fetched."""
        other = tiny_bert(server.root / "acme" / "dense", Dense(32, 16))
        shutil.copytree(server.root / "acme" / "tiny" / "onnx", other / "onnx")
        with pytest.raises(UnsupportedError, match="made of Transformer, Pooling, Dense; only"):
            OnnxEmbedder("acme/dense", export=False)
        assert not list((tmp_path / "cache" / "models--acme--dense").rglob("*.onnx"))
        found = resolve(other)
        assert isinstance(found, SentenceTransformerEmbedder)
        assert found.dimension == 16

    @pytest.mark.thorough
    def test_a_name_with_parts_that_onnxruntime_cannot_run(self, server: HubServer, tmp_path: Path) -> None:
        tiny_bert(server.root / "acme" / "dense", Dense(32, 16))
        code = "from theodolite.embedders.resolve import resolve; e = resolve('acme/dense'); print(e, e.dimension)"
        assert in_new_process(code, server, tmp_path).stdout == "<SentenceTransformerEmbedder acme/dense> 16\n"

    def test_without_torch_the_error_names_both_ways(
        self, server: HubServer, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
    ) -> None:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        shutil.rmtree(server.root / "acme" / "tiny" / "onnx")
        for model in ("acme/tiny", tiny_folder):
            with pytest.raises(MissingExtraError, match=r"no ONNX file.*theodolite\[sentence-transformers\]"):
                model_embedder(model)

    def test_a_quantized_graph_is_refused(self, repository: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(repository, tmp_path / "model"))
        int8 = OnnxEmbedder(repository, precision="int8", cache=tmp_path / "cache").folder
        shutil.copy(int8 / "model.onnx", folder / "onnx" / "model.onnx")
        with pytest.raises(UnsupportedError, match="is quantized: a vector would depend on the other texts"):
            OnnxEmbedder(folder)
        assert isinstance(resolve(folder), SentenceTransformerEmbedder)

    def test_an_export_in_the_cache_is_used(self, server: HubServer) -> None:
        shutil.rmtree(server.root / "acme" / "tiny" / "onnx")
        exported = OnnxEmbedder("acme/tiny")
        found = resolve("acme/tiny")
        assert isinstance(found, OnnxEmbedder)
        assert found.folder == exported.folder


class TestDamage:
    @pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json", "sentence_bert_config.json"])
    def test_a_flipped_byte_is_found_and_mended_as_the_message_says(
        self, name: str, server: HubServer, tmp_path: Path
    ) -> None:
        expected = resolve("acme/tiny")
        assert isinstance(expected, OnnxEmbedder)
        blob = (snapshot(tmp_path) / name).resolve()
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 1
        blob.write_bytes(content)
        with pytest.raises(CorruptionError, match=rf"{name} of the model 'acme/tiny' is damaged.*Delete") as caught:
            resolve("acme/tiny")
        assert str(blob) in str(caught.value)
        blob.unlink()
        again = resolve("acme/tiny")
        assert isinstance(again, OnnxEmbedder)
        np.testing.assert_array_equal(again.encode_query(TEXTS), expected.encode_query(TEXTS))

    def test_without_our_record_the_links_name_the_digests(
        self, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another program has filled the hub's cache, and there is no network."""
        resolve("acme/tiny")
        shutil.rmtree(tmp_path / "own")
        disconnect(monkeypatch, tmp_path)
        assert isinstance(resolve("acme/tiny"), OnnxEmbedder)
        blob = (snapshot(tmp_path) / "onnx" / "model.onnx").resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
        with pytest.raises(CorruptionError, match="is damaged"):
            resolve("acme/tiny")

    def test_a_part_of_a_model_is_not_used_offline(
        self, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the settings, texts would be cut off at another length."""
        resolve("acme/tiny")
        shutil.rmtree(tmp_path / "own")
        (snapshot(tmp_path) / "sentence_bert_config.json").unlink()
        disconnect(monkeypatch, tmp_path)
        with pytest.raises(hub.UnreachableError):
            OnnxEmbedder("acme/tiny", export=False)


class TestUnreachable:
    @pytest.mark.parametrize("make", [resolve, OnnxEmbedder, SentenceTransformerEmbedder])
    def test_no_network(self, make: Any, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disconnect(monkeypatch, tmp_path)
        with pytest.raises(ConfigError, match=r"'acme/tiny' is not in the cache .* Connect this machine, or copy"):
            make("acme/tiny")

    def test_offline_by_the_hubs_own_switch(self, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ConfigError, match="is not in the cache of this machine"):
            resolve("acme/tiny")
        assert server.requests == []

    def test_a_hub_that_never_answers(self, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hub, "TIMEOUT", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            connect(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path / "cache")
            with pytest.raises(hub.UnreachableError, match="Timeout"):
                OnnxEmbedder("acme/tiny", export=False)

    def test_torch_finds_its_own_cache(
        self, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.rmtree(server.root / "acme" / "tiny" / "onnx")
        expected = resolve("acme/tiny")
        disconnect(monkeypatch, tmp_path)
        found = resolve("acme/tiny")
        assert isinstance(found, SentenceTransformerEmbedder)
        assert isinstance(expected, SentenceTransformerEmbedder)
        np.testing.assert_allclose(found.encode_query(TEXTS), expected.encode_query(TEXTS), atol=1e-6)


class TestMistypedNames:
    @pytest.mark.parametrize(
        ("name", "suggestion"),
        [
            ("all-MiniLM-L6-v3", "all-MiniLM-L6-v2"),
            ("intfloat/e5-smal-v2", "intfloat/e5-small-v2"),
            ("bge-small-en-v1.5", "BAAI/bge-small-en-v1.5"),
            ("BAAI/gte-base", "thenlper/gte-base"),
            ("all-mpnet-base-v1", "all-mpnet-base-v2"),
        ],
    )
    @pytest.mark.parametrize("make", [resolve, SentenceTransformerEmbedder])
    def test_the_error_suggests_a_known_model(self, name: str, suggestion: str, make: Any, server: HubServer) -> None:
        with pytest.raises(ConfigError, match=r"there is no model .* on the Hugging Face hub") as caught:
            make(name)
        assert f"Did you mean {suggestion!r}?" in str(caught.value)
        assert len(server.requests) == 1

    def test_offline_it_is_suggested_too(
        self, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disconnect(monkeypatch, tmp_path)
        with pytest.raises(ConfigError, match="Did you mean 'intfloat/e5-base-v2'"):
            resolve("intfloat/e5-bsae-v2")

    @pytest.mark.parametrize("name", ["acme/something-else", "sentence-transformers/all-mpnet-base-v2"])
    def test_no_suggestion(self, name: str, server: HubServer) -> None:
        with pytest.raises(ConfigError, match="there is no model") as caught:
            resolve(name)
        assert "Did you mean" not in str(caught.value)

    def test_a_revision_that_does_not_exist(self, server: HubServer) -> None:
        with pytest.raises(ConfigError, match="the model 'acme/tiny' has no revision 'v9'"):
            resolve("acme/tiny@v9")
