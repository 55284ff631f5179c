"""EmbedderOptions: an embedder, and how a collection uses it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from os import PathLike
from typing import Any, Final, Literal, Protocol, get_args

from theodolite.embedders.functions import Encode
from theodolite.errors import ConfigError
from theodolite.protocols import Embedder

OnTruncate = Literal["warn", "error", "ignore"]
OnDrift = Literal["refuse", "warn"]
When = Literal["open", "first_use", "off"]


class Encodes(Protocol):
    """An embedder without `dimension`, such as a loaded SentenceTransformer."""

    def encode_query(self, texts: Any, /) -> Any: ...

    def encode_document(self, texts: Any, /) -> Any: ...


EmbedderLike = Embedder | Encodes | Encode | tuple[Encode, Encode] | str | PathLike[str]
"""An embedder, a function or a pair of functions from texts to vectors, or a model's name or folder."""


class Recorded(Enum):
    """The type of `RECORDED`."""

    RECORDED = "RECORDED"

    def __repr__(self) -> str:
        return self.value


RECORDED: Final = Recorded.RECORDED
"""The embedder that the collection records: the default of `embedder=`. It is made when a text first needs it."""


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """An embedder with options: `Retriever.open(embedder=EmbedderOptions("all-MiniLM-L6-v2", on_truncate="error"))`.

    Attributes:
        embedder: a model's name or folder, an object that fits `protocols.Embedder`, a function from texts to vectors,
            a pair of functions (for queries, for documents), or None if the caller brings vectors. Default: the
            embedder that the collection records.
        on_truncate: what to do about texts longer than the embedder's limit: `warn`, `error` or `ignore`. `info()`
            counts such documents, and the `trace` of a search says how many tokens of the query were cut off.
        query_cache: how many queries' vectors to cache; 0 turns the cache off.
        on_drift: what to do if the embedder no longer produces the vectors the collection was built with: `refuse` or
            `warn`. It also applies to query vectors of unusual norms in a dot product collection.
        canary: when to compare the embedder with the collection: on `open`; on `first_use`, for slow or paid embedders;
            or `off`. A recorded embedder is compared on its first use.
        canary_noise: whether to measure, when the first documents are added, how much the vectors of one text vary.
            That takes three further calls for queries and three for documents. False saves the calls and assumes that
            the vectors hardly vary. An embedder whose noise would change results is refused.
        expect: known answers, each (query, document id, lowest similarity, highest similarity). They are stored with
            the collection and checked whenever the embedder is compared. None keeps the stored ones.

    Raises:
        ConfigError: an option that does not exist, or would do nothing.
    """

    embedder: EmbedderLike | Recorded | None = RECORDED
    on_truncate: OnTruncate = "warn"
    query_cache: int = 1024
    on_drift: OnDrift = "refuse"
    canary: When = "open"
    canary_noise: bool = True
    expect: Iterable[Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.embedder, EmbedderOptions):
            raise ConfigError("the embedder of EmbedderOptions is EmbedderOptions; pass the embedder itself")
        for name, known in (("on_truncate", OnTruncate), ("on_drift", OnDrift), ("canary", When)):
            given, choices = getattr(self, name), get_args(known)
            if given not in choices:
                listed = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
                raise ConfigError(f"{name} is {given!r}; expected {listed}")
        size = self.query_cache
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ConfigError(f"query_cache is {size!r}; expected a whole number: 0 (off) or more", size=size)
        if not isinstance(self.canary_noise, bool):
            raise ConfigError(f"canary_noise is {self.canary_noise!r}; expected True or False")
        if self.expect is not None and self.canary == "off":
            raise ConfigError("known answers (expect) are checked together with the canary: not with canary='off'")
        if isinstance(self.expect, Iterator):  # it could be read once only
            object.__setattr__(self, "expect", tuple(self.expect))

    @property
    def is_given(self) -> bool:
        """Whether an embedder was passed, instead of None or the default."""
        return self.embedder is not None and self.embedder is not RECORDED


def as_options(embedder: EmbedderLike | EmbedderOptions | Recorded | None) -> EmbedderOptions:
    """Return the options of an embedder that may come without any."""
    return embedder if isinstance(embedder, EmbedderOptions) else EmbedderOptions(embedder)
