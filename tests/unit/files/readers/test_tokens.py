"""Passages are cut by the tokens of real tokenizers."""

from collections.abc import Sequence
from typing import Any

import pytest

from theodolite.files.readers import Splitter

pytest.importorskip("tokenizers")

TEXT = "".join(
    f"Section {n}: the customer's refund (No. {n * 37}) takes {n % 9} days, Größe {n}; see https://example.org/a/{n}?b=c.\n"
    + "\n" * (n % 4)
    + "\t \t  x\n \t\t y\n" * (n % 12)  # white space counts, too, where tokens run over it
    + ("    indented_code(x, y) == 'z'\n" if n % 5 == 0 else "")
    + ("退款需要五个工作日才能到账请耐心等待。" * (n % 7) + "\n" if n % 6 == 0 else "")
    for n in range(300)
)


class Tokens:
    """Counts with a tokenizer, and remembers how often it was asked."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        self._tokenizer, self.max_tokens, self.calls = tokenizer, max_tokens, 0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        self.calls += 1
        return [len(item.ids) for item in self._tokenizer.encode_batch(list(texts))]


def trained(kind: str) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    common: dict[str, Any] = {"vocab_size": 600, "special_tokens": ["[UNK]", "[CLS]", "[SEP]"], "show_progress": False}
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))  # noqa: S106
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer: Any = trainers.WordPieceTrainer(**common)
    elif kind == "SentencePiece":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", **common)  # noqa: S106
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


@pytest.mark.parametrize("kind", ["WordPiece", "SentencePiece", "byte-level BPE"])
@pytest.mark.parametrize("markdown", [False, True])
def test_nothing_is_longer_than_what_is_read(kind: str, markdown: bool) -> None:
    embedder = Tokens(trained(kind), 64)
    pieces = Splitter(embedder).split(TEXT, markdown=markdown)
    counts = embedder.count_tokens(pieces)
    assert max(counts) <= 64
    assert sum(counts) / len(counts) > 40  # and not cut to crumbs
    assert "".join("".join(pieces).split()) == "".join(TEXT.split())


def test_tokenizers_that_treat_words_separately_are_called_rarely() -> None:
    plain = "\n\n".join(line for line in TEXT.splitlines() if line.isascii()) * 5
    wordpiece, bpe = Tokens(trained("WordPiece"), 64), Tokens(trained("byte-level BPE"), 64)
    for embedder in (wordpiece, bpe):
        Splitter(embedder).split(plain)
    assert wordpiece.calls < 20 < bpe.calls
