"""The words of texts as rows hold them."""

import random

from theodolite.analysis.query_terms import Tokenizer
from theodolite.analysis.unspaced_scripts import prepare_text
from theodolite.engines.postgres.term_tokens import TermEncoder

PIECES = [
    *map(chr, range(128)),
    *(
        "running",
        "Straße",
        "naïve",
        "e\u0301",
        "\u0301",
        "返金の手続き",
        "환불은",
        "ｶﾞｽ",
        "İ",
        "Ǆ",
        "٣",
        "x" * 300,
        "é" * 300,
    ),
    *("\u00a0", "\u2019", "\u200d", "\ud800", "\U0001f600", "\U00020000", "ŉ", "ﬁ", "²", "x" * 300, "é" * 300),
]


def test_texts_have_the_terms_of_the_tokenizer_whatever_they_consist_of() -> None:
    random.seed(1)
    texts = ["".join(random.choices(PIECES, k=random.randint(0, 30))) for _ in range(3_000)]
    encoder = TermEncoder()
    found = [terms for start in range(0, len(texts), 100) for terms in encoder.terms(texts[start : start + 100])]
    for text, terms, expected in zip(texts, found, Tokenizer().terms(list(map(prepare_text, texts))), strict=True):
        words = [word for word in terms.words.decode()[1:-1].split("  ") if word and not word.startswith("\x02")]
        assert terms.length == len(expected), text
        assert [word for word in words if "#" not in word] == [word for word in expected if len(word) <= 200], text
