"""Cross-encoders correct the order where embeddings fail, agree on both backends, and report truncation."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from tests.hub_server import connect, serve
from tests.unit.crossing import LIMIT, averse, fond, tiny_cross_encoder, untrained, word_tokenizer
from tests.unit.models import needs_minilm, tiny_bert

from theodolite.embedders.onnx.embedder import OnnxEmbedder
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.errors import ConfigError, CorruptionError, InputError, RerankError, UnsupportedError
from theodolite.protocols import Reranker
from theodolite.rerankers.cross_encoder import CrossEncoderReranker
from theodolite.rerankers.resolve import resolve
from theodolite.testing import RerankerContract
from theodolite.testing.checks import together

QUERY = "someone who does not hate this office"
TEXTS = [
    averse("office"),
    fond("office"),
    "",
    "words it does not know: 東京",
    fond("garden") * 4,
    "love",
    averse("train"),
]
LONG = " ".join(["office"] * 150)  # 150 tokens


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def on_torch(cross_folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(cross_folder, device="cpu", batch_size=3, cache=0, threads=1)


@pytest.fixture(scope="module")
def on_onnx(cross_folder: Path, exports: Path) -> CrossEncoderReranker:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    return CrossEncoderReranker(cross_folder, backend="onnx", exports=exports, batch_size=3, cache=0, threads=1)


@pytest.fixture(params=["on_torch", "on_onnx"])
def either(request: pytest.FixtureRequest) -> CrossEncoderReranker:
    found: CrossEncoderReranker = request.getfixturevalue(request.param)
    return found


def best(reranker: CrossEncoderReranker, query: str, text: str) -> float:
    return float(reranker.score(query, [text])[0])


class TestTorchContract(RerankerContract):
    @pytest.fixture(autouse=True)
    def given(self, on_torch: CrossEncoderReranker) -> None:
        self.given_reranker = on_torch

    def reranker(self) -> Reranker:
        return self.given_reranker


class TestOnnxContract(RerankerContract):
    @pytest.fixture(autouse=True)
    def given(self, on_onnx: CrossEncoderReranker) -> None:
        self.given_reranker = on_onnx

    def reranker(self) -> Reranker:
        return self.given_reranker


class TestOrder:
    """Texts that embeddings confuse: the question negates, and the texts differ in one word."""

    @needs_minilm
    @pytest.mark.parametrize("thing", ["office", "garden", "coffee"])
    @pytest.mark.parametrize("asked", ["someone who does not hate this {}", "who does not dislike the {}"])
    def test_a_negated_question(
        self, asked: str, thing: str, mini: SentenceTransformerEmbedder, either: CrossEncoderReranker
    ) -> None:
        query, texts = asked.format(thing), [averse(thing), fond(thing)]
        [question], passages = mini.encode_query([query]), mini.encode_document(texts)
        cosines = passages @ question / np.linalg.norm(passages, axis=1) / np.linalg.norm(question)
        assert cosines[0] > cosines[1] + 0.1  # the wrong one is first, and clearly so
        scores = either.score(query, texts)
        assert scores[1] > scores[0] + 1
        calibrated = either.calibrate(scores)
        assert calibrated[1] > 0.9
        assert calibrated[0] < 0.1

    @pytest.mark.parametrize(
        ("query", "fond_first"),
        [
            ("someone who does enjoy this film", True),
            ("people that do hate this river", False),
            ("people that do not love this river", False),
        ],
    )
    def test_other_questions(self, query: str, fond_first: bool, either: CrossEncoderReranker) -> None:
        thing = query.split()[-1]
        scores = either.score(query, [fond(thing), averse(thing)])
        assert (scores[0] > scores[1]) == fond_first

    @pytest.mark.thorough
    def test_two_labels(self, tmp_path: Path, exports: Path) -> None:
        folder = tiny_cross_encoder(tmp_path / "two", labels=2)
        model = transformers.BertForSequenceClassification.from_pretrained(folder)
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        expected = []
        with torch.inference_mode():
            for text in TEXTS[:2]:
                logits = model(**tokenizer(QUERY, text, return_tensors="pt")).logits[0]
                expected.append(float(logits[1] - logits[0]))
        for settings in ({"device": "cpu"}, {"backend": "onnx", "exports": exports}):
            reranker = CrossEncoderReranker(folder, **settings)
            np.testing.assert_allclose(reranker.score(QUERY, TEXTS[:2]), expected, atol=1e-4)
            assert reranker.calibrate(np.array(expected)).round().tolist() == [0, 1]


class TestScores:
    def test_are_the_logits_of_the_library(self, cross_folder: Path, either: CrossEncoderReranker) -> None:
        library = CrossEncoder(str(cross_folder), device="cpu", local_files_only=True)
        short = [text for text in TEXTS if len(text) < 100]
        expected = library.predict([(QUERY, text) for text in short], activation_fn=torch.nn.Identity())
        np.testing.assert_allclose(either.score(QUERY, short), expected, atol=1e-4)

    def test_are_the_same_on_both_backends(self, on_torch: CrossEncoderReranker, on_onnx: CrossEncoderReranker) -> None:
        for query in (QUERY, "", "who " * 100):
            first, second = on_torch.read(query, TEXTS), on_onnx.read(query, TEXTS)
            np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)
            np.testing.assert_array_equal(first.windows, second.windows)
            assert first.truncated_tokens == second.truncated_tokens

    def test_of_a_loaded_model(self, cross_folder: Path, on_torch: CrossEncoderReranker) -> None:
        model = CrossEncoder(str(cross_folder), device="cpu", local_files_only=True)
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.5
        model.train()  # a loaded model may be in any state
        for found in (resolve(model), CrossEncoderReranker(model, threads=1)):
            assert isinstance(found, CrossEncoderReranker)
            assert found.name == cross_folder.name
            np.testing.assert_allclose(found.score(QUERY, TEXTS), on_torch.score(QUERY, TEXTS), atol=1e-5)

    def test_in_any_order_and_batch(self, either: CrossEncoderReranker) -> None:
        together_ = either.score(QUERY, TEXTS)
        np.testing.assert_allclose(either.score(QUERY, TEXTS[::-1])[::-1], together_, atol=1e-5)
        np.testing.assert_allclose([best(either, QUERY, text) for text in TEXTS], together_, atol=1e-5)

    def test_no_texts(self, either: CrossEncoderReranker) -> None:
        reading = either.read("who " * 100, [])
        assert reading.scores.dtype == np.float64
        assert reading.scores.shape == reading.windows.shape == (0,)
        assert reading.truncated_tokens == 100 - (LIMIT - 3) // 2

    def test_calibrated_ones_neither_overflow_nor_fall_together(self, on_torch: CrossEncoderReranker) -> None:
        raw = np.array([-1e4, -60.0, -50.0, -1.0, 0.0, 1.0, 1e4])
        found = on_torch.calibrate(raw)
        np.testing.assert_allclose(found[1:], 1 / (1 + np.exp(-raw[1:])), rtol=1e-12)
        assert found[0] == 0
        assert 0 < found[1] < found[2]

    def test_that_are_not_finite(self, cross_folder: Path, tmp_path: Path) -> None:
        model = CrossEncoder(str(cross_folder), device="cpu", local_files_only=True)
        with torch.no_grad():
            model.model.bert.embeddings.word_embeddings.weight[model.tokenizer.convert_tokens_to_ids("coffee")] = np.nan
        reranker = CrossEncoderReranker(model)
        with pytest.raises(RerankError, match="not finite for text 2 of 3") as caught:
            reranker.score(QUERY, ["a", "b", fond("coffee")])
        assert caught.value.index == 2
        assert np.isfinite(reranker.score(QUERY, [fond("office")])).all()


class TestWindows:
    def test_the_best_of_them_counts(self, either: CrossEncoderReranker) -> None:
        """The important words are at the end of a long text."""
        text = f"{LONG} {fond('office')}"
        reading = either.read(QUERY, [text, LONG, "love"])
        assert reading.windows[0] > 1
        assert reading.truncated == 0
        assert reading.scores[0] > reading.scores[1] + 1

    def test_are_those_of_a_plain_computation(self, cross_folder: Path, either: CrossEncoderReranker) -> None:
        words = " ".join(f"{fond('film')} {averse('river')}" for _ in range(5)).split()
        room = LIMIT - 3 - len(QUERY.split())
        step = room - room // 4
        starts = range(0, max(1, len(words) - room // 4), step)
        parts = [" ".join(words[start : start + room]) for start in starts]
        expected = either.score(QUERY, parts)
        reading = either.read(QUERY, [" ".join(words)])
        assert reading.windows.tolist() == [len(parts)]
        np.testing.assert_allclose(reading.scores, [expected.max()], atol=1e-5)

    def test_a_text_that_just_fits_is_one(self, on_torch: CrossEncoderReranker) -> None:
        room = LIMIT - 3 - len(QUERY.split())
        for words, windows in ((room, 1), (room + 1, 2)):
            reading = on_torch.read(QUERY, [" ".join(["office"] * words)])
            assert reading.windows.tolist() == [windows]

    def test_switched_off_the_rest_is_left_out_and_counted(self, cross_folder: Path) -> None:
        reranker = CrossEncoderReranker(cross_folder, device="cpu", windows=False)
        reading = reranker.read(QUERY, [f"{LONG} {fond('office')}", LONG, "love"])
        assert reading.windows.tolist() == [1, 1, 1]
        assert reading.truncated == 2
        assert reading.scores[0] == pytest.approx(reading.scores[1], abs=1e-5)  # what they differ in is not read
        assert reranker.read(QUERY, [LONG]).truncated == 1  # remembered, too

    def test_a_long_query_is_read_up_to_half_of_the_room(self, either: CrossEncoderReranker) -> None:
        half = (LIMIT - 3) // 2
        words = ("who does not dislike the office " * 10).split()
        reading = either.read(" ".join(words), [fond("office")])
        assert reading.truncated_tokens == len(words) - half
        shorter = either.read(" ".join(words[:half]), [fond("office")])
        assert shorter.truncated_tokens == 0
        np.testing.assert_allclose(reading.scores, shorter.scores, atol=1e-5)

    def test_a_lower_limit(self, cross_folder: Path) -> None:
        low = CrossEncoderReranker(cross_folder, device="cpu", max_tokens=24)
        assert low.max_tokens == 24
        assert low.read(QUERY, [LONG]).windows[0] > 10

    def test_positions_that_are_not_all_for_tokens(self, tmp_path: Path) -> None:
        """Models of the RoBERTa family begin to count after the padding's place; more tokens end in an IndexError."""
        settings: Any = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.RobertaConfig(vocab_size=99, max_position_embeddings=40, **settings)
        config.num_labels = 1
        transformers.RobertaForSequenceClassification(config).save_pretrained(tmp_path)
        tokenizer = word_tokenizer()
        tokenizer.model_max_length = 10**30
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        tokenizer.save_pretrained(tmp_path)
        reranker = CrossEncoderReranker(tmp_path, device="cpu")
        assert reranker.max_tokens == 38
        assert np.isfinite(reranker.score(QUERY, [LONG])).all()

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [(49, "max_tokens is 49; it must be at most 48, the limit of tiny-cross-encoder"), (10, "must be at least 11")],
    )
    def test_limits_that_do_not_fit(self, tokens: int, message: str, cross_folder: Path) -> None:
        with pytest.raises(ConfigError, match=message):
            CrossEncoderReranker(cross_folder, max_tokens=tokens)


class TestCache:
    def test_a_score_is_computed_once(self, cross_folder: Path) -> None:
        reranker = CrossEncoderReranker(cross_folder, device="cpu")
        first = reranker.read(QUERY, [*TEXTS, TEXTS[0]])
        assert first.cached == 0
        assert first.scores[-1] == first.scores[0]
        again = reranker.read(QUERY, [*TEXTS[::-1], "another"])
        assert again.cached == len(TEXTS)
        np.testing.assert_array_equal(again.scores[:-1][::-1], first.scores[:-1])
        np.testing.assert_array_equal(again.windows[:-1][::-1], first.windows[:-1])

    def test_another_query_is_another_key(self, cross_folder: Path) -> None:
        reranker = CrossEncoderReranker(cross_folder, device="cpu")
        reranker.score("who does", [" not love"])
        assert reranker.read("who does not", [" love"]).cached == 0
        assert reranker.read("who does ", ["not love"]).cached == 0

    def test_the_least_recently_used_is_forgotten(self, cross_folder: Path) -> None:
        reranker = CrossEncoderReranker(cross_folder, device="cpu", cache=2)
        reranker.score(QUERY, ["love"])
        reranker.score(QUERY, ["hate"])
        reranker.score(QUERY, ["love"])
        reranker.score(QUERY, ["film"])
        assert len(reranker.cache) == 2
        assert [reranker.read(QUERY, [text]).cached for text in ("love", "hate")] == [1, 0]

    def test_threads(self, either: CrossEncoderReranker, cross_folder: Path, exports: Path) -> None:
        backend: Any = either.backend
        expected = either.score(QUERY, TEXTS)
        shared = CrossEncoderReranker(cross_folder, backend=backend, exports=exports, cache=4, threads=1)

        def work(number: int) -> None:
            order = np.roll(np.arange(len(TEXTS)), number)
            for _ in range(5):
                found = shared.read(QUERY, [TEXTS[row] for row in order])
                np.testing.assert_allclose(found.scores, expected[order], atol=1e-5)

        together(3, work)
        assert len(shared.cache) == 4


class TestProgress:
    def test_each_text_is_counted_once(self, cross_folder: Path) -> None:
        reranker = CrossEncoderReranker(cross_folder, device="cpu", batch_size=2)
        reported: list[int] = []
        reranker.score(QUERY, ["love"])
        reranker.read(QUERY, [LONG, "love", "hate", "love", "film", "film"], progress=reported.append)
        assert reported[0] == 2  # remembered
        assert sum(reported) == 6
        assert len(reported) > 3

    def test_what_it_raises_passes_and_the_next_call_goes_on(self, cross_folder: Path) -> None:
        def stop(done: int) -> None:
            raise KeyboardInterrupt

        reranker = CrossEncoderReranker(cross_folder, device="cpu", batch_size=2)
        texts = [fond("office"), "love", "hate this", averse("office"), "film"]
        with pytest.raises(KeyboardInterrupt):
            reranker.read(QUERY, texts, progress=stop)
        assert len(reranker.cache) == 2  # the longest
        again = reranker.read(QUERY, texts)
        assert again.cached == 2
        fresh = CrossEncoderReranker(cross_folder, device="cpu", batch_size=2).read(QUERY, texts)
        np.testing.assert_allclose(again.scores, fresh.scores, atol=1e-5)


class TestExport:
    def test_is_found_again_and_can_be_passed(self, cross_folder: Path, exports: Path, on_onnx: Any) -> None:
        again = CrossEncoderReranker(cross_folder, backend="onnx", exports=exports)
        assert again.folder == on_onnx.folder
        assert again.folder is not None
        direct = CrossEncoderReranker(again.folder, backend="onnx")
        assert (direct.name, direct.backend, direct.max_tokens) == (on_onnx.name, "onnx", on_onnx.max_tokens)
        np.testing.assert_array_equal(direct.score(QUERY, TEXTS[:2]), again.score(QUERY, TEXTS[:2]))

    def test_damage_is_reported(self, on_onnx: CrossEncoderReranker, tmp_path: Path) -> None:
        assert on_onnx.folder is not None
        copied = Path(shutil.copytree(on_onnx.folder, tmp_path / "copied"))
        content = bytearray((copied / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (copied / "model.onnx").write_bytes(content)
        with pytest.raises(CorruptionError, match=r"model\.onnx of an exported model has the SHA-256"):
            CrossEncoderReranker(copied, backend="onnx")

    def test_of_an_embedder(self, tiny_folder: Path, tmp_path: Path, on_onnx: CrossEncoderReranker) -> None:
        embedder = OnnxEmbedder(tiny_folder, cache=tmp_path)
        with pytest.raises(ConfigError, match="export of another kind of model"):
            CrossEncoderReranker(embedder.folder, backend="onnx")
        assert on_onnx.folder is not None
        with pytest.raises(ConfigError, match="export of another kind of model"):
            OnnxEmbedder(on_onnx.folder)


class TestRefused:
    """Random weights give scores, too."""

    @pytest.fixture(params=["torch", "onnx"])
    def backend(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    def test_a_model_without_a_head(self, backend: Any, tmp_path: Path) -> None:
        folder = untrained(tmp_path / "headless", kind="BertModel")
        with pytest.raises(ConfigError, match=r"'headless' is not a cross-encoder: 2 of the.* 'classifier.bias'"):
            CrossEncoderReranker(folder, backend=backend, exports=tmp_path / "exports")
        assert not list(tmp_path.glob("exports/*"))

    @needs_minilm
    def test_an_embedding_model(self, backend: Any, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="An embedding model cannot rerank"):
            CrossEncoderReranker("all-MiniLM-L6-v2", backend=backend, exports=tmp_path)

    def test_an_embedding_model_of_another_kind(self, tmp_path: Path) -> None:
        folder = tiny_bert(tmp_path / "roberta", kind="Roberta")
        with pytest.raises(ConfigError, match="'roberta' is not a cross-encoder"):
            CrossEncoderReranker(folder)

    def test_a_head_of_another_shape(self, cross_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(cross_folder, tmp_path / "other"))
        settings = (folder / "config.json").read_text()
        (folder / "config.json").write_text(settings.replace('"hidden_size": 64', '"hidden_size": 32'))
        with pytest.raises(ConfigError, match="'other' cannot be loaded"):
            CrossEncoderReranker(folder)

    def test_three_labels(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="has 3 labels; a reranker needs one, or two"):
            CrossEncoderReranker(untrained(tmp_path / "three", labels=3))

    def test_further_modules(self, cross_folder: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(cross_folder, tmp_path / "more"))
        (folder / "modules.json").write_text('[{"type": "x.Transformer"}, {"type": "x.LogitScore"}]')
        with pytest.raises(UnsupportedError, match="is made of Transformer, LogitScore"):
            CrossEncoderReranker(folder)

    def test_a_prompt(self, cross_folder: Path, tmp_path: Path) -> None:
        folder = tmp_path / "prompted"
        CrossEncoder(
            str(cross_folder), device="cpu", local_files_only=True, prompts={"q": "find: "}, default_prompt_name="q"
        ).save_pretrained(str(folder))
        with pytest.raises(UnsupportedError, match="prompt"):
            CrossEncoderReranker(folder)

    def test_what_is_no_model(self, tmp_path: Path, on_torch: CrossEncoderReranker, backend: Any) -> None:
        with pytest.raises(ConfigError, match="no weights in safetensors"):
            CrossEncoderReranker(tmp_path, backend=backend)
        with pytest.raises(ConfigError, match="there is no folder"):
            CrossEncoderReranker(tmp_path / "none", backend=backend)
        with pytest.raises(ConfigError, match=r"not a CrossEncoder|cannot be exported"):
            CrossEncoderReranker(object(), backend=backend)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"batch_size": 0}, "batch_size is 0"),
            ({"max_tokens": 0}, "max_tokens is 0"),
            ({"threads": -1}, "threads is -1"),
            ({"cache": -1}, "score cache has size -1"),
            ({"backend": "openvino"}, "backend is 'openvino'"),
            ({"backend": "onnx", "device": "cuda"}, "device is 'cuda'"),
            ({"revision": "v2"}, "revision is for models on the hub"),
        ],
    )
    def test_settings(self, settings: dict[str, Any], message: str, cross_folder: Path) -> None:
        with pytest.raises(ConfigError, match=message):
            CrossEncoderReranker(cross_folder, **settings)

    @pytest.mark.parametrize(
        ("query", "texts"), [(QUERY, "one text"), (QUERY, [1]), (None, ["a"]), ("\ud800", ["a"]), (QUERY, ["\ud800"])]
    )
    def test_what_is_no_text(self, query: Any, texts: Any, on_torch: CrossEncoderReranker) -> None:
        with pytest.raises(InputError):
            on_torch.score(query, texts)


class TestHub:
    """The hub is a server on the loopback interface."""

    def test_a_name_without_an_owner(self, cross_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("cross-encoder/ms-marco-MiniLM-L6-v2", "acme/reranker"):
            shutil.copytree(cross_folder, tmp_path / "repositories" / name)
        monkeypatch.setattr("theodolite.embedders.hub.cache_folder", lambda: tmp_path / "own")
        with serve(tmp_path / "repositories") as server:
            connect(monkeypatch, server.url, tmp_path / "cache")
            reranker = CrossEncoderReranker("ms-marco-MiniLM-L6-v2@v1", device="cpu")
            assert reranker.name == "cross-encoder/ms-marco-MiniLM-L6-v2@v1"
            assert isinstance(resolve("acme/reranker"), CrossEncoderReranker)


class TestResolve:
    def test_names_and_folders(self, cross_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        for given, backend in (
            (cross_folder, "torch"),
            (str(cross_folder), "torch"),
            (f"cross-encoder:{cross_folder}", "torch"),
            (f"cross-encoder-onnx:{cross_folder}", "onnx"),
        ):
            found = resolve(given)
            assert isinstance(found, CrossEncoderReranker)
            assert found.backend == backend

    def test_an_object_is_itself(self, on_torch: CrossEncoderReranker) -> None:
        assert resolve(on_torch) is on_torch

    def test_without_calibrate_and_functions(self) -> None:
        class Scorer:
            batch_size = 5

            def score(self, query: str, texts: Sequence[str]) -> list[int]:
                return [len(text) for text in texts]

        found = resolve(Scorer())
        assert found.score("", ["abc", ""]) == [3, 0]
        assert getattr(found, "batch_size", None) == 5
        values: NDArray[np.float64] = np.array([0.0, 1.0])
        np.testing.assert_allclose(found.calibrate(values), [0.5, 1 / (1 + np.exp(-1))])
        assert resolve(lambda query, texts: [7]).score("", ["a"]) == [7]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (None, "the reranker is None. Pass the name"),
            (7, "the reranker is an int. Pass the name"),
            ("", "an empty name"),
            (CrossEncoderReranker, "is the class CrossEncoderReranker"),
            ("cros-encoder:x", "Did you mean 'cross-encoder'"),
            ("/no/such/folder", "there is no folder"),
        ],
    )
    def test_what_does_not_fit(self, given: Any, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            resolve(given)
