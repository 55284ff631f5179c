"""The command `search`: its output."""

import json
from pathlib import Path

import pytest
from tests.unit.shell import Shell


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_small_scores_are_printed(tmp_path: Path, mode: str) -> None:
    shell = Shell(tmp_path)
    records = [{"id": name, "text": f"refunds {name}"} for name in ("first", "second")]
    shell.run("add", "kb", "-", "--embedder", "words", given="\n".join(map(json.dumps, records)))
    search = ("search", "kb", "refunds", "--mode", mode)
    out, _ = shell.run(*search)
    hits = shell.json(*search)["hits"]
    assert len(hits) == 2
    for line, hit in zip(out.splitlines(), hits, strict=True):
        assert 0 < hit["score"] < 0.1  # BM25 of a word that all hold is next to nothing
        assert float(line.split("\t")[1]) == pytest.approx(hit["score"], rel=1e-3)


@pytest.mark.parametrize(
    ("command", "option", "wrong", "allowed"),
    [
        (("search", "kb", "x"), "--mode", "bm25", "dense, lexical, hybrid. Did you mean 'lexical'?"),
        (("search", "kb", "x"), "--mode", "hibrid", "dense, lexical, hybrid. Did you mean 'hybrid'?"),
        (("search", "kb", "x"), "--superseded", "hidden", "hide, show, substitute. Did you mean 'hide'?"),
        (("audit", "kb"), "--metric", "euclidean", "cosine, dot, l2. Did you mean 'l2'?"),
        (("recall", "kb"), "--use-case", "ragg", "rag, recommendation, images, fraud, offline. Did you mean 'rag'?"),
        *(
            ((*command,), "--on-drift", "ignore", "refuse, warn.")
            for command in (
                ("search", "kb", "x"),
                ("add", "kb", "docs"),
                ("index", "kb", "docs"),
                ("recall", "kb"),
                ("demo",),
            )
        ),
    ],
)
def test_a_value_that_an_option_does_not_take_is_wrong_usage(
    tmp_path: Path, command: tuple[str, ...], option: str, wrong: str, allowed: str
) -> None:
    shell = Shell(tmp_path)
    message = f"Invalid value for '{option}': '{wrong}' is not one of {allowed}"
    assert message in shell.run(*command, option, wrong, code=2)[1]
    if "--json" in shell.run(command[0], "--help")[0]:
        assert json.loads(shell.run(*command, option, wrong, "--json", code=2)[1])["message"] == message


@pytest.mark.parametrize(
    ("command", "option", "wrong", "said"),
    [
        ("search", "--freshness", "published:often", "half_life is 'often'"),
        ("search", "--freshness", "published:10d:7", "weight is 7.0"),
        ("search", "--authority", "source:wiki=3", "--authority: "),
        ("search", "--superseded", "key:by", "pass it as --superseded-by key:by"),
        ("index", "--as", ".x=foo", "the format must be one of code, csv, "),
        ("index", "--map", "foo", "--map: 'foo' is not a mapping"),
        ("index", "--overlap", "300", "overlap"),
    ],
)
def test_an_option_that_cannot_be_read_is_wrong_usage(
    tmp_path: Path, command: str, option: str, wrong: str, said: str
) -> None:
    more = ("--chunk-tokens", "20") if option == "--overlap" else ()
    err = Shell(tmp_path).run(command, "kb", "x", option, wrong, *more, code=2)[1]
    assert said in err
    assert option in err
