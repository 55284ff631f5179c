"""Cross-encoders: models that read a query and a text together, and say how well they fit."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.onnx.export_folder import cache_folder
from theodolite.embedders.validate_texts import as_list
from theodolite.errors import ConfigError, InputError, RerankError, UnsupportedError
from theodolite.rerankers import torch_model
from theodolite.rerankers.output import Floats, Kept, RerankOutput, ScoreCache, logistic
from theodolite.rerankers.tokenized_pairs import Cut, Pairs

Backend = Literal["torch", "onnx"]
Progress = Callable[[int], object]
"""Called after each batch with the number of texts that it completed."""

_DEFAULT = "cross-encoder/ms-marco-MiniLM-L6-v2"
_LONGEST = 512  # tokens of a pair, where a model has no limit: a text in one piece would not fit into memory


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
    """A cross-encoder, on torch or on onnxruntime.

    Scores are raw: the logit of a model with one label, and the second logit less the first of a model with two.
    A text that is too long is read in windows, and its best window counts.

    Threads may share it. On torch one batch at a time is computed in a process, and threads take turns; on
    onnxruntime they compute at the same time.

    Weights are loaded from safetensors only, and no code of a model is run.
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
            model: a name on the hub, a folder, or a loaded CrossEncoder of sentence-transformers; with `onnx`
                also the folder of an export. A name without an owner is one of `cross-encoder`.
            backend: `onnx` exports the model once, which needs torch, and is then faster on a CPU.
            batch_size: pairs computed at once. None means 8 on a CPU, 32 on other devices.
            max_tokens: tokens of a pair, special ones included; None for the model's limit.
            device: where torch computes, such as `cpu` or `cuda`; None lets the library choose.
            threads: CPU threads for one batch; None leaves the library's own number.
            windows: read long texts in windows that overlap by a quarter; else only their beginning.
            cache: how many scores to remember; 0 for none.
            revision: a commit, tag or branch of the model on the hub; `name@revision` says the same.
            exports: the folder for exported models; None for the system's place for caches.

        Raises:
            MissingExtraError: sentence-transformers, or a package of the extra `onnx`, is not installed.
            ConfigError: the model cannot be loaded, is no cross-encoder, has more than two labels, or a setting
                does not fit.
            UnsupportedError: the model has further parts, a prompt, or cannot be exported.
            CorruptionError: files of an export are damaged.
        """
        for what, number in (("batch_size", batch_size), ("threads", threads), ("max_tokens", max_tokens)):
            if number is not None and number < 1:
                raise ConfigError(f"{what} is {number}; it must be at least 1")
        if backend not in ("torch", "onnx"):
            raise ConfigError(f"backend is {backend!r}; expected 'torch' or 'onnx'", backend=backend)
        self._cache = ScoreCache(cache)
        self._backend = backend
        self._model = _load(model, backend, device, threads, revision, exports)
        limit = self._model.limit
        if max_tokens is not None and limit is not None and max_tokens > limit:
            raise ConfigError(f"max_tokens is {max_tokens}; {self.name} reads {limit} tokens", limit=limit)
        self._max_tokens = max_tokens or limit or _LONGEST
        self._windows = windows
        self._batch_size = batch_size or (8 if self._model.device == "cpu" else 32)
        self._pairs = Pairs(self._model.tokenizer, self._max_tokens, windows=windows)

    @property
    def name(self) -> str:
        """What the model is called: its name on the hub, or that of its folder."""
        return self._model.name

    @property
    def batch_size(self) -> int:
        """How many pairs are computed at once."""
        return self._batch_size

    @property
    def max_tokens(self) -> int:
        """How many tokens a pair may have, special ones included."""
        return self._max_tokens

    @property
    def folder(self) -> Path | None:
        """Where the exported model is, if it is one. It may be copied, and passed as the model."""
        return getattr(self._model, "folder", None)

    @property
    def cache(self) -> ScoreCache:
        """The scores that are remembered, with counts of hits and misses."""
        return self._cache

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on, as JSON values."""
        return {
            "name": self.name,
            "backend": self._backend,
            "labels": self._model.labels,
            "max_tokens": self._max_tokens,
            "windows": self._windows,
        }

    def score(self, query: str, texts: Sequence[str], /) -> Floats:
        """Raw scores, (n,) float64: see `read`."""
        return self.read(query, texts).scores

    def calibrate(self, scores: NDArray[np.floating[Any]], /) -> Floats:
        """The logistic function of raw scores, (n,) in [0, 1]; a probability only if the model was trained for that."""
        return logistic(scores)

    def read(self, query: str, texts: Sequence[str], /, *, progress: Progress | None = None) -> RerankOutput:
        """Raw scores, and what was read for them.

        Args:
            query: read up to half of the room for query and text.
            texts: n texts; a text that occurs twice is read once.
            progress: called after each batch with the number of texts that it completed, perhaps 0, and at first
                with those that were remembered. What it raises passes through; what is completed is remembered.

        Raises:
            InputError: what is not a list of texts.
            RerankError: the model gave a score that is not finite.
        """
        if not isinstance(query, str):
            raise InputError(f"the query is a {type(query).__name__}; pass a string")
        [query], given = as_list([query]), as_list(texts)
        times = Counter(given)
        known = self._cache.find(query, times)
        missing = [text for text in times if text not in known]
        cached = sum(times[text] for text in known)
        if progress is not None and cached:
            progress(cached)
        cut = self._pairs.cut(query, missing)
        fresh: dict[str, Kept] = {}
        try:
            for done in self._score(cut):
                for row, score in done.items():
                    text = missing[row]
                    if not np.isfinite(score):
                        raise self._not_finite(given.index(text), len(given))
                    fresh[text] = Kept(score, int(cut.windows[row]), bool(cut.truncated[row]))
                if progress is not None:
                    progress(sum(times[missing[row]] for row in done))
        finally:
            self._cache.keep(query, fresh)  # also where `progress` has ended it: the next call goes on from there
        rows = [(known if text in known else fresh)[text] for text in given]
        return RerankOutput(
            np.array([row.score for row in rows], np.float64),
            np.array([row.windows for row in rows], np.int64),
            sum(row.truncated for row in rows),
            cut.unread,
            cached,
        )

    def __repr__(self) -> str:
        return f"<CrossEncoderReranker {self.name} {self._backend}>"

    def _score(self, cut: Cut) -> Iterator[dict[int, float]]:
        """After each batch the texts that it completed, by number, each with the score of its best window.

        Pairs of like length are computed together, the longest first. A window that is not finite makes its text so.
        """
        best = np.full(len(cut.windows), -np.inf)
        left = cut.windows.copy()
        pairs = sorted(cut.pairs, key=lambda pair: -len(pair.ids))
        for start in range(0, len(pairs), self._batch_size):
            batch = pairs[start : start + self._batch_size]
            logits = self._model.logits(self._pairs.feed(batch, self._model.inputs)).astype(np.float64)
            owners = np.array([pair.text for pair in batch])
            with np.errstate(invalid="ignore"):
                scores = logits[:, 0] if self._model.labels == 1 else logits[:, 1] - logits[:, 0]
                scores[~np.isfinite(scores)] = np.nan  # which a maximum keeps, as it would not keep -inf
                np.maximum.at(best, owners, scores)
            np.subtract.at(left, owners, 1)
            yield {row: float(best[row]) for row in set(owners.tolist()) if not left[row]}

    def _not_finite(self, place: int, total: int) -> RerankError:
        return RerankError(
            f"{self.name} gives a score that is not finite for text {place} of {total}. "
            "Damaged weights, or an overflow in half precision?",
            index=place,
        )


def onnx(model: str | os.PathLike[str] = _DEFAULT) -> CrossEncoderReranker:
    """A cross-encoder on onnxruntime: what `"cross-encoder-onnx:NAME"` means."""
    return CrossEncoderReranker(model, backend="onnx")


def _load(
    model: Any,
    backend: str,
    device: str | None,
    threads: int | None,
    revision: str | None,
    exports: str | os.PathLike[str] | None,
) -> _Model:
    named = isinstance(model, (str, os.PathLike))
    if backend == "onnx":
        if device not in (None, "cpu"):
            raise ConfigError(f"device is {device!r}; onnxruntime computes on the CPU here", device=device)
        if not named:
            raise UnsupportedError(
                f"a loaded {type(model).__name__} is not exported. Save it, with save_pretrained(folder), and pass "
                "the folder"
            )
        from theodolite.rerankers.onnx_model import ExportedModel, exported

        return ExportedModel(exported(model, revision, Path(exports) if exports else cache_folder()), threads)
    if named:
        return torch_model.load(torch_model.locate(model, revision), device, threads)
    if (device, revision) != (None, None):
        raise ConfigError("device and revision are for models given by name; this one is loaded already")
    return torch_model.from_object(model, threads)
