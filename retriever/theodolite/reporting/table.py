"""The map as an Arrow table and a Parquet file, for Embedding Atlas and other tools."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from theodolite.errors import EngineError
from theodolite.overview.overview import Overview
from theodolite.tables import arrow_array, needs_package


def to_arrow(overview: Overview) -> Any:
    """Return an Arrow table with a row for each document of the map.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    with needs_package("pyarrow", "to_arrow()"):
        import pyarrow
    documents, found = overview.documents, overview.map
    names = [""] * len(documents)
    for group in overview.groups():
        for row in group.rows.tolist():
            names[row] = group.name
    arrays = {
        "id": pyarrow.array([document.id for document in documents], pyarrow.string()),
        "text": pyarrow.array([document.text for document in documents], pyarrow.string()),
        "x": pyarrow.array(found.x.astype("float32")),
        "y": pyarrow.array(found.y.astype("float32")),
        "cluster": pyarrow.array(found.clusters),
        "group": pyarrow.array(names, pyarrow.string()),
    }
    for field in dict.fromkeys(name for document in documents for name in document.metadata):
        arrays[f"metadata.{field}"] = arrow_array([document.metadata.get(field) for document in documents])
    return pyarrow.table(arrays)


def write_parquet(overview: Overview, path: Path) -> None:
    """Write the table as a Parquet file that others see whole or not at all.

    Raises:
        MissingExtraError: pyarrow is not installed.
        EngineError: it cannot be written.
    """
    table = to_arrow(overview)
    import pyarrow.parquet

    aside = path.with_name(f".{path.name}.part")
    try:
        pyarrow.parquet.write_table(table, aside, compression="zstd")
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise EngineError(f"{path} cannot be written: {error.strerror or error}", path=str(path)) from error
