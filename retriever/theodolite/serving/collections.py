"""The collections that a server serves: names, open retrievers, and what a request sees of them."""

import re
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from theodolite.engines.registry import scheme_of
from theodolite.errors import InputError, TheodoliteError, did_you_mean
from theodolite.forking import register_at_fork
from theodolite.retriever import Retriever
from theodolite.serving.access import Grant
from theodolite.serving.errors import HttpError, unauthorized

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_NAMED = re.compile(rf"({_NAME.pattern})=(.+)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Served:
    """A served collection.

    Attributes:
        name: as URLs name it.
        kb: the open collection.
        write: whether requests may write to it.
        rerank: a reranker that searches may ask for, or None. Requests never name one: names load models.
        problem: why texts cannot be embedded, or None.
    """

    name: str
    kb: Retriever
    write: bool = False
    rerank: Any = None
    problem: str | None = None
    _scoped: dict[int, tuple[Grant, Retriever]] = field(default_factory=dict, repr=False, compare=False)

    def seen_by(self, grant: Grant) -> Retriever:
        """Return the collection as a grant sees it: a scope, if the grant has one."""
        if grant.scope is None:
            return self.kb
        known = self._scoped.get(id(grant))
        if known is None:  # a server has few grants, and they live as long as it does
            known = self._scoped[id(grant)] = (grant, scoped(self.kb, grant))
        return known[1]


def scoped(kb: Retriever, grant: Grant) -> Retriever:
    """Return a collection within the scope of a grant. It is writable if the scope is exactly one partition."""
    scope = grant.scope or {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty scope is what a request may see
        if all(not name.startswith("$") and isinstance(value, (str, int)) for name, value in scope.items()):
            return kb.scoped(**scope)
        return kb.scoped(scope)


class Collections:
    """The served collections by name."""

    def __init__(self, served: Iterable[Served] = ()) -> None:
        self._served: dict[str, Served] = {}
        self._lock = threading.Lock()
        register_at_fork(self)
        for each in served:
            self.add(each)

    def add(self, served: Served) -> None:
        """Serve a further collection.

        Raises:
            InputError: its name is taken, or cannot stand in a URL.
        """
        if _NAME.fullmatch(served.name) is None:
            raise InputError(f"{served.name!r} cannot name a collection: use letters, digits, '_', '-' and '.'")
        with self._lock:
            if served.name in self._served:
                raise InputError(f"two collections are named {served.name!r}: name one as other=folder")
            self._served[served.name] = served

    def names(self, grant: Grant) -> list[str]:
        """Return the names that a grant sees, sorted."""
        return sorted(name for name in self._served if grant.covers(name))

    def get(self, name: str, grant: Grant) -> Served:
        """Return a collection. One that the grant does not cover does not exist for it.

        Raises:
            HttpError: there is none of this name (404).
        """
        served = self._served.get(name) if grant.covers(name) else None
        if served is None:
            hint = did_you_mean(name, self.names(grant))
            raise HttpError(404, "NotFound", f"there is no collection {name!r:.200}.{hint}".rstrip("."))
        return served

    def writable(self, name: str, grant: Grant) -> Retriever:
        """Return a collection to write to.

        Raises:
            HttpError: there is none (404), or the token or the server does not allow writes (401, 403).
        """
        served = self.get(name, grant)
        if not served.write:
            raise HttpError(403, "Forbidden", "this server is read-only: start it with --write")
        if grant.anonymous:
            raise unauthorized()
        if not grant.write:
            raise HttpError(403, "Forbidden", "this token may not write")
        return served.seen_by(grant)

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._served.values()))

    def __len__(self) -> int:
        return len(self._served)

    def close(self) -> None:
        """Close all collections."""
        for each in self:
            each.kb.close()


def name_of(location: str) -> tuple[str, str]:
    """Return the name and the location of a collection given as `name=location`, or as a location alone.

    Raises:
        InputError: a location whose last part cannot be a name.
    """
    named = _NAMED.fullmatch(location)
    if named is not None and not Path(location).exists():
        return named[1], named[2]
    path = urlsplit(location).path if scheme_of(location) != "file" else str(Path(location).resolve())
    name = Path(path).name
    if _NAME.fullmatch(name) is None:
        raise InputError(f"{location!r} gives no name for URLs; name the collection: name={location}")
    return name, location


@contextmanager
def closing_on_error(served: Sequence[Served]) -> Iterator[None]:
    """Close collections that are open already if the next one cannot be opened."""
    try:
        yield
    except (TheodoliteError, OSError, KeyboardInterrupt):
        for each in served:
            each.kb.close()
        raise
