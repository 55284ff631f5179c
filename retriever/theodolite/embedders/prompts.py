"""Prompts that models expect before queries and documents."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple


class Prompts(NamedTuple):
    """The prompts put before each query and each document; empty for none."""

    query: str = ""
    document: str = ""


_E5 = Prompts("query: ", "passage: ")
_BGE_ENGLISH = Prompts("Represent this sentence for searching relevant passages: ")
_BGE_CHINESE = Prompts("为这个句子生成表示以用于检索相关文章：")  # noqa: RUF001 - the full-width colon is part of it
_NOMIC = Prompts("search_query: ", "search_document: ")

NEEDED: Mapping[str, Prompts] = {
    # From their model cards: without the prefixes quality drops, for documents too.
    "intfloat/e5-small": _E5,
    "intfloat/e5-base": _E5,
    "intfloat/e5-large": _E5,
    "intfloat/e5-small-v2": _E5,
    "intfloat/e5-base-v2": _E5,
    "intfloat/e5-large-v2": _E5,
    "intfloat/multilingual-e5-small": _E5,
    "intfloat/multilingual-e5-base": _E5,
    "intfloat/multilingual-e5-large": _E5,
    # From the table of models in the README of FlagEmbedding. BAAI/bge-m3 needs none.
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
    # From their model cards. Newer revisions contain the prompts; older revisions and copies may not.
    "mixedbread-ai/mxbai-embed-large-v1": _BGE_ENGLISH,
    "nomic-ai/nomic-embed-text-v1": _NOMIC,
    "nomic-ai/nomic-embed-text-v1.5": _NOMIC,
    "Snowflake/snowflake-arctic-embed-m": _BGE_ENGLISH,
    "Snowflake/snowflake-arctic-embed-m-long": _BGE_ENGLISH,
    "Snowflake/snowflake-arctic-embed-m-v1.5": _BGE_ENGLISH,
    "Snowflake/snowflake-arctic-embed-l": _BGE_ENGLISH,
}
"""Prompts of models that were trained with them, by exact name on the hub. A model's own configuration comes first."""

_BY_NAME = {name.casefold(): prompts for name, prompts in NEEDED.items()}  # the hub ignores case


def needed_prompts(name: str) -> Prompts:
    """Return the prompts that a model was trained with; empty for names that `NEEDED` does not list."""
    return _BY_NAME.get(name.partition("@")[0].casefold(), Prompts())


def own_prompts(prompts: Mapping[str, str | None] | None) -> Prompts:
    """Return the prompts of a model's configuration, by the names that sentence-transformers uses.

    That library gives every model an empty prompt `document`, which hides the prompt of a model that calls it
    `passage` or `corpus`. The first one that is not empty counts here.
    """
    named = prompts or {}
    document = next((named[key] for key in ("document", "passage", "corpus") if named.get(key)), None)
    return Prompts(named.get("query") or "", document or "")


def choose_prompts(
    name: str, given: tuple[str | None, str | None], own: Prompts, *, complete: bool, stacklevel: int
) -> Prompts:
    """Choose the prompts: the given ones, else the model's own, else (with `complete`) the ones it was trained with.

    Warns if a prompt that the model was trained with is missing from the result.

    Args:
        name: the model's name on the hub.
        given: the caller's prompts for queries and documents; None leaves the choice to the model.
        own: the prompts of the model's configuration.
        complete: whether to take missing prompts from `NEEDED`. False for a loaded model, because its texts may already
            begin with the prompts.
        stacklevel: the stack level of the caller's caller, for the warning.
    """
    trained_with = needed_prompts(name)
    sides = [
        explicit if explicit is not None else from_model or (needed if complete else "")
        for explicit, from_model, needed in zip(given, own, trained_with, strict=True)
    ]
    missing = [
        f"{setting}={needed!r}"
        for setting, side, needed in zip(("query_prompt", "document_prompt"), sides, trained_with, strict=True)
        if needed and not side
    ]
    if missing:
        warnings.warn(
            f"{name} was trained with prompts and finds less without them. Pass {', '.join(missing)}, or the "
            "model's name instead of a loaded model. If your texts already begin with the prompts, filter out this "
            "warning",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return Prompts(*sides)
