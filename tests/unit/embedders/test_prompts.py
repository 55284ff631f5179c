"""Prompts: a model's own, those it is known to need, those the caller gives, and a warning where one is missing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tests.unit.models import FakeModel, hashed, stub_library, tiny_bert, wrapped

from theodolite.embedders.prompts import NEEDED, Prompts, needed_prompts, own_prompts
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder

E5 = Prompts("query: ", "passage: ")


class Listening(FakeModel):
    """Puts the prompt before the texts, as the library does, and says where it came from."""

    def __init__(self, name: str = "", prompts: dict[str, str] | None = None) -> None:
        super().__init__()
        self.prompts = prompts or {}
        self.transformers_model = type("Loaded", (), {"name_or_path": name})()

    def encode_document(self, texts: list[str], **settings: Any) -> Any:
        return super().encode_document([settings["prompt"] + text for text in texts], **settings)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The prompts in the configuration of whatever model is loaded from the hub."""
    prompts: dict[str, str] = {}

    def load(name: str, **settings: Any) -> Listening:
        return Listening(name, prompts)

    stub_library(monkeypatch, load)
    return prompts


class TestTable:
    def test_e5(self) -> None:
        for name in ("e5-large-v2", "e5-small", "multilingual-e5-base"):
            assert needed_prompts(f"intfloat/{name}") == E5

    def test_only_exact_names(self) -> None:
        for name in ("e5-large-v2", "acme/e5-large-v2", "intfloat/e5-large-v2-copy", "intfloat/e5", "BAAI/bge-m3", ""):
            assert needed_prompts(name) == Prompts("", "")

    def test_the_hub_ignores_case_and_a_revision_is_the_same_model(self) -> None:
        assert needed_prompts("baai/BGE-small-en-v1.5") == needed_prompts("BAAI/bge-small-en-v1.5@main") != Prompts()

    def test_prompts_end_where_the_text_can_begin(self) -> None:
        for name, prompts in NEEDED.items():
            assert prompts.query, name
            for prompt in prompts:
                assert prompt == "" or prompt[-1] in " ：", name  # noqa: RUF001 - Chinese has no space there


class TestOwn:
    @pytest.mark.parametrize(
        ("prompts", "expected"),
        [
            (None, ("", "")),
            ({}, ("", "")),
            ({"query": None, "document": None}, ("", "")),
            ({"query": "q: ", "document": "d: ", "passage": "p: "}, ("q: ", "d: ")),
            ({"query": "q: ", "document": "", "passage": "p: "}, ("q: ", "p: ")),
            ({"corpus": "c: ", "sts": "s: "}, ("", "c: ")),
        ],
    )
    def test_names(self, prompts: Any, expected: tuple[str, str]) -> None:
        assert own_prompts(prompts) == expected

    def test_a_prompt_called_passage_is_used(self, tmp_path: Path) -> None:
        """The library sets an empty one called `document`, and never comes to it."""
        folder = tiny_bert(tmp_path / "model", prompts={"query": "q: ", "passage": "p: "})
        embedder = SentenceTransformerEmbedder(folder, device="cpu")
        assert embedder.prompts == ("q: ", "p: ")
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        expected = model.encode(["p: a text"], show_progress_bar=False)
        np.testing.assert_allclose(embedder.encode_document(["a text"]), expected, rtol=1e-4, atol=1e-5)


class TestByName:
    def test_what_a_model_lacks_is_completed(self, hub: dict[str, str]) -> None:
        embedder = SentenceTransformerEmbedder("intfloat/e5-large-v2")
        assert embedder.prompts == E5
        np.testing.assert_array_equal(embedder.encode_query(["a", "b"]), hashed(["query: a", "query: b"]))
        np.testing.assert_array_equal(embedder.encode_document(["a"]), hashed(["passage: a"]))

    def test_with_a_revision_too(self, hub: dict[str, str]) -> None:
        assert SentenceTransformerEmbedder("intfloat/e5-large-v2", revision="v1").prompts == E5

    def test_its_own_come_first(self, hub: dict[str, str]) -> None:
        hub.update({"query": "Q: "})
        assert SentenceTransformerEmbedder("intfloat/e5-large-v2").prompts == ("Q: ", "passage: ")

    def test_those_given_come_before_its_own(self, hub: dict[str, str]) -> None:
        hub.update({"query": "Q: ", "document": "D: "})
        embedder = SentenceTransformerEmbedder("acme/model", query_prompt="ask: ", document_prompt="")
        assert embedder.prompts == ("ask: ", "")
        np.testing.assert_array_equal(embedder.encode_query(["a"]), hashed(["ask: a"]))
        np.testing.assert_array_equal(embedder.encode_document(["a"]), hashed(["a"]))

    def test_other_models_get_none(self, hub: dict[str, str]) -> None:
        assert SentenceTransformerEmbedder("acme/e5-large-v2").prompts == ("", "")


class TestMissing:
    def test_switched_off(self, hub: dict[str, str]) -> None:
        with pytest.warns(
            UserWarning, match=r"intfloat/e5-base was trained with prompts .* Pass query_prompt='query: '"
        ):
            embedder = SentenceTransformerEmbedder("intfloat/e5-base", query_prompt="")
        assert embedder.prompts == ("", "passage: ")

    def test_a_loaded_model_that_lacks_them(self) -> None:
        with pytest.warns(UserWarning, match="was trained with prompts") as caught:
            embedder = wrapped(Listening("intfloat/e5-base"))
        assert len(caught) == 1
        assert "query_prompt='query: ', document_prompt='passage: '" in str(caught[0].message)
        assert embedder.prompts == ("", ""), "its owner may put them before the texts"

    def test_the_warning_points_to_the_caller(self) -> None:
        with pytest.warns(UserWarning, match="was trained with prompts") as caught:
            SentenceTransformerEmbedder(Listening("intfloat/e5-base"))  # type: ignore[arg-type]
        assert caught[0].filename == __file__

    def test_one_side_is_enough_for_bge(self) -> None:
        with pytest.warns(UserWarning, match="was trained with prompts") as caught:
            wrapped(Listening("BAAI/bge-small-en-v1.5"))
        assert "document_prompt" not in str(caught[0].message)

    @pytest.mark.parametrize(
        ("name", "prompts", "given"),
        [
            ("intfloat/e5-base", {"query": "query: ", "document": "passage: "}, {}),
            ("intfloat/e5-base", {}, {"query_prompt": "query: ", "document_prompt": "passage: "}),
            ("BAAI/bge-m3", {}, {}),
            ("BAAI/bge-m3", {"query": "Q: "}, {"query_prompt": ""}),
        ],
    )
    def test_nothing_is_missing(self, name: str, prompts: dict[str, str], given: dict[str, str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wrapped(Listening(name, prompts), **given)


class TestEffects:
    def test_tokens_are_counted_with_the_prompt_of_the_side(self, tiny_folder: Path) -> None:
        embedder = SentenceTransformerEmbedder(tiny_folder, device="cpu", document_prompt="", query_prompt="ask me: ")
        assert embedder.count_tokens(["abc"]) == [3 + 2]
        assert embedder.count_tokens(["abc"], query=True) == [8 + 3 + 2]

    def test_prompts_are_shown(self, tiny_folder: Path) -> None:
        plain, other = (
            SentenceTransformerEmbedder(tiny_folder, device="cpu", query_prompt=prompt) for prompt in (None, "")
        )
        assert plain.prompts == Prompts("find: ", "text: ")
        assert other.prompts == Prompts("", "text: ")

    def test_a_prompt_that_is_given_changes_the_vectors(self, tiny_folder: Path) -> None:
        embedder = SentenceTransformerEmbedder(tiny_folder, device="cpu", query_prompt="text: ")
        np.testing.assert_allclose(embedder.encode_query(["a"]), embedder.encode_document(["a"]), rtol=1e-5)
