"""CollectionSettings: their checks, and the comparison with a collection's pinned settings."""

import json
from typing import Any

import pytest

from theodolite import Center, ConfigError, ManifestError, MetricMismatchError, Pca, Truncate
from theodolite.analysis.bm25 import BM25
from theodolite.settings import CollectionSettings, Manifest, new_manifest
from theodolite.types import EmbedderSpec, Space


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"metric": "cosinus"}, "metric is 'cosinus'; expected one of cosine, dot, l2"),
        ({"norms": "units"}, "norms is 'units'; expected one of auto, unit, any"),
        ({"partition": "a.b"}, "partition is 'a.b'"),
        ({"transforms": "Pca"}, "transforms is 'Pca'"),
        ({"transforms": [Pca(4), Pca(2)]}, "Pca twice"),
        ({"k1": -0.1}, "k1 is -0.1; it must be a number from 0 to 1,000,000"),
        ({"k1": float("nan")}, "k1 is nan"),
        ({"k1": float("inf")}, "k1 is inf"),
        ({"k1": "1.2"}, "k1 is '1.2'"),
        ({"b": 1.01}, "b is 1.01; it must be a number from 0 to 1"),
        ({"b": True}, "b is True"),
    ],
)
def test_values_no_collection_can_have_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CollectionSettings(**wrong)


def test_a_new_collection_is_cosine_unless_given() -> None:
    assert CollectionSettings().space == Space("cosine")
    settings = CollectionSettings("dot", "unit", transforms=[Truncate(2)])
    assert settings.space == Space("dot", None, "unit", (Truncate(2),))
    assert hash(settings) == hash(CollectionSettings("dot", "unit", transforms=(Truncate(2),)))


def test_defaults_adopt_what_is_pinned() -> None:
    for space in (Space("dot", 4, "unit"), Space("l2", None, "auto"), Space("cosine", 2, "any", (Pca(2),))):
        CollectionSettings().check_pinned(space, "tenant")
    CollectionSettings("dot", "unit", "tenant").check_pinned(Space("dot", None, "auto"), "tenant")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (CollectionSettings("l2"), MetricMismatchError, "pinned to metric 'dot', not 'l2'"),
        (CollectionSettings(norms="any"), ConfigError, "pinned to norms='unit', not 'any'"),
        (CollectionSettings(transforms=[Center()]), ConfigError, "pinned to transforms="),
        (CollectionSettings(partition="team"), ConfigError, "partitioned by 'tenant', not by 'team'"),
        (CollectionSettings(k1=1.2), ConfigError, r"pinned to k1=0.9, not 1.2. Open it without k1="),
        (CollectionSettings(k1=0.9, b=0.75), ConfigError, "pinned to b=0.4, not 0.75"),
    ],
)
def test_a_contradiction_names_both_settings(asked: CollectionSettings, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        asked.check_pinned(Space("dot", 2, "unit", (Truncate(2),)), "tenant", BM25(0.9, 0.4))
    unpartitioned = "not partitioned, not by 'team'"
    with pytest.raises(ConfigError, match=unpartitioned):
        CollectionSettings(partition="team").check_pinned(Space(), None)


@pytest.mark.parametrize(
    ("name", "by_name"),
    [("sentence-transformers/LaBSE", True), ("all-MiniLM-L6-v2", True), ("LaBSE", False), ("MyEmbedder", False)],
)
def test_formats_that_record_a_name_alone_do_not_tell_a_model_from_a_class(name: str, by_name: bool) -> None:
    values = json.loads(new_manifest(CollectionSettings()).to_json())
    former = Manifest.from_json(json.dumps({**values, "embedder": name}))
    assert former.embedder == EmbedderSpec(name, by_name=by_name)
    assert Manifest.from_json(former.to_json()) == former


def test_k1_and_b_are_stored_unless_they_are_the_defaults() -> None:
    usual = new_manifest(CollectionSettings(k1=1.2))
    assert "bm25" not in json.loads(usual.to_json())  # so that older versions read it
    assert Manifest.from_json(usual.to_json()).bm25 == BM25()
    manifest = new_manifest(CollectionSettings(b=0))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.bm25 == BM25(1.2, 0.0)
    CollectionSettings(b=0.0).check_pinned(Space(), None, manifest.bm25)
    damaged = json.dumps({**json.loads(manifest.to_json()), "bm25": {"k1": 1.2, "b": 7}})
    with pytest.raises(ManifestError, match="b is 7"):
        Manifest.from_json(damaged)


def test_a_name_that_the_program_passed_stays_a_name() -> None:
    manifest = new_manifest(CollectionSettings(embedder=EmbedderSpec("LaBSE")))
    assert Manifest.from_json(manifest.to_json()) == manifest
