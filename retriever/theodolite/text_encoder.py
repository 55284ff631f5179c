"""TextEncoder: the embedder of an open collection, with its checks. A recorded one is made when a text needs it."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.async_pool import in_thread
from theodolite.embedders.encoder import Encoder, check_dimension
from theodolite.embedders.options import RECORDED, EmbedderOptions
from theodolite.embedders.spec import EmbedderSpec, make_recorded, spec_of
from theodolite.engines.missing import MissingCollection
from theodolite.errors import ConfigError, UnsupportedError
from theodolite.forking import register_at_fork
from theodolite.protocols import Embedder, EmbedsTexts, Engine

if TYPE_CHECKING:  # imported when there is an embedder
    from theodolite.guards.embedder_guard import EmbedderGuard

_NO_EMBEDDER = (
    "this collection was opened without an embedder. Pass embedder= to Retriever.open, or pass vectors instead of texts"
)
_ON_SERVER = (
    "the server embeds the texts of this collection, so this call has no embedder here. Pass embedder= to "
    "Retriever.open, or ask the server: its /health checks the embedder"
)
_NOT_RECORDED = (
    "this collection was opened without an embedder, and none is recorded with it. Pass embedder= to Retriever.open, "
    "such as embedder='all-MiniLM-L6-v2', or pass vectors instead of texts"
)


class TextEncoder:
    """The encoder of a collection's embedder, and the guard that compares the embedder with the collection.

    Both are there at once for an embedder that the caller passed. A recorded embedder is made, and compared, when a
    text is first searched or added. Threads may share it: one makes the embedder, the others wait.

    Attributes:
        on_server: whether the engine embeds texts itself, because the caller passed no embedder.
    """

    def __init__(
        self, engine: Engine, options: EmbedderOptions, *, seen: Callable[[Any], object] | None = None
    ) -> None:
        """
        Args:
            options: their embedder is an Embedder, `RECORDED`, or None if the caller brings vectors.
            seen: called with the norms of queries' vectors, (n,).

        Raises:
            ConfigError: the embedder's dimension is not the collection's, or known answers without an embedder.
            EmbedderDriftError: the embedder has changed.
        """
        self._engine = engine
        self._options = options
        self._seen = seen
        self.on_server = options.embedder is RECORDED and isinstance(engine, EmbedsTexts)
        self._lock = threading.RLock()
        self._made: tuple[Encoder, EmbedderGuard] | None = None
        register_at_fork(self)
        if options.embedder is None and options.expect is not None:
            raise ConfigError(
                "known answers (expect) are queries as texts. Pass embedder=EmbedderOptions(<an embedder>, expect=...)"
            )
        if options.is_given:
            self._made = self._make(options.embedder, options.canary)

    @property
    def is_made(self) -> bool:
        """Whether the embedder is there: passed by the caller, or made for an earlier text."""
        return self._made is not None

    @property
    def spec(self) -> EmbedderSpec | None:
        """The collection's record of its embedder. None if nothing is recorded, or the caller brings vectors."""
        if self._options.embedder is None:
            return None
        spec = getattr(self._engine, "embedder", None)
        return spec if isinstance(spec, EmbedderSpec) else None

    def check_available(self, *, adding: bool = False) -> None:
        """Raise ConfigError if there is neither an embedder nor the record of one. Makes nothing.

        Args:
            adding: whether texts are to be added. A collection that does not exist can be searched without an embedder:
                nothing is found.
        """
        if self._made is not None or self.spec is not None or self.on_server:
            return
        is_searchable = self._options.embedder is RECORDED and isinstance(self._engine, MissingCollection)
        if adding or not is_searchable:
            raise self._none_error()

    async def aencoder(self) -> Encoder | None:
        """Return the encoder, created on a thread if necessary; None if there is no embedder."""
        if self._made is not None:
            return self._made[0]
        if self._options.embedder is None or await in_thread(lambda: self.spec) is None:
            return None
        return (await in_thread(self._load))[0]

    @property
    def encoder(self) -> Encoder:
        """The encoder.

        Raises:
            ConfigError: there is no embedder, or the recorded one cannot be made.
            MissingExtraError, CorruptionError: see `embedders.resolve`.
        """
        return (self._made or self._load())[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the embedder's tokenizer makes of each text.

        Raises:
            ConfigError: there is no embedder, or it cannot count.
        """
        counts = getattr(self.encoder.embedder, "count_tokens", None)
        try:
            if counts is not None:
                return list(map(int, counts(texts)))
        except UnsupportedError:  # the embedder has the method but cannot count
            pass
        raise ConfigError(
            "the embedder cannot count tokens. Pass count=, a function from a text to its number of tokens, such as "
            "count=lambda text: len(text) // 4"
        )

    @property
    def guard(self) -> "EmbedderGuard":
        """The guard. Raises the same errors as `encoder`."""
        return (self._made or self._load())[1]

    def _load(self) -> "tuple[Encoder, EmbedderGuard]":
        with self._lock:
            if self._made is None:
                self._engine.info()  # raises if it is closed, before a model is loaded
                spec = self.spec
                if spec is None:
                    raise self._none_error()
                embedder = make_recorded(spec, download=not getattr(self._engine, "foreign", False))
                # The guard compares it at this text; if that fails, at each further one, without loading it again.
                when = "first_use" if self._options.canary == "open" else self._options.canary
                self._made = self._make(embedder, when)
            return self._made

    def _none_error(self) -> ConfigError:
        if self.on_server:
            return UnsupportedError(_ON_SERVER)
        return ConfigError(_NO_EMBEDDER if self._options.embedder is None else _NOT_RECORDED)

    def _make(self, embedder: Any, when: Any) -> "tuple[Encoder, EmbedderGuard]":
        from theodolite.guards.embedder_guard import EmbedderGuard

        model: Embedder = embedder
        check_dimension(model, self._engine.space)
        options = self._options
        encoder = Encoder(
            model,
            lambda: self._engine.space,
            on_truncate=options.on_truncate,
            query_cache=options.query_cache,
            seen=self._seen,
        )
        guard = EmbedderGuard(
            self._engine,
            model,
            spec_of(model, model).name,
            on_drift=options.on_drift,
            when=when,
            noise=options.canary_noise,
            expect=options.expect,
        )
        return encoder, guard
