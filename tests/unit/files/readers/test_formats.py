"""Notebooks, mail, reStructuredText, JSON and YAML; suffixes, and files without one."""

import json
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.unit.reading import documents, notes, skipped, write

from theodolite.errors import ConfigError, MissingExtraError
from theodolite.files.readers import Options, find
from theodolite.files.readers.registry import FORMATS, SUFFIXES


def test_each_suffix_has_one_format() -> None:
    assert sum(len(known.suffixes) for known in FORMATS.values()) == len(SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def headings(path: Path, **options: Any) -> list[tuple[str, str]]:
    return [(each.metadata.get("heading", ""), each.text) for each in documents(path, **options)]


def notebook(*cells: Any) -> str:
    return json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "python"}}, "nbformat": 4})


def test_notebook(tmp_path: Path) -> None:
    text = notebook(
        {"cell_type": "markdown", "source": ["# Load\n", "\n", "Read the table."]},
        {"cell_type": "code", "source": "df = read()", "outputs": [{"text": "secret output"}]},
        {"cell_type": "markdown", "source": "## Plot"},
        {"cell_type": "code", "source": ["df.plot()\n", "# no heading"]},
    )
    assert headings(write(tmp_path / "a.ipynb", text)) == [
        ("Load", "# Load\n\nRead the table.\n\n```python\ndf = read()\n```"),
        ("Load > Plot", "## Plot\n\n```python\ndf.plot()\n# no heading\n```"),
    ]


def test_a_notebook_with_a_broken_cell(tmp_path: Path) -> None:
    good = {"cell_type": "markdown", "source": "Good."}
    path = write(tmp_path / "a.ipynb", notebook(good, {"cell_type": "code", "source": 5}, "cell", good, {}))
    assert _texts(path) == ["Good.\n\nGood."]
    (reason,) = set(skipped(path).values())
    assert reason.startswith("cell 5 cannot be read")
    assert "not JSON" in skipped(write(tmp_path / "b.ipynb", "{"))["b.ipynb"]
    assert "no cells" in skipped(write(tmp_path / "c.ipynb", "[1]"))["c.ipynb"]


def _texts(path: Path) -> list[str]:
    from tests.unit.reading import items

    from theodolite import Document

    return [item.text for item in items(path) if isinstance(item, Document)]


def test_an_old_notebook(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Old"},
        {"cell_type": "code", "input": "print 1"},
    ]
    text = json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3})
    assert headings(write(tmp_path / "a.ipynb", text)) == [("Old", "## Old\n\n```\nprint 1\n```")]


def mail(**parts: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Grüße aus Köln"
    message["From"] = "Ada <ada@example.org>"
    message["To"] = "Bob <bob@example.org>"
    message["Date"] = "Mon, 03 Mar 2025 10:00:00 +0000"
    if "plain" in parts:
        message.set_content(parts["plain"])
    if "html" in parts:
        (message.add_alternative if "plain" in parts else message.set_content)(parts["html"], subtype="html")
    return message


def test_mail(tmp_path: Path) -> None:
    message = mail(plain="The meeting is on Monday.", html="<p>The meeting is on <b>Monday</b>.</p>")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    path = write(tmp_path / "a.eml", message.as_bytes())
    (found,) = documents(path)
    assert found.text == "The meeting is on Monday."
    assert found.metadata["title"] == "Grüße aus Köln"
    assert found.metadata["from"] == "Ada <ada@example.org>"
    assert found.metadata["date"] == datetime(2025, 3, 3, 10, tzinfo=UTC)
    assert notes(path) == ["1 attachments are not read: plan.pdf"]
    (html,) = documents(write(tmp_path / "b.eml", mail(html="<h1>News</h1><p>We moved.</p>").as_bytes()))
    assert (html.text, html.metadata["title"]) == ("# News\n\nWe moved.", "Grüße aus Köln")
    assert "not a message" in skipped(write(tmp_path / "c.eml", "just a text\n"))["c.eml"]
    damaged = b"Subject: =?nonsense?q?x?=\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nText.\r\n"
    assert [each.text for each in documents(write(tmp_path / "d.eml", damaged))] == ["Text."]


RST = """
=====
Guide
=====

Welcome.

Install
=======

Take it::

    Not a title
    ===========

.. note::

   Inside
   ------

Linux
-----
Run pip.

Use
===
"""


def test_rst(tmp_path: Path) -> None:
    found = headings(write(tmp_path / "a.rst", RST))
    assert [heading for heading, _ in found] == ["Guide", "Guide > Install", "Guide > Install > Linux", "Guide > Use"]
    assert "Not a title\n    ===" in found[1][1]
    assert found[2][1] == "Linux\n\nRun pip."


def test_rst_tables_and_transitions_are_no_titles(tmp_path: Path) -> None:
    text = "Title\n=====\n\n====  ====\nA     B\n====  ====\n1     2\n====  ====\n\nOne\ntwo\n---\n\n----\n\nEnd.\n"
    assert [heading for heading, _ in headings(write(tmp_path / "a.rst", text))] == ["Title"]


def test_json_and_yaml_records(tmp_path: Path) -> None:
    records = [{"id": "a", "text": "First.", "lang": "en"}, {"text": "Second."}, {"lang": "de"}]
    for path in (
        write(tmp_path / "a.json", json.dumps(records[:2])),
        write(tmp_path / "a.yaml", "- {id: a, text: First., lang: en}\n- text: Second.\n"),
    ):
        first, second = documents(path)
        assert (first.id, first.text, first.metadata["lang"], first.metadata["record"]) == ("a", "First.", "en", 1)
        assert (second.id, second.text) == (f"{path.name}#2", "Second.")
    assert skipped(write(tmp_path / "b.json", json.dumps(records)))["b.json"] == "record 3 has no text in 'text'"
    reason = skipped(write(tmp_path / "c.json", json.dumps(records)), maps={"c.json": "text=txet"})["c.json"]
    assert "no record has a text in 'txet'; there are id, text, lang. Did you mean 'text'?" in reason
    assert "--as json=jsonl" in skipped(write(tmp_path / "d.json", '{"text": "x"}\n{"text": "y"}\n'))["d.json"]


def test_settings_are_split_at_their_keys(tmp_path: Path) -> None:
    long = {f"option{number}": f"value {number} of a long list" for number in range(40)}
    value = {"name": "app", "services": {"web": long, "port": 5}, "version": 2}
    found = dict(headings(write(tmp_path / "a.json", json.dumps(value)), chunk_tokens=5000))
    assert set(found) == {"", "services", "services > web"}
    assert json.loads(found["services > web"]) == long
    assert json.loads(found[""]) == {"name": "app", "version": 2}
    lines = "".join(f"    option{number}: value {number} of a long list\n" for number in range(40))
    text = f"# The app.\nname: app\nservices:\n  # How it is served.\n  web:\n{lines}  port: 5\nversion: 2\n"
    parts = headings(write(tmp_path / "a.yaml", text), chunk_tokens=5000)
    assert [heading for heading, _ in parts] == ["", "services", "services > web", "services", ""]
    assert parts[0][1] == "# The app.\nname: app"
    assert parts[2][1].startswith("web:\n    option0")
    small = "a: 1 # one\nb: &x [1]\nc: *x\n---\nd: !Ref thing\n"
    assert (
        "".join(text for _, text in headings(write(tmp_path / "b.yaml", small))) == small.replace("---\n", "---")[:-1]
    )


def test_yaml_that_is_a_template_is_text(tmp_path: Path) -> None:
    text = "{{- if .Values.enabled }}\nkind: {{ .Values.kind }}\n{{- end }}"
    assert headings(write(tmp_path / "a.yaml", text)) == [("", text)]


def test_yaml_aliases_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [text, text, text, text, text, text, text, text, text, text]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (found,) = documents(write(tmp_path / "a.yaml", "\n".join(lines)), chunk_tokens=5000)
    assert found.text == "\n".join(lines)
    listed = "- &a {text: [x, x]}\n- {text: *a}\n"
    assert documents(write(tmp_path / "b.yaml", listed))[0].text == listed.strip()


def test_files_without_a_suffix(tmp_path: Path) -> None:
    write(tmp_path / "docs/README", "Read me first.")
    write(tmp_path / "docs/tool", b"\x7fELF" + bytes(100))
    write(tmp_path / "docs/a.xyz", "unknown")
    write(tmp_path / "docs/b.xyz", "")
    assert [each.id for each in _documents(tmp_path / "docs")] == ["docs/README"]
    reasons = skipped(tmp_path / "docs")
    assert reasons == {
        "docs/tool": "binary",
        "docs/a.xyz": "unknown kind of file: .xyz; --as .xyz=text (formats=) reads it",
        "docs/b.xyz": "empty",
    }
    assert [each.id for each in _documents(tmp_path / "docs", formats={"xyz": "text"})] == ["docs/README", "docs/a.xyz"]
    with pytest.raises(ConfigError, match=r"there is no format 'txt'\. Known: code, csv"):
        list(find([tmp_path / "docs"], Options(formats={".xyz": "txt"})))


def _documents(path: Path, **options: Any) -> list[Any]:
    from tests.unit.reading import items

    from theodolite import Document

    return [item for item in items(path, **options) if isinstance(item, Document)]


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "docx", None)
    path = write(tmp_path / "a.docx", b"PK\x03\x04")
    assert skipped(path)["a.docx"] == "cannot be read without pip install 'theodolite[office]'"
    assert issubclass(MissingExtraError, Exception)


def test_a_large_file_is_refused_by_its_size(tmp_path: Path) -> None:
    """A sparse file of 2 GB takes no disk space, and is not read."""
    with (tmp_path / "a.log").open("wb") as file:
        file.truncate(2_000_000_000)
    reason = skipped(tmp_path / "a.log")["a.log"]
    assert reason == "2,000.0 MB, above the limit of 50.0 MB; --max-mb (max_bytes=) raises it"


def test_headings_in_each_passage(tmp_path: Path) -> None:
    text = "# Guide\n\n## Install\n\n" + "\n\n".join(f"Paragraph {n} has a few words more." for n in range(20))
    path = write(tmp_path / "a.md", text)
    plain = documents(path, chunk_tokens=40)
    led = documents(path, chunk_tokens=40, with_headings=True)
    assert len(plain) > 2
    assert all(each.text.startswith("Guide > Install\n\n") for each in led)
    assert all(len(each.text) <= 4 * 40 + 2 for each in led)
    long = f"# {'very ' * 100}long\n\nText here."
    for each in documents(write(tmp_path / "b.md", long), chunk_tokens=40, with_headings=True):
        above, _, text = each.text.partition("\n\n")
        assert f"{'very ' * 100}long".endswith(above)
        assert 40 < len(above) <= 80, "the beginning is left out"
        assert text
