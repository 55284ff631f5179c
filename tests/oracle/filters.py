"""Random metadata and random filters over it, drawn from values that collide often."""

import random
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

Metadata = dict[str, Any]

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        1.0,
        -1,
        2.5,
        2**53,
        2**53 + 1,
        float(2**53),
        2**63,
        -(2**63),
        2**70,
        float(2**70),
        10**400,
        -(10**400),
        1e300,
    ),
    *(
        "",
        "a",
        "ab",
        "b%",
        "a_b",
        "É",
        "e\u0301",
        "\0",
        "1",
        "\ue000",
        "\U0001f600",
        "2025-02-30",
        "0000-01-01",
        "2025-3-1",
    ),
    *("2025-03-01", "2025-03-01T00:00", "2025-03-01 00:00", "2025-03-01T00:00Z", "2025-03-01T02:00+02:00"),
    *("2025-03-01T00:00:00.5", "2025-03-01T00:00:00,5", "2025-03-01T24:00", "2024-12-31T23:59:59.999999-01:00"),
    *(date(2025, 3, 1), date(2024, 1, 1), datetime(2025, 3, 1), datetime(2024, 1, 1, tzinfo=UTC)),  # noqa: DTZ001
    datetime(2025, 3, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    *(
        [],
        [1],
        [1.0, True],
        ["a", "b"],
        [None],
        [[1], 2],
        ["2025-03-01"],
        [date(2025, 3, 1)],
        [2**70],
        [-(10**400)],
        [[]],
        [["a"]],
    ),
    *({}, {"x": 1}, {"y": [1]}),
]
FIELDS = ["a", "b", "a.x", "a.b", "a.b.c", "n", "n.a", "n.a.b", 'q"u', "never"]
PATTERNS = ["%", "", "_", "a%", "%b", "%b%", "e%", "%É%", "E_", "b\\%", "a\\_b", "2025%", "%0%", "A%", "a%b%a"]
_DEEPEST = 3


class Draw:
    """A source of metadata and filters that follows from its seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def metadata(self) -> Metadata:
        choose = self.random.choice
        found: Metadata = {}
        for field in self.random.sample(["a", "b", "a.b", "a.b.c", 'q"u', "n", "n.a"], self.random.randint(0, 4)):
            value = choose(VALUES)
            if field == "n" and self.random.random() < 0.8:
                value = choose([{"a": choose(VALUES), "a.b": choose(VALUES)}, {"a": {"b": choose(VALUES)}}])
            elif field == "a" and self.random.random() < 0.3:
                value = {"x": choose(VALUES), "b": choose([1, {"c": choose(VALUES)}])}
            found[field] = value
        return found

    def where(self, fields: list[str] = FIELDS, values: list[Any] = VALUES, depth: int = 0) -> dict[str, Any]:
        """A filter of any shape."""
        operators = ["$eq", "$ne", "$in", "$nin", "$all", "$gt", "$gte", "$lt", "$lte", "$between"]
        operators += [
            "$exists",
            "$empty",
            "$contains",
            "$not_contains",
            "$like",
            "$ilike",
            "plain",
            "negated",
            "several",
        ]
        if depth < _DEEPEST:
            operators += ["$and", "$or", "$nor", "$not"] * 2
        operator = self.random.choice(operators)
        if operator == "$not":
            return {"$not": self.where(fields, values, depth + 1)}
        if operator in ("$and", "$or", "$nor"):
            return {operator: [self.where(fields, values, depth + 1) for _ in range(self.random.randint(1, 3))]}
        field = self.random.choice(fields)
        if operator == "plain":
            return {field: self._scalar(values), self.random.choice(fields): self._many(values)}
        if operator == "negated":
            return {field: {"$not": self._condition(self.random.choice(operators[:16]), values)}}
        if operator == "several":
            return {field: self._condition("$gte", values) | self._condition("$ne", values)}
        return {field: self._condition(operator, values)}

    def _condition(self, operator: str, values: list[Any]) -> dict[str, Any]:
        match operator:
            case "$gt" | "$gte" | "$lt" | "$lte":
                return {operator: self._ordered(values)}
            case "$between":
                return {operator: [self._ordered(values), self._ordered(values)]}
            case "$in" | "$nin" | "$all":
                return {operator: self._many(values)}
            case "$exists" | "$empty":
                return {operator: self.random.random() < 0.5}
            case "$like" | "$ilike":
                return {operator: self.random.choice(PATTERNS)}
            case _:
                return {operator: self._scalar(values)}

    def _scalar(self, values: list[Any]) -> Any:
        return self.random.choice([value for value in values if not isinstance(value, dict)])

    def _many(self, values: list[Any]) -> list[Any]:
        return [self._scalar(values) for _ in range(self.random.randint(0, 4))]

    def _ordered(self, values: list[Any]) -> Any:
        kinds = (bool, list, dict, type(None))
        return self.random.choice([value for value in values if not isinstance(value, kinds)])
