"""The reader for Jupyter notebooks: text and code, without outputs."""

import json
import re
from collections.abc import Iterator
from typing import Any

from theodolite.errors import DocumentError
from theodolite.files.readers.markup import Outline
from theodolite.files.readers.options import Options
from theodolite.files.readers.results import File, Skipped, Unit
from theodolite.files.readers.text import whole_text


def read_notebook(file: File, options: Options) -> Iterator[Unit | Skipped]:
    """Yield a section for each heading of the Markdown cells. Code cells belong to the section above them.

    Plain JSON is used instead of nbformat, which refuses a whole notebook for one cell that is not valid.
    """
    try:
        book = json.loads(whole_text(file.path))
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not JSON: {error}") from error
    outline, broken = Outline(), []
    language = _language(book)
    for number, cell in enumerate(_cells(book), start=1):
        try:
            kind, text = _cell(cell)
        except (KeyError, TypeError):
            broken.append(
                Skipped(file.source, f"cell {number} cannot be read: it has no source text; the rest is read")
            )
            continue
        if kind == "markdown":
            outline.markdown(text)
        elif kind == "code" and text.strip():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            outline.text(f"{fence}{language}\n{text}\n{fence}\n\n")
        elif text.strip():
            outline.text(f"{text}\n\n")
    yield from outline.units(markdown=True)
    yield from broken


def _cells(book: Any) -> list[Any]:
    """Return the cells of a notebook of any version. Raises DocumentError."""
    if isinstance(book, dict):
        if isinstance(cells := book.get("cells"), list):
            return cells
        if isinstance(sheets := book.get("worksheets"), list):  # before version 4
            return [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or ()]
    raise DocumentError("not a notebook: it has no cells")


def _cell(cell: Any) -> tuple[str, str]:
    """Return the kind and text of a cell. Raises KeyError or TypeError if it has none."""
    kind = cell["cell_type"]
    source = cell["input"] if kind == "code" and "source" not in cell else cell["source"]
    if not isinstance(source, str):
        source = "".join(source)
    if kind == "heading":  # before version 4
        return "markdown", f"{'#' * int(cell.get('level', 1))} {source}"
    return kind, source


def _language(book: dict[str, Any]) -> str:
    try:
        return str(book["metadata"]["kernelspec"]["language"])
    except (KeyError, TypeError):
        return ""
