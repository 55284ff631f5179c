"""Hits as a table of pandas or Arrow, where these are installed."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from theodolite.errors import MissingExtraError
from theodolite.metadata import as_json

if TYPE_CHECKING:
    from theodolite.types import Hit


def columns(hits: Sequence["Hit"]) -> dict[str, list[Any]]:
    """Return columns by name: `rank`, `score`, `id`, `text`, `scores.<part>` and `metadata.<field>`.

    A hit without a part or a field has None there.
    """
    table: dict[str, list[Any]] = {
        "rank": [hit.rank for hit in hits],
        "score": [hit.score for hit in hits],
        "id": [hit.document.id for hit in hits],
        "text": [hit.document.text for hit in hits],
    }
    for part in dict.fromkeys(name for hit in hits for name in hit.scores):
        table[f"scores.{part}"] = [hit.scores.get(part) for hit in hits]
    for field in dict.fromkeys(name for hit in hits for name in hit.document.metadata):
        table[f"metadata.{field}"] = [hit.document.metadata.get(field) for hit in hits]
    return table


def to_pandas(hits: Sequence["Hit"]) -> Any:
    """Return a DataFrame. Raises MissingExtraError if pandas is not installed."""
    with _needed("pandas", "to_pandas()"):
        import pandas
    return pandas.DataFrame(columns(hits))


def to_arrow(hits: Sequence["Hit"]) -> Any:
    """Return an Arrow table. A column with values of several kinds, or mappings, has them as JSON texts.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    with _needed("pyarrow", "to_arrow()"):
        import pyarrow
    arrays = {}
    for name, values in columns(hits).items():
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float} or (len(kinds) == 1 and dict not in kinds):
            try:
                arrays[name] = pyarrow.array(values)
                continue
            except (pyarrow.ArrowException, OverflowError):  # lists of several kinds, integers beyond 64 bits
                pass
        texts = [None if value is None else json.dumps(as_json(value), ensure_ascii=False) for value in values]
        arrays[name] = pyarrow.array(texts, pyarrow.string())
    return pyarrow.table(arrays)


@contextmanager
def _needed(package: str, what: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        hint = f"pip install {package}"
        message = f"{what} needs {package}, which is not installed. Run: {hint}"
        raise MissingExtraError(message, package=package, hint=hint) from error
