"""Models on onnxruntime: the same vectors as torch, exported once, verified before each use."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from tests.unit.models import Floats, needs_minilm, tiny_bert

from theodolite.embedders.onnx import export_folder
from theodolite.embedders.onnx.embedder import OnnxEmbedder
from theodolite.embedders.resolve import resolve
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.errors import ConfigError, CorruptionError, InputError, MissingExtraError, UnsupportedError
from theodolite.protocols import Embedder
from theodolite.testing import EmbedderContract
from theodolite.testing.checks import together

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnx", reason="the extra onnx is not installed")

TEXTS = ["a", "a somewhat longer text", "", "two words", "x" * 200, "a", "between them", "Grüße aus 東京"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small(tiny_folder: Path, cache: Path) -> OnnxEmbedder:
    return OnnxEmbedder(tiny_folder, cache=cache, threads=1, batch_size=3)


@pytest.fixture(scope="module")
def fast(cache: Path) -> OnnxEmbedder:
    return OnnxEmbedder("all-MiniLM-L6-v2", cache=cache, threads=1)


@pytest.fixture
def copied(small: OnnxEmbedder, tmp_path: Path) -> Path:
    """An export that may be damaged."""
    return Path(shutil.copytree(small.folder, tmp_path / "copied"))


def cosines(first: Floats, second: Floats) -> Floats:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: Floats = (first * second).sum(axis=1) / lengths
    return found


class TestOnnxContract(EmbedderContract):
    @pytest.fixture(autouse=True)
    def exported(self, small: OnnxEmbedder) -> None:
        self.small = small

    def embedder(self) -> Embedder:
        return self.small


class TestSameAsTorch:
    def test_vectors(self, small: OnnxEmbedder, tiny: SentenceTransformerEmbedder) -> None:
        for own, theirs in ((small.encode_query, tiny.encode_query), (small.encode_document, tiny.encode_document)):
            vectors = own(TEXTS)
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(vectors, theirs(TEXTS), atol=1e-5)

    def test_what_it_says_of_itself(self, small: OnnxEmbedder, tiny: SentenceTransformerEmbedder) -> None:
        assert (small.name, small.dimension, small.max_tokens) == (tiny.name, tiny.dimension, tiny.max_tokens)
        assert small.prompts == tiny.prompts
        assert small.precision == tiny.precision == "float32"
        assert repr(small) == f"<OnnxEmbedder {tiny.name} float32>"

    def test_tokens(self, small: OnnxEmbedder, tiny: SentenceTransformerEmbedder) -> None:
        assert small.count_tokens(TEXTS) == tiny.count_tokens(TEXTS)
        assert small.count_tokens(TEXTS, query=True) == tiny.count_tokens(TEXTS, query=True)
        assert small.count_tokens([]) == []

    def test_no_texts(self, small: OnnxEmbedder) -> None:
        assert small.encode_query([]).shape == (0, 32)

    @pytest.mark.parametrize("settings", [{"query_prompt": ""}, {"document_prompt": "other: "}])
    def test_prompts_that_are_given(self, settings: dict[str, Any], tiny_folder: Path, cache: Path) -> None:
        own = OnnxEmbedder(tiny_folder, cache=cache, **settings)
        theirs = SentenceTransformerEmbedder(tiny_folder, device="cpu", **settings)
        np.testing.assert_allclose(own.encode_query(TEXTS), theirs.encode_query(TEXTS), atol=1e-5)
        np.testing.assert_allclose(own.encode_document(TEXTS), theirs.encode_document(TEXTS), atol=1e-5)
        assert own.prompts == theirs.prompts

    @pytest.mark.parametrize("pooling", ["cls", "max", "mean_sqrt_len_tokens", "lasttoken", ("cls", "mean")])
    def test_poolings(self, pooling: Any, tmp_path: Path) -> None:
        folder = tiny_bert(tmp_path / "model", Normalize(), pooling=pooling)
        vectors = OnnxEmbedder(folder, cache=tmp_path / "cache").encode_document(TEXTS)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        theirs = SentenceTransformerEmbedder(folder, device="cpu").encode_document(TEXTS)
        np.testing.assert_allclose(vectors, theirs, atol=1e-5)

    @pytest.mark.parametrize("kind", ["MPNet", "XLMRoberta", "DistilBert"])
    def test_kin_of_bert(self, kind: str, tmp_path: Path) -> None:
        """The architectures of all-mpnet-base-v2, BGE-M3 and the multilingual E5."""
        folder = tiny_bert(tmp_path / "model", kind=kind)
        own, theirs = (
            OnnxEmbedder(folder, cache=tmp_path / "cache"),
            SentenceTransformerEmbedder(folder, device="cpu"),
        )
        assert own.max_tokens == theirs.max_tokens == 48
        np.testing.assert_allclose(own.encode_document(TEXTS), theirs.encode_document(TEXTS), atol=2e-5)

    def test_it_does_not_depend_on_the_batch(self, tiny_folder: Path, cache: Path, small: OnnxEmbedder) -> None:
        alone = OnnxEmbedder(tiny_folder, cache=cache, batch_size=1)
        np.testing.assert_allclose(alone.encode_document(TEXTS), small.encode_document(TEXTS), atol=1e-5)

    def test_progress(self, small: OnnxEmbedder) -> None:
        done: list[int] = []
        small.encode_document(TEXTS, progress=done.append)
        assert done == [3, 3, 2]

    def test_threads(self, small: OnnxEmbedder) -> None:
        expected = small.encode_document(TEXTS)

        def work(number: int) -> None:
            for _ in range(20):
                np.testing.assert_allclose(small.encode_document(TEXTS[::-1])[::-1], expected, atol=1e-5)
                assert small.count_tokens(["x" * 100]) == [108]

        together(3, work)


class TestProcesses:
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    @pytest.mark.parametrize("used", [True, False])
    def test_a_forked_one_computes_and_ends(self, used: bool, small: OnnxEmbedder) -> None:
        """The threads of the session stay with the parent: the child would wait for them for ever."""
        code = (
            "import os, sys\n"
            "from theodolite.embedders.onnx.embedder import OnnxEmbedder\n"
            f"embedder = OnnxEmbedder({str(small.folder)!r}, threads=2)\n"
            "texts = ['x' * 40] * 64\n"
            "expected = embedder.encode_document(texts)\n"
            "child = os.fork()\n"
            f"if child == 0 and {used}:\n"
            "    sys.exit(0 if (abs(embedder.encode_document(texts) - expected) < 1e-5).all() else 3)\n"
            "if child:\n"
            "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        )
        assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0

    def test_onnxruntime_reports_nothing(self, small: OnnxEmbedder, tmp_path: Path) -> None:
        """Where it may report, it leaves an identifier of the machine in the user's folder."""
        code = (
            "import os\n"
            "from theodolite.embedders.onnx.embedder import OnnxEmbedder\n"
            f"OnnxEmbedder({str(small.folder)!r}).encode_query(['a'])\n"
            "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
        )
        kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
        environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        assert list(tmp_path.rglob("*")) == []


class TestInt8:
    def test_it_is_near_and_smaller(
        self, tmp_path: Path, tiny: SentenceTransformerEmbedder, small: OnnxEmbedder, tiny_folder: Path, cache: Path
    ) -> None:
        embedder = OnnxEmbedder(tiny_folder, precision="int8", cache=cache)
        vectors, exact = embedder.encode_document(TEXTS), tiny.encode_document(TEXTS)
        assert cosines(vectors, exact).min() > 0.95
        assert np.abs(vectors - exact).max() > 1e-4, "it was not quantized"
        assert embedder.precision == "int8"
        assert embedder.folder != small.folder
        assert not (embedder.folder / "float32.onnx").exists()
        sizes = [(one.folder / "model.onnx").stat().st_size for one in (embedder, small)]
        assert sizes[0] < sizes[1]


class TestCache:
    def test_it_is_exported_once(self, small: OnnxEmbedder, tiny_folder: Path, cache: Path) -> None:
        """And found again in a process that never loads torch."""
        code = (
            "import sys; from theodolite.embedders.onnx.embedder import OnnxEmbedder\n"
            f"embedder = OnnxEmbedder({str(tiny_folder)!r}, cache={str(cache)!r})\n"
            "print(embedder.encode_query(['a text']).tolist())\n"
            "print(sorted({'torch', 'transformers', 'sentence_transformers', 'onnx'} & set(sys.modules)))\n"
        )
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
        assert done.stderr == ""
        vectors, imported = done.stdout.splitlines()
        assert imported == "[]"
        np.testing.assert_allclose(json.loads(vectors), small.encode_query(["a text"]), atol=1e-6)

    @pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
    def test_another_file_is_another_model(self, file: str, tiny_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
        before = export_folder.folder_for(tmp_path, "m", "float32", folder)
        assert before == export_folder.folder_for(tmp_path, "m", "float32", tiny_folder), "its location does not matter"
        content = bytearray((folder / file).read_bytes())
        content[-1] ^= 1
        (folder / file).write_bytes(content)
        assert export_folder.folder_for(tmp_path, "m", "float32", folder) != before

    def test_what_does_not_belong_to_the_model(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
        before = export_folder.folder_for(tmp_path, "m", "float32", folder)
        (folder / "README.md").write_text("words")
        (folder / "onnx").mkdir()
        (folder / "onnx" / "config.json").write_text("{}")
        assert export_folder.folder_for(tmp_path, "m", "float32", folder) == before

    def test_the_export_itself_is_a_model(self, small: OnnxEmbedder, copied: Path) -> None:
        embedder = OnnxEmbedder(copied)
        assert embedder.folder == copied
        np.testing.assert_allclose(embedder.encode_query(TEXTS), small.encode_query(TEXTS), atol=1e-6)
        with pytest.raises(ConfigError, match="is an export in float32; pass precision='float32'"):
            OnnxEmbedder(copied, precision="int8")

    @pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "export.json"])
    def test_damage(self, name: str, copied: Path) -> None:
        content = bytearray((copied / name).read_bytes())
        content[content.index(b"name") if name == "export.json" else len(content) // 2] ^= 1
        (copied / name).write_bytes(content)
        with pytest.raises(CorruptionError, match="Delete the folder") as caught:
            OnnxEmbedder(copied)
        assert caught.value.file == str(copied / name)

    @pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
    def test_missing_files(self, name: str, copied: Path) -> None:
        (copied / name).unlink()
        with pytest.raises(CorruptionError, match="cannot be read"):
            OnnxEmbedder(copied)

    @pytest.mark.parametrize("content", ["", "[]", "{}"])
    def test_settings_that_are_none(self, content: str, copied: Path) -> None:
        (copied / "export.json").write_text(content)
        with pytest.raises(CorruptionError, match=r"export\.json of an exported model cannot be read"):
            OnnxEmbedder(copied)

    def test_settings_that_are_not_those_written(self, copied: Path) -> None:
        (copied / "export.json").write_text('{"format": 2, "sha256": "", "more": 1}')
        with pytest.raises(CorruptionError, match=r"export\.json of an exported model does not match its checksum"):
            OnnxEmbedder(copied)

    def test_an_export_of_another_version(self, copied: Path) -> None:
        settings = json.loads((copied / "export.json").read_text())
        (copied / "export.json").write_text(json.dumps({**settings, "format": 99}))
        with pytest.raises(ConfigError, match="export of format 99; this version reads format 2"):
            OnnxEmbedder(copied)

    def test_a_failure_leaves_nothing(self, tmp_path: Path) -> None:
        def build(folder: Path) -> export_folder.Settings:
            (folder / "model.onnx").write_bytes(b"half of it")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export_folder.write(tmp_path / "cache" / "model", build)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_two_at_once(self, tmp_path: Path) -> None:
        """Both make it; one of them stays, whole."""
        ready = threading.Barrier(2)

        def build(number: int, folder: Path) -> export_folder.Settings:
            (folder / "model.onnx").write_bytes(b"%d" % number)
            ready.wait(30)
            return export_folder.Settings(f"made by {number}", "float32")

        together(2, lambda number: export_folder.write(tmp_path / "model", lambda folder: build(number, folder)))
        settings = export_folder.read(tmp_path / "model", export_folder.Settings)
        assert (tmp_path / "model" / "model.onnx").read_text() == settings.name[-1]
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_place_that_cannot_be_written(self, tiny_folder: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"cannot be written to .* Pass another folder as cache"):
            OnnxEmbedder(tiny_folder, cache=tmp_path / "file")

    @pytest.mark.skipif(sys.platform != "linux", reason="the variable is of Linux")
    def test_the_systems_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        embedder = resolve(f"onnx:{tiny_folder}")
        assert isinstance(embedder, OnnxEmbedder)
        assert embedder.folder.parent == tmp_path / "theodolite" / "onnx"
        small = resolve(f"onnx-int8:{tiny_folder}")
        assert isinstance(small, OnnxEmbedder)
        assert small.precision == "int8"


class TestUnsupported:
    def test_further_modules(self, tmp_path: Path) -> None:
        folder = tiny_bert(tmp_path / "model", Dense(32, 16))
        with pytest.raises(UnsupportedError, match="made of Transformer, Pooling, Dense; only") as caught:
            OnnxEmbedder(folder, cache=tmp_path / "cache")
        assert caught.value.parts == ["Transformer", "Pooling", "Dense"]
        assert list((tmp_path / "cache").iterdir()) == []

    def test_a_truncated_dimension(self, tmp_path: Path) -> None:
        folder = tiny_bert(tmp_path / "model", truncate_dim=16)
        stored = json.loads((folder / "config_sentence_transformers.json").read_text())
        if stored.get("truncate_dim") != 16:
            pytest.skip("this version of sentence-transformers does not store it")
        with pytest.raises(UnsupportedError, match="truncates its vectors to 16 dimensions"):
            OnnxEmbedder(folder, cache=tmp_path / "cache")

    def test_a_prompt_left_out_of_the_pooling(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
        path = folder / "1_Pooling" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "include_prompt": False}))
        with pytest.raises(UnsupportedError, match="leaves its prompt out of the pooling"):
            OnnxEmbedder(folder, cache=tmp_path / "cache")

    def test_a_loaded_model(self, tiny_model: SentenceTransformer) -> None:
        loaded: Any = tiny_model
        with pytest.raises(UnsupportedError, match=r"Save it with save_pretrained\(folder\)"):
            OnnxEmbedder(loaded)

    def test_an_export_that_gives_other_vectors(
        self, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "theodolite.embedders.onnx.session.Session.vectors", lambda self, texts: np.ones((len(texts), 32))
        )
        with pytest.raises(UnsupportedError, match="returns other vectors than the model: the lowest cosine is"):
            OnnxEmbedder(tiny_folder, cache=tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"batch_size": 0}, "batch_size is 0"),
            ({"threads": -1}, "threads is -1"),
            ({"precision": "bfloat16"}, "precision is 'bfloat16'; expected 'float32' or 'int8'"),
        ],
    )
    def test_wrong_ones(self, settings: dict[str, Any], message: str, tiny_folder: Path) -> None:
        with pytest.raises(ConfigError, match=message):
            OnnxEmbedder(tiny_folder, **settings)

    def test_a_folder_without_weights(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no weights in safetensors"):
            OnnxEmbedder(tmp_path)

    def test_texts_that_are_none(self, small: OnnxEmbedder) -> None:
        for encode in (small.encode_query, small.encode_document, small.count_tokens):
            with pytest.raises(InputError, match="texts is a single string"):
                encode("one text")

    @pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
    def test_a_missing_package(self, package: str, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=r"pip install 'theodolite\[embed\]'"):
            OnnxEmbedder(copied)

    @pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
    def test_a_package_missing_for_the_export(
        self, package: str, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=f"package '{package}' is not installed"):
            OnnxEmbedder(tiny_folder, cache=tmp_path)


@needs_minilm
@pytest.mark.thorough
class TestMiniLM:
    def test_what_it_is(self, fast: OnnxEmbedder) -> None:
        assert fast.name == "sentence-transformers/all-MiniLM-L6-v2"
        assert (fast.dimension, fast.max_tokens) == (384, 256)

    def test_vectors(self, fast: OnnxEmbedder, mini: SentenceTransformerEmbedder) -> None:
        texts = [*TEXTS, "How do I get my money back?", "word " * 400]
        np.testing.assert_allclose(fast.encode_query(texts), mini.encode_query(texts), atol=1e-5)
        assert fast.count_tokens(texts) == mini.count_tokens(texts)

    def test_it_reads_256_tokens_and_not_128(self, fast: OnnxEmbedder) -> None:
        def texts(at: int) -> list[str]:
            """Two texts of one token a word, that differ in one word only."""
            return [" ".join(["word"] * (at - 1) + [other] + ["word"] * (400 - at)) for other in ("cat", "dog")]

        assert fast.count_tokens(texts(150)) == [402, 402]
        # The 150th word is the 151st token, [CLS] being the first; 254 words are read.
        for at, differ in ((150, True), (254, True), (255, False)):
            first, second = fast.encode_document(texts(at))
            assert (np.abs(first - second).max() > 1e-4) == differ
