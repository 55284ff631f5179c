"""Cross-encoders: models that read a query and a text together and score how well the text answers."""

import hashlib
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.onnx.export_folder import cache_folder
from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, InputError, RerankError, UnsupportedError, type_of
from theodolite.forking import register_at_fork
from theodolite.rerankers import torch_model
from theodolite.rerankers.tokenized_pairs import PairTokenizer, TokenizedPairs

Floats = NDArray[np.float64]

Backend = Literal["torch", "onnx"]
Progress = Callable[[int], object]
"""Called after each batch with the number of texts that it completed."""

_DEFAULT = "cross-encoder/ms-marco-MiniLM-L6-v2"
_MAX_TOKENS = 512  # of a pair if the model has no limit: a whole text may not fit into memory


@dataclass(frozen=True, slots=True)
class RerankOutput:
    """Scores of a list of texts, with details.

    Attributes:
        scores: raw scores, (n,) float64, finite; higher is better.
        windows: number of windows of each text, (n,). The score of a text is that of its best window.
        truncated: how many texts were not read to their end.
        truncated_tokens: how many tokens of the query were cut off.
        cached: how many scores came from the cache.
    """

    scores: Floats
    windows: NDArray[np.int64]
    truncated: int = 0
    truncated_tokens: int = 0
    cached: int = 0


class CachedScore(NamedTuple):
    """The cached result for one query and one text."""

    score: float
    windows: int
    truncated: bool


class ScoreCache:
    """A cache of one model's scores that evicts the least recently used. Threads may share it.

    It stores hashes of queries and texts. Two threads that miss the same text may both score it.
    """

    def __init__(self, size: int) -> None:
        """
        Args:
            size: maximum number of scores, about 200 bytes each; 0 turns the cache off.

        Raises:
            ConfigError: size is negative.
        """
        if size < 0:
            raise ConfigError(f"the score cache has size {size}; it must be 0 (off) or more", size=size)
        self._size = size
        self._scores: OrderedDict[bytes, CachedScore] = OrderedDict()
        self._lock = threading.Lock()
        register_at_fork(self)

    def forked(self, held: bool) -> None:
        """In a forked child, clear the cache if another thread was changing it."""
        if held:
            self._scores = OrderedDict()

    def get(self, query: str, texts: Iterable[str]) -> dict[str, CachedScore]:
        """Return the cached scores of distinct texts, by text."""
        if not self._size:
            return {}
        keys = {text: _key(query, text) for text in texts}
        with self._lock:
            cached = {text: self._scores[key] for text, key in keys.items() if key in self._scores}
            for text in cached:
                self._scores.move_to_end(keys[text])
        return cached

    def update(self, query: str, scores: Mapping[str, CachedScore]) -> None:
        """Add the scores of a query, by text."""
        if not self._size:
            return
        items = [(_key(query, text), score) for text, score in scores.items()]
        with self._lock:
            for key, score in items:
                self._scores[key] = score
                self._scores.move_to_end(key)
            while len(self._scores) > self._size:
                self._scores.popitem(last=False)

    def __len__(self) -> int:
        return len(self._scores)


class _Model(Protocol):
    name: str
    labels: int
    limit: int | None
    inputs: list[str]
    tokenizer: Any

    @property
    def device(self) -> str: ...

    def logits(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]: ...


class CrossEncoderReranker:
    """A cross-encoder on torch or onnxruntime.

    Scores are raw: the logit of a model with one label, or the second logit minus the first of a model with two. Texts
    above the model's limit are split into windows, and the score of a text is that of its best window.

    Threads may share it. On torch a process computes one batch at a time, and threads take turns; on onnxruntime
    threads compute at the same time.

    Weights are loaded from safetensors only, and a model's own code is never run.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Any = _DEFAULT,
        *,
        backend: Backend = "torch",
        batch_size: int | None = None,
        max_tokens: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        windows: bool = True,
        cache: int = 10_000,
        revision: str | None = None,
        exports: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            model: a name on the hub, a folder, or a loaded CrossEncoder of sentence-transformers; with `onnx` also
                the folder of an export. The owner of a name is `cross-encoder` unless it says otherwise.
            backend: `onnx` exports the model once, which needs torch, and is then faster on a CPU.
            batch_size: pairs in a batch. Default: 8 on a CPU, 32 on other devices.
            max_tokens: maximum number of tokens of a pair, special tokens included. Default: the model's limit.
            device: where torch computes, such as `cpu` or `cuda`. Default: the library chooses.
            threads: CPU threads for a batch. Default: the library's own number.
            windows: split long texts into windows that overlap by a quarter; False reads only their beginning.
            cache: how many scores to cache; 0 turns the cache off.
            revision: a commit, tag or branch of the model on the hub; the same as `name@revision`.
            exports: the folder for exported models. Default: the operating system's folder for caches.

        Raises:
            MissingExtraError: sentence-transformers, or a package of the extra `onnx`, is not installed.
            ConfigError: the model cannot be loaded, is not a cross-encoder, has more than two labels, or a setting is
                invalid.
            UnsupportedError: the model has further modules, a prompt, or cannot be exported.
            CorruptionError: files of an export are damaged.
        """
        for setting, number in (("batch_size", batch_size), ("threads", threads), ("max_tokens", max_tokens)):
            if number is not None and number < 1:
                raise ConfigError(f"{setting} is {number}; it must be at least 1")
        if backend not in ("torch", "onnx"):
            raise ConfigError(f"backend is {backend!r}; expected 'torch' or 'onnx'", backend=backend)
        self._cache = ScoreCache(cache)
        self._backend = backend
        self._model = _load(model, backend, device, threads, revision, exports)
        limit = self._model.limit
        if max_tokens is not None and limit is not None and max_tokens > limit:
            raise ConfigError(
                f"max_tokens is {max_tokens}; it must be at most {limit}, the limit of {self.name}", limit=limit
            )
        self._max_tokens = max_tokens or limit or _MAX_TOKENS
        self._batch_size = batch_size or (8 if self._model.device == "cpu" else 32)
        self._tokenizer = PairTokenizer(self._model.tokenizer, self._max_tokens, windows=windows)

    @property
    def name(self) -> str:
        """The model's name on the hub, or the name of its folder."""
        return self._model.name

    @property
    def backend(self) -> Backend:
        """`torch` or `onnx`."""
        return self._backend

    @property
    def batch_size(self) -> int:
        """Number of pairs in a batch."""
        return self._batch_size

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens of a pair, special tokens included."""
        return self._max_tokens

    @property
    def folder(self) -> Path | None:
        """The folder of an exported model, else None. A copy of it can be passed as the model."""
        return getattr(self._model, "folder", None)

    @property
    def cache(self) -> ScoreCache:
        """The cache of scores."""
        return self._cache

    def score(self, query: str, texts: Sequence[str], /) -> Floats:
        """Return raw scores, (n,) float64. See `read`."""
        return self.read(query, texts).scores

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> Floats:
        """Return the logistic function of raw scores, (n,) in [0, 1]; a probability if the model was trained so."""
        return logistic(scores)

    def read(self, query: str, texts: Sequence[str], /, *, progress: Progress | None = None) -> RerankOutput:
        """Return raw scores, with details about windows, truncation and the cache.

        Args:
            query: cut off after half of the tokens that a pair may have.
            texts: n texts. A text that occurs twice is scored once.
            progress: called first with the number of cached texts, then after each batch with the number of texts that
                it completed, perhaps 0. Its exceptions pass through; completed scores stay in the cache.

        Raises:
            InputError: the query is not a string, or `texts` is not a list of strings.
            RerankError: the model returned a score that is not finite.
        """
        if not isinstance(query, str):
            raise InputError(f"the query is {type_of(query)}; pass a string")
        [query], given = as_list([query]), as_list(texts)
        counts = Counter(given)
        scores = self._cache.get(query, counts)
        missing = [text for text in counts if text not in scores]
        cached = sum(counts[text] for text in scores)
        if progress is not None and cached:
            progress(cached)
        tokenized = self._tokenizer.tokenize(query, missing)
        computed: dict[str, CachedScore] = {}
        try:
            for completed in self._score(tokenized):
                for row, score in completed.items():
                    text = missing[row]
                    if not np.isfinite(score):
                        raise self._not_finite(given.index(text), len(given))
                    computed[text] = CachedScore(score, int(tokenized.windows[row]), bool(tokenized.truncated[row]))
                if progress is not None:
                    progress(sum(counts[missing[row]] for row in completed))
        finally:
            self._cache.update(query, computed)  # even if `progress` raised: the next call resumes from there
        scores |= computed
        rows = [scores[text] for text in given]
        return RerankOutput(
            np.array([row.score for row in rows], np.float64),
            np.array([row.windows for row in rows], np.int64),
            sum(row.truncated for row in rows),
            tokenized.truncated_tokens,
            cached,
        )

    def __repr__(self) -> str:
        return f"<CrossEncoderReranker {self.name} {self._backend}>"

    def _score(self, tokenized: TokenizedPairs) -> Iterator[dict[int, float]]:
        """Yield after each batch the scores of the texts that it completed: text number -> score of its best window.

        Batches hold pairs of similar length, the longest first. The score of a text is NaN if that of any window is
        not finite.
        """
        best = np.full(len(tokenized.windows), -np.inf)
        left = tokenized.windows.copy()
        pairs = sorted(tokenized.pairs, key=lambda pair: -len(pair.ids))
        for start in range(0, len(pairs), self._batch_size):
            batch = pairs[start : start + self._batch_size]
            logits = self._model.logits(self._tokenizer.feed(batch, self._model.inputs)).astype(np.float64)
            owners = np.array([pair.text for pair in batch])
            with np.errstate(invalid="ignore"):
                scores = logits[:, 0] if self._model.labels == 1 else logits[:, 1] - logits[:, 0]
                scores[~np.isfinite(scores)] = np.nan  # the maximum keeps NaN, but not -inf
                np.maximum.at(best, owners, scores)
            np.subtract.at(left, owners, 1)
            yield {row: float(best[row]) for row in set(owners.tolist()) if not left[row]}

    def _not_finite(self, index: int, total: int) -> RerankError:
        return RerankError(
            f"{self.name} returned a score that is not finite for text {index} of {total}. "
            "Damaged weights, or an overflow in half precision?",
            index=index,
        )


def onnx(model: str | os.PathLike[str] = _DEFAULT) -> CrossEncoderReranker:
    """Make the reranker of `"cross-encoder-onnx:NAME"`."""
    return CrossEncoderReranker(model, backend="onnx")


def _load(
    model: Any,
    backend: str,
    device: str | None,
    threads: int | None,
    revision: str | None,
    exports: str | os.PathLike[str] | None,
) -> _Model:
    by_name = isinstance(model, (str, os.PathLike))
    if backend == "onnx":
        if device not in (None, "cpu"):
            raise ConfigError(f"device is {device!r}; the backend onnx supports only the CPU", device=device)
        if not by_name:
            raise UnsupportedError(
                f"a loaded {type(model).__name__} cannot be exported. Save it with save_pretrained(folder) and pass "
                "the folder"
            )
        from theodolite.rerankers.onnx_model import OnnxModel, find_or_export

        return OnnxModel(find_or_export(model, revision, Path(exports) if exports else cache_folder()), threads)
    if by_name:
        return torch_model.load(torch_model.locate(model, revision), device, threads)
    if (device, revision) != (None, None):
        raise ConfigError("device and revision are for models given by name, and this model is already loaded")
    return torch_model.from_object(model, threads)


def logistic(scores: NDArray[np.floating[Any]]) -> Floats:
    """Return 1 / (1 + exp(-score)), in [0, 1], nondecreasing; very low scores stay distinct, and nothing overflows."""
    wide = np.asarray(scores, np.float64)
    with np.errstate(under="ignore"):
        probabilities: Floats = np.exp(-np.logaddexp(0.0, -wide))
    return probabilities


def _key(query: str, text: str) -> bytes:
    first = query.encode()
    return hashlib.blake2b(b"%d %s%s" % (len(first), first, text.encode()), digest_size=16).digest()
