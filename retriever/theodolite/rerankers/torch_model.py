"""Load cross-encoders on torch, and refuse models that are not cross-encoders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import hub, model_loading
from theodolite.embedders.fair_lock import TORCH, torch_threads
from theodolite.embedders.hub import UNLIMITED, Source
from theodolite.embedders.model_loading import fast_tokenizer
from theodolite.errors import ConfigError, UnsupportedError, type_of
from theodolite.plugins import optional
from theodolite.rerankers.tokenized_pairs import INPUTS, PairTokenizer

_ADVICE = "Wrap any other model in an object with score(query, texts)"


class TorchModel:
    """A model and its tokenizer. A process computes one batch at a time, embedders included."""

    def __init__(self, model: Any, tokenizer: Any, name: str, device: str | None, threads: int | None) -> None:
        """
        Args:
            model: a model of transformers for sequence classification.
            tokenizer: a fast tokenizer of transformers.
            device: where to compute; None leaves the model where it is.

        Raises:
            ConfigError: the model has more than two labels.
            UnsupportedError: the tokenizer is not supported.
        """
        self.name = name
        self.labels = _labels(model, name)
        self.limit = _limit(model, tokenizer)
        self.tokenizer = _checked_tokenizer(tokenizer, name)
        self.inputs = [each for each in INPUTS if each in tokenizer.model_input_names]
        self.model = model.eval()
        self._threads = threads
        if device is not None:
            self.model.to(device)

    @property
    def device(self) -> str:
        """The device of the model, such as `cpu`."""
        return str(self.model.device).partition(":")[0]

    def logits(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return the logits of at least one pair, (n, labels)."""
        import torch

        with TORCH, torch_threads(self._threads), torch.inference_mode():
            inputs = {name: torch.from_numpy(values).to(self.model.device) for name, values in feed.items()}
            logits: NDArray[np.float32] = self.model(**inputs).logits.float().cpu().numpy()
        return logits


def locate(name_or_path: Any, revision: str | None) -> Source:
    """Find the folder of a model, after downloading it if necessary.

    Raises:
        ConfigError: there is no such model, or it has no weights in safetensors.
    """
    source = hub.locate(name_or_path, revision)
    if not source.local and "/" not in source.place:
        source = source._replace(name=f"cross-encoder/{source.name}", place=f"cross-encoder/{source.place}")
    local = hub.download(source)
    hub.model_files(Path(local.place))
    return local


def load(source: Source, device: str | None, threads: int | None) -> TorchModel:
    """Load the cross-encoder in a folder.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: the model cannot be loaded, or is not a cross-encoder, so its head would have random weights.
        UnsupportedError: the model has further modules, or a prompt.
    """
    with optional("sentence-transformers"):
        import sentence_transformers.util  # installs transformers, and chooses devices
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    _check_parts(Path(source.place), source.name)
    try:
        with model_loading.no_progress_bars():
            untyped: Any = AutoModelForSequenceClassification
            model, info = untyped.from_pretrained(
                source.place, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source.place, local_files_only=True)
    except Exception as error:  # the libraries underneath raise errors of their own
        raise ConfigError(
            f"the cross-encoder {source.name!r} cannot be loaded. Is it a model for the classification of pairs, with "
            f"weights in safetensors? {_ADVICE}. {type(error).__name__}: {error}",
            model=source.name,
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(
            f"{source.name!r} is not a cross-encoder: {len(missing)} of the weights that a cross-encoder needs are "
            f"missing from its files, first {missing[0]!r}, and random weights would give meaningless scores. An "
            "embedding model cannot rerank; pass a model trained to score pairs, such as "
            "'cross-encoder/ms-marco-MiniLM-L6-v2'",
            model=source.name,
            missing=missing,
        )
    device = device or sentence_transformers.util.get_device_name()
    return TorchModel(model.float(), tokenizer, source.name, device, threads)


def from_object(model: Any, threads: int | None) -> TorchModel:
    """Wrap a loaded CrossEncoder of sentence-transformers.

    Raises:
        ConfigError: the object is not a CrossEncoder.
        UnsupportedError: the CrossEncoder has a prompt.
    """
    inner, tokenizer = getattr(model, "model", None), getattr(model, "tokenizer", None)
    if not hasattr(inner, "config") or tokenizer is None:
        raise ConfigError(f"{type_of(model)} is not a CrossEncoder of sentence-transformers. {_ADVICE}")
    if getattr(model, "default_prompt_name", None):
        raise UnsupportedError(f"a CrossEncoder with a prompt is not supported. {_ADVICE}")
    source = str(getattr(inner, "name_or_path", "")) or type(inner).__name__
    return TorchModel(inner, tokenizer, Path(source).name if Path(source).is_dir() else source, None, threads)


def _check_parts(folder: Path, name: str) -> None:
    """Raise UnsupportedError for steps that sentence-transformers would add to the model: modules, a prompt."""
    try:
        parts = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(part["type"]).rpartition(".")[2] for part in parts]
    except FileNotFoundError:
        kinds = ["Transformer"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"modules.json of {name!r} cannot be read: {error}", model=name) from error
    if kinds[:1] == ["Transformer"] and set(kinds[1:]) & {"Pooling"}:
        return  # an embedding model; `load` has a better message for it
    if kinds != ["Transformer"]:
        raise UnsupportedError(f"{name!r} is made of {', '.join(kinds)}; only a Transformer is supported. {_ADVICE}")
    try:
        prompt = json.loads((folder / "config_sentence_transformers.json").read_text()).get("default_prompt_name")
    except (OSError, ValueError, AttributeError):
        return
    if prompt:
        raise UnsupportedError(f"{name!r} puts the prompt {prompt!r} before pairs, which is not supported. {_ADVICE}")


def _labels(model: Any, name: str) -> int:
    labels = int(model.config.num_labels)
    if labels > 2:
        raise ConfigError(
            f"{name!r} has {labels} labels; a reranker needs one, or two where the second means relevant. {_ADVICE}",
            labels=labels,
        )
    return labels


def _limit(model: Any, tokenizer: Any) -> int | None:
    """Return the maximum number of tokens of a pair; None for no limit."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < UNLIMITED else []
    for name, part in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and hasattr(part, "num_embeddings"):
            # Models of the RoBERTa family number positions from after the padding index.
            first = 0 if part.padding_idx is None else part.padding_idx + 1
            limits.append(int(part.num_embeddings) - first)
    stated = getattr(model.config, "max_position_embeddings", None)
    if isinstance(stated, int) and stated > 0:
        limits.append(stated)
    return min(limits, default=None)


def _checked_tokenizer(tokenizer: Any, name: str) -> Any:
    """Return the fast tokenizer inside, after checking that it makes the same pairs."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise UnsupportedError(f"{name!r} has {type_of(tokenizer)}, which is not a fast tokenizer. {_ADVICE}")
    if tokenizer.pad_token is None:
        raise UnsupportedError(f"the tokenizer of {name!r} has no padding token. {_ADVICE}")
    query, text = "How long do refunds take?", "Five working days."
    pairs = PairTokenizer(fast_tokenizer(tokenizer, None), UNLIMITED).tokenize(query, [text]).pairs
    if pairs[0].ids != tokenizer(query, text)["input_ids"]:
        raise UnsupportedError(f"the tokenizer of {name!r} joins pairs in a way that is not supported. {_ADVICE}")
    return fast_tokenizer(tokenizer, None)
