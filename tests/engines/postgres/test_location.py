"""URLs of collections: our parameters, those of libpq, and errors that never show a password."""

import pytest

from theodolite import InputError
from theodolite.engines.postgres.location import PostgresLocation

pytestmark = pytest.mark.engine


def test_our_parameters_are_taken_off() -> None:
    url = "postgresql://anna:s3cret@db:5433/kb?collection=hand%20book&schema=docs&sslmode=require"
    found = PostgresLocation.parse(url)
    assert (found.collection, found.schema) == ("hand book", "docs")
    assert found.parameters == {
        "user": "anna",
        "password": "s3cret",
        "host": "db",
        "port": "5433",
        "dbname": "kb",
        "sslmode": "require",
    }
    assert found.shown == "postgresql://anna@db:5433/kb?collection=hand+book&schema=docs"
    assert "s3cret" not in repr(found)


def test_sockets_and_defaults() -> None:
    found = PostgresLocation.parse("postgres:///kb?host=/run/pg&collection=c")
    assert (found.parameters["host"], found.schema) == ("/run/pg", "theodolite")
    assert found.shown == "postgresql:///kb?host=/run/pg&collection=c"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://anna:s3cret@db/kb", "names no collection"),
        ("postgresql://anna:s3cret@db/kb?collection=", "names no collection"),
        ("postgresql://anna:s3cret@db/kb?collection=" + "x" * 501, "names no collection"),
        ("postgresql://anna:s3cret@db/kb?collection=c&schema=Docs", "schema is 'Docs'"),
        ("postgresql://anna:s3cret@db/kb?collection=c&schema=a;drop", "schema is 'a;drop'"),
        ("postgresql://anna:s3cret@db/kb?collection=c&schema=pg_x", "schema is 'pg_x'"),
        ("postgresql://anna:s3cret@db/kb?colection=c", "Did you mean 'collection'?"),
        ("postgresql://anna:s3/cret@db:x/kb?collection=c", "not one that PostgreSQL accepts"),
        ("postgresql://anna:s3cret@[db/kb?collection=c", "cannot be parsed"),
        ("postgresql://anna:s3cret@db/kb?collection", "cannot be parsed"),
    ],
)
def test_what_is_refused(url: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        PostgresLocation.parse(url)
    assert said in str(raised.value)
    shown = f"{raised.value!r} {raised.value.details} {raised.value.__cause__!r} {raised.value.__context__!r}"
    assert "s3" not in shown
