"""All errors that theodolite raises on purpose.

    TheodoliteError
      InputError (ValueError)           an argument is invalid
        VectorError                       shape, dtype, NaN, zero length, norm
        FilterError                       unknown operator, or value of a wrong type
        DocumentError                     id, text or metadata that cannot be stored
      ConfigError                       settings or parts that do not fit together
        MissingExtraError (ImportError)   an optional package is not installed
        MetricMismatchError               the collection is pinned to a different metric
        UnsupportedError                  this engine or index does not support the call
      IntegrityError                    stored data does not match its description
        ManifestError                     not a collection, or a format this version cannot read
          CollectionNotFoundError           there is no collection at this location
        EmbedderDriftError                the embedder no longer produces the same vectors
        CorruptionError                   damaged or missing data
      EngineError                       a store or server failed; its own error is __cause__
        LockedError                       another writer holds the lock
      RerankError                       a reranker failed, or was too slow; its own error is __cause__

A message says what is wrong, how many and which first, and what to do. The same values are available as attributes:
every keyword an error was raised with can be read from it.
"""

import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Errors from reading values of an unexpected shape, such as JSON from a damaged or untrusted folder."""

_LONGEST_NAME = 64  # the cost of a comparison grows with the square of the length
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class Override:
    """An embedder option that allows what was refused, or turns a warning off.

    As text it is advice for Python programs. The command line has flags instead, and words the advice itself.
    """

    option: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"Pass EmbedderOptions({self.option}={self.value!r}) to {self.effect}"


class TheodoliteError(Exception):
    """The base class of all errors: `except TheodoliteError` catches every one.

    Attributes:
        message: the text without the advice that `override` adds.
        override: an option that allows what was refused, if there is one.
        details: the values in the message, also available as attributes of the error.
    """

    def __init__(self, message: str, *, override: Override | None = None, **details: Any) -> None:
        super().__init__(message if override is None else f"{message} {override}")
        self.message = message
        self.override = override
        self.details = details
        if isinstance(self, ImportError):
            # ImportError has its own attributes with these names, which would hide the values.
            for name in details.keys() & {"name", "path", "msg"}:
                setattr(self, name, details[name])

    def __getattr__(self, name: str) -> Any:
        # Only called when normal lookup fails. `details` may be missing while unpickling.
        try:
            return self.__dict__["details"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}") from None


class TheodoliteWarning(UserWarning):
    """The base class of all warnings.

    Attributes:
        message: the text without the advice that `override` adds.
    """

    def __init__(self, message: str, override: Override | None = None) -> None:
        super().__init__(message if override is None else f"{message} {override}")
        self.message = message


class TruncationWarning(TheodoliteWarning):
    """Texts are longer than the embedder's limit; the truncated part cannot be found."""


class DriftWarning(TheodoliteWarning):
    """The embedder or the queries have changed, and `on_drift="warn"` allows it.

    Also issued if the vectors of one text differ from batch to batch.
    """


class MetadataWarning(TheodoliteWarning):
    """A filter cannot match, or strings look like dates but are not: answers may lack expected documents."""


class IndexWarning(TheodoliteWarning):
    """An approximate index is not used, so searches are exact and slower."""


class CollectionNotFoundWarning(TheodoliteWarning):
    """A collection is read that does not exist, so nothing is found. `create=False` makes this an error."""


class UnfinishedCopyWarning(TheodoliteWarning):
    """A collection is the unfinished copy of another one, so documents are missing."""


class JudgmentWarning(TheodoliteWarning):
    """Judgments name documents that are not in the collection, or questions that are not asked."""


class InputError(TheodoliteError, ValueError):
    """An argument is invalid."""


class VectorError(InputError):
    """Vectors have a wrong shape, dtype, dimension or norm, or values that are not finite."""


class FilterError(InputError):
    """A filter is invalid."""


class DocumentError(InputError):
    """A document has an id, text or metadata that cannot be stored."""


class ConfigError(TheodoliteError):
    """Settings or parts do not fit together, or a call needs a part that is missing, such as an embedder."""


class MissingExtraError(ConfigError, ImportError):
    """An optional package is not installed; the message names the extra to install."""


class MetricMismatchError(ConfigError):
    """The collection is pinned to a different metric than the requested one."""


class UnsupportedError(ConfigError):
    """This engine or index does not support the call."""


class IntegrityError(TheodoliteError):
    """Stored data does not match its description."""


class ManifestError(IntegrityError):
    """The data is not a theodolite collection, is incomplete, or was written by a newer version."""


class CollectionNotFoundError(ManifestError):
    """There is no collection at this location; nothing else is there either, so one can be created."""


class EmbedderDriftError(IntegrityError):
    """The embedder no longer produces the vectors the collection was built with, or is not deterministic."""


class CorruptionError(IntegrityError):
    """Stored data is damaged or missing."""


class EngineError(TheodoliteError):
    """A store or server failed; the driver's own error is `__cause__`."""


class LockedError(EngineError):
    """Another writer holds the write lock."""


class RerankError(TheodoliteError):
    """A reranker failed, was too slow, or did not give one score for each text; its own error is `__cause__`."""


def did_you_mean(name: object, known: Iterable[str] | None, cutoff: float = 0.6) -> str:
    """Return " Did you mean 'x'?" for the most similar known name, or "" if none is similar enough."""
    close = closest(name, known or (), cutoff)
    return "" if close is None else f" Did you mean {close!r}?"


def closest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the most similar known name, ignoring case; None if none is similar enough."""
    from difflib import get_close_matches  # imported here because only messages need it

    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return None
    folded = {one.casefold(): one for one in known if len(one) <= _LONGEST_NAME}
    close = get_close_matches(name.casefold(), folded, 1, cutoff)
    return folded[close[0]] if close else None


def warn_caller(message: str, category: type[TheodoliteWarning], override: Override | None = None) -> None:
    """Issue a warning that points to the first caller outside the library."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(category(message, override), stacklevel=level)


def type_of(value: Any) -> str:
    """Return the type of a value with its article, such as "an int"; "None" for None."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def short_repr(value: object) -> str:
    """Return a short repr of a value for a message, even if the value is large or deeply nested."""
    import reprlib  # imported here because only messages need it

    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = 60
    try:
        return brief.repr(value)
    except ValueError:  # an int with thousands of digits
        return f"a large {type(value).__name__}"
