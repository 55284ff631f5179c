"""The canary: vectors of fixed texts, stored with a collection to detect a changed embedder later."""

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from theodolite.errors import MALFORMED, CorruptionError, VectorError
from theodolite.guards.noise import Doubles, Embed, Noise, measure
from theodolite.protocols import Embedder
from theodolite.vectors.prepare import as_array

TEXTS = (
    "refund",
    "How long do refunds take?",
    "Refunds are paid within five working days, to the card.",
    "not safe for children",
    "Café, naïve, Straße, ŁÓDŹ",
    "Срок возврата",
    "Πόσο διαρκεί;",
    "كم يستغرق ذلك",
    "退款需要五天。",
    "返金はいつですか。",
    "환불은 언제",
    "धन वापसी कब",
    "for i in range(10):\n    total += i * 1.19  # VAT",
    "Invoice 2025-03-01: 1,299.00 EUR",
    "https://example.org/help?lang=en 🙂",
)
"""Texts in several scripts, code and numbers. Later comparisons use the texts that are stored with a canary."""

_TOPICS = (
    "rain cloud wind storm frost thunder",
    "ship harbour sail anchor crew voyage",
    "bread oven flour butter salt honey",
    "court judge law contract appeal verdict",
    "violin choir melody rhythm opera concert",
    "kidney fever vaccine surgeon nurse dose",
    "tractor wheat orchard barn harvest plough",
    "planet orbit comet telescope galaxy eclipse",
    "compiler server packet kernel database cache",
    "goal referee stadium coach trophy league",
)
_MAX_WORDS = 640  # reaching a higher limit would be slow or expensive
_DEFAULT_WORDS = 320  # for embedders without a known limit
_PACKAGES = ("sentence_transformers", "transformers", "tokenizers", "torch", "onnxruntime", "numpy")
_VERSION = 2  # version 1 has no noise

Kind = Literal["query", "document"]
KINDS: tuple[Kind, Kind] = ("query", "document")


def long_text(max_tokens: int | None) -> str:
    """Return a text above the limit. Its topics change, so that its vector depends on where it is cut off."""
    words = min(_MAX_WORDS, _DEFAULT_WORDS if max_tokens is None else max_tokens + max_tokens // 4 + 8)
    topics = [topic.split() for topic in _TOPICS]
    return " ".join(topics[i * len(topics) // words][i % 6] for i in range(words))


def filler_text(texts: tuple[str, ...]) -> str:
    """Return the beginning of the long text, which comes last, to pad the others while noise is measured."""
    words = texts[-1].split()
    return " ".join(words[: max(1, len(words) // 8)])


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """Texts with their vectors as the embedder returned them: not normalized, not transformed.

    Attributes:
        texts: n texts; the last one is long.
        query: (n, d), from `encode_query`.
        document: (n, d), from `encode_document`.
        about: name, dimension and limit of the embedder, and versions of packages; for messages.
        noise: the noise by kind of text; None if it was not measured.
        version: the version of the stored format.
    """

    texts: tuple[str, ...]
    query: Doubles
    document: Doubles
    about: dict[str, Any]
    noise: Mapping[str, Noise] | None = None
    version: int = _VERSION

    def to_json(self) -> str:
        vectors = {"query": _pack(self.query), "document": _pack(self.document)}
        noise = None if self.noise is None else {kind: noise.to_dict() for kind, noise in self.noise.items()}
        values = {"version": self.version, "texts": self.texts, **vectors, "about": self.about, "noise": noise}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> "Canary":
        """Read a canary. Raises CorruptionError if the text is not one."""
        try:
            values = json.loads(text)
            texts = tuple(values["texts"])
            query, document = (_unpack(values[name], len(texts)) for name in ("query", "document"))
            noise = values.get("noise")
            measured: dict[str, Noise] | None = (
                None if noise is None else {kind: Noise(**noise[kind]) for kind in KINDS}
            )
            return cls(texts, query, document, dict(values["about"]), measured, int(values["version"]))
        except MALFORMED as error:
            raise CorruptionError(f"the stored canary cannot be read: {error}") from error


def record(embedder: Embedder, name: str, *, noise: bool) -> Canary:
    """Embed the fixed texts.

    Args:
        name: the name of the embedder, for messages.
        noise: whether to measure how much vectors of the same text vary, in three more calls for queries and three for
            documents (for a symmetric embedder, only those for queries).

    Raises:
        VectorError: the embedder did not return one vector for each text.
    """
    limit = getattr(embedder, "max_tokens", None)
    texts = (*TEXTS, long_text(limit if isinstance(limit, int) else None))
    vectors = encode(embedder, texts)
    measured: dict[str, Noise] | None = None
    if noise:
        query = measure(encode_function(embedder, "query"), TEXTS, vectors[0][:-1], filler_text(texts))
        if vectors[1] is vectors[0]:
            measured = dict.fromkeys(KINDS, query)
        else:
            document = measure(encode_function(embedder, "document"), TEXTS, vectors[1][:-1], filler_text(texts))
            measured = {"query": query, "document": document}
    return Canary(texts, *vectors, describe(embedder, name), measured)


def describe(embedder: Embedder, name: str) -> dict[str, Any]:
    """Return the embedder's name, dimension and limit, and versions of packages. They are shown, not compared."""
    loaded = {package: getattr(sys.modules.get(package), "__version__", None) for package in _PACKAGES}
    limit = getattr(embedder, "max_tokens", None)
    return {
        "name": name,
        "dimension": int(embedder.dimension),
        "max_tokens": limit if isinstance(limit, int) else None,
        "packages": {package: str(version) for package, version in loaded.items() if version is not None},
    }


def encode(embedder: Embedder, texts: tuple[str, ...]) -> tuple[Doubles, Doubles]:
    """Return raw vectors of texts as queries and as documents, (n, d) each. The last text is the long one.

    Both are the same array for an embedder with a true attribute `symmetric`, which embeds queries and documents alike.
    """
    query = _encode_all(encode_function(embedder, "query"), texts)
    embed = encode_function(embedder, "document")
    if getattr(embedder, "symmetric", False) is True:
        first = embed(texts[:1])  # a subclass may have another method for one of the two
        if first.shape[1] == query.shape[1] and np.allclose(first, query[:1], rtol=1e-3, atol=1e-4):
            return query, query
    return query, _encode_all(embed, texts)


def _encode_all(embed: Embed, texts: tuple[str, ...]) -> Doubles:
    # The long text is embedded alone, because short texts in its batch would be padded to its length.
    parts = [embed(texts[:-1]), embed(texts[-1:])]
    if parts[0].shape[1] != parts[1].shape[1]:
        raise VectorError(
            f"the embedder returned vectors of {parts[0].shape[1]} dimensions for some texts and of "
            f"{parts[1].shape[1]} for others"
        )
    return np.concatenate(parts)


def encode_function(embedder: Embedder, kind: Kind) -> Embed:
    """Return the function that embeds one kind of text. It notes on errors that the texts are not the caller's."""
    method = embedder.encode_query if kind == "query" else embedder.encode_document

    def embed(texts: tuple[str, ...]) -> Doubles:
        try:
            return as_raw(method(texts), len(texts))
        except Exception as error:  # embedders may raise any error
            error.add_note(
                "Raised while embedding the canary's texts. Pass canary='off' if the embedder cannot embed them"
            )
            raise

    return embed


def as_raw(vectors: Any, count: int) -> Doubles:
    """Return an embedder's vectors, (count, d), without preparing them. NaN and infinity stay."""
    array = as_array(vectors, "the embedder's vectors")
    if array.ndim != 2 or len(array) != count:
        raise VectorError(
            f"the embedder returned vectors of shape {array.shape} for {count} texts; expected ({count}, dimension)"
        )
    return array.astype(np.float64)


def _pack(vectors: Doubles) -> str:
    return base64.b64encode(vectors.astype("<f4").tobytes()).decode()


def _unpack(text: str, count: int) -> Doubles:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(count, -1).astype(np.float64)
