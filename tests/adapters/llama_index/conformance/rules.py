"""Filters, and which nodes they pass: what llama-index-core 0.14.25 says, wherever it says anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llama_index.core.vector_stores.types import MetadataFilters
from tests.adapters.llama_index.conformance.cases import condition, filters, uid, where

PLAIN: dict[str, dict[str, Any]] = {
    "a": {"n": 1, "f": 0.5, "s": "alpha"},
    "b": {"n": 2, "f": 1.5, "s": "beta"},
    "c": {"n": 3, "f": 2.5, "s": "Alphabet"},
}
SPARSE: dict[str, dict[str, Any]] = {**PLAIN, "d": {"other": 1}}
EMPTY: dict[str, dict[str, Any]] = {
    "none": {"s": None, "k": 1},
    "blank": {"s": "", "k": 1},
    "word": {"s": "x", "k": 1},
    "missing": {"k": 1},
}
LISTS: dict[str, dict[str, Any]] = {
    "xy": {"tags": ["x", "y"]},
    "yz": {"tags": ["y", "z"]},
    "nothing": {"tags": []},
}
MIXED: dict[str, dict[str, Any]] = {"number": {"v": 5}, "text": {"v": "5"}}
BOOLS: dict[str, dict[str, Any]] = {"yes": {"v": True}, "no": {"v": False}}


@dataclass(frozen=True, slots=True)
class Rule:
    """Stored values, a filter, and the names of the values that pass."""

    label: str
    stored: Mapping[str, dict[str, Any]]
    filters: MetadataFilters
    passing: str  # names, with spaces between

    @property
    def simple(self) -> bool:
        """Whether SimpleVectorStore says the same: it takes no filters within filters, nor what does not compare."""
        nested = any(isinstance(part, MetadataFilters) for part in self.filters.filters)
        return not nested and self.stored is not MIXED


_1, _2, _3 = (condition("n", "==", number) for number in (1, 2, 3))
_BETA = condition("s", "==", "beta")

RULES = [
    Rule("==, a number", PLAIN, where("n", "==", 2), "b"),
    Rule("==, a float", PLAIN, where("f", "==", 1.5), "b"),
    Rule("==, a string", PLAIN, where("s", "==", "alpha"), "a"),
    Rule("==, 2.0 is 2", PLAIN, where("n", "==", 2.0), "b"),
    Rule("==, 1 is True", BOOLS, where("v", "==", 1), "yes"),
    Rule("==, a missing field", SPARSE, where("other", "==", 1), "d"),
    Rule("==, quotes in a string", PLAIN, where("s", "==", "' OR 1=1 --\""), ""),
    Rule("==, a list is not its elements", LISTS, where("tags", "==", "x"), ""),
    Rule("==, 5 is not '5'", MIXED, where("v", "==", 5), "number"),
    Rule("!=, a number", PLAIN, where("n", "!=", 2), "a c"),
    Rule("!=, a float", PLAIN, where("f", "!=", 1.5), "a c"),
    Rule("!=, a string", PLAIN, where("s", "!=", "alpha"), "b c"),
    Rule("!=, a missing field passes", SPARSE, where("n", "!=", 2), "a c d"),
    Rule(">", PLAIN, where("n", ">", 2), "c"),
    Rule(">=", PLAIN, where("n", ">=", 2), "b c"),
    Rule("<", PLAIN, where("f", "<", 1.5), "a"),
    Rule("<=", PLAIN, where("f", "<=", 1.5), "a b"),
    Rule("<, a missing field does not pass", SPARSE, where("n", "<", 9), "a b c"),
    Rule(">=, strings", PLAIN, where("s", ">=", "alpha"), "a b"),
    Rule(
        ">, dates as ISO strings", {"a": {"s": "2024-01-31"}, "b": {"s": "2025-01-01"}}, where("s", ">", "2024"), "a b"
    ),
    Rule(">, a value of another kind does not pass", MIXED, where("v", ">", 4), "number"),
    Rule("in, numbers", PLAIN, where("n", "in", [1, 3, 9]), "a c"),
    Rule("in, strings", PLAIN, where("s", "in", ["alpha", "x"]), "a"),
    Rule("in, no values", PLAIN, where("n", "in", []), ""),
    Rule("in, a missing field does not pass", SPARSE, where("n", "in", [1, 2, 3]), "a b c"),
    Rule("nin, numbers", PLAIN, where("n", "nin", [1, 3]), "b"),
    Rule("nin, strings", PLAIN, where("s", "nin", ["alpha", "x"]), "b c"),
    Rule("nin, no values", PLAIN, where("n", "nin", []), "a b c"),
    Rule("nin, a missing field passes", SPARSE, where("n", "nin", [1, 3]), "b d"),
    Rule("contains, an element", LISTS, where("tags", "contains", "y"), "xy yz"),
    Rule("contains, a substring", PLAIN, where("s", "contains", "pha"), "a c"),
    Rule("any", LISTS, where("tags", "any", ["x", "z"]), "xy yz"),
    Rule("any, no values", LISTS, where("tags", "any", []), ""),
    Rule("all", LISTS, where("tags", "all", ["y", "z"]), "yz"),
    Rule("all, no values", LISTS, where("tags", "all", []), "xy yz nothing"),
    Rule("text_match", PLAIN, where("s", "text_match", "pha"), "a c"),
    Rule("text_match, cases differ", PLAIN, where("s", "text_match", "alph"), "a"),
    Rule("text_match, no pattern", PLAIN, where("s", "text_match", "%"), ""),
    Rule("text_match_insensitive", PLAIN, where("s", "text_match_insensitive", "ALPH"), "a c"),
    Rule("is_empty", EMPTY, where("s", "is_empty", None), "none blank missing"),
    Rule("is_empty, lists", LISTS, where("tags", "is_empty", None), "nothing"),
    Rule("and", PLAIN, filters(condition("n", ">", 1), condition("f", "<", 2)), "b"),
    Rule("or", PLAIN, filters(_1, _BETA, how="or"), "a b"),
    Rule("not, one", PLAIN, filters(_1, how="not"), "b c"),
    Rule("not, none of several", PLAIN, filters(_1, _BETA, how="not"), "c"),
    Rule("not, a missing field passes", SPARSE, filters(_1, how="not"), "b c d"),
    Rule("no condition is and", PLAIN, filters(condition("n", ">", 1), condition("f", "<", 2), how=None), "b"),
    Rule("one field twice", PLAIN, filters(condition("n", ">", 1), condition("n", "<", 3)), "b"),
    Rule("no filters pass all", PLAIN, filters(), "a b c"),
    Rule("none passes", PLAIN, where("n", "==", 9), ""),
    Rule("a field that no node has", PLAIN, where("z", "==", 9), ""),
    Rule("or within and", PLAIN, filters(filters(_1, _2, how="or"), condition("f", ">", 1)), "b"),
    Rule("and within or", PLAIN, filters(filters(_1, _BETA), _3, how="or"), "c"),
    Rule("not within and", PLAIN, filters(filters(_1, how="not"), condition("f", "<", 2)), "b"),
    Rule("not within not", PLAIN, filters(filters(_1, how="not"), how="not"), "a"),
    Rule("four deep", PLAIN, filters(filters(filters(filters(_1, _2, how="or"), how="not"), how="not")), "a b"),
    Rule("no filters within and", PLAIN, filters(_1, filters()), "a"),
    Rule("ref_doc_id", PLAIN, where("ref_doc_id", "==", uid("doc-b")), "b"),
]
