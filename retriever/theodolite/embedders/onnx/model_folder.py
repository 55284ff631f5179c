"""Read a folder in the layout of sentence-transformers whose transformer is an ONNX graph.

Repositories on the hub have this layout, and so have our own exports. The graph returns a vector for each token;
pooling and normalization are applied here, as `modules.json` and the settings of the pooling say.
"""

import json
import mmap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.embedders.hub import UNLIMITED
from theodolite.embedders.prompts import Prompts, own_prompts
from theodolite.errors import MALFORMED, ConfigError, UnsupportedError, type_of

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

GRAPHS = ("onnx/model.onnx", "model.onnx")
"""Names of the float32 graph, in the order they are looked for."""

TOKENIZER = "tokenizer.json"
MODULES = "modules.json"
_PROMPTS = "config_sentence_transformers.json"

SETTINGS = (MODULES, _PROMPTS, "config.json", "sentence_bert_config.json", TOKENIZER, "tokenizer_config.json")
"""Files with settings of models that sentence-transformers has saved. Older models lack some of them."""

_QUANTIZED = b"DynamicQuantizeLinear"  # the operator that computes one scale for a whole batch
_ADVICE = "Use it through sentence-transformers: embedder='sentence-transformers:NAME'"

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}  # in the order in which sentence-transformers concatenates them


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The settings of a model in a folder.

    Attributes:
        folder: the folder.
        graph: the file of the graph.
        max_tokens: maximum number of tokens of a text; None for no limit.
        pooling: kinds of pooling, whose vectors are concatenated; a key of `POOLINGS` each.
        normalize: whether vectors are scaled to unit length.
        prompts: the prompts in the model's configuration.
        padding: arguments of `Tokenizer.enable_padding`, but for the token's number.
        truncate: the side on which long texts are cut off, `right` or `left`.
    """

    folder: Path
    graph: Path
    max_tokens: int | None
    pooling: tuple[str, ...]
    normalize: bool
    prompts: Prompts
    padding: Mapping[str, Any]
    truncate: str

    def pool(self, tokens: Floats, mask: Ints) -> Floats:
        """Return one vector for each text, (n, d).

        Args:
            tokens: vectors of the tokens, (n, tokens, d).
            mask: 1 for tokens, 0 for padding, (n, tokens).
        """
        parts = [POOLINGS[kind](tokens, mask) for kind in self.pooling]
        vectors = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        if self.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(vectors, np.float32)


def graph_of(names: Iterable[str]) -> str | None:
    """Return the name of the float32 graph among the files of a model; None if there is none."""
    known = set(names)
    return next((name for name in GRAPHS if name in known), None)


def settings_files(model: str, names: Iterable[str]) -> list[str]:
    """Return the files of a model that `read` needs, but for the graph.

    Raises:
        UnsupportedError: the model has no ONNX graph, or no tokenizer or modules to go with it.
    """
    known = list(names)
    missing = [name for name in (MODULES, TOKENIZER) if name not in known]
    if graph_of(known) is None or missing:
        what = f"no {missing[0]}" if missing else f"no ONNX file ({' or '.join(GRAPHS)})"
        raise UnsupportedError(f"the model {model!r} has {what}")
    return [
        name for name in known if name.endswith(".json") and (name.count("/") == 0 or name.endswith("/config.json"))
    ]


def all_files(model: str, names: Iterable[str]) -> list[str]:
    """Return the files of a model that `read` and the graph need. Raises the same errors as `settings_files`."""
    known = list(names)
    graph = graph_of(known) or ""
    place = graph.rpartition("/")[0]
    # Weights above 2 GB are in files of their own, beside the graph.
    weights = [
        name
        for name in known
        if name.startswith(f"{graph}_data") or name == f"{graph}.data" or (place and name.startswith(f"{place}/Const"))
    ]
    return [*settings_files(model, known), graph, *weights]


def read(folder: Path) -> ModelFolder:
    """Read the settings of a model.

    Raises:
        UnsupportedError: the model has parts that are not reproduced here, or its graph is quantized.
        ConfigError: a file of settings cannot be read.
    """
    pooling, normalize, prompts = read_parts(folder)
    name = graph_of(name for name in GRAPHS if (folder / name).is_file())
    if name is None or not (folder / TOKENIZER).is_file():
        raise UnsupportedError(f"{folder} has no ONNX file ({' or '.join(GRAPHS)}) beside a tokenizer.json")
    tokenizer = _json(folder / "tokenizer_config.json")
    token = tokenizer.get("pad_token") or "[PAD]"
    return ModelFolder(
        folder,
        folder / name,
        _limit(folder, tokenizer),
        pooling,
        normalize,
        prompts,
        {
            "pad_token": token["content"] if isinstance(token, dict) else token,
            "direction": tokenizer.get("padding_side", "right"),
        },
        tokenizer.get("truncation_side", "right"),
    )


def check_float32(graph: Path) -> None:
    """Raise UnsupportedError if activations are quantized, so that a vector would depend on its batch."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(_QUANTIZED) >= 0:
            raise UnsupportedError(f"{graph} is quantized: a vector would depend on the other texts of its batch")


def read_parts(folder: Path) -> tuple[tuple[str, ...], bool, Prompts]:
    """Return the kinds of pooling, whether to normalize, and the prompts. Raises the same errors as `read`."""
    modules = _json(folder / MODULES, list)
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        own = all(str(module["type"]).startswith("sentence_transformers.") for module in modules)
        places = [str(module["path"]) for module in modules]
    except MALFORMED as error:
        raise ConfigError(f"{folder / MODULES} cannot be read: {error}") from error
    if not own or kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"} or places[0]:
        raise UnsupportedError(
            f"the model in {folder} is made of {', '.join(kinds) or 'nothing'}; only Transformer, Pooling and "
            f"Normalize, in this order, run on onnxruntime. {_ADVICE}",
            parts=kinds,
        )
    pooling = _json(folder / places[1] / "config.json")
    if not pooling.get("include_prompt", True):
        raise UnsupportedError(f"the model in {folder} leaves its prompt out of the pooling. {_ADVICE}")
    legacy = tuple(kind for key, kind in _LEGACY_POOLING.items() if pooling.get(key))
    chosen = pooling.get("pooling_mode") or legacy or "mean"
    named = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    if set(named) - set(POOLINGS):
        raise UnsupportedError(f"the model in {folder} has the pooling {named}, which is not known. {_ADVICE}")
    settings = _json(folder / _PROMPTS)
    if settings.get("truncate_dim") is not None:
        raise UnsupportedError(
            f"the model in {folder} truncates its vectors to {settings['truncate_dim']} dimensions. {_ADVICE}"
        )
    if _transformer(folder).get("do_lower_case"):
        raise UnsupportedError(f"the model in {folder} lowers the case of its texts. {_ADVICE}")
    return named, "Normalize" in kinds, own_prompts(settings.get("prompts"))


def _transformer(folder: Path) -> dict[str, Any]:
    """Return the settings of the transformer; models of other kinds than BERT name the file after theirs."""
    found = sorted(folder.glob("sentence_*_config.json"))
    settings: dict[str, Any] = _json(found[0]) if found else {}
    return settings


def _limit(folder: Path, tokenizer: Mapping[str, Any]) -> int | None:
    """Return the maximum number of tokens, by the rules of sentence-transformers."""
    stated = _transformer(folder).get("max_seq_length")
    if stated is None:
        stated = tokenizer.get("model_max_length") or UNLIMITED + 1
        positions = _json(folder / "config.json").get("max_position_embeddings", -1)
        if positions != -1:
            stated = min(stated, positions)
    return None if stated > UNLIMITED else int(stated)


def _json(path: Path, kind: type[Any] = dict) -> Any:
    """Return the content of a file, or an empty value if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", path=str(path)) from error
    if not isinstance(content, kind):
        raise ConfigError(f"{path} holds {type_of(content)}; expected a {kind.__name__}", path=str(path))
    return content


def _first(tokens: Floats, mask: Ints) -> Floats:
    return np.asarray(tokens[np.arange(len(tokens)), mask.argmax(axis=1)])


def _last(tokens: Floats, mask: Ints) -> Floats:
    return np.asarray(tokens[np.arange(len(tokens)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)])


def _highest(tokens: Floats, mask: Ints) -> Floats:
    return np.asarray(np.where(mask[:, :, None] == 0, -np.inf, tokens).max(axis=1))


def _sums(tokens: Floats, weights: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the weighted sums of tokens, (n, d), and the sums of the weights, (n, 1)."""
    rows = weights.astype(np.float32)
    return (rows[:, None, :] @ tokens)[:, 0], np.maximum(rows.sum(axis=1, keepdims=True), 1e-9)


def _mean(tokens: Floats, mask: Ints) -> Floats:
    total, weight = _sums(tokens, mask)
    return total / weight


def _mean_sqrt(tokens: Floats, mask: Ints) -> Floats:
    total, weight = _sums(tokens, mask)
    return np.asarray(total / np.sqrt(weight), np.float32)


def _weighted_mean(tokens: Floats, mask: Ints) -> Floats:
    total, weight = _sums(tokens, mask * np.cumsum(mask, axis=1))
    return total / weight


POOLINGS: Mapping[str, Callable[[Floats, Ints], Floats]] = {
    "cls": _first,
    "max": _highest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
"""Kinds of pooling, by the names of sentence-transformers."""
