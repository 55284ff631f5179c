"""Which stores break which promises: what is written here must fail, and nothing else may.

With llama-index-core 0.14.25, and its integrations of Chroma 0.6.0, Qdrant 0.10.4, LanceDB 0.6.0 (lancedb 0.40.0) and
FAISS 0.7.0. Behind a line: how, where the promise does not tell; the first store's way first.
"""

from collections.abc import Mapping
from typing import Any

STORES = {"S": "SimpleVectorStore", "C": "Chroma", "Q": "Qdrant", "L": "LanceDB", "F": "FAISS"}

LUCK = "threads add and query"
"""Promises that stores without locks keep or break by chance."""

BROKEN = {
    "the same id again replaces": "C L F",  # kept the old one; appended
    "of equal ids in a call the last stays": "C L F",
    "a replaced node has its new metadata only": "C L F",
    "nodes may have different metadata": "L",  # one schema
    "a node without embedding is refused and nothing is stored": "S F",
    "a vector of another length is refused and nothing is stored": "S F",  # Simple refuses at the query
    "a vector of nan is refused and nothing is stored": "S F",
    "a vector of zeros is refused or is as an orthogonal one": "S L",  # NaN; the distance is no cosine's
    "aquery is query": "Q",  # a second client, which an embedded one excludes
    "async add is add": "Q",  # likewise, as all that is awaited
    "adelete is delete": "Q L F",
    "adelete nodes is delete nodes": "Q L",
    "adelete nodes passes filters on": "Q L F",
    "aget nodes is get nodes": "S Q L F",
    "aclear is clear": "Q L F",
    "queries may be awaited together": "Q",
    "a loop goes on while a query is awaited": "S C Q L F",  # works on the loop
    "a loop goes on while nodes are added": "S C Q L F",
    "delete takes the nodes of a document": "L F",  # an SQL error, as all its deletes; nodes only
    "delete of an unknown document deletes nothing": "L",
    "delete does not take the id of a node": "L F",
    "delete of no document keeps nodes without one": "S C Q",  # but of "None"
    "delete nodes by id": "L",
    "delete nodes passes over unknown ids": "L",
    "delete nodes by filter": "C L F",  # needs ids, too
    "delete nodes by id and filter takes those that are both": "L F",
    "delete nodes by id and either filter takes those that are both": "Q L F",  # either is enough
    "delete nodes of nothing deletes nothing": "S Q",  # deletes all
    "what was deleted may come again": "L F",  # numbers of rows are given twice
    "clear deletes all": "Q L F",  # queries raise then; no clear
    "after clear nodes may be added": "L F",
    "clear and delete of an empty store are no error": "C Q L F",
    "filter: ==, 2.0 is 2": "L",
    "filter: ==, 1 is True": "C Q L",
    "filter: ==, a missing field": "L",
    "filter: ==, quotes in a string": "L",  # passes all
    "filter: ==, a list is not its elements": "C Q L",  # no lists; the elements
    "filter: ==, 5 is not '5'": "L",
    "filter: !=, a number": "L",
    "filter: !=, a float": "Q L",  # refused; LIKE
    "filter: !=, a missing field passes": "Q L",
    "filter: >=, strings": "C Q",
    "filter: >, dates as ISO strings": "C Q",
    "filter: >, a value of another kind does not pass": "S L",
    "filter: in, no values": "C L",
    "filter: nin, numbers": "L",
    "filter: nin, strings": "L",
    "filter: nin, no values": "C L",
    "filter: nin, a missing field passes": "Q L",
    "filter: contains, an element": "C Q L",
    "filter: contains, a substring": "C Q L",
    "filter: any": "C Q L",
    "filter: any, no values": "C Q L",
    "filter: all": "C Q L",
    "filter: all, no values": "C Q L",
    "filter: text_match": "C Q",
    "filter: text_match, cases differ": "C Q",
    "filter: text_match, no pattern": "C L",
    "filter: text_match_insensitive": "C Q L",
    "filter: is_empty": "C Q L",
    "filter: is_empty, lists": "C L",
    "filter: not, one": "C L",  # refused; as AND
    "filter: not, none of several": "C L",
    "filter: not, a missing field passes": "C L",
    "filter: no condition is and": "Q",  # passes all
    "filter: no filters pass all": "L",
    "filter: none passes": "L",  # raises Warning
    "filter: a field that no node has": "L",
    "filter: or within and": "S L",  # no filters within filters
    "filter: and within or": "S L",
    "filter: not within and": "S C L",
    "filter: not within not": "S C L",
    "filter: four deep": "S C L",
    "filter: no filters within and": "S C L",
    "a filter finds top k however far they are": "F",
    "a filter on an empty store finds nothing": "Q L F",
    "get nodes by id": "S L F",  # no text
    "get nodes keeps the order of the ids": "S C Q L F",
    "get nodes passes over unknown ids": "S L F",
    "get nodes by filter": "S C F",
    "get nodes by id and filter gives those that are both": "S Q L F",
    "get nodes of nothing named gives all": "S C F",
    "get nodes of no ids gives none": "S C L F",
    "get nodes is not cut short": "S C F",
    "get nodes of an empty store gives none": "S C Q L F",
    "get nodes gives text metadata and document": "S L F",
    "get nodes gives embeddings": "S C L F",  # none
    "documents come back as documents": "C Q L",  # as TextNodes
    "lists and mappings in metadata come back": "C L",
    "an index is made of a store alone": "S F",  # no text
    "a retriever passes filters and scores": "F",
    "a retriever may be awaited": "Q",
    "insert and delete ref doc": "L F",
    "refresh ref docs replaces what has changed": "L F",
    "delete nodes of an index": "L",
    "a pipeline replaces what has changed": "L F",
    "no node ids are no restriction": "S",  # nothing
    "node ids narrow": "C L F",  # ignored
    "node ids narrow before the best are chosen": "C L F",
    "unknown node ids find nothing": "C L F",
    "doc ids narrow": "S C L F",  # ignored
    "no doc ids find nothing": "S C Q L F",
    "unknown doc ids find nothing": "S C L F",
    "node ids doc ids and filters narrow together": "S C L F",
    "similarities are cosines": "C L",  # exp of a distance
    "similarities are floats": "F",  # numpy's float32
    "the length of vectors changes nothing": "L F",  # L2; inner products
    "random similarities are those of simple": "C L",
    "random nodes with a filter are found as by simple": "F",
    "no top k is refused or finds nothing": "S F",
    "an empty store finds nothing": "Q L",  # raises
    "a query of another length is refused in words": "F",
    "a query of nan is refused": "S C L F",  # finds something, or nothing
    "a query without embedding is refused in words": "S C Q L F",  # TypeError of a product; any nodes
    "an unknown mode is refused": "C Q L F",  # as the default
    "a mode for words reads them or is refused": "C Q L F",  # as the default
    "an unknown keyword is refused": "S Q L F",  # ignored
    "mmr chooses two as simple does": "Q L F",  # no MMR
    "mmr looks at all that were chosen": "S C Q L F",  # at the last only; no MMR
    "mmr with a threshold of 0 is as different as can be": "S Q L F",  # the first node that was added
    "mmr takes the threshold of the query": "S C Q L F",
    "mmr tells cosines": "S C L",  # what it chose by
    "a filter binds mmr": "F",
    "a pickled store finds the same or is refused": "C Q L",  # no client, no table
    "what is reopened can be written to": "L F",  # as above
}


def promise_of(function: str, params: Mapping[str, Any]) -> str:
    """Return a test's name in the table: each rule for filters is a promise of its own."""
    name = function.removeprefix("test_").replace("_", " ")
    return f"{name}: {params['rule'].label}" if "rule" in params else name


def breaks(store: str, promise: str) -> bool:
    """Return whether the store is recorded as breaking the promise."""
    if store == "FAISS" and promise.startswith("filter: "):
        return True  # it refuses all filters
    return store in [STORES[letter] for letter in BROKEN.get(promise, "").split()]
