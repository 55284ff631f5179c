"""Reports: one page that loads nothing, Markdown, JSON and Parquet; what documents contain stays text."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from theodolite import Document, EngineError, InputError, Retriever
from theodolite.testing import HashingEmbedder

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></svg><svg onload=alert(1)>",
    "' style='background:url(//evil.example)'",
    "](javascript:alert(1)) `x` | y | <b>z</b>",
    "datum.x] + [window",
    "{{7*7}} ${7*7} signal(x) \u202e\u0000\x1b[31m",
]


class Tags(HTMLParser):
    """The tags and attributes of a page, and whether tags close in order."""

    void = frozenset({"meta", "link", "br", "img", "path", "circle", "line", "rect", "stop"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.references += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def check_page(page: str) -> Tags:
    """Check that a page loads nothing, runs nothing, and is whole."""
    tags = Tags(page)
    assert tags.open == []
    assert not tags.names & {"script", "img", "iframe", "object", "embed", "form", "base", "foreignobject", "use"}
    assert not {name for name in tags.attributes if name.startswith("on")} | tags.attributes & {"style", "srcdoc"}
    assert all(link.startswith("#") or link == "data:," for link in tags.references)
    assert len(tags.ids) == len(set(tags.ids))
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page.partition("</style>")[0])
    return tags


@pytest.fixture(scope="module")
def handbook() -> Retriever:
    folder = Path(__file__).resolve().parents[3] / "examples" / "data"
    kb = Retriever.open(embedder=HashingEmbedder(), versions=[])
    kb.add([json.loads(line) for line in (folder / "handbook.jsonl").read_text(encoding="utf-8").splitlines()])
    return kb


def test_a_report_has_a_part_for_all_there_is_to_show(handbook: Retriever) -> None:
    questions = {"q1": "How many days do customers have?", "q2": "Who pays the postage?"}
    judged = {"q1": {"returns-v2": 1}, "q2": {"returns-v2": 1}}
    report = handbook.report(questions=questions, judgments=judged)
    page = report.html()
    tags = check_page(page)
    for name in ("summary", "findings", "map", "similarities", "dimensions", "questions", "evaluation", "recall"):
        assert name in tags.ids, name
    assert re.findall(r"^## (.*)", report.markdown(), re.M) == re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert page.count("<figure") == page.count('role="img"') >= 6
    assert repr(report) == f"<Report: {handbook.count():,} documents; no warnings>"
    assert report._repr_html_().startswith("<table>")


def test_every_document_is_a_point_of_the_map(handbook: Retriever) -> None:
    page = handbook.report().html()
    paths = re.findall(r'<path class="c\d" d="([^"]*)"', page)
    assert sum(path.count("h0") for path in paths) == handbook.count()
    assert page.count("<circle") >= handbook.count()  # with their texts
    colored = handbook.report(color="lang").html()
    assert "Colors and numbers show the field" in colored


def test_hostile_documents_stay_text() -> None:
    documents = [
        Document(text, {"field": text, "<i>name</i>": text, "n": 1}, id=f"{text} {number}")
        for number, text in enumerate(HOSTILE * 4)
    ]
    with Retriever.open(embedder=HashingEmbedder()) as kb:
        kb.add(documents)
        questions = {f"{text}{number}": text for number, text in enumerate(HOSTILE)}
        judged = {name: {documents[0].id: 1} for name in questions}
        report = kb.report(questions=questions, judgments=judged, color="field", title=HOSTILE[2])
        plain = kb.report(title="t")
    tags = check_page(report.html())
    assert tags.names == check_page(plain.html()).names | tags.names & {"defs", "lineargradient", "stop", "rect"}
    assert "\x1b" not in report.html()
    assert "\u202e" not in report.markdown()
    markdown = report.markdown()
    assert not re.search(r"(?<!\\)[<\]`]", markdown.replace("| ---", ""))
    assert json.loads(json.dumps(report.to_dict()))["documents"] == len(documents)


def test_files_are_written_by_their_ending(handbook: Retriever, tmp_path: Path) -> None:
    report = handbook.report(title="A handbook")
    for name in ("a.html", "a.md", "a.json", "a.parquet"):
        report.write(tmp_path / name)
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# A handbook\n")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["title"] == "A handbook"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.html", "a.json", "a.md", "a.parquet"]
    with pytest.raises(InputError, match=r"does not end with \.html"):
        report.write(tmp_path / "a.pdf")
    with pytest.raises(EngineError, match="cannot be written"):
        report.write(tmp_path / "none" / "a.parquet")
    with pytest.raises(EngineError, match="cannot be written"):
        report.write(tmp_path / "none" / "a.html")


def test_the_table_has_texts_places_clusters_and_metadata(handbook: Retriever, tmp_path: Path) -> None:
    report = handbook.report()
    report.write(tmp_path / "map.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "map.parquet")
    assert table.column_names[:6] == ["id", "text", "x", "y", "cluster", "group"]
    assert {"metadata.lang", "metadata.source"} <= set(table.column_names)
    rows = table.to_pylist()
    documents = {document.id: document for document in handbook.documents()}
    assert len(rows) == len(documents)
    for row in rows:
        assert documents[row["id"]].text.startswith(row["text"])
        assert row["metadata.lang"] == documents[row["id"]].metadata["lang"]
    assert len({(row["x"], row["y"]) for row in rows}) > 90


def test_a_sample_says_so(handbook: Retriever) -> None:
    report = handbook.report(sample=40)
    note = next(note for note in report.overview.notes if "evenly spaced" in note)
    assert f"out of {handbook.count():,}" in note
    assert note in report.html()
    assert f"{len(report.overview.documents)} of {handbook.count()}" in report.html()


def test_an_empty_collection_has_a_report() -> None:
    with Retriever.open(embedder=HashingEmbedder(), create=True) as kb:
        report = kb.report(questions={"q": "x"}, judgments={"q": {"a": 1}})
        check_page(report.html())
        assert "There are no documents" in report.html()
        assert report.to_dict()["documents"] == 0
        assert report.to_arrow().num_rows == 0


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("count", [1, 2, 3, 25])
def test_small_collections_of_each_metric_have_a_report(metric: str, count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 5)) * np.arange(1, count + 1)[:, None]
    with Retriever.open(embedder=None, metric=metric) as kb:  # type: ignore[arg-type]
        kb.add([Document(f"text {n}", id=f"{n}") for n in range(count)], vectors=vectors)
        report = kb.report(questions={"q": vectors[0].tolist()})
        tags = check_page(report.html())
        assert ("norms" in tags.ids) == (metric != "cosine" and count > 1)
        assert report.markdown()


def test_a_hundred_thousand_documents_take_less_than_five_megabytes() -> None:
    from theodolite.overview.map import Map, project
    from theodolite.overview.overview import Overview
    from theodolite.reporting import Report

    rng = np.random.default_rng(0)
    count = 100_000
    drawn = project((rng.normal(size=(2000, 8)) + 3 * np.eye(8)[rng.integers(0, 8, 2000)]).astype(np.float32), "cosine")
    x, y = rng.normal(32_000, 9000, (2, count)).clip(0, 65_535).astype(np.uint16)
    spread = Map(
        x,
        y,
        rng.integers(0, len(drawn.names), count).astype(np.int32),
        drawn.names,
        drawn.variance,
        8,
        2000,
    )
    documents = [Document("An ordinary passage of a handbook. " * 20, id=f"handbook/{n}") for n in range(count)]
    overview = Overview("kb", datetime.now(UTC), {"dimension": 8}, count, documents, spread)
    assert len(Report(overview).html().encode()) < 5_000_000
