"""The canary: what an embedder makes of fixed texts, kept with a collection to be compared with later."""

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
"""Several scripts, short and long, code, numbers. What is compared are the texts stored with a canary, not these."""

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
_LONGEST = 640  # words; models that read more are not taken to their limit, which would be slow or dear
_USUAL = 320  # words, where the embedder does not tell its limit
_PACKAGES = ("sentence_transformers", "transformers", "tokenizers", "torch", "onnxruntime", "numpy")
_VERSION = 2  # 1 knew no noise

Kind = Literal["query", "document"]
KINDS: tuple[Kind, Kind] = ("query", "document")


def long_text(max_tokens: int | None) -> str:
    """A text beyond the limit. Its topic changes on the way, so that where it is cut off shows in its vector."""
    words = min(_LONGEST, _USUAL if max_tokens is None else max_tokens + max_tokens // 4 + 8)
    topics = [topic.split() for topic in _TOPICS]
    return " ".join(topics[i * len(topics) // words][i % 6] for i in range(words))


def filler(texts: tuple[str, ...]) -> str:
    """The text that pads the others while noise is measured: the beginning of the long one, which is the last."""
    words = texts[-1].split()
    return " ".join(words[: max(1, len(words) // 8)])


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """Texts with their vectors, as the embedder gave them: not normalized, not transformed.

    Attributes:
        texts: the last one is long.
        query: (n, d), from `encode_query`.
        document: (n, d), from `encode_document`.
        about: name, dimension and limit of the embedder and versions of packages, for people to read.
        noise: of either encoder; None where it was not measured.
        version: of the form it is stored in.
    """

    texts: tuple[str, ...]
    query: Doubles
    document: Doubles
    about: dict[str, Any]
    noise: Mapping[str, Noise] | None = None
    version: int = _VERSION

    def to_json(self) -> str:
        vectors = {"query": _packed(self.query), "document": _packed(self.document)}
        noise = None if self.noise is None else {kind: noise.to_dict() for kind, noise in self.noise.items()}
        values = {"version": self.version, "texts": self.texts, **vectors, "about": self.about, "noise": noise}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> "Canary":
        """Raises CorruptionError where the text is no canary."""
        try:
            values = json.loads(text)
            texts = tuple(values["texts"])
            query, document = (_unpacked(values[name], len(texts)) for name in ("query", "document"))
            noise = values.get("noise")
            measured: dict[str, Noise] | None = (
                None if noise is None else {kind: Noise(**noise[kind]) for kind in KINDS}
            )
            return cls(texts, query, document, dict(values["about"]), measured, int(values["version"]))
        except MALFORMED as error:
            raise CorruptionError(f"the collection's canary cannot be read: {error}") from error


def record(embedder: Embedder, name: str, *, noise: bool) -> Canary:
    """Embed the fixed texts now.

    Args:
        noise: measure how much vectors of the same text differ, in three further calls for each encoder.

    Raises:
        VectorError: it does not give one vector of its dimension for each.
    """
    limit = getattr(embedder, "max_tokens", None)
    texts = (*TEXTS, long_text(limit if isinstance(limit, int) else None))
    vectors = encode(embedder, texts)
    found: dict[str, Noise] | None = None
    if noise:
        found = {
            kind: measure(encoder(embedder, kind), TEXTS, side[:-1], filler(texts))
            for kind, side in zip(KINDS, vectors, strict=True)
        }
    return Canary(texts, *vectors, about(embedder, name), found)


def about(embedder: Embedder, name: str) -> dict[str, Any]:
    """What people need to know to tell one embedder from another. It is shown, not compared."""
    loaded = {package: getattr(sys.modules.get(package), "__version__", None) for package in _PACKAGES}
    limit = getattr(embedder, "max_tokens", None)
    return {
        "name": name,
        "dimension": int(embedder.dimension),
        "max_tokens": limit if isinstance(limit, int) else None,
        "packages": {package: str(version) for package, version in loaded.items() if version is not None},
    }


def encode(embedder: Embedder, texts: tuple[str, ...]) -> tuple[Doubles, Doubles]:
    """Raw vectors of texts, the last of which is long, as queries and as documents, (n, d) each."""
    found = []
    for kind in KINDS:
        embed = encoder(embedder, kind)
        # The long one alone: beside it, short texts would be padded to its length.
        parts = [embed(texts[:-1]), embed(texts[-1:])]
        if parts[0].shape[1] != parts[1].shape[1]:
            raise VectorError(
                f"the embedder gives vectors of {parts[0].shape[1]} dimensions, and of {parts[1].shape[1]} for others"
            )
        found.append(np.concatenate(parts))
    return found[0], found[1]


def encoder(embedder: Embedder, kind: Kind) -> Embed:
    """One of its encoders, for texts that are not the caller's: its errors say so."""
    method = embedder.encode_query if kind == "query" else embedder.encode_document

    def embed(texts: tuple[str, ...]) -> Doubles:
        try:
            return raw(method(texts), len(texts))
        except Exception as error:  # of whatever embeds
            error.add_note("Raised for the canary's fixed texts. Open with canary='off' where it cannot embed these")
            raise

    return embed


def raw(vectors: Any, count: int) -> Doubles:
    """An embedder's vectors as they are, (count, d). NaN and infinity stay."""
    array = as_array(vectors, "the embedder's vectors")
    if array.ndim != 2 or len(array) != count:
        raise VectorError(f"the embedder gives vectors of shape {array.shape} for {count} texts")
    return array.astype(np.float64)


def _packed(vectors: Doubles) -> str:
    return base64.b64encode(vectors.astype("<f4").tobytes()).decode()


def _unpacked(text: str, count: int) -> Doubles:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").reshape(count, -1).astype(np.float64)
