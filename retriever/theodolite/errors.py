"""Every error theodolite raises on purpose.

    TheodoliteError
      InputError (ValueError)           the caller passed something that does not fit
        VectorError                       shape, dtype, NaN, zero length, norm
        FilterError                       unknown operator, value of a wrong type
        DocumentError                     id, text or metadata that cannot be stored
      ConfigError                       parts that do not fit together
        MissingExtraError (ImportError)   an optional package is not installed
        MetricMismatchError               the data is pinned to another metric
        UnsupportedError                  this engine or index cannot do it
      IntegrityError                    what is stored is not what it claims to be
        ManifestError                     not a collection, or not one this version reads
        EmbedderDriftError                the embedder no longer gives the vectors it gave
        CorruptionError                   damaged or missing data
      EngineError                       a store or server failed; its own error is __cause__
        LockedError                       another writer holds the lock
      RerankError                       a reranker failed, or was too slow; its own error is __cause__

A message says what, how many, the first place, and what to do. The same values are attributes: whatever
keywords an error was raised with can be read back from it.
"""

import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What reading values ends in that have not the shape they were stored in: JSON from a damaged or foreign folder."""

_LONGEST_NAME = 64  # comparing takes time with the square of the length
_HERE = str(Path(__file__).parent)


class TheodoliteError(Exception):
    """The root of the tree: `except TheodoliteError` catches all of them.

    Attributes:
        details: the values the message speaks of, also readable as attributes of the error.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details
        if isinstance(self, ImportError):
            # ImportError has attributes of these names, which would hide the values.
            for name in details.keys() & {"name", "path", "msg"}:
                setattr(self, name, details[name])

    def __getattr__(self, name: str) -> Any:
        # Only called when normal lookup fails. `details` may be missing while unpickling.
        try:
            return self.__dict__["details"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}") from None


class TruncationWarning(UserWarning):
    """Texts are longer than what the embedder reads: the rest of them cannot be found."""


class DriftWarning(UserWarning):
    """The embedder, or the queries, are not what they were, and `on_drift="warn"` lets them pass.

    Or vectors of the same text differ from batch to batch.
    """


class MetadataWarning(UserWarning):
    """A filter cannot match, or strings that look like dates are none: answers may lack what was meant."""


class InputError(TheodoliteError, ValueError):
    """The caller passed something that does not fit."""


class VectorError(InputError):
    """Vectors of a wrong shape, dtype, dimension, norm, or with values that are not finite."""


class FilterError(InputError):
    """A filter that cannot be understood."""


class DocumentError(InputError):
    """A document whose id, text or metadata cannot be stored."""


class ConfigError(TheodoliteError):
    """Parts that do not fit together: settings, embedders, calls that need what is absent."""


class MissingExtraError(ConfigError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class MetricMismatchError(ConfigError):
    """The collection is pinned to another metric than the one asked for."""


class UnsupportedError(ConfigError):
    """This engine or index cannot do what was asked."""


class IntegrityError(TheodoliteError):
    """What is stored is not what it claims to be."""


class ManifestError(IntegrityError):
    """Not a theodolite collection, half of one, or one written by a newer version."""


class EmbedderDriftError(IntegrityError):
    """The embedder no longer gives the vectors the collection was built with, or it never gives the same ones."""


class CorruptionError(IntegrityError):
    """Stored data is damaged or missing."""


class EngineError(TheodoliteError):
    """A store or server failed; the driver's own error is `__cause__`."""


class LockedError(EngineError):
    """Another writer holds the write lock."""


class RerankError(TheodoliteError):
    """A reranker failed, was too slow, or did not give one score for each text; its own error is `__cause__`."""


def did_you_mean(name: object, known: Iterable[str] | None, cutoff: float = 0.6) -> str:
    """Return " Did you mean 'x'?" for the known name that is most like this one, or "" if none is."""
    close = closest(name, known or (), cutoff)
    return "" if close is None else f" Did you mean {close!r}?"


def closest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like this one, ignoring case; None if none is."""
    from difflib import get_close_matches  # only messages need it

    if not isinstance(name, str) or len(name) > _LONGEST_NAME:
        return None
    folded = {one.casefold(): one for one in known if len(one) <= _LONGEST_NAME}
    close = get_close_matches(name.casefold(), folded, 1, cutoff)
    return folded[close[0]] if close else None


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn whoever called the library, however deep in it we are."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def short_repr(value: object) -> str:
    """The repr of a value for a message: short, however large or deep the value is."""
    import reprlib  # only messages need it

    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = 60
    try:
        return brief.repr(value)
    except ValueError:  # an int of thousands of digits
        return f"a large {type(value).__name__}"
