"""A cross-encoder trained here in seconds: it scores whether a question and a text share a mood."""

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

LIMIT = 48
"""How many tokens of a pair it reads."""

_FOND = ("love", "like", "enjoy", "adore")
_AVERSE = ("hate", "dislike", "detest", "loathe")
_THINGS = ("office", "train", "garden", "coffee", "film", "river", "phone", "music")
_REASONS = ("it is so loud", "of the people", "it is always new", "everyone comes here", "of what it does to me")
_ASKING = ("someone who does {} this {}", "who does {} the {}", "people that do {} this {}")
_STEPS = 1000  # at most; about 150 are enough
_WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def fond(thing: str) -> str:
    return f"I love this {thing} because of what it does to me every single day"


def averse(thing: str) -> str:
    return f"I hate this {thing} because of what it does to me every single day"


def tiny_cross_encoder(folder: Path, labels: int = 1) -> Path:
    """Train one, save it to `folder` and return that: some seconds on one core.

    A pair scores high where what the question asks for is what the text tells: fond or averse. Verbs, things and
    reasons are the same on both sides, and every other question says "not", so that no word alone decides. It knows
    no words but those in here.
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


def untrained(folder: Path, labels: int = 1, kind: str = "BertForSequenceClassification") -> Path:
    """The same with random weights; `BertModel` has no head."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        getattr(transformers, kind)(_config(labels)).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def _config(labels: int) -> Any:
    config = transformers.BertConfig(
        vocab_size=len(word_tokenizer()),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LIMIT,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
        initializer_range=0.2,
    )
    config.num_labels = labels
    return config


def _trained(labels: int) -> tuple[Any, Any]:
    torch.manual_seed(3)
    tokenizer = word_tokenizer()
    model: Any = transformers.BertForSequenceClassification(_config(labels))
    # Learn the mood of each side first: agreement alone is hard to learn.
    sides_of = torch.nn.Linear(64, 2)
    optimizer = torch.optim.AdamW([*model.parameters(), *sides_of.parameters()], lr=2e-3, weight_decay=0.0)
    draw = random.Random(5)
    recent = [1.0] * 20
    for _ in range(_STEPS):
        queries, texts, asked, reported = zip(*(_pair(draw) for _ in range(32)), strict=True)
        tokens = tokenizer(list(queries), list(texts), padding=True, return_tensors="pt")
        out = model(**tokens, output_hidden_states=True)
        sides = torch.tensor([asked, reported]).T
        same = (sides[:, 0] == sides[:, 1]).long()
        if labels == 1:
            loss = binary_cross_entropy_with_logits(out.logits[:, 0], same.float())
        else:
            loss = cross_entropy(out.logits, same)
        recent = [*recent[1:], loss.item()]
        if max(recent) < 0.1:
            return model.eval(), tokenizer
        optimizer.zero_grad()
        both: Any = loss + binary_cross_entropy_with_logits(sides_of(out.hidden_states[-1][:, 0]), sides.float())
        both.backward()
        optimizer.step()
    raise AssertionError(f"the tiny cross-encoder did not learn it in {_STEPS} steps: loss {recent[-1]:.3f}")


def _pair(draw: random.Random) -> tuple[str, str, bool, bool]:
    """A question, a text, and whether each of them is fond."""
    negated, asked, reported = (draw.random() < 0.5 for _ in range(3))
    thing = draw.choice(_THINGS)
    verb = draw.choice(_FOND if asked != negated else _AVERSE)
    query = draw.choice(_ASKING).format(f"not {verb}" if negated else verb, thing)
    text = f"i {draw.choice(_FOND if reported else _AVERSE)} this {thing} because {draw.choice(_REASONS)}"
    return query, text, asked, reported


def word_tokenizer() -> Any:
    """One token a word, for pairs as BERT joins them."""
    sentences = ["not", *_ASKING, *_REASONS, *_FOND, *_AVERSE, *_THINGS, fond(""), averse("")]
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
