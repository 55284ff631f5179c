"""Calls to a Milvus server: timeouts, consistency, and errors in our own words."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from theodolite.engines import refusals
from theodolite.engines.milvus.location import MilvusLocation
from theodolite.errors import EngineError

Consistency = Literal["Strong", "Session", "Bounded", "Eventually"]
Row = dict[str, Any]

_ATTEMPTS = 6
_REPLACED = "incomplete query result"

MAX_LISTED = 16_384
"""Maximum number of rows in one search or page."""


class MilvusServer:
    """A connection to a Milvus server. Thread-safe, as the client is.

    Attributes:
        shown: the URL, without a password.
        consistency: the consistency of reads. With "Session", a process sees its own writes, and other processes see
            them within a fraction of a second. "Strong" sees all writes, and waits about 0.2 seconds for each read.
    """

    def __init__(self, location: MilvusLocation, timeout: float, consistency: Consistency) -> None:
        self.shown = location.shown
        self.consistency: Consistency = consistency
        self._timeout = timeout
        self._closed = False
        with self._errors("connect"):
            self._client = MilvusClient(
                location.address,
                user=location.user,
                password=location.password,
                db_name=location.database,
                timeout=timeout,
            )

    def has(self, collection: str) -> bool:
        with self._errors("look for the collection"):
            return bool(self._client.has_collection(collection, timeout=self._timeout))

    def description(self, collection: str) -> str:
        with self._errors("describe the collection"):
            return str(self._client.describe_collection(collection, timeout=self._timeout)["description"])

    def create(self, collection: str, schema: Any, index: Mapping[str, Any], **options: Any) -> None:
        """Create a collection, index its vectors and load it."""
        with self._errors("create the collection"):
            self._client.create_collection(
                collection,
                schema=schema,
                index_params=_index_params(index),
                consistency_level="Session",
                timeout=self._timeout,
                **options,
            )

    def load(self, collection: str) -> None:
        with self._errors("load the collection"):
            self._client.load_collection(collection, timeout=self._timeout)

    def index(self, collection: str) -> Mapping[str, Any]:
        """Return the settings of the index on the vectors."""
        with self._errors("describe the index"):
            found: Mapping[str, Any] = self._client.describe_index(collection, "vector", timeout=self._timeout)
            return found

    def replace_index(self, collection: str, index: Mapping[str, Any], timeout: float) -> None:
        """Build another index on the vectors. Searches fail until it is loaded."""
        with self._errors("build the index"):
            self._client.release_collection(collection, timeout=self._timeout)
            self._client.drop_index(collection, "vector", timeout=self._timeout)
            self._client.create_index(collection, _index_params(index), timeout=timeout)
            self._client.load_collection(collection, timeout=timeout)

    def upsert(self, collection: str, rows: Sequence[Row]) -> None:
        with self._errors("write"):
            self._client.upsert(collection, list(rows), timeout=self._timeout)

    def delete(self, collection: str, expression: str) -> None:
        with self._errors("delete"):
            self._client.delete(collection, filter=expression, timeout=self._timeout)

    def count(self, collection: str, expression: str, consistency: Consistency | None = None) -> int:
        (row,) = self.query(collection, expression, ["count(*)"], consistency=consistency)
        return int(row["count(*)"])

    def query(
        self,
        collection: str,
        expression: str,
        fields: Sequence[str],
        *,
        limit: int | None = None,
        consistency: Consistency | None = None,
    ) -> list[Row]:
        """Return rows that pass an expression. With a limit, they are those with the lowest primary keys, in order."""
        options = {} if limit is None else {"limit": limit}
        with self._errors("read"):
            found = self._client.query(
                collection,
                filter=expression,
                output_fields=list(fields),
                timeout=self._timeout,
                consistency_level=consistency or self.consistency,
                **options,
            )
            return [dict(row) for row in found]

    def search(
        self,
        collection: str,
        queries: Sequence[Any],
        n: int,
        expression: str,
        fields: Sequence[str],
        parameters: Mapping[str, Any],
    ) -> list[list[Row]]:
        """Return the rows nearest to each query, with `distance` beside the fields.

        The server finds the rows first and reads their fields then. It fails if rows were replaced in between, so a
        search that fails for this reason is repeated.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with self._errors("search"):
                    found = self._client.search(
                        collection,
                        data=list(queries),
                        limit=n,
                        filter=expression,
                        output_fields=list(fields),
                        anns_field="vector",
                        search_params=dict(parameters),
                        timeout=self._timeout,
                        consistency_level=self.consistency,
                    )
                    return [[{**hit["entity"], "distance": hit["distance"]} for hit in hits] for hits in found]
            except EngineError as error:
                if _REPLACED not in error.message or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._client.close()

    def check_open(self) -> None:
        if self._closed:
            raise refusals.closed()

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        self.check_open()
        try:
            yield
        except MilvusException as error:
            raise EngineError(f"{self.shown}: cannot {action}: {error.message}") from error
        except ValueError as error:  # the client raises it after it was closed by another thread
            raise EngineError(f"{self.shown}: cannot {action}: {error}") from error


def _index_params(index: Mapping[str, Any]) -> Any:
    params = MilvusClient.prepare_index_params()
    params.add_index("vector", index_name="vector", **index)
    return params
