"""The commands, one by one: output for people and for programs, and invalid calls."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.guards.test_embedder_guard import OtherModel
from tests.unit.models import needs_minilm
from tests.unit.shell import Shell

from theodolite import Retriever
from theodolite.cli import export, output
from theodolite.cli.demo import QUESTIONS, handbook
from theodolite.evaluation import TARGETS, Target
from theodolite.testing import HashingEmbedder


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def filled(shell: Shell) -> Shell:
    shell.fill()
    return shell


def test_help_shows_examples(shell: Shell) -> None:
    out, _ = shell.run("--help")
    commands = re.findall(r"^  (\w+)  +\w", out.partition("Commands:")[2], re.MULTILINE)
    assert sorted(commands) == [
        "add",
        "audit",
        "backup",
        "calibrate",
        "compact",
        "copy",
        "delete",
        "demo",
        "diff",
        "doctor",
        "duplicates",
        "evaluate",
        "explore",
        "export",
        "fields",
        "index",
        "info",
        "judge",
        "mcp",
        "monitor",
        "recall",
        "reindex",
        "report",
        "search",
        "serve",
        "verify",
    ]
    for command in commands:
        out, _ = shell.run(command, "--help")
        assert re.search(rf"Examples:\n    theodolite (export old \| theodolite )?{command}", out), command
        assert "--json" in out
    assert shell.run("--version")[0].startswith("theodolite ")


def test_index_tells_what_it_did(filled: Shell) -> None:
    out, err = filled.run("index", "kb", "docs", "notes.jsonl")
    assert out == "3 files, 3 passages: 3 unchanged\n"
    assert "1 of an unknown kind (--as SUFFIX=text reads them): 1 .jpg" in err
    (filled.folder / "docs" / "hours.txt").unlink()
    (filled.folder / "docs" / "new.txt").write_text("Parcels leave on Mondays.")
    report = filled.json("index", "kb", "docs", "notes.jsonl")
    assert {name: report[name] for name in ("files", "added", "unchanged", "removed")} == {
        "files": 3,
        "added": 1,
        "unchanged": 2,
        "removed": 1,
    }
    (item,) = report["skipped"]
    assert (item["source"], item["kind"]) == ("docs/photo.jpg", "unknown")
    assert item["reason"].startswith("unknown kind of file: .jpg; --as .jpg=text")


def test_search(filled: Shell) -> None:
    out, err = filled.run("search", "kb", "how many working days do refunds take", "-k", "1")
    rank, score, name, text = out.rstrip("\n").split("\t")
    assert (rank, name, text) == ("1", "docs/refunds.md", "# Refunds Refunds take five working days.")
    assert 0 < float(score) <= 1
    assert err == ""
    answer = filled.json("search", "kb", "Tage", "--where", '{"lang": "de"}')
    assert answer["query"] == "Tage"
    (hit,) = answer["hits"]
    assert (hit["id"], hit["rank"], hit["metadata"]["lang"]) == ("de", 1, "de")
    assert hit["metadata"]["modified"].keys() == {"$datetime"}
    assert answer["trace"]["eligible"] == 1
    assert filled.run("search", "kb", "x", "--where", '{"lang": "fr"}')[0] == ""
    for where in ('{"lang": {"$in": ["fr", "de"]}}', '{"n": {"$eq": 1}, "lang": ["de"]}'):
        assert [hit["id"] for hit in filled.json("search", "kb", "x", "--where", where)["hits"]] == ["de"]


def test_info_and_verify(filled: Shell) -> None:
    found = filled.json("info", "kb")
    assert (found["documents"], found["dimension"], found["embedder"], found["truncated"]) == (3, 64, "words", 0)
    assert {"theodolite", "numpy", "python"} <= found["versions"].keys()
    assert re.search(r"^documents +3$", filled.run("info", "kb")[0], re.MULTILINE)
    assert filled.run("verify", "kb")[0] == "3 documents, all as they were stored\n"
    data = next((filled.folder / "kb").glob("vectors-*"))
    damaged = bytearray(data.read_bytes())
    damaged[-5] ^= 1
    data.write_bytes(damaged)
    assert "do not match their checksum" in filled.run("verify", "kb", code=3)[1]


def test_add(filled: Shell) -> None:
    stored = filled.run(
        "add", "kb", "--text", "A new one.", "--id", "n", "--metadata", '{"x": {"$date": "2025-03-01"}}'
    )
    assert stored[0] == "stored as n\n"
    lines = '{"id": "a", "text": "First."}\n\n{"id": "b", "text": "Second.", "vector": [1, 2]}\n'
    assert filled.json("add", "kb", "-", given=lines) == {"ids": ["a", "b"]}
    (filled.folder / "docs" / "hours.txt").unlink()
    assert filled.json("add", "kb", "docs")["removed"] == 0
    with Retriever.open(filled.folder / "kb") as kb:
        assert sorted(document.id for document in kb.documents()) == [
            "a",
            "b",
            "de",
            "docs/hours.txt",
            "docs/refunds.md",
            "n",
        ]
        assert str(kb.get("n")[0].metadata["x"]) == "2025-03-01"


def test_delete(filled: Shell) -> None:
    assert filled.run("delete", "kb", "docs/hours.txt", "nobody")[0] == "1 deleted\n"
    assert "add --yes" in filled.run("delete", "kb", "--where", '{"lang": "de"}', code=2)[1]
    assert filled.json("delete", "kb", "--where", '{"lang": "de"}', "--yes") == {"deleted": 1}
    assert filled.json("info", "kb")["documents"] == 1


def test_reindex(filled: Shell) -> None:
    out, err = filled.run("reindex", "kb", "hnsw:M=8")
    assert out.startswith("hnsw:M=8,ef_construction=200,ef_search=0: 3 rows, recall@3 1.000 (target 0.99; ")
    assert "MB of memory" in err
    assert "3 rows, recall@" in filled.run("info", "kb")[0]
    assert filled.json("info", "kb")["approximate"]["rows"] == 3
    assert [hit["id"] for hit in filled.json("search", "kb", "refunds", "-k", "1")["hits"]] == ["docs/refunds.md"]
    assert filled.json("reindex", "kb", "--target-recall", "0.9")["approximate"]["target_recall"] == 0.9
    assert filled.run("reindex", "kb", "flat")[0] == "flat: searches are exact\n"
    assert filled.json("info", "kb")["approximate"] is None
    assert "Did you mean 'hnsw'" in filled.run("reindex", "kb", "hnws", code=1)[1]
    assert "there is no collection" in filled.run("reindex", "nothing", code=3)[1]


def test_export_is_read_again(filled: Shell) -> None:
    out, _ = filled.run("export", "kb")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["de", "docs/hours.txt", "docs/refunds.md"]
    filled.run("add", "copy", "-", "--embedder", "words", given=out)
    with Retriever.open(filled.folder / "kb") as kb, Retriever.open(filled.folder / "copy") as copy:
        assert list(kb.documents()) == list(copy.documents())
    report = filled.json("export", "kb", "--vectors", "-o", "out.jsonl")
    assert report == {"documents": 3, "file": "out.jsonl"}
    first = json.loads((filled.folder / "out.jsonl").read_text().splitlines()[0])
    assert len(first["vector"]) == 64
    assert sorted(path.name for path in filled.folder.glob("*out*")) == ["out.jsonl"]
    assert "cannot be written" in filled.run("export", "kb", "-o", "nowhere/out.jsonl", code=1)[1]
    assert "docs cannot be written" in filled.run("export", "kb", "-o", "docs", code=1)[1]


def test_an_exported_file_can_be_indexed(filled: Shell) -> None:
    filled.run("add", "kb", "--text", "Dated.", "--id", "d", "--metadata", '{"on": {"$date": "2025-03-01"}}')
    filled.run("export", "kb", "--vectors", "-o", "out.jsonl")
    report = filled.json("index", "copy", "out.jsonl", "--embedder", "words")
    assert (report["added"], report["skipped"]) == (4, [])
    with Retriever.open(filled.folder / "copy") as copy:
        assert [document.id for document in copy.documents()] == ["d", "de", "docs/hours.txt", "docs/refunds.md"]
        assert copy.get("d")[0].metadata["on"] == date(2025, 3, 1)


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_export_writes_through_links_and_keeps_permissions(filled: Shell) -> None:
    target = filled.folder / "out.jsonl"
    target.write_text("old")
    target.chmod(0o640)
    link = filled.folder / "link.jsonl"
    link.symlink_to(target)
    filled.run("export", "kb", "-o", "link.jsonl")
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert len(target.read_text().splitlines()) == 3


def test_an_export_that_fails_leaves_the_file_as_it_was(filled: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise KeyboardInterrupt

    (filled.folder / "out.jsonl").write_text("old")
    monkeypatch.setattr(export, "json_line", broken)
    assert "Interrupted" in filled.run("export", "kb", "-o", "out.jsonl", code=130)[1]
    assert (filled.folder / "out.jsonl").read_text() == "old"
    assert [path.name for path in filled.folder.glob("*out*")] == ["out.jsonl"]
    assert list(filled.folder.glob(".out*")) == []


def test_texts_and_ids_are_shown_as_they_are_but_cannot_steer_a_terminal(filled: Shell) -> None:
    assert filled.run("add", "kb", "--text", "[red] :smile:", "--id", "a:key:b[/]")[0] == "stored as a:key:b[/]\n"
    filled.run("add", "kb", "--text", "red \x1b[31m and\ta \x07bell", "--id", "tab\tid")
    out, _ = filled.run("search", "kb", "a red bell", "-k", "1")
    assert out.split("\t")[2:] == ["tab id", "red \ufffd[31m and a \ufffdbell\n"]
    out, _ = filled.run("search", "kb", "[red] :smile:", "-k", "1")
    assert out.split("\t")[2:] == ["a:key:b[/]", "[red] :smile:\n"]
    (hit,) = filled.json("search", "kb", "a red bell", "-k", "1")["hits"]
    assert (hit["id"], hit["text"]) == ("tab\tid", "red \x1b[31m and\ta \x07bell")  # JSON escapes them


def test_what_was_skipped_is_summed_up_but_not_in_json(shell: Shell) -> None:
    docs = shell.folder / "docs"
    docs.mkdir()
    for number in range(25):
        (docs / f"{number:02}.bin").write_bytes(b"\0")
    index = ("index", "kb", "docs", "--embedder", "words")
    out, err = shell.run(*index)
    assert out == "0 files, 0 passages: nothing to do\n"
    assert "25 skipped:" in err
    assert "  25 of an unknown kind (--as SUFFIX=text reads them): 25 .bin\n" in err
    assert len(shell.json(*index)["skipped"]) == 25


def test_long_work_says_now_and_then_how_far_it_is(filled: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_PAUSE", 0.0)
    (filled.folder / "docs" / "new.txt").write_text("Parcels leave on Mondays.")
    _, err = filled.run("index", "kb", "docs")
    assert re.search(r"^3 of 3 files, 3 passages, [\d,]+/s$", err, re.MULTILINE)
    _, err = filled.run("export", "kb", "-o", "out.jsonl")
    assert re.search(r"^exporting: 4 of 4, [\d,]+/s$", err, re.MULTILINE)
    assert filled.run("index", "kb", "docs", "--json")[1] == ""


@pytest.mark.filterwarnings("ignore:.*longer than the 12 tokens")
def test_the_demo_shows_the_handbook(shell: Shell) -> None:
    out, _ = shell.run("demo", "kept", "--embedder", "words")
    assert out.startswith(f"{len(handbook())} documents")
    assert all(question.text in out for question in QUESTIONS)
    assert shell.json("info", "kept")["documents"] == len(handbook())
    lines = shell.run("demo", "--embedder", "words", "--json")[0].splitlines()
    assert [json.loads(line)["query"] for line in lines] == [question.text for question in QUESTIONS]


@needs_minilm
@pytest.mark.thorough
def test_the_demo_tells_the_truth_about_its_answers(shell: Shell) -> None:
    answers = [json.loads(line) for line in shell.run("demo", "--json")[0].splitlines()]
    assert [answer["hits"][0]["id"] for answer in answers] == [
        "chat-opened-stove",  # no longer true,
        "opened-goods-v2",  # and what has replaced it
        "shipping-v1",  # the oldest of three,
        "shipping-v3",  # and the one in force
        "samstag-v2",
    ]
    assert {hit["metadata"]["source"] for hit in answers[1]["hits"]} == {"policy"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "nothing", "x"], 3, "there is no collection at "),
        (["info", "nothing"], 3, "there is no collection"),
        (["export", "docs"], 3, "not a theodolite collection"),
        (["index", "new", "nothing", "--embedder", "words"], 2, "nothing does not exist"),
        (["index", "kb"], 2, "Missing argument"),
        (["search", "x"], 2, "Missing argument"),
        (["search", "kb", " "], 2, "string that is not blank"),
        (["search", "kb", "x", "-k", "0"], 2, "k is 0"),
        (["search", "kb", "x", "--where", "{"], 2, "--where is not JSON"),
        (["search", "kb", "x", "--where", "[1]"], 2, "must be a JSON object"),
        (["search", "kb", "x", "--where", '{"a": {"$nope": 1}}'], 2, "unknown operator"),
        (["search", "kb", "x", "--embedder", "nope:1"], 1, "there are no embedders named 'nope'"),
        (["add", "kb"], 2, "either files"),
        (["add", "kb", "--text", "x", "--metadata", "1"], 2, "must be a JSON object"),
        (["add", "new", "--text", "x", "--metadata", "{"], 2, "--metadata is not JSON"),
        (["add", "new", "--text", " "], 2, "--text is empty"),
        (["add", "new", "nothing"], 2, "nothing does not exist"),
        (["add", "kb", "docs", "--id", "x"], 2, "apply only to --text"),
        (["add", "kb", "--text", "x", "--chunk-tokens", "9"], 2, "do not apply to --text and stdin"),
        (["add", "kb", "-", "--map", "text=body"], 2, "do not apply to --text and stdin"),
        (["index", "new", "docs", "--max-mb", "nan"], 2, "--max-mb is nan"),
        (["index", "new", "docs", "--chunk-tokens", "0"], 2, "greater than or equal to 1"),
        (["index", "docs/hours.txt", "docs"], 3, "is a file; a collection is a folder"),
        (["search", "kb", "x", "--where", "[" * 100_000], 2, "--where is not JSON"),
        (["search", "kb", "x", "-k", "many"], 2, "valid integer"),
        (["find", "x"], 2, "No such command"),
        (["delete", "kb"], 2, "either ids or --where"),
        (["delete", "kb", "--where", "{}", "-y"], 2, "every document passes"),
    ],
)
def test_what_is_refused(filled: Shell, arguments: list[str], code: int, message: str) -> None:
    out, err = filled.run(*arguments, code=code)
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""
    assert not (filled.folder / "nothing").exists()
    assert not (filled.folder / "new").exists()
    if "Missing" not in message:
        said = json.loads(filled.run(*arguments, "--json", code=code)[1])
        assert said["error"].endswith("Error")
        assert message in said["message"]


def test_standard_input_that_is_no_json(filled: Shell) -> None:
    assert "line 2 of stdin" in filled.run("add", "kb", "-", given='{"text": "a"}\n{"text"', code=2)[1]
    assert "line 1 of stdin is not UTF-8" in filled.run("add", "kb", "-", given=b'{"text": "\xff"}', code=2)[1]
    marked = '{"id": "b", "text": "Behind a byte order mark."}'.encode("utf-8-sig")
    assert filled.json("add", "kb", "-", given=marked) == {"ids": ["b"]}


def test_a_collection_of_vectors_alone_needs_an_embedder_by_name(shell: Shell) -> None:
    with Retriever.open(shell.folder / "kb") as kb:
        kb.add(["text"], vectors=[[1.0] * 64])
    assert "--embedder" in shell.run("search", "kb", "x", code=1)[1]
    assert len(shell.json("search", "kb", "text", "--embedder", "words")["hits"]) == 1


def test_a_collection_made_with_an_object_does_not_look_for_a_model_of_its_name(shell: Shell) -> None:
    with Retriever.open(shell.folder / "kb", embedder=HashingEmbedder(64)) as kb:
        kb.add(["some text"])
    said = shell.run("search", "kb", "x", code=1)[1]
    assert "created with the embedder 'HashingEmbedder'" in said
    assert "--embedder" in said
    assert len(shell.json("search", "kb", "text", "--embedder", "words")["hits"]) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("search", "kb", "x"),
        ("search", "kb", "x", "--mode", "hybrid"),
        ("add", "kb", "--text", "more"),
        ("index", "kb", "docs"),
        ("recall", "kb", "--queries", "questions.txt"),
        ("demo", "kb"),
    ],
)
@pytest.mark.filterwarnings("always")  # as outside of tests
def test_another_model_is_refused_or_used_with_a_warning(filled: Shell, command: tuple[str, ...]) -> None:
    shutil.rmtree(filled.folder / "kb")
    with Retriever.open(filled.folder / "kb", embedder=OtherModel()) as kb:
        kb.add(["some text"])
    (filled.folder / "questions.txt").write_text("some text")
    command = (*command, "--embedder", "words")
    said = filled.run(*command, code=3)[1]
    assert "another model" in said
    assert "Pass --on-drift warn to use this embedder anyway" in said
    assert filled.run(*command, "--on-drift", "refuse", code=3)[1] == said
    warned = filled.run(*command, "--on-drift", "warn")[1]
    assert "Warning: the embedder no longer produces" in warned
    assert "drift" not in warned, "it is allowed already"


def test_verify_repairs_and_backup_copies(filled: Shell) -> None:
    folder = filled.folder / "kb"
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as database, database:
        database.execute("DELETE FROM lexical_docsize")
    assert "--repair" in filled.run("verify", "kb", code=3)[1]
    assert filled.json("verify", "kb", code=3)["problems"][0]["part"] == "lexical"
    assert filled.run("verify", "kb", "--repair")[0].startswith("repaired  lexical")
    assert filled.json("verify", "kb")["sound"]
    assert filled.run("backup", "kb", "-o", "copy")[0] == "3 documents, as of commit 1, in copy\n"
    assert filled.json("verify", "copy")["checked"]["documents"] == 3
    assert "exists already" in filled.run("backup", "kb", "-o", "copy", code=1)[1]


def test_compact(filled: Shell) -> None:
    with Retriever.open(filled.folder / "kb") as kb:
        kb.update([document.id for document in kb.documents(limit=2)], {"checked": True})
    before = filled.json("search", "kb", "invoice")["hits"]
    reported = filled.json("compact", "kb")
    assert reported["rows"] == 2
    assert reported["bytes_before"] > 0
    assert reported["bytes_after"] > 0  # so small a folder need not become smaller
    assert filled.run("compact", "kb")[0].startswith("0 dead rows removed; ")
    assert filled.json("search", "kb", "invoice")["hits"] == before
    assert filled.json("verify", "kb")["sound"]
    with Retriever.open(filled.folder / "kb") as kb:
        kb.clear()
    assert filled.json("compact", "kb")["rows"] == 0
    assert "no collection" in filled.run("compact", "nowhere", code=3)[1]


def test_recall(filled: Shell) -> None:
    out, err = filled.run("recall", "kb")
    assert out.startswith("3 queries, made of stored rows and noise; 0% answered by the approximate index\n")
    assert "recall@10       1.0000" in out
    assert err == ""
    (filled.folder / "q.txt").write_text("refunds\n\nopen from nine\n", encoding="utf-8-sig")
    (filled.folder / "q.jsonl").write_text('"refunds"\n{"query": "open"}\n{"text": "nine", "id": 3}\n')
    for name, count in (("q.txt", 2), ("q.jsonl", 3)):
        found = filled.json("recall", "kb", "--queries", name, "-k", "1", "-k", "2")
        assert (found["queries"], found["kind"], list(found["recall"])) == (count, "given", ["1", "2"])
    np.save(filled.folder / "q.npy", np.ones((4, 64)))
    assert filled.json("recall", "kb", "--queries", "q.npy", "--use-case", "offline")["queries"] == 4
    assert filled.json("recall", "kb", "--where", '{"lang": "de"}')["queries"] == 1


def test_recall_fails_where_a_target_is_missed(filled: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "rag", Target((0.9, 0.95), (0.0, 0.0)))
    assert re.search(r"^rag .* fail$", filled.run("recall", "kb", "--use-case", "rag", code=1)[0], re.MULTILINE)
    assert filled.run("recall", "kb", "--use-case", "rag", "--json", code=1)[0].startswith("{")
    assert "'chat' is not one of rag, " in filled.run("recall", "kb", "--use-case", "chat", code=2)[1]


def test_recall_refuses_files_that_hold_no_queries(filled: Shell) -> None:
    for name, content, message in (
        ("q.md", b"x", "read from .txt, .jsonl or .npy"),
        ("q.txt", b"\n \n", "contains no queries"),
        ("q.txt", b"\xff", "not UTF-8"),
        ("q.jsonl", b"{", "line 1 of q.jsonl is not JSON"),
        ("q.jsonl", b'"a"\n\n{"id": 1}', "line 3 of q.jsonl contains no query"),
        ("q.npy", b"123", "not an array"),
    ):
        (filled.folder / name).write_bytes(content)
        assert message in filled.run("recall", "kb", "--queries", name, code=2)[1]
    assert "does not exist" in filled.run("recall", "kb", "--queries", "none.txt", code=2)[1]


def test_monitor(filled: Shell) -> None:
    out, err = filled.run("monitor", "kb")
    assert out == ""
    assert "Nothing was recorded" in err
    assert filled.json("monitor", "kb") is None
    with Retriever.open(filled.folder / "kb", monitor=True) as kb:
        for _ in range(3):
            kb.search(vector=np.ones(64))
    out, err = filled.run("monitor", "kb")
    assert out.startswith("3 searches\nbaseline, still being gathered: 0 searches, similarity -\n")
    assert re.search(r"^20\d\d-\d\d-\d\d \d\d:00 +3 +0 ", out, re.MULTILINE)
    found = filled.json("monitor", "kb")
    assert (found["searches"], len(found["windows"]), found["alerts"]) == (3, 1, [])
    shutil.copy(filled.folder / "kb" / "monitor.sqlite", filled.folder / "other.sqlite")
    assert filled.json("monitor", "kb", "--file", "other.sqlite")["searches"] == 3
    (filled.folder / "other.sqlite").write_bytes(b"nonsense" * 1000)
    assert "cannot be read" in filled.run("monitor", "kb", "--file", "other.sqlite", code=1)[1]
    assert "there is no collection" in filled.run("monitor", "nothing", code=3)[1]


def test_an_empty_path_is_not_the_working_directory(filled: Shell) -> None:
    """As of a variable that is not set: `theodolite backup "$KB" -o "$TO"`."""
    home = filled.folder
    filled.folder = home / "kb"
    before = filled.json("info", ".")
    for arguments in (
        *(("info", ""), ("verify", ""), ("export", ""), ("compact", ""), ("audit", ""), ("duplicates", "")),
        *(("search", "", "q"), ("delete", "", "x"), ("reindex", "")),
        *(("index", "../new", ""), ("index", "", ".."), ("add", "", "--text", "x")),
        *(("backup", "../kb", "-o", ""), ("export", "../kb", "-o", ""), ("add", "../new", "")),
    ):
        assert "the path is empty" in filled.run(*arguments, code=2)[1]
    assert filled.json("info", ".") == before
    assert not (home / "new").exists()
