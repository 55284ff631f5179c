"""Models of sentence-transformers as embedders: tiny ones, made here."""

import math
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tests.unit.models import WAIT, FakeModel, byte_tokenizer, hashed, wrapped
from transformers import BertModel

from theodolite.embedders.fair_lock import FairLock
from theodolite.embedders.resolve import resolve
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.errors import ConfigError, MissingExtraError, UnsupportedError
from theodolite.protocols import Embedder
from theodolite.testing import EmbedderContract
from theodolite.testing.checks import together


class TestTinyContract(EmbedderContract):
    @pytest.fixture(autouse=True)
    def loaded(self, tiny: SentenceTransformerEmbedder) -> None:
        self.tiny = tiny

    def embedder(self) -> Embedder:
        return self.tiny


class TestSentenceTransformerEmbedder:
    def test_gives_what_the_model_gives(
        self, tiny: SentenceTransformerEmbedder, tiny_model: SentenceTransformer
    ) -> None:
        texts = ["a", "a somewhat longer text", "", "two words", "x" * 200, "a", "between them"]
        for own, theirs in (
            (tiny.encode_query, tiny_model.encode_query),
            (tiny.encode_document, tiny_model.encode_document),
        ):
            vectors = own(texts)
            expected = np.stack([theirs([text], show_progress_bar=False)[0] for text in texts])
            assert vectors.dtype == np.float32
            np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)

    def test_questions_and_passages_have_their_own_prompts(self, tiny: SentenceTransformerEmbedder) -> None:
        assert np.abs(tiny.encode_query(["a"]) - tiny.encode_document(["a"])).max() > 1e-3

    def test_any_sequence_of_texts(self, tiny: SentenceTransformerEmbedder) -> None:
        np.testing.assert_allclose(tiny.encode_query(("a", "b")), tiny.encode_query(["a", "b"]), rtol=1e-5)

    def test_no_texts(self, tiny: SentenceTransformerEmbedder) -> None:
        assert tiny.encode_query([]).shape == tiny.encode_document([]).shape == (0, 32)
        assert tiny.count_tokens([]) == []

    def test_tokens_are_counted_with_prompt_and_without_truncation(self, tiny: SentenceTransformerEmbedder) -> None:
        assert tiny.max_tokens == 48
        # A byte is a token: "text: " has 6, [CLS] and [SEP] are 2.
        assert tiny.count_tokens(["", "abc", "é", "x" * 500]) == [8, 11, 10, 508]
        # Counting leaves the limit as it was.
        assert tiny.encode_document(["x" * 500, "x" * 501]).std(axis=0).max() < 1e-5

    def test_names(self, tiny_folder: Path, tiny_model: SentenceTransformer) -> None:
        assert SentenceTransformerEmbedder(tiny_folder).name == tiny_folder.name
        assert SentenceTransformerEmbedder(tiny_model).name == tiny_folder.name
        assert wrapped(FakeModel()).name == "FakeModel"
        assert repr(SentenceTransformerEmbedder(tiny_model)) == f"<SentenceTransformerEmbedder {tiny_folder.name}>"

    def test_static_embeddings_have_no_limit(self) -> None:
        torch.manual_seed(1)
        model = SentenceTransformer(modules=[StaticEmbedding(byte_tokenizer(), embedding_dim=8)], device="cpu")
        embedder = SentenceTransformerEmbedder(model)
        assert (embedder.dimension, embedder.max_tokens) == (8, None)
        assert embedder.count_tokens(["abc", "x" * 500]) == [3, 500]
        assert embedder.encode_query(["abc", "x"]).shape == (2, 8)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
    def test_precision(self, precision: Any, tiny_folder: Path, tiny: SentenceTransformerEmbedder) -> None:
        embedder = SentenceTransformerEmbedder(tiny_folder, device="cpu", precision=precision)
        assert embedder.precision == precision
        vectors, exact = embedder.encode_query(["a", "b", "and c"]), tiny.encode_query(["a", "b", "and c"])
        assert vectors.dtype == np.float32
        cosines = (vectors * exact).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(exact, axis=1)
        assert cosines.min() > 0.999
        assert (np.abs(vectors - exact).max() > 1e-4) == (precision != "float32"), "it was not computed so"

    def test_half_precision_of_a_loaded_model(self, tiny_folder: Path) -> None:
        model = SentenceTransformer(str(tiny_folder), device="cpu", local_files_only=True).bfloat16()
        embedder = SentenceTransformerEmbedder(model)
        assert embedder.precision == "bfloat16"
        assert embedder.encode_query(["a", "b"]).dtype == np.float32

    def test_a_precision_that_does_not_exist(self, tiny_folder: Path) -> None:
        wrong: Any = "int8"
        with pytest.raises(ConfigError, match="precision is 'int8'; expected one of float32, bfloat16, float16"):
            SentenceTransformerEmbedder(tiny_folder, precision=wrong)

    def test_a_truncated_dimension_is_the_dimension(self, tiny_folder: Path) -> None:
        model = SentenceTransformer(str(tiny_folder), device="cpu", local_files_only=True, truncate_dim=16)
        embedder = SentenceTransformerEmbedder(model)
        assert embedder.dimension == 16
        assert embedder.encode_query(["a"]).shape == (1, 16)

    def test_a_dimension_the_model_does_not_know_is_found(self) -> None:
        class Silent(FakeModel):
            def get_embedding_dimension(self) -> int | None:
                return None

        assert wrapped(Silent()).dimension == 8

    def test_an_older_library_has_another_name_for_the_dimension(self) -> None:
        model: Any = SimpleNamespace(encode_query=hashed, encode_document=hashed)
        model.get_sentence_embedding_dimension = lambda: 8
        assert SentenceTransformerEmbedder(model).dimension == 8

    def test_tokenizers(self) -> None:
        model = FakeModel()
        embedder = wrapped(model)
        with pytest.raises(UnsupportedError, match="FakeModel has no tokenizer"):
            embedder.count_tokens(["a"])
        model.tokenizer = SimpleNamespace(tokenize=str.split)
        assert embedder.count_tokens(["a b", "c"]) == [2, 1]

    @pytest.mark.parametrize(("stated", "limit"), [(5, 5), (None, None), (math.inf, None), (int(1e30), None)])
    def test_limits(self, stated: float | None, limit: int | None) -> None:
        model = FakeModel()
        model.max_seq_length = stated
        assert wrapped(model).max_tokens == limit

    @pytest.mark.parametrize("settings", [{"batch_size": 0}, {"threads": 0}, {"threads": -1}])
    def test_wrong_settings(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=f"{next(iter(settings))} is .*; it must be at least 1"):
            wrapped(FakeModel(), **settings)

    @pytest.mark.parametrize("settings", [{"device": "cpu"}, {"revision": "main"}, {"precision": "bfloat16"}])
    def test_settings_for_loading_do_not_fit_a_loaded_model(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="this model is already loaded"):
            wrapped(FakeModel(), **settings)

    def test_an_object_that_is_no_model(self) -> None:
        with pytest.raises(ConfigError, match="an object has no encode_query and encode_document"):
            wrapped(object())

    def test_a_folder_has_no_revisions(self, tiny_folder: Path) -> None:
        with pytest.raises(ConfigError, match="revision is for models on the hub"):
            SentenceTransformerEmbedder(tiny_folder, revision="main")

    def test_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be loaded") as caught:
            SentenceTransformerEmbedder(tmp_path)
        assert caught.value.__cause__ is not None

    def test_pickled_weights_are_not_loaded(self, tiny_folder: Path, tmp_path: Path) -> None:
        folder = tmp_path / "pickled"
        shutil.copytree(tiny_folder, folder)
        torch.save(BertModel.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(ConfigError, match="weights in safetensors"):
            SentenceTransformerEmbedder(folder)

    def test_without_the_library(self, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'theodolite\[sentence-transformers\]'"):
            resolve(str(tiny_folder))


class TestThreads:
    def test_torch_threads_are_set_and_set_back(self) -> None:
        before = torch.get_num_threads()
        seen: list[int] = []

        class Watching(FakeModel):
            def encode_document(self, texts: list[str], **settings: Any) -> Any:
                seen.append(torch.get_num_threads())
                if texts == ["fail"]:
                    raise RuntimeError
                return hashed(texts)

        embedder = wrapped(Watching(), threads=before + 1)
        embedder.encode_query(["a"])
        assert torch.get_num_threads() == before
        with pytest.raises(RuntimeError):
            embedder.encode_query(["fail"])
        assert torch.get_num_threads() == before
        wrapped(Watching()).encode_query(["a"])
        assert seen == [before + 1, before + 1, before]

    def test_one_batch_at_a_time_in_the_process(self) -> None:
        inside = threading.Semaphore(1)

        class Alone(FakeModel):
            def encode_document(self, texts: list[str], **settings: Any) -> Any:
                assert inside.acquire(blocking=False), "two at once"
                vectors = hashed(texts)
                inside.release()
                return vectors

        embedders = [wrapped(Alone(), batch_size=1) for _ in range(2)]
        texts = [str(i) for i in range(50)]

        def work(number: int) -> None:
            np.testing.assert_array_equal(embedders[number % 2].encode_query(texts), hashed(texts))

        together(4, work)

    def test_waiting_threads_come_before_returning_ones(self) -> None:
        turns = FairLock()
        order: list[str] = []

        def wait() -> None:
            with turns:
                order.append("question")

        with turns:
            order.append("first batch")
            thread = threading.Thread(target=wait)
            thread.start()
            until = time.monotonic() + WAIT
            while not turns._gate.locked():
                assert time.monotonic() < until
                time.sleep(0.001)
        with turns:
            order.append("second batch")
        thread.join(WAIT)
        assert order == ["first batch", "question", "second batch"]

    def test_the_turn_is_given_up_after_an_error(self) -> None:
        turns = FairLock()
        with pytest.raises(ValueError, match="x"), turns:
            raise ValueError("x")
        with turns:
            pass
