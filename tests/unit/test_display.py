"""Results at a prompt, in a notebook, and as plain data."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import theodolite
from theodolite import Document, Hit, Hits, Retriever
from theodolite.display import WIDTH, html_table, shortened
from theodolite.testing import HashingEmbedder

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>\x1b[31m\u202ereversed'


@pytest.fixture
def kb() -> Iterator[Retriever]:
    with Retriever.open(None, embedder=HashingEmbedder(64)) as kb:
        kb.add(
            [
                Document(
                    "Refunds take five working days. " + "They are paid by card. " * 40,
                    {"lang": "en", "on": date(2025, 1, 2), "at": datetime(2025, 1, 2, tzinfo=UTC), "tags": ["a", "b"]},
                    id="refunds",
                ),
                Document("返金の手続き。" * 40, {"lang": "ja", "deep": {"on": date(2025, 1, 2)}}, id="返金"),
                Document(f"Refunds {HOSTILE}.", {HOSTILE: HOSTILE}, id=HOSTILE),
            ]
        )
        yield kb


class Tags(HTMLParser):
    """Collects tags and attributes. Fails where they are not those of our tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"table", "caption", "thead", "tbody", "tr", "th", "td", "mark", "progress"}
        assert {name for name, _ in attrs} <= ({"max", "value", "aria-label"} if tag == "progress" else {"style"})
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hits_at_a_prompt(kb: Retriever) -> None:
    hits = kb.search("refunds")
    lines = repr(hits).splitlines()
    assert lines[0] == "<Hits: 3 of 3 documents, dense>"
    assert len(lines) == 4
    assert all(len(line) <= WIDTH for line in lines)
    assert any("refunds" in line and "Refunds take five working days. They" in line for line in lines)
    assert "\x1b" not in repr(hits)
    assert "\u202e" not in repr(hits)


def test_many_hits_and_none(kb: Retriever) -> None:
    kb.add([f"text {number}" for number in range(40)])
    lines = repr(kb.search("text", k=30)).splitlines()
    assert len(lines) == 12
    assert lines[-1].strip() == "… and 20 more"
    none = kb.search("text", k=30, accept=lambda document: False)
    assert repr(none) == "<Hits: 0 of 43 documents, dense>"
    Tags(none._repr_html_())


def test_a_hit_is_a_line(kb: Retriever) -> None:
    for hit in kb.search("refunds"):
        assert repr(hit).startswith(f"<Hit {hit.rank}: ")
        assert len(repr(hit).splitlines()) == 1
        assert len(repr(hit)) <= WIDTH + 4
        assert "\x1b" not in repr(hit)


def test_hostile_texts_are_no_markup(kb: Retriever) -> None:
    hits = kb.search("refunds")
    (hostile,) = (hit for hit in hits if hit.document.id == HOSTILE)
    for shown in (hits._repr_html_(), hostile._repr_html_(), kb._repr_html_()):
        assert "<script" not in shown
        assert "<img" not in shown
        assert "\x1b" not in shown
        Tags(shown)
    assert '<script>alert("1")</script>' in Tags(hits._repr_html_()).text
    assert "<mark>Refunds take five working days.</mark>" in hits._repr_html_()
    Tags(html_table(HOSTILE, [HOSTILE], [[HOSTILE]]))


def test_parts_of_a_score_between_0_and_1_are_bars(kb: Retriever) -> None:
    hit = kb.search("refunds", mode="hybrid")[0]
    shown = hit._repr_html_()
    assert set(hit.scores) == {"similarity", "relevance", "lexical", "fusion"}
    assert shown.count("<progress") == 1
    assert f'value="{hit.scores["relevance"]:.3f}" aria-label="relevance: ' in shown
    assert kb.search("refunds")._repr_html_().count("<progress") == 3


def test_a_long_passage_is_shown_from_its_best_sentence(kb: Retriever) -> None:
    kb.add([Document("Nothing here. " * 200 + "Zebras sleep standing up. " + "Nothing there. " * 200, id="long")])
    (hit,) = kb.search("when do zebras sleep?", where={"$id": "long"})
    shown = hit._repr_html_()
    assert "<mark>Zebras sleep standing up.</mark>" in shown
    assert len(shown) < 2000


def test_a_retriever(kb: Retriever) -> None:
    assert repr(kb) == "<Retriever in memory: 3 documents, cosine>"
    assert "documents" in Tags(kb._repr_html_()).text
    assert kb.to_dict() == kb.info()
    assert repr(kb.scoped(lang="en")) == "<Retriever scope: 1 document, cosine>"
    kb.close()
    assert repr(kb) == "<Retriever: the collection is closed; open it again>"
    Tags(kb._repr_html_())


def test_audit_and_recall() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 16))
    audit = theodolite.audit(rows)
    with Retriever.open(None) as kb:
        kb.add([Document("", id=str(number)) for number in range(500)], vectors=rows)
        recall = kb.recall()
    for result, start in ((audit, "<Audit: 500 vectors"), (recall, "<Recall: 500 queries, recall@10 1.0000")):
        assert repr(result).startswith(start)
        assert len(repr(result).splitlines()) == 1
        assert len(repr(result)) < 200
        assert len(str(result).splitlines()) > 3
        Tags(result._repr_html_())
        assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_to_dict_survives_json(kb: Retriever) -> None:
    found = kb.search("refunds", k=3, dedupe=0.99).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    by_id = {hit["id"]: hit for hit in found["hits"]}
    assert by_id["refunds"]["metadata"] == {
        "lang": "en",
        "on": "2025-01-02",
        "at": "2025-01-02T00:00:00+00:00",
        "tags": ["a", "b"],
    }
    assert by_id["返金"]["metadata"]["deep"] == {"on": "2025-01-02"}
    assert by_id["refunds"]["text"].startswith("Refunds take")
    assert found["trace"]["mode"] == "dense"


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("exactly ten", 11, "exactly ten"),
        ("a longer text", 8, "a longe…"),
        ("two\n lines", 20, "two lines"),
        ("返金の手続き", 7, "返金の…"),
        ("", 5, ""),
        ("x" * 10_000, 5, "xxxx…"),
    ],
)
def test_shortened(text: str, width: int, expected: str) -> None:
    assert shortened(text, width) == expected


def made(*metadata: dict[str, Any]) -> Hits:
    """Hits with this metadata."""
    with Retriever.open(None, embedder=HashingEmbedder(16)) as kb:
        kb.add([Document("the same text", one, id=str(number)) for number, one in enumerate(metadata)])
        return kb.search("the same text")


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas", reason="the extra dev is not installed")
    frame = made({"n": 1, "on": date(2025, 1, 2)}, {"n": 2, "tags": ["a"]}).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == [
        *("rank", "score", "id", "text", "scores.similarity", "scores.relevance"),
        *("metadata.n", "metadata.on", "metadata.tags"),
    ]
    assert frame["rank"].tolist() == [1, 2]
    assert frame["id"].tolist() == ["0", "1"]
    assert frame["metadata.n"].sum() == 3
    assert frame["metadata.on"][0] == date(2025, 1, 2)
    assert list(Hits((), made({}).trace).to_pandas().columns) == ["rank", "score", "id", "text"]


def test_arrow() -> None:
    pytest.importorskip("pyarrow", reason="the extra dev is not installed")
    table = made(
        {"n": 1, "mixed": 1, "large": 2**70, "tags": ["a"], "odd": [1, "a"], "deep": {"on": date(2025, 1, 2)}},
        {"n": 2.5, "mixed": "one", "large": 1, "on": date(2025, 1, 2)},
    ).to_arrow()
    rows = {row["id"]: row for row in table.to_pylist()}
    assert rows["0"]["metadata.n"] == 1.0
    assert rows["1"]["metadata.n"] == 2.5
    assert (rows["0"]["metadata.mixed"], rows["1"]["metadata.mixed"]) == ("1", '"one"')
    assert rows["0"]["metadata.large"] == str(2**70)
    assert rows["0"]["metadata.tags"] == ["a"]
    assert rows["0"]["metadata.odd"] == '[1, "a"]'
    assert rows["0"]["metadata.deep"] == '{"on": "2025-01-02"}'
    assert rows["1"]["metadata.on"] == date(2025, 1, 2)
    assert rows["0"]["metadata.on"] is None
    assert Hits((), made({}).trace).to_arrow().num_rows == 0


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_without_the_package(package: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = made({})
    monkeypatch.setitem(__import__("sys").modules, package, None)  # as if it were not installed
    with pytest.raises(theodolite.MissingExtraError, match=f"{method}.* needs {package}.*pip install {package}"):
        getattr(hits, method)()


def test_hits_compare_by_what_they_hold(kb: Retriever) -> None:
    first, second = kb.search("refunds"), kb.search("refunds")
    assert first.items == second.items
    assert first.items != kb.search("card").items
    assert isinstance(first[0], Hit)
