"""Who may do what: tokens, and the collections, the scope and the writes that each allows."""

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from theodolite.errors import InputError, did_you_mean
from theodolite.filters import parse

SHORTEST = 16
"""Minimum characters of a token: shorter ones can be guessed."""

_KEYS = ("token", "collections", "scope", "write")


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a request.

    Attributes:
        collections: the names of the collections it sees; None for all.
        scope: a filter that limits each of them, as JSON values; None for everything.
        write: whether it may write.
        anonymous: whether it is that of requests without a valid token.
    """

    collections: frozenset[str] | None = None
    scope: Mapping[str, Any] | None = None
    write: bool = False
    anonymous: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it sees everything that is served."""
        return self.collections is None and self.scope is None

    def covers(self, name: str) -> bool:
        """Return whether it sees the collection of this name."""
        return self.collections is None or name in self.collections


class Access:
    """The tokens of a server. It keeps their digests, never the tokens."""

    def __init__(self, tokens: Mapping[str, Grant] | None = None, *, anonymous: Grant | None = None) -> None:
        """
        Args:
            tokens: the grant of each token.
            anonymous: the grant of requests without a valid token; None refuses them.
        """
        self._grants = {_digest(token): grant for token, grant in (tokens or {}).items()}
        self.anonymous = anonymous

    def grant(self, authorization: str | None) -> Grant | None:
        """Return the grant of an `Authorization` header; None if the request needs a token and has no valid one."""
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return self.anonymous
        given = _digest(token.strip())
        found = None
        for digest, grant in self._grants.items():  # all of them: the time says nothing about the digest
            if hmac.compare_digest(digest, given):
                found = grant
        return found or self.anonymous


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(32)


def read_tokens(path: str | os.PathLike[str], names: Iterable[str]) -> dict[str, Grant]:
    """Read a token file: a JSON list of objects with `token`, and optionally `collections`, `scope` and `write`.

    Args:
        names: the collections that are served.

    Raises:
        InputError: it cannot be read, or an entry is invalid. The message never shows a token.
    """
    served = sorted(names)
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the token file cannot be read: {error}") from error
    except ValueError as error:
        raise InputError(f"the token file {path} is not JSON in UTF-8") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f'the token file {path} is not a JSON list of objects, such as [{{"token": "..."}}]')
    grants: dict[str, Grant] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"entry {number} of the token file {path}"
        token, grant = _entry(entry, where, served)
        if token in grants:
            raise InputError(f"{where} has the token of an earlier entry")
        grants[token] = grant
    return grants


def _entry(entry: Any, where: str, served: list[str]) -> tuple[str, Grant]:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is not an object with the key 'token'")
    for key in entry:
        if key not in _KEYS:
            raise InputError(f"{where} has the unknown key {key!r:.40}.{did_you_mean(key, _KEYS)}")
    token, names = entry.get("token"), entry.get("collections")
    scope, write = entry.get("scope"), entry.get("write", False)
    if not isinstance(token, str) or len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise InputError(f"{where}: the token must have at least {SHORTEST} ASCII characters")
    if " " in token:
        raise InputError(f"{where}: the token has a space")
    if names is not None and (not isinstance(names, list) or not all(isinstance(each, str) for each in names)):
        raise InputError(f"{where}: collections is not a list of names")
    for name in names or ():
        if name not in served:
            raise InputError(f"{where}: no collection {name!r} is served.{did_you_mean(name, served)}")
    if not isinstance(write, bool):
        raise InputError(f"{where}: write is not true or false")
    if scope is not None and (not isinstance(scope, dict) or parse(scope) is None):
        raise InputError(f"{where}: scope is not a filter, such as {{'tenant': 'acme'}}")
    return token, Grant(None if names is None else frozenset(names), scope, write)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
