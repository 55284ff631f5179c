"""Words are found in scripts without spaces, beside Latin letters, and in collections that indexed plain texts."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from theodolite import CorruptionError, Document, Retriever
from theodolite.engines.local.storage.folder import STORE
from theodolite.testing import HashingEmbedder

# "macs" is 환불은 がくせい in separate jamo and voiced marks, as file names on macOS are spelled.
TEXTS = {
    "zh": "中文合約轉換體驗課問題",
    "ja": "国際標準化に関する動向と返金の手続き",
    "mixed": "GitHub备份脚本上传失败的原因",
    "ko": "환불은 영업일 기준 5일이 걸립니다",
    "half": "ｶﾞｽ料金のお知らせ",
    "full": "ＡＰＩキーの更新、２０２４年版",
    "macs": "\u1112\u116a\u11ab\u1107\u116e\u11af\u110b\u1173\u11ab か\u3099くせい",
    "lines": "申請書類の提出期\n限について",
    "radicals": "⼈口と⼟地",
    "th": "การคืนเงินภายในห้าวัน",
    "lo": "ການຄືນເງິນ",
    "km": "ការសងប្រាក់វិញ",
    "my": "ငွေပြန်အမ်းခြင်း",
    "de": "Die Straße und das Maß",
    "en": "Refunds are paid within five days",
}

QUESTIONS = {
    "中文合約": ["zh"],
    "轉換": ["zh"],
    "返金": ["ja"],
    "返": ["ja"],
    "き": ["ja"],
    "国際標準化": ["ja"],
    "备份": ["mixed"],
    "GitHub": ["mixed"],
    "github 备份": ["mixed"],
    "GitHub备份": ["mixed"],
    "因": ["mixed"],
    "환불": ["ko", "macs"],
    "환불은": ["ko", "macs"],
    "5일": ["ko"],
    "ガス": ["half"],
    "ｶﾞｽ料金": ["half"],
    "API": ["full"],
    "api キー": ["full"],
    "2024": ["full"],
    "がくせい": ["macs"],
    "期限": ["lines"],
    "人口": ["radicals"],
    "土地": ["radicals"],
    "คืนเงิน": ["th"],
    "ຄືນເງິນ": ["lo"],
    "ប្រាក់": ["km"],
    "ပြန်အမ်း": ["my"],
    "Straße": ["de"],
    "strasse": ["de"],
    "refund": ["en"],
}

NEXT_WRITE = "after the next write or repair()"


def stored(texts: dict[str, str]) -> list[Document]:
    return [Document(text, id=name) for name, text in texts.items()]


def filled(location: Path | None = None, texts: dict[str, str] = TEXTS) -> Retriever:
    kb = Retriever.open(location, embedder=HashingEmbedder())
    kb.add(stored(texts))
    return kb


def found(kb: Retriever, question: str) -> list[str]:
    return [hit.document.id for hit in kb.search(question, mode="lexical")]


@pytest.fixture(scope="module")
def kb() -> Iterator[Retriever]:
    with filled() as opened:
        yield opened


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_finds_its_documents(kb: Retriever, question: str) -> None:
    hits = kb.search(question, mode="lexical")
    assert sorted(hit.document.id for hit in hits) == QUESTIONS[question]
    assert hits.trace.notes == ()


def test_the_passage_with_more_of_the_words_comes_first() -> None:
    texts = {"a": "合約問題", "b": "中文合約轉換問題", "c": "中文課程", "d": "轉換", "e": "其他", "f": "無關"}
    with filled(texts=texts) as kb:
        assert found(kb, "中文合約轉換")[0] == "b"


def test_both_arms_of_a_hybrid_search_take_part(kb: Retriever) -> None:
    hits = kb.search("返金", mode="hybrid")
    assert "lexical" in {name for hit in hits for name in hit.scores}
    assert hits.trace.notes == ()


def test_what_was_replaced_or_deleted_leaves_the_index() -> None:
    with filled() as kb:
        kb.add([Document("返品の手続き", id="ja")])
        kb.update("mixed", {"seen": True})
        kb.delete("ko")
        assert (found(kb, "返金"), found(kb, "返品"), found(kb, "备份"), found(kb, "환불")) == (
            [],
            ["ja"],
            ["mixed"],
            ["macs"],
        )
        kb.verify()


# Collections of format 3, whose index FTS5 made of the plain texts.


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "kb"
    filled(folder).close()
    make_old(folder)
    return folder


def make_old(folder: Path) -> None:
    """FTS5's own `rebuild` indexes documents.text as it is, as format 3 did."""
    with closing(sqlite3.connect(folder / STORE)) as database, database:
        database.execute("INSERT INTO lexical (lexical) VALUES ('rebuild')")
        database.execute("PRAGMA user_version=3")


def format_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / STORE)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


@pytest.mark.parametrize("read_only", [False, True])
def test_an_old_index_is_searched_as_before_with_a_note(old: Path, read_only: bool) -> None:
    with Retriever.open(old, embedder=HashingEmbedder(), read_only=read_only) as kb:
        assert (found(kb, "refund"), found(kb, "환불은"), found(kb, "환불"), found(kb, "返")) == (
            ["en"],
            ["ko"],
            [],
            [],
        )
        assert found(kb, "GitHub备份脚本上传失败的原因") == ["mixed"]
        assert kb.search("refund", mode="lexical").trace.notes == ()
        assert NEXT_WRITE in kb.search("返金", mode="hybrid").trace.notes[-1]
        for question in ("返金", "GitHub", "환불은"):
            assert NEXT_WRITE in kb.search(question, mode="lexical").trace.notes[-1]
        checked = kb.verify()
        assert [warning.part for warning in checked.warnings] == ["lexical"]
        assert NEXT_WRITE in kb.info()["lexical"]
    assert format_of(old) == 3


WRITES: dict[str, Callable[[Retriever], object]] = {
    "add": lambda kb: kb.add([Document("another one", id="another")]),
    "replace": lambda kb: kb.add([Document(TEXTS["zh"], {"seen": True}, "zh")]),
    "update": lambda kb: kb.update("en", {"seen": True}),
    "delete": lambda kb: kb.delete("en"),
    "repair": lambda kb: kb.repair(),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("latin", [0, 40])
def test_the_first_write_indexes_old_texts_again(tmp_path: Path, write: str, latin: int) -> None:
    # Most documents have to be indexed again, or few.
    folder = tmp_path / "kb"
    filled(folder, TEXTS | {f"latin {number}": "nothing of the kind" for number in range(latin)}).close()
    make_old(folder)
    with (
        Retriever.open(folder, embedder=HashingEmbedder(), create=True) as kb,
        Retriever.open(folder, read_only=True) as reader,
    ):
        assert [found(opened, "환불 refund") for opened in (kb, reader)] == [["en"], ["en"]]
        WRITES[write](kb)
        for opened in (kb, reader):
            for question, expected in QUESTIONS.items():
                wanted = [name for name in expected if (write, name) != ("delete", "en")]
                assert sorted(found(opened, question)) == wanted
            hits = opened.search("환불", mode="lexical")
            assert hits.trace.notes == ()
        scores = [hit.score for hit in kb.search("환불 问题 返金 GitHub", mode="lexical")]
        kb.verify()
        assert not kb.verify().warnings
        assert kb.repair().repaired == ()
        assert format_of(folder) == 5
        with Retriever.open(embedder=HashingEmbedder()) as fresh:
            fresh.add(list(kb.documents()))
            other = [hit.score for hit in fresh.search("환불 问题 返金 GitHub", mode="lexical")]
        assert scores == pytest.approx(other, rel=1e-12)


def test_an_old_collection_that_is_cleared_is_new(old: Path) -> None:
    with Retriever.open(old, embedder=HashingEmbedder()) as kb:
        kb.clear()
        kb.add(stored(TEXTS))
        assert found(kb, "返金") == ["ja"]
        kb.verify()
    assert format_of(old) == 5


KILLED = """
import os, signal, sys
from theodolite import Document, Retriever
from theodolite.engines.local.storage import crash_points
def killed(point):
    if point == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
with Retriever.open(sys.argv[1]) as kb:
    crash_points.observer = killed
    kb.add([Document("返金の手続き", id="another")], vectors=[[1.0] + [0.0] * 63])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("point", "version"), [("frame.synced", 3), ("transaction.filled", 3), ("transaction.committed", 5)]
)
def test_killed_while_old_texts_are_indexed_again(tmp_path: Path, point: str, version: int) -> None:
    folder = tmp_path / "kb"
    with Retriever.open(folder) as kb:
        kb.add(stored(TEXTS), vectors=np.random.default_rng(0).standard_normal((len(TEXTS), 64)))
    make_old(folder)
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), point], check=False, timeout=60)
    assert done.returncode < 0
    assert format_of(folder) == version
    with Retriever.open(folder) as kb:
        kb.verify()
        kb.add([Document("返金の手続き", id="another")], vectors=[[1.0] + [0.0] * 63])
        assert sorted(found(kb, "返金")) == ["another", "ja"]
        kb.verify()


def test_an_index_of_other_texts_is_damage_and_is_rebuilt(tmp_path: Path) -> None:
    # FTS5's own `rebuild`, as another program may call it, makes an index that questions do not fit.
    folder = tmp_path / "kb"
    filled(folder).close()
    make_old(folder)
    with closing(sqlite3.connect(folder / STORE)) as database, database:
        database.execute("PRAGMA user_version=4")
    with Retriever.open(folder, embedder=HashingEmbedder()) as kb:
        with pytest.raises(CorruptionError, match="lexical index does not match the documents"):
            kb.verify()
        assert kb.repair().sound
        assert found(kb, "返金") == ["ja"]


# The trace of words that find nothing.


def notes(kb: Retriever, question: str, where: dict[str, str] | None = None) -> list[str]:
    """Return the notes in lexical and in hybrid mode."""
    found = [
        kb.search(question, mode="lexical", where=where),
        kb.search(question, vector=np.ones(kb.dimension or 1), mode="hybrid", where=where),
    ]
    return [" ".join(hits.trace.notes) for hits in found]


def test_the_trace_says_when_words_find_nothing(kb: Retriever) -> None:
    nearest = ", so only similarity ranks the hits."
    assert notes(kb, "?! 😀") == ["The query has no words.", f"The query has no words{nearest}"]
    nowhere = "No document has any of the query's words"
    assert notes(kb, "zebra 斑馬") == [f"{nowhere}.", f"{nowhere}{nearest}"]
    assert notes(kb, "zebra refunds") == ["", ""]


def test_the_trace_says_when_words_are_outside_the_filter_or_scope() -> None:
    with Retriever.open(embedder=HashingEmbedder(), partition="tenant") as kb:
        texts = {"a": "返金", "b": "refund", "c": "other"}
        kb.add([Document(text, {"tenant": name, "kind": "x"}, name) for name, text in texts.items()])
        left_out = "The query's words occur only in documents that the filter or the rules for versions exclude"
        nearest = ", so only similarity ranks the hits."
        assert notes(kb, "返金", where={"tenant": "b"}) == [f"{left_out}.", f"{left_out}{nearest}"]
        assert notes(kb, "返金", where={"tenant": "nobody"}) == ["", ""]  # there is nothing to rank
        scope = kb.scoped(tenant="b")
        nowhere = "No document in the scope has any of the query's words"
        assert notes(scope, "返金") == [f"{nowhere}.", f"{nowhere}{nearest}"]
