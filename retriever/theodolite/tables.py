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
    with needs_package("pandas", "to_pandas()"):
        import pandas
    return pandas.DataFrame(columns(hits))


def to_arrow(hits: Sequence["Hit"]) -> Any:
    """Return an Arrow table. A column with values of several kinds, or mappings, has them as JSON texts.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    with needs_package("pyarrow", "to_arrow()"):
        import pyarrow
    return pyarrow.table({name: arrow_array(values) for name, values in columns(hits).items()})


def arrow_array(values: Sequence[Any]) -> Any:
    """Return values as an Arrow array; those of several kinds, and mappings, as JSON texts."""
    import pyarrow

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and dict not in kinds):
        try:
            return pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError):  # lists of several kinds, integers beyond 64 bits
            pass
    texts = [None if value is None else json.dumps(as_json(value), ensure_ascii=False) for value in values]
    return pyarrow.array(texts, pyarrow.string())


@contextmanager
def needs_package(package: str, what: str) -> Iterator[None]:
    """Turn a failed import of a package into MissingExtraError, which names `what` needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        hint = f"pip install {package}"
        message = f"{what} needs {package}, which is not installed. Run: {hint}"
        raise MissingExtraError(message, package=package, hint=hint) from error
