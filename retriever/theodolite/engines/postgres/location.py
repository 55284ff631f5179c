"""The URL of a collection: postgresql://user@host/database?collection=handbook&schema=theodolite."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from theodolite.errors import FilterError, InputError, closest, short_repr
from theodolite.filters.parse import check_field

DEFAULT_SCHEMA = "theodolite"

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_LONGEST_NAME = 500
_OURS = ("collection", "schema", "indexed", "tables")
_MAX_TABLES = 256


@dataclass(frozen=True, slots=True)
class PostgresLocation:
    """A collection in a database.

    Attributes:
        collection: its name.
        schema: the schema of its tables: lower-case letters, digits and underscores.
        indexed: the fields that have indexes for ranges; None leaves the indexes as they are.
        tables: how many tables the documents are spread over, by partition; None for one, or as it is.
        parameters: what libpq needs to connect, the password included. Not in the repr.
        shown: the URL without a password, for messages and `info()`.
    """

    collection: str
    schema: str
    shown: str
    indexed: tuple[str, ...] | None
    tables: int | None
    parameters: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "PostgresLocation":
        """Parse a URL. Raises InputError, without the password in it."""
        query = _query(url)
        if query is None:
            raise InputError("the URL of the database cannot be parsed. Write special characters as %XX")
        ours = {name: value for name, value in query if name in _OURS}
        rest = [(name, value) for name, value in query if name not in _OURS]
        collection, schema = ours.get("collection", ""), ours.get("schema", DEFAULT_SCHEMA)
        parameters = _parameters(url, rest)
        if parameters is None:
            known = [*_OURS, "host", "port", "user", "password", "dbname", "sslmode", "connect_timeout"]
            near = [found for name, _ in rest if name not in known and (found := closest(name, known))]
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(
                "the URL of the database is not one that PostgreSQL accepts: a parameter is unknown, or a part is not "
                f"written as %XX.{hint} Expected: postgresql://user@host/database?collection=name"
            )
        shown = _shown(parameters, collection, schema)
        if not collection or len(collection) > _LONGEST_NAME or "\0" in collection or not _is_text(collection):
            raise InputError(
                f"{shown} names no collection. Add ?collection=name to the URL; a name has 1 to {_LONGEST_NAME} "
                "characters",
                url=shown,
            )
        if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
            raise InputError(
                f"schema is {short_repr(schema)}; expected at most 48 lower-case letters, digits and underscores, not "
                "beginning with a digit or pg_",
                url=shown,
            )
        return cls(collection, schema, shown, _indexed(query, shown), _tables(ours.get("tables"), shown), parameters)


# Errors of these functions quote the URL, and with it the password: nothing of them may become part of ours.


def _query(url: str) -> list[tuple[str, str]] | None:
    """Return the parameters of a URL; None if it cannot be parsed."""
    try:
        query = urlsplit(url).query
        return parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        return None


def _parameters(url: str, query: list[tuple[str, str]]) -> dict[str, Any] | None:
    """Return what libpq reads from a URL with these parameters; None if it refuses it."""
    parts = urlsplit(url)
    try:
        parameters = conninfo_to_dict(f"postgresql://{parts.netloc}{parts.path}?{urlencode(query)}")
    except psycopg.Error:
        return None
    # A password with a slash would be read as host and port, and shown.
    port = str(parameters.get("port", "")).replace(",", "")
    return parameters if not port or port.isdecimal() else None


def _indexed(query: list[tuple[str, str]], shown: str) -> tuple[str, ...] | None:
    """Return the fields to index. Raises InputError if no document can have one of them."""
    given = [value for name, value in query if name == "indexed"]
    fields = tuple(dict.fromkeys(filter(None, given)))  # an empty one says that there are none
    for name in fields:
        try:
            check_field(name)
        except FilterError as error:
            raise InputError(
                f"indexed={short_repr(name)} in the URL is not possible: {error.message}", url=shown
            ) from None
    return fields if given else None


def _tables(text: str | None, shown: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 2 <= int(text) <= _MAX_TABLES):
        raise InputError(f"tables={short_repr(text)} in the URL: expected a number from 2 to {_MAX_TABLES}", url=shown)
    return int(text)


def _shown(parameters: Mapping[str, Any], collection: str, schema: str) -> str:
    user = f"{parameters['user']}@" if parameters.get("user") else ""
    host = str(parameters.get("host", ""))
    place, query = ("", {"host": host}) if host.startswith("/") else (host, {})
    if parameters.get("port"):
        place += f":{parameters['port']}"
    query["collection"] = collection
    if schema != DEFAULT_SCHEMA:
        query["schema"] = schema
    return f"postgresql://{user}{place}/{parameters.get('dbname', '')}?{urlencode(query, safe='/')}"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
