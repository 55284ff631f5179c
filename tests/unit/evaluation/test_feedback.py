"""Judgments of searches: kept in a file of their own, exported, copied, and refused where they cannot be kept."""

import gc
import json
import pickle
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import (
    Document,
    EngineError,
    InputError,
    JudgedQuestions,
    JudgmentWarning,
    Retriever,
    UnsupportedError,
)
from theodolite.engines.local import LocalEngine
from theodolite.evaluation.judgments import read_judgments
from theodolite.evaluation.questions import read_questions
from theodolite.testing import HashingEmbedder

EMBEDDER = HashingEmbedder(256)
DOCUMENTS = [
    Document("refunds take five working days", {"path": "refunds.md", "lang": "en"}, "r#0"),
    Document("refunds for cards come first", {"path": "refunds.md", "lang": "en"}, "r#1"),
    Document("wir öffnen um neun", {"path": "hours.md", "lang": "de"}, "h#0"),
]
QUESTION = "how long do refunds take?"


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[Retriever]:
    with Retriever.open(tmp_path / "kb", embedder=EMBEDDER) as kb:
        kb.add(DOCUMENTS)
        yield kb


def grades(kb: Retriever) -> list[dict[str, int]]:
    return list(kb.export_judgments().judgments.values())


def test_judged_hits_are_exported_with_their_question(kb: Retriever, tmp_path: Path) -> None:
    assert kb.export_judgments() == ({}, {})
    hits = kb.search(QUESTION, k=2)
    hits.feedback("r#0", 3)
    hits.feedback("r#1", 1)
    hits.feedback("r#0", 2)
    kb.search("opening hours", mode="lexical").feedback("h#0", 1)  # which found nothing
    found = kb.export_judgments()
    assert isinstance(found, JudgedQuestions)
    assert list(found.questions.values()) == [QUESTION, "opening hours"]
    assert grades(kb) == [{"r#0": 2, "r#1": 1}, {"h#0": 1}]
    found.write(tmp_path / "q.jsonl", tmp_path / "qrels.tsv")
    assert read_questions(tmp_path / "q.jsonl") == found.questions
    assert read_judgments(tmp_path / "qrels.tsv") == found.judgments


def test_nothing_is_kept_without_feedback(kb: Retriever, tmp_path: Path) -> None:
    kb.search(QUESTION)
    kb.export_judgments()
    assert not (tmp_path / "kb" / "judgments.sqlite").exists()
    kb.search(QUESTION).feedback("r#0", 1)
    connection = sqlite3.connect(tmp_path / "kb" / "judgments.sqlite")
    rows = connection.execute("SELECT question, partition, document, grade FROM judged").fetchall()
    connection.close()
    assert rows == [(QUESTION, "", "r#0", 1)]


def test_a_document_that_was_not_found_can_be_judged(kb: Retriever) -> None:
    hits = kb.search(QUESTION, k=1)
    assert [hit.document.id for hit in hits] == ["r#0"]
    hits.feedback("h#0", 2)
    assert grades(kb) == [{"h#0": 2}]
    with pytest.raises(InputError, match=r"there is no document 'r#O' in the collection. Did you mean 'r#0'\?"):
        hits.feedback("r#O", 1)


@pytest.mark.parametrize("grade", [-1, 0.5, "1", None, 1001, float("nan"), 10**30])
def test_what_is_no_grade(kb: Retriever, grade: Any) -> None:
    with pytest.raises(InputError, match="expected a whole number from 0"):
        kb.search(QUESTION).feedback("r#0", grade)
    assert grades(kb) == []


def test_a_query_that_was_a_vector_needs_the_text(kb: Retriever) -> None:
    hits = kb.search(vector=EMBEDDER.encode_query([QUESTION])[0])
    with pytest.raises(InputError, match=r"call kb\.feedback with question="):
        hits.feedback("r#0", 1)
    kb.feedback(hits, "r#0", 1, question=QUESTION)
    kb.search_many([QUESTION, "cards"])[1].feedback("r#1", 2)
    assert list(kb.export_judgments().questions.values()) == [QUESTION, "cards"]


@pytest.mark.asyncio
async def test_feedback_is_awaited(kb: Retriever) -> None:
    await kb.afeedback(await kb.asearch(QUESTION), "r#0", 1)
    assert grades(kb) == [{"r#0": 1}]


def test_whole_files_are_exported(kb: Retriever) -> None:
    hits = kb.search(QUESTION)
    hits.feedback("r#0", 1)
    hits.feedback("r#1", 2)
    hits.feedback("h#0", 0)
    assert list(kb.export_judgments(by="path").judgments.values()) == [{"refunds.md": 2, "hours.md": 0}]
    kb.delete("r#1")
    with pytest.warns(JudgmentWarning, match="1 judged document is no longer stored and left out; first: 'r#1'"):
        found = kb.export_judgments(by="path")
    assert list(found.judgments.values()) == [{"refunds.md": 1, "hours.md": 0}]
    assert grades(kb) == [{"r#0": 1, "r#1": 2, "h#0": 0}]


def test_hits_do_not_keep_the_collection_open() -> None:
    kb = Retriever.open(embedder=EMBEDDER)
    kb.add(DOCUMENTS)
    hits = kb.highlight(kb.search(QUESTION))
    hits.feedback("r#0", 1)
    assert grades(kb) == [{"r#0": 1}], "also in memory, as long as it is open"
    kb.close()
    with pytest.raises(EngineError, match="closed"):
        hits.feedback("r#0", 1)
    gone = weakref.ref(kb)
    del kb
    gc.collect()
    assert gone() is None
    with pytest.raises(EngineError, match="the collection of these hits is closed"):
        hits.feedback("r#0", 1)


def test_pickled_hits_know_their_question(kb: Retriever) -> None:
    hits = pickle.loads(pickle.dumps(kb.search(QUESTION)))  # noqa: S301 - our own
    assert hits == kb.search(QUESTION) or len(hits) == 3  # timings differ
    with pytest.raises(EngineError, match=r"open it, and call kb\.feedback"):
        hits.feedback("r#0", 1)
    kb.feedback(hits, "r#0", 1)
    assert list(kb.export_judgments().questions.values()) == [QUESTION]


def test_hits_of_another_collection_are_refused(kb: Retriever) -> None:
    with Retriever.open(embedder=EMBEDDER) as other:
        other.add(DOCUMENTS)
        with pytest.raises(InputError, match="from another collection"):
            kb.feedback(other.search(QUESTION), "r#0", 1)
    wrong: Any = [1]
    with pytest.raises(InputError, match="hits is a list"):
        kb.feedback(wrong, "r#0", 1)


def test_scopes_judge_what_they_see(kb: Retriever) -> None:
    scope = kb.scoped(lang="en")
    hits = scope.search(QUESTION)
    hits.feedback("r#0", 1)
    with pytest.raises(InputError, match="there is no document 'h#0'"):
        hits.feedback("h#0", 1)
    with pytest.raises(InputError, match="there is no document 'h#0'"):
        scope.feedback(hits, "h#0", 1)
    kb.search("wann").feedback("h#0", 2)
    assert list(scope.export_judgments().judgments.values()) == [{"r#0": 1}]
    assert len(grades(kb)) == 2


def test_partitions_keep_their_judgments_apart(tmp_path: Path) -> None:
    with Retriever.open(tmp_path / "kb", partition="tenant") as kb:
        for tenant in ("a", "b"):
            kb.add([Document("t", {"tenant": tenant}, "d1")], vectors=np.eye(2)[:1])
        hits = kb.scoped(tenant="a").search(vector=np.ones(2))
        kb.scoped(tenant="a").feedback(hits, "d1", 3, question="a?")
        assert kb.scoped(tenant="b").export_judgments() == ({}, {})
        assert list(kb.scoped(tenant="a").export_judgments().judgments.values()) == [{"d1": 3}]
        with pytest.raises(InputError, match="an id alone is ambiguous"):
            kb.export_judgments()


def test_read_only_collections_keep_none(kb: Retriever, tmp_path: Path) -> None:
    kb.search(QUESTION).feedback("r#0", 1)
    with Retriever.open(tmp_path / "kb", embedder=EMBEDDER, read_only=True) as reader:
        with pytest.raises(EngineError, match="is opened read-only"):
            reader.search(QUESTION).feedback("r#0", 2)
        assert grades(reader) == [{"r#0": 1}]


class Server(LocalEngine):
    """An engine without a folder, as on a server."""

    folder = None

    def info(self) -> dict[str, Any]:
        return {**super().info(), "location": "server://kb"}


def test_engines_without_a_folder_refuse() -> None:
    with Retriever(Server.open(), EMBEDDER) as kb:
        kb.add(DOCUMENTS)
        with pytest.raises(UnsupportedError, match=r"feedback\(\) is not supported: the engine Server has no folder"):
            kb.search(QUESTION).feedback("r#0", 1)
        with pytest.raises(UnsupportedError, match=r"export_judgments\(\) is not supported"):
            kb.export_judgments()


def test_backup_and_copy_take_the_judgments_along(kb: Retriever, tmp_path: Path) -> None:
    kb.search(QUESTION).feedback("r#0", 1)
    kb.backup(tmp_path / "backup")
    kb.copy_to(tmp_path / "copy")
    assert kb.verify().warnings == ()
    for name in ("backup", "copy"):
        with Retriever.open(tmp_path / name) as copy:
            assert copy.export_judgments() == kb.export_judgments()
            assert copy.verify().warnings == ()
    kb.clear()
    assert grades(kb) == [{"r#0": 1}], "documents come back; judgments are made by people"


@pytest.mark.parametrize("contents", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_reported_and_kept(kb: Retriever, tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "kb" / "judgments.sqlite"
    path.write_bytes(contents)
    for use in (kb.export_judgments, lambda: kb.search(QUESTION).feedback("r#0", 1)):
        with pytest.raises(EngineError, match="the judgments cannot be read or written"):
            use()
    (warning,) = kb.verify().warnings
    assert (warning.part, warning.derived) == ("judgments", False)
    assert kb.repair().repaired == ()
    kb.backup(tmp_path / "backup")
    assert path.read_bytes() == (tmp_path / "backup" / "judgments.sqlite").read_bytes() == contents
    path.unlink()
    kb.search(QUESTION).feedback("r#0", 1)
    assert grades(kb) == [{"r#0": 1}]


def test_a_file_of_another_program_is_not_touched(kb: Retriever, tmp_path: Path) -> None:
    path = tmp_path / "kb" / "judgments.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(EngineError, match="another program's"):
        kb.search(QUESTION).feedback("r#0", 1)
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_is_not_followed(kb: Retriever, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "kb" / "judgments.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="a symbolic link"):
        kb.search(QUESTION).feedback("r#0", 1)
    assert (tmp_path / "elsewhere").read_bytes() == b""


WRITER = """
import sys
from theodolite import Retriever
from theodolite.testing import HashingEmbedder
with Retriever.open(sys.argv[1], embedder=HashingEmbedder(256)) as kb:
    for n in range(20):
        kb.feedback(kb.search("refunds"), "r#0", n, question=f"{sys.argv[2]} {n}")
"""


def test_processes_and_threads_share_the_file(kb: Retriever, tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", WRITER, str(tmp_path / "kb"), name] for name in ("one", "two")]
    processes = [subprocess.Popen(command) for command in commands]
    hits = kb.search(QUESTION)

    def give(name: str) -> None:
        for n in range(10):
            kb.feedback(hits, "r#1", n, question=f"{name} {n}")

    threads = [threading.Thread(target=give, args=(name,)) for name in ("three", "four")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(kb.export_judgments().questions) == 60


def test_synthetic_questions_are_sentences_of_documents(kb: Retriever, tmp_path: Path) -> None:
    found = kb.synthetic_questions(2)
    assert list(found.questions) == ["synthetic:1", "synthetic:2"]
    texts = {document.id: document.text for document in DOCUMENTS}
    for name, question in found.questions.items():
        for document in found.judgments[name]:
            assert question in texts[document]
    assert found == kb.synthetic_questions(2)
    assert len(kb.synthetic_questions(50).questions) == 3
    found.write(tmp_path / "q.jsonl", tmp_path / "qrels.tsv")
    records = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert all(record["synthetic"] for record in records)


def test_synthetic_questions_of_a_model(kb: Retriever) -> None:
    asked: list[str] = []

    def model(document: Document) -> list[str] | str | None:
        asked.append(document.id)
        if document.id == "h#0":
            return None
        return [f"what about {document.text}?", "refunds?"]

    found = kb.synthetic_questions(9, make=model, where={"lang": "en"})
    assert sorted(asked) == ["r#0", "r#1"]
    (both,) = [name for name, text in found.questions.items() if text == "refunds?"]
    assert found.judgments[both] == dict.fromkeys(asked, 1), "both documents answer it"
    assert len(found.questions) == 3
    wrong: Any = lambda document: [3]  # noqa: E731 - wrong on purpose
    with pytest.raises(InputError, match="make returned 3 for document"):
        kb.synthetic_questions(1, make=wrong)
    with pytest.raises(InputError, match="no question could be made"):
        kb.synthetic_questions(1, where={"path": "refunds.md", "lang": "de"})
    with pytest.raises(InputError, match="count is 0"):
        kb.synthetic_questions(0)


def test_files_of_judgments_refuse_ids_that_break_them(tmp_path: Path) -> None:
    judged = JudgedQuestions({"q": "x"}, {"q": {"a\nb": 1}})
    with pytest.raises(InputError, match="a tab or a line break"):
        judged.write(tmp_path / "q.jsonl", tmp_path / "qrels.tsv")
    assert list(tmp_path.iterdir()) == []
