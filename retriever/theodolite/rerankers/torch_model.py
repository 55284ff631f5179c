"""Cross-encoders on torch: loading them with transformers, and refusing what is none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders import model_loading
from theodolite.embedders.fair_lock import TORCH, torch_threads
from theodolite.embedders.model_loading import Source
from theodolite.embedders.onnx import export_folder
from theodolite.embedders.onnx.embedder import on_disk
from theodolite.embedders.onnx.export import own_tokenizer
from theodolite.errors import ConfigError, UnsupportedError
from theodolite.plugins import optional
from theodolite.rerankers.tokenized_pairs import INPUTS, Pairs

_ADVICE = "Any other model can be wrapped in an object with score(query, texts)"
_UNLIMITED = 10**9  # tokenizers without a limit say 1e30


class LoadedModel:
    """A model and its tokenizer. One batch at a time is computed in a process, as with embedders."""

    def __init__(self, model: Any, tokenizer: Any, name: str, device: str | None, threads: int | None) -> None:
        """
        Args:
            model: of transformers, for the classification of sequences.
            tokenizer: of transformers, on one of the package tokenizers.
            device: None for what the library would choose, or for where a loaded model is.

        Raises:
            ConfigError: the model has other than one or two labels.
            UnsupportedError: the tokenizer cannot be followed.
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
        """Where it computes, such as `cpu`."""
        return str(self.model.device).partition(":")[0]

    def logits(self, feed: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Shape (n, labels), of at least one pair."""
        import torch

        with TORCH, torch_threads(self._threads), torch.inference_mode():
            given = {name: torch.from_numpy(values).to(self.model.device) for name, values in feed.items()}
            found: NDArray[np.float32] = self.model(**given).logits.float().cpu().numpy()
        return found


def locate(name_or_path: Any, revision: str | None) -> Source:
    """The folder of a model, which is downloaded if it is not there.

    Raises:
        ConfigError: there is no such model, or it is made of further parts.
    """
    source = model_loading.locate(name_or_path, revision)
    if not source.local and "/" not in source.place:
        source = source._replace(name=f"cross-encoder/{source.name}", place=f"cross-encoder/{source.place}")
    found = on_disk(source)
    export_folder.source_files(Path(found.place))
    return found


def load(source: Source, device: str | None, threads: int | None) -> LoadedModel:
    """The cross-encoder in a folder.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ConfigError: it cannot be loaded, or is no cross-encoder: its head would be made of random weights.
    """
    with optional("sentence-transformers"):
        import sentence_transformers.util  # what brings transformers, and knows the devices
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    _check_parts(Path(source.place), source.name)
    try:
        with model_loading.no_progress_bars():
            untyped: Any = AutoModelForSequenceClassification
            model, info = untyped.from_pretrained(
                source.place, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(source.place, local_files_only=True)
    except Exception as error:  # each of the libraries beneath has errors of its own
        raise ConfigError(
            f"the cross-encoder {source.name!r} cannot be loaded. Is it a model that classifies pairs of texts, with "
            f"weights in safetensors? {_ADVICE}. {type(error).__name__}: {error}",
            model=source.name,
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(
            f"{source.name!r} is no cross-encoder: {len(missing)} of the weights it would need are not in its files, "
            f"first {missing[0]!r}, and random ones give scores without meaning. An embedding model cannot rerank; "
            "pass one that was trained to score pairs, such as 'cross-encoder/ms-marco-MiniLM-L6-v2'",
            model=source.name,
            missing=missing,
        )
    device = device or sentence_transformers.util.get_device_name()
    return LoadedModel(model.float(), tokenizer, source.name, device, threads)


def from_object(model: Any, threads: int | None) -> LoadedModel:
    """A loaded CrossEncoder of sentence-transformers.

    Raises:
        ConfigError: it is none, or one with a prompt.
    """
    inner, tokenizer = getattr(model, "model", None), getattr(model, "tokenizer", None)
    if not hasattr(inner, "config") or tokenizer is None:
        raise ConfigError(f"a {type(model).__name__} is no CrossEncoder of sentence-transformers. {_ADVICE}")
    if getattr(model, "default_prompt_name", None):
        raise UnsupportedError(f"a CrossEncoder with a prompt is not supported. {_ADVICE}")
    source = str(getattr(inner, "name_or_path", "")) or type(inner).__name__
    return LoadedModel(inner, tokenizer, Path(source).name if Path(source).is_dir() else source, None, threads)


def _check_parts(folder: Path, name: str) -> None:
    """Raises UnsupportedError for what sentence-transformers would do beside the model itself."""
    try:
        parts = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(part["type"]).rpartition(".")[2] for part in parts]
    except FileNotFoundError:
        kinds = ["Transformer"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"modules.json of {name!r} cannot be read: {error}", model=name) from error
    if kinds[:1] == ["Transformer"] and set(kinds[1:]) & {"Pooling"}:
        return  # an embedding model, which has its own message
    if kinds != ["Transformer"]:
        raise UnsupportedError(f"{name!r} is made of {', '.join(kinds)}; only a Transformer can be used. {_ADVICE}")
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
            f"{name!r} has {labels} labels; a reranker has one, or two of which the second means relevant. {_ADVICE}",
            labels=labels,
        )
    return labels


def _limit(model: Any, tokenizer: Any) -> int | None:
    """How many tokens a pair may have; None without a limit."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < _UNLIMITED else []
    for name, part in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and hasattr(part, "num_embeddings"):
            # Models of the RoBERTa family begin to count after the place of the padding.
            begin = 0 if part.padding_idx is None else part.padding_idx + 1
            limits.append(int(part.num_embeddings) - begin)
    stated = getattr(model.config, "max_position_embeddings", None)
    if isinstance(stated, int) and stated > 0:
        limits.append(stated)
    return min(limits, default=None)


def _checked_tokenizer(tokenizer: Any, name: str) -> Any:
    """The fast tokenizer beneath, which must make the same pairs."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise UnsupportedError(f"{name!r} has a {type(tokenizer).__name__}, no fast tokenizer. {_ADVICE}")
    if tokenizer.pad_token is None:
        raise UnsupportedError(f"the tokenizer of {name!r} has no token for padding. {_ADVICE}")
    fast = own_tokenizer(tokenizer, None)
    pair = ("How long do refunds take?", "Five working days.")
    expected = tokenizer(*pair)["input_ids"]
    if Pairs(own_tokenizer(tokenizer, None), _UNLIMITED).cut(pair[0], [pair[1]]).pairs[0].ids != expected:
        raise UnsupportedError(f"the tokenizer of {name!r} joins pairs in a way of its own. {_ADVICE}")
    return fast
