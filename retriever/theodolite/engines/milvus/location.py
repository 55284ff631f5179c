"""The URL of a collection: milvus://user:password@host:port/collection?database=name."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from theodolite.errors import InputError, closest, short_repr

DEFAULT_PORT = 19530

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}", re.ASCII)
_PARAMETERS = ("database", "secure")


@dataclass(frozen=True, slots=True)
class MilvusLocation:
    """A collection on a server.

    Attributes:
        collection: its name: letters, digits and underscores.
        address: the URL that the client connects to.
        database: the name of the database; empty for the default one.
        shown: the URL without a password, for messages and `info()`.
        user, password: not in the repr.
    """

    collection: str
    address: str
    database: str
    shown: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> "MilvusLocation":
        """Parse a URL. Raises InputError, without the password in it."""
        try:
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            host, port = parts.hostname or "", parts.port or DEFAULT_PORT
        except ValueError:
            raise InputError("the URL of the Milvus server cannot be parsed. Write special characters as %XX") from None
        host = f"[{host}]" if ":" in host else host
        name, database = parts.path.removeprefix("/"), query.get("database", "")
        user = f"{parts.username}@" if parts.username else ""
        shown = f"milvus://{user}{host}:{port}/{name}" + (f"?database={database}" if database else "")
        unknown = [given for given in query if given not in _PARAMETERS]
        if unknown or not host:
            near = closest(unknown[0], _PARAMETERS) if unknown else None
            raise InputError(
                f"{shown} cannot be used: {'it names no host' if not host else f'unknown parameter {unknown[0]!r}'}."
                f"{f' Did you mean {near!r}?' if near else ''} Expected: milvus://user@host:port/collection",
                url=shown,
            )
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{short_repr(name)} is not the name of a Milvus collection; expected at most 200 letters, digits and "
                "underscores, not beginning with a digit: milvus://host:port/collection",
                url=shown,
            )
        scheme = "https" if query.get("secure", "").lower() in ("1", "true") else "http"
        return cls(
            name,
            f"{scheme}://{host}:{port}",
            database,
            shown,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
        )
