"""Files of judgments and questions, and the checks of both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite import EngineError, InputError
from theodolite.evaluation.judgments import as_judgments, digest, read_judgments, write_judgments
from theodolite.evaluation.questions import as_questions, read_questions

GRADES = {"q1": {"a b.md": 2, "c": 0}, "q2": {"c": 1}}


def written(folder: Path, text: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\ta b.md\t2\nq1\tc\t0\nq2\tc\t1\n",
        "q1\ta b.md\t2\nq1\tc\t0\nq2\tc\t1",
        "\ufeffq1\t0\ta b.md\t2\r\nq1\t0\tc\t0\r\n\r\nq2\t0\tc\t1.0\r\n",
        "q1\ta b.md\t2\nq1\tc\t0\nq2 0 c 1\nq2 0 c 1\n",
    ],
    ids=["beir", "no header", "trec with tabs", "mixed, with a repeated line"],
)
def test_formats_of_judgments(tmp_path: Path, text: str) -> None:
    assert read_judgments(written(tmp_path, text)) == GRADES


def test_columns_of_trec_are_separated_by_spaces(tmp_path: Path) -> None:
    assert read_judgments(written(tmp_path, "301 0 FBIS3-1 1\n301  0  FBIS3-2   0\n")) == {
        "301": {"FBIS3-1": 1, "FBIS3-2": 0}
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        ("query-id\tcorpus-id\tscore\n", "contains no judgments"),
        (b"q1\t\xff\t1\n", "is not UTF-8"),
        ("q1 Q0 d1 1 12.5 bm25\n", "line 1 .* has six columns, as a run of TREC"),
        ("q1\n", "line 1 .* is not a judgment"),
        ("q1\td\t1\nq1\t\t1\n", "line 2 .* is not a judgment"),
        ("q1\td\t0.5\n", "the grade is '0.5'; grades are whole numbers"),
        ("q1\td\tmuch\n", "the grade is 'much'"),
        ("q1\td\tnan\n", "the grade is 'nan'"),
        (
            "q1\td\t1\nq1\td\t2\nq2\td\t1\nq2\td\t0\n",
            "2 judgments are given twice .*'q1', document 'd' has 1 and, in l",
        ),
    ],
)
def test_what_is_no_file_of_judgments(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_judgments(written(tmp_path, text))


def test_missing_files(tmp_path: Path) -> None:
    for read in (read_judgments, read_questions):
        with pytest.raises(InputError, match="does not exist or is not a file"):
            read(tmp_path / "no")


def test_written_judgments_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "qrels.tsv"
    write_judgments(path, GRADES)
    write_judgments(path, GRADES)
    assert read_judgments(path) == GRADES
    assert [each.name for each in tmp_path.iterdir()] == ["qrels.tsv"]
    with pytest.raises(InputError, match="a tab or a line break"):
        write_judgments(path, {"q": {"a\tb": 1}})
    assert read_judgments(path) == GRADES
    with pytest.raises(EngineError, match="cannot be written"):
        write_judgments(tmp_path / "missing" / "qrels.tsv", GRADES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "judgments is an int"),
        ({}, "there are no judgments"),
        ({"q": {}}, "there are no judgments"),
        ({"q": ["d"]}, "the judgments of question 'q' are a list"),
        ({"q": {"d": 0.5, "e": "x"}}, "2 grades are not a whole number up to 1,000; first: 0.5 for question 'q'"),
        ({"q": {"d": 2**40}}, "1 grade is not a whole number up to 1,000"),
        ({"q": {None: 1}}, "the id of a document is None"),
        ({"q": {"\ud800": 1}}, "lone surrogate"),
    ],
)
def test_what_are_no_judgments(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_judgments(given)


def test_grades_below_zero_are_not_relevant() -> None:
    given: Any = {"q": {"spam": -2, "d": np.int64(1), 7: True}}
    found = as_judgments(given)
    assert found.grades == {"q": {"spam": 0, "d": 1, "7": 1}}
    assert found.notes == ("1 grade is below zero (first: -2 for question 'q', document 'spam'): not relevant, as 0",)


def test_the_digest_depends_on_grades_alone() -> None:
    other_order = {"q2": {"c": 1}, "q1": {"c": 0, "a b.md": 2}}
    assert digest(GRADES) == digest(other_order)
    assert digest(GRADES) != digest({**GRADES, "q2": {"c": 2}})


@pytest.mark.parametrize(
    "text",
    [
        '{"_id": "1", "text": "how long?", "metadata": {}}\n{"_id": "2", "text": "when?"}\n',
        '{"id": 1, "query": "how long?"}\n{"id": 2, "text": "when?"}\n',
        "qid\tquery\n1\thow long?\n2\twhen?\n",
        "1\thow long?\n2\twhen?",
        "<top>\n<num> Number: 1\n<title> how\nlong?\n<desc> Description:\nx\n</top>\n"
        "<top><num>2</num><title>when?</title></top>",
    ],
    ids=["beir", "json", "header", "tab", "trec"],
)
def test_formats_of_questions(tmp_path: Path, text: str) -> None:
    assert read_questions(written(tmp_path, text)) == {"1": "how long?", "2": "when?"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (b"1\t\xe9\n", "is not UTF-8"),
        ("how long?\n", "line 1 .* is not a question"),
        ('{"id": "1", "text": "a"}\n{"id": "2"}\n', "line 2 .* is not a question"),
        ('{"id": "1", "text": "a"}\n{broken\n', "line 2 .* is not JSON"),
        ("1\ta\n1\tb\n", "two questions with the id '1'"),
        ("<top><num>1</num></top>", "a topic has no <num> or no <title>"),
    ],
)
def test_what_is_no_file_of_questions(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_questions(written(tmp_path, text))


@pytest.mark.parametrize(
    ("given", "vectors", "message"),
    [
        (["how long?"], None, "questions is a list"),
        ({}, None, "there are no questions"),
        ({"1": "a", 1: "b"}, None, "two questions have the same id"),
        ({"1": " "}, None, "question '1' is ' '"),
        ({"1": "a", "2": [0.5]}, None, "question '2' is"),
        ({"1": "a"}, np.ones((2, 3)), "1 questions and 2 vectors"),
        ({"1": "a", "2": "b"}, {"1": [0.5]}, "1 of 2 questions have no vector; first: '2'"),
        ({"1": [0.5]}, np.ones((1, 1)), "the questions are vectors already"),
    ],
)
def test_what_are_no_questions(given: Any, vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_questions(given, vectors)
