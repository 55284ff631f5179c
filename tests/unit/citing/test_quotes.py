"""verify_quotes: what is in the text passes, however it is typeset, and what is not is shown with the difference."""

from typing import Any

import pytest

from theodolite import Document, InputError, verify_quotes
from theodolite.citing.quotes import QuoteCheck
from theodolite.types import Hit, Hits, Trace

TEXTS = {
    "refunds": "Refunds take five working days after we receive the parcel. Holidays don't count – see section 2.",
    "prices": "A gift card costs 50.5 euros, not 5. The freezer runs at -18 degrees.",
    "zh": "GitHub备份脚本上传失败的原因是网络。",
    "accents": "Le café «Zoë» ouvre à neuf heures; Straße 7.",
}


def hits_of(**texts: str) -> Hits:
    items = [Hit(Document(text, {}, name), 1.0, rank, {}) for rank, (name, text) in enumerate(texts.items(), 1)]
    return Hits(tuple(items), Trace("scan", len(items), len(items), 0))


HITS = hits_of(**TEXTS)


def check(answer: str) -> list[tuple[str, str | None]]:
    return [(quote.status, quote.document_id) for quote in verify_quotes(answer, HITS).quotes]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('It says "Refunds take five working days".', [("exact", "refunds")]),
        ("It says “after we receive the parcel”.", [("exact", "refunds")]),
        ("„Refunds take five working days“", [("exact", "refunds")]),
        ("「网络」と言う", [("exact", "zh")]),
        ('"脚本上传失败的原因"', [("exact", "zh")]),
        ('"refunds take  FIVE\nworking days," it says', [("normalized", "refunds")]),
        ('"Holidays don’t count - see section 2"', [("normalized", "refunds")]),  # noqa: RUF001
        ('"Refunds take **five** working\u00a0days"', [("normalized", "refunds")]),
        ('"Refunds take … after we receive the parcel"', [("normalized", "refunds")]),
        ('"Refunds [...] the parcel"', [("normalized", "refunds")]),
        ('"Le cafe\u0301"', [("normalized", "accents")]),
        (
            '"Refunds take five working days after we receive the parcel. A gift card costs 50.5 euros"',
            [("exact", "refunds"), ("exact", "prices")],
        ),
        (
            "> Refunds take five working days after we receive the parcel.\n"
            "> Holidays don't count at all – see section 2.\n\nSo it is.",
            [("exact", "refunds"), ("different", "refunds")],
        ),
        ("Nothing is quoted, it's all ours.", []),
        ('an inch is 2.54 cm or 1" and no more', []),
    ],
)
def test_quotes_in_the_text_pass(answer: str, expected: list[tuple[str, str]]) -> None:
    assert check(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        '"costs 5 euros"',
        '"costs 50"',  # the price is 50.5
        '"5 euros"',
        '"18 degrees"',  # it is -18
        '"Refunds take fifty working days"',
        '"five working day"',
        '"the parcel … Refunds take"',  # the other way round
        '"cafe Zoe"',
        '"eceive the parc"',
        '"Refunds never take days … the parcel"',
    ],
)
def test_quotes_that_say_something_else_fail(answer: str) -> None:
    result = verify_quotes(answer, HITS)
    assert not result.ok
    assert all(quote.status in ("different", "missing") for quote in result.quotes)
    assert len(result.quotes) == 1


def test_the_nearest_sentence_is_shown_with_the_difference() -> None:
    (quote,) = verify_quotes('"Refunds take ten working days after we receive your parcel."', HITS).quotes
    assert (quote.status, quote.document_id, quote.number) == ("different", "refunds", 1)
    assert quote.found == "Refunds take five working days after we receive the parcel."
    assert quote.difference == "Refunds take [-five-] {+ten+} working days after we receive [-the-] {+your+} parcel."
    (other,) = verify_quotes('"The moon is made of cheese"', HITS).quotes
    assert (other.status, other.document_id, other.found) == ("missing", None, "")


def test_a_normalized_quote_shows_the_stored_text() -> None:
    (quote,) = verify_quotes('"HOLIDAYS DON\'T COUNT"', HITS).quotes
    assert quote.found == "Holidays don't count"


def test_the_result_is_text_json_and_html() -> None:
    result = verify_quotes('"Refunds take ten working days after we receive the parcel" and "costs <b>"', HITS)
    assert isinstance(result, QuoteCheck)
    assert str(result).splitlines()[0].startswith("different   [1] refunds: Refunds take [-five-] {+ten+}")
    assert [each["ok"] for each in result.to_dict()["quotes"]] == [False, False]
    assert "&lt;b&gt;" in result._repr_html_()
    assert str(verify_quotes("nothing", HITS)) == "no quotes"
    assert verify_quotes("nothing", HITS).ok


@pytest.mark.parametrize("text", ["", " ", '"', '""', '"…"', "«»", ">", "> \n>", '"' * 99, '"\x00"', '"[...]"'])
def test_any_answer_and_any_text_are_read(text: str) -> None:
    for hits in (HITS, hits_of(), hits_of(a=""), hits_of(a=text)):
        assert verify_quotes(text, hits).to_dict()["ok"] in (True, False)


@pytest.mark.parametrize(("answer", "hits"), [(None, HITS), (b"x", HITS), ("x", None), ("x", ["text"])])
def test_other_types_are_refused(answer: Any, hits: Any) -> None:
    with pytest.raises(InputError, match=r"answer is|hits is"):
        verify_quotes(answer, hits)
