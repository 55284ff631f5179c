"""Lexical search in SQL: the local engine's BM25, with statistics of the scope only (see `engines.local`).

For N documents in the scope with mean length L, and a term or phrase that n of them contain:

    idf = max(ln((N − n + 0.5) / (n + 0.5)), 1e-6)
    bm25 = Σ weight × idf × tf × (k1 + 1) / (tf + k1 × (1 − b + b × length / L))

An index finds the documents that contain one of the terms. Occurrences are counted in the column `words`, which puts a
space of its own before and after each term: the count is the length lost by removing a term or phrase, divided by its
length.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from theodolite.analysis.bm25 import BM25
from theodolite.analysis.query_terms import Phrase
from theodolite.engines.postgres.binary import encode_texts
from theodolite.engines.postgres.term_tokens import TERMS, counted_text, lookup_tokens
from theodolite.engines.postgres.where import Condition
from theodolite.engines.remote.escaping import unescape
from theodolite.engines.remote.source import LexicalCandidates

Rows = Callable[[str, Sequence[Any]], list[Any]]


def lexical_candidates(
    rows: Rows,
    table: str,
    bm25: BM25,
    phrases: Mapping[Phrase, float],
    n: int,
    scope: Condition,
    eligible: Condition,
    documents: int,
    total_length: int,
) -> LexicalCandidates:
    """Return the n best documents, plus all that tie with the last one (see `Source.lexical`).

    Args:
        rows: runs a statement and returns its rows.
        scope: the documents whose statistics count.
        eligible: the documents of the scope that may be returned.
        documents: the number of documents in the scope.
        total_length: the sum of their lengths.
    """
    known = _known(rows, table, phrases)
    if not known or not total_length:
        return LexicalCandidates(np.empty(0, np.int64), [], np.empty(0), exhausted=True, known=False)
    tokens = list(dict.fromkeys(token for phrase in known for token in lookup_tokens(phrase)[:1]))
    numbers = range(1, len(known) + 1)
    counts: list[Condition] = [_count(phrase) for phrase in known]
    norm = f"({bm25.k1}::float8 * (1 - {bm25.b}::float8 + {bm25.b}::float8 * length / %s::float8))"
    # Never divide by 0: that is the sum for documents without the term, if k1 is 0.
    score = " + ".join(
        f"weights[{i}] * (counts[{i}] * {bm25.k1 + 1}::float8 / greatest(counts[{i}] + norm, 1e-9))" for i in numbers
    )
    sql = f"""
        WITH hits AS MATERIALIZED (
            SELECT key, id, {norm} AS norm, ({eligible.sql}) IS TRUE AS eligible,
                ARRAY[{", ".join(count.sql for count in counts)}]::float8[] AS counts
            FROM {table} WHERE {TERMS} && %s::text[] AND ({scope.sql})
        ), found AS MATERIALIZED (
            SELECT ARRAY[{", ".join(f"count(*) FILTER (WHERE counts[{i}] > 0)" for i in numbers)}]::float8[] AS holders
            FROM hits
        ), weighted AS MATERIALIZED (
            SELECT ARRAY(
                SELECT weight * greatest(ln((%s::float8 - held + 0.5) / (held + 0.5)), 1e-6)
                FROM found, unnest(found.holders, %s::float8[]) WITH ORDINALITY AS each(held, weight, place)
                ORDER BY place
            ) AS weights
        ), best AS (
            SELECT key, id, score FROM (
                SELECT key, id, {score} AS score FROM hits, weighted WHERE eligible
            ) AS scored WHERE score > 0 ORDER BY score DESC FETCH FIRST {n} ROWS WITH TIES
        )
        SELECT key, id, score, 0 < ANY(found.holders) FROM found LEFT JOIN best ON TRUE ORDER BY score DESC"""
    parameters = (
        total_length / documents,
        *eligible.parameters,
        *(parameter for count in counts for parameter in count.parameters),
        encode_texts(tokens),
        *scope.parameters,
        float(documents),
        [float(phrases[phrase]) for phrase in known],
    )
    listed = rows(sql, parameters)
    best = [row for row in listed if row[0] is not None]
    return LexicalCandidates(
        np.array([row[0] for row in best], np.int64),
        [unescape(row[1]) for row in best],
        np.array([row[2] for row in best], np.float64),
        exhausted=len(best) < n,
        known=bool(listed[0][3]),
    )


def _known(rows: Rows, table: str, phrases: Mapping[Phrase, float]) -> list[Phrase]:
    """Return the phrases whose terms all occur somewhere. Most candidate spellings do not."""
    tokens = list(dict.fromkeys(token for phrase in phrases for token in lookup_tokens(phrase)))
    found = rows(
        f"SELECT token FROM unnest(%s::text[]) AS t(token) "
        f"WHERE EXISTS (SELECT FROM {table} WHERE {TERMS} && ARRAY[token])",
        (encode_texts(tokens),),
    )
    there = {token for (token,) in found}
    return [phrase for phrase in phrases if there.issuperset(lookup_tokens(phrase))]


def _count(phrase: Phrase) -> Condition:
    """Return an SQL expression for how often a phrase occurs in `words`."""
    text = counted_text(phrase)
    if any(phrase[shift:] == phrase[:-shift] for shift in range(1, len(phrase))):
        # The phrase may overlap itself, as in "again and again and again": count every position.
        escaped = "".join(f"\\{character}" if character in "#\\" else character for character in text)
        return Condition("(SELECT count(*) FROM regexp_matches(words, %s, 'g'))", (f"(?={escaped})",))
    return Condition("((length(words) - length(replace(words, %s, ''))) / %s)", (text, len(text)))
