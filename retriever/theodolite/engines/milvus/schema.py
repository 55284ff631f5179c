"""The fields of a collection's rows, and the limits of what Milvus stores.

pk        the id and the partition in hexadecimal digits: distinct for distinct documents, and ordered by id.
          It never contains anything but digits, letters a to f and a dot, so it can stand in any expression
key       a random number that stands for the document in searches
tenant    the partition in hexadecimal digits, the partition key of partitioned collections
text      the text
metadata  the metadata as our own JSON: what comes back
tokens    hashes of what filters ask for (see `conditions`)
scalars   numbers and instants as strings in their order, by the hash of their path (see `conditions`)
truncated whether the embedder did not read the text to its end
norm      the length of the vector
vector    as it was prepared
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from theodolite.engines.milvus.conditions import row_fields
from theodolite.engines.milvus.server import Row
from theodolite.engines.records import Record
from theodolite.errors import DocumentError
from theodolite.metadata import stored_metadata
from theodolite.types import Vectors
from theodolite.vectors.metrics import MetricName, get_metric

MAX_BYTES = 65_535
"""Of a text, of metadata and of a primary key, in UTF-8."""

MAX_TOKENS = 4096
"""Of one document."""

TOKEN_LENGTH = 24


def metric_type(metric: MetricName) -> str:
    """Return Milvus's name for a metric. Vectors for cosine are of unit length, so inner products are cosines."""
    return "L2" if get_metric(metric).by_distance else "IP"


def collection_schema(dimension: int, description: str) -> Any:
    """Return the schema of a collection."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("pk", DataType.VARCHAR, max_length=MAX_BYTES, is_primary=True)
    schema.add_field("key", DataType.INT64)
    schema.add_field("tenant", DataType.VARCHAR, max_length=MAX_BYTES)
    schema.add_field("text", DataType.VARCHAR, max_length=MAX_BYTES)
    schema.add_field("metadata", DataType.VARCHAR, max_length=MAX_BYTES)
    schema.add_field(
        "tokens",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_length=TOKEN_LENGTH,
        max_capacity=MAX_TOKENS,
    )
    schema.add_field("scalars", DataType.JSON)
    schema.add_field("truncated", DataType.BOOL)
    schema.add_field("norm", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    return schema


def primary_key(name: str, partition: str) -> str:
    """Return the primary key of a document. A dot sorts before all digits, so keys are ordered by id."""
    return f"{name.encode().hex()}.{partition.encode().hex()}"


def id_of(pk: str) -> str:
    """Return the id in a primary key."""
    return bytes.fromhex(pk.partition(".")[0]).decode()


def new_keys(count: int) -> list[int]:
    """Return keys for new rows. Reads refuse rows that share one, which 63 random bits make unlikely."""
    random = np.frombuffer(os.urandom(8 * count), np.int64)
    return [int(key) for key in (random & np.iinfo(np.int64).max).tolist()]


def make_rows(records: Sequence[Record], vectors: Vectors) -> list[Row]:
    """Return the rows of documents.

    Raises:
        DocumentError: a document is larger than Milvus allows; the error names the first.
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1).tolist()
    rows = []
    for record, vector, norm, key in zip(records, vectors, norms, new_keys(len(records)), strict=True):
        tokens, scalars = row_fields(record.id, stored_metadata(record.metadata))
        pk = primary_key(record.id, record.partition)
        tenant = record.partition.encode().hex()
        _check_size(record, "text", record.text)
        _check_size(record, "metadata", record.metadata)
        for what, value in (("id with its partition", pk), ("partition", tenant)):
            if len(value) > MAX_BYTES:
                raise _refusal(record, f"the {what} has {len(value) // 2:,} bytes, at most {MAX_BYTES // 2:,}")
        if len(tokens) > MAX_TOKENS:
            raise _refusal(record, f"its metadata has {len(tokens):,} values to filter by, at most {MAX_TOKENS:,}")
        size = sum(len(name) + len(value) + 6 for name, value in scalars.items())
        if size > MAX_BYTES:
            raise _refusal(record, f"the numbers in its metadata take {size:,} bytes, at most {MAX_BYTES:,}")
        rows.append(
            {
                "pk": pk,
                "key": key,
                "tenant": tenant,
                "text": record.text,
                "metadata": record.metadata,
                "tokens": tokens,
                "scalars": scalars,
                "truncated": record.truncated,
                "norm": norm,
                "vector": vector,
            }
        )
    return rows


def row_bytes(row: Row) -> int:
    """Return about how many bytes a row takes in a message."""
    texts = sum(len(row[name]) for name in ("pk", "tenant")) + 3 * len(row["text"]) + 3 * len(row["metadata"])
    scalars = sum(len(name) + len(value) + 6 for name, value in row["scalars"].items())
    return texts + len(row["tokens"]) * (TOKEN_LENGTH + 4) + scalars + len(row["vector"]) * 4 + 64


def _check_size(record: Record, what: str, value: str) -> None:
    size = len(value) if value.isascii() else len(value.encode())
    if size > MAX_BYTES:
        raise _refusal(record, f"the {what} has {size:,} bytes, and Milvus stores at most {MAX_BYTES:,}")


def _refusal(record: Record, why: str) -> DocumentError:
    return DocumentError(f"document {record.id!r} cannot be stored: {why}. Nothing was stored", ids=[record.id])
