"""The PostgreSQL engine keeps the contract of engines."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from theodolite.engines.local import LocalEngine
from theodolite.engines.postgres import PostgresEngine
from theodolite.protocols import Engine
from theodolite.settings import CollectionSettings
from theodolite.testing import EngineContract
from theodolite.types import Space

pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore::theodolite.MetadataWarning")]

SCHEMA = "theodolite_contract"


class TestPostgresEngine(EngineContract):
    index = "hnsw"

    @pytest.fixture(autouse=True)
    def collections(self, database: str) -> Iterator[None]:
        self.database = database
        self.count = 0
        self.places: dict[int, str] = {}
        yield
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")

    def location(self) -> str:
        self.count += 1
        return f"{self.database}&schema={SCHEMA}&collection=c{self.count}"

    def engine(self, space: Space) -> Engine:
        return self._opened(self.location(), CollectionSettings(space.metric, space.norms))

    def partitioned(self, space: Space, field: str) -> Engine:
        return self._opened(self.location(), CollectionSettings(space.metric, partition=field))

    def reopened(self, engine: Engine) -> Engine:
        engine.close()
        return self._opened(self.places[id(engine)], CollectionSettings())

    def backed_up(self, folder: Path) -> Engine:
        return LocalEngine.open(folder)

    def damaged(self, engine: Engine) -> Engine:
        engine.close()
        location = self.places[id(engine)]
        with psycopg.connect(self.database, autocommit=True) as connection:
            name = location.rpartition("=")[2]
            connection.execute("SELECT set_config('search_path', %s, false)", (f"{SCHEMA}, public",))
            (number,) = connection.execute("SELECT number FROM collections WHERE name = %s", (name,)).fetchall()[0]
            table = sql.Identifier(f"documents_{number}")
            change = "UPDATE {0} SET embedding = embedding * embedding WHERE key = (SELECT min(key) FROM {0})"
            connection.execute(sql.SQL(change).format(table))
        return self._opened(location, CollectionSettings())

    def _opened(self, location: str, settings: CollectionSettings) -> Engine:
        engine = PostgresEngine.open(location, settings)
        self.places[id(engine)] = location
        return engine
