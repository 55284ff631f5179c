"""What models want to read before a text: their prompts for questions and for passages."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple


class Prompts(NamedTuple):
    """What is put before each question and each passage; empty where nothing is."""

    query: str = ""
    document: str = ""


_E5 = Prompts("query: ", "passage: ")
_BGE_ENGLISH = Prompts("Represent this sentence for searching relevant passages: ")
_BGE_CHINESE = Prompts("为这个句子生成表示以用于检索相关文章：")  # noqa: RUF001 - the full-width colon is part of it
_NOMIC = Prompts("search_query: ", "search_document: ")

NEEDED: Mapping[str, Prompts] = {
    # Their model cards: without the prefixes the quality falls, for passages too.
    "intfloat/e5-small": _E5,
    "intfloat/e5-base": _E5,
    "intfloat/e5-large": _E5,
    "intfloat/e5-small-v2": _E5,
    "intfloat/e5-base-v2": _E5,
    "intfloat/e5-large-v2": _E5,
    "intfloat/multilingual-e5-small": _E5,
    "intfloat/multilingual-e5-base": _E5,
    "intfloat/multilingual-e5-large": _E5,
    # The table of models in the README of FlagEmbedding. BAAI/bge-m3 needs none.
    "BAAI/bge-small-en": _BGE_ENGLISH,
    "BAAI/bge-base-en": _BGE_ENGLISH,
    "BAAI/bge-large-en": _BGE_ENGLISH,
    "BAAI/bge-small-en-v1.5": _BGE_ENGLISH,
    "BAAI/bge-base-en-v1.5": _BGE_ENGLISH,
    "BAAI/bge-large-en-v1.5": _BGE_ENGLISH,
    "BAAI/bge-small-zh": _BGE_CHINESE,
    "BAAI/bge-base-zh": _BGE_CHINESE,
    "BAAI/bge-large-zh": _BGE_CHINESE,
    "BAAI/bge-small-zh-v1.5": _BGE_CHINESE,
    "BAAI/bge-base-zh-v1.5": _BGE_CHINESE,
    "BAAI/bge-large-zh-v1.5": _BGE_CHINESE,
    # Their model cards; newer revisions bring the prompts themselves, an older one or a copy may not.
    "mixedbread-ai/mxbai-embed-large-v1": _BGE_ENGLISH,
    "nomic-ai/nomic-embed-text-v1": _NOMIC,
    "nomic-ai/nomic-embed-text-v1.5": _NOMIC,
    "Snowflake/snowflake-arctic-embed-m": _BGE_ENGLISH,
    "Snowflake/snowflake-arctic-embed-m-long": _BGE_ENGLISH,
    "Snowflake/snowflake-arctic-embed-m-v1.5": _BGE_ENGLISH,
    "Snowflake/snowflake-arctic-embed-l": _BGE_ENGLISH,
}
"""Models that were trained with prompts, by their exact name on the hub. Where a model's own configuration has
them, that comes first."""

_BY_NAME = {name.casefold(): prompts for name, prompts in NEEDED.items()}  # the hub ignores case


def needed(name: str) -> Prompts:
    """The prompts that the model of this name was trained with, as far as the table knows."""
    return _BY_NAME.get(name.partition("@")[0].casefold(), Prompts())


def own(prompts: Mapping[str, str | None] | None) -> Prompts:
    """What a model's own table of prompts says, by the names that sentence-transformers gives them.

    That library sets an empty prompt `document` for every model, and stops there: it never comes to the prompt
    of a model that calls its own `passage` or `corpus`. So the first that is not empty counts.
    """
    found = prompts or {}
    document = next((found[key] for key in ("document", "passage", "corpus") if found.get(key)), None)
    return Prompts(found.get("query") or "", document or "")


def chosen(
    name: str, given: tuple[str | None, str | None], own: Prompts, *, complete: bool, stacklevel: int
) -> Prompts:
    """The prompts to use: those given, else the model's own, else, to complete them, those it needs.

    Warns where a prompt that the model needs ends up missing.

    Args:
        name: the model's name on the hub; any other has no needs that are known.
        given: for questions and for passages, by the caller; None leaves the choice to the model.
        complete: whether what the model lacks is taken from the table. Not for a loaded model: its owner may
            put the prompts before the texts.
        stacklevel: of the caller's caller, for the warning.
    """
    wanted = needed(name)
    sides = [
        explicit if explicit is not None else from_model or (known if complete else "")
        for explicit, from_model, known in zip(given, own, wanted, strict=True)
    ]
    missing = [
        f"{setting}={known!r}"
        for setting, side, known in zip(("query_prompt", "document_prompt"), sides, wanted, strict=True)
        if known and not side
    ]
    if missing:
        warnings.warn(
            f"{name} was trained with prompts and finds less without them. Pass {', '.join(missing)}, or the "
            "model's name instead of a loaded model. If your texts begin with the prompts already, filter this "
            "warning",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return Prompts(*sides)
