"""A cross-encoder that is trained here, in seconds: it knows whether a question and a text share a feeling."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

LIMIT = 48
"""How many tokens of a pair it reads."""

_FOND = ("love", "like", "enjoy", "adore")
_AVERSE = ("hate", "dislike", "detest", "loathe")
_THINGS = ("office", "train", "garden", "coffee", "film", "river", "phone", "music")
_REASONS = ("it is so loud", "of the people", "it is always new", "everyone comes here", "of what it does to me")
_ASKING = ("someone who would {} this {}", "who would {} the {}", "people that {} this {}", "{} the {}")
_WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def fond(thing: str) -> str:
    return f"I love this {thing} because of what it does to me every single day"


def averse(thing: str) -> str:
    return f"I hate this {thing} because of what it does to me every single day"


def tiny_cross_encoder(folder: Path, labels: int = 1) -> Path:
    """Train one, save it to `folder` and return that: about 5 seconds on one core.

    A pair scores high where the question and the text are both fond, or both averse; things and reasons are the
    same on both sides, so that words alone do not tell. It knows no words but those in here.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            model, tokenizer = _trained(labels)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _trained(labels: int) -> tuple[Any, Any]:
    torch.manual_seed(3)
    tokenizer = word_tokenizer()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LIMIT,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=labels,
        pad_token_id=0,
        initializer_range=0.1,
    )
    model = transformers.BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loss_of = torch.nn.BCEWithLogitsLoss() if labels == 1 else torch.nn.CrossEntropyLoss()
    for batch in _batches(random.Random(5)):
        queries, texts, same = zip(*batch, strict=True)
        tokens = tokenizer(list(queries), list(texts), padding=True, return_tensors="pt")
        logits = model(**tokens).logits
        wanted = torch.tensor(same)
        loss = loss_of(logits[:, 0], wanted.float()) if labels == 1 else loss_of(logits, wanted.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), tokenizer


def _batches(draw: random.Random, steps: int = 250, size: int = 32) -> Iterator[list[tuple[str, str, bool]]]:
    for _ in range(steps):
        yield [_pair(draw) for _ in range(size)]


def _pair(draw: random.Random) -> tuple[str, str, bool]:
    sides = (_FOND, _AVERSE)
    asked, told = draw.randrange(2), draw.randrange(2)
    thing = draw.choice(_THINGS)
    query = draw.choice(_ASKING).format(draw.choice(sides[asked]), thing)
    text = f"i {draw.choice(sides[told])} this {thing} because {draw.choice(_REASONS)}"
    return query, text, asked == told


def word_tokenizer() -> Any:
    """One token a word, for pairs as BERT joins them."""
    sentences = [*_ASKING, *_REASONS, *_FOND, *_AVERSE, *_THINGS, fond(""), averse("")]
    words = sorted({word for sentence in sentences for word in sentence.lower().replace("{}", "").split()})
    vocabulary = {word: number for number, word in enumerate([*_WORDS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    untyped: Any = transformers.PreTrainedTokenizerFast
    return untyped(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        model_max_length=LIMIT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
