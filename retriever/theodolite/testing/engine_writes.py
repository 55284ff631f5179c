"""The engine contract: writes."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from typing import Any

import numpy as np

from theodolite.errors import DocumentError, EngineError, VectorError
from theodolite.filters import parse
from theodolite.protocols import Indexing, Maintenance, Notes, Request
from theodolite.testing.checks import check, raising
from theodolite.testing.reference import METRICS, EngineUnderTest, answers, drawn, numbered, passages, prepared, verify
from theodolite.types import Document, Space
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare

METADATA: tuple[dict[str, Any], ...] = (
    {},
    {"int": 1, "float": 1.0, "bool": True, "none": None, "text": "ä€😀"},
    {"big": 2**70, "small": 1e-300, "negative": -0.5, "empty": "", "list": [1, "two", None, [3.0]]},
    {"date": date(2025, 3, 1), "moment": datetime(2025, 3, 1, 9, tzinfo=UTC)},
    {"naive": datetime(2025, 3, 1, 9, 0, 0, 1)},  # noqa: DTZ001 - on purpose
    {"zone": datetime(2025, 3, 1, tzinfo=timezone(timedelta(hours=-5)))},
    {"nested": {"deep": {"deeper": [{"x": 1}]}}, "a.b": 1, "": 0, "$date": "mine", 'quo"te': "'"},
)

NAMES = ("a", "A", "ä", "a b", "a%", "a_", "'; --", '"', "\\", "\n", "\uffff", "\U0001f600", "0", "00", "é", "e\u0301")


class WritesContract(EngineUnderTest):
    """Tests of add, update, delete, clear and close."""

    def test_starts_empty(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                engine = pair.engine
                check(engine.space == Space(metric), f"a new engine has the space {engine.space}")
                pair.check_contents()
                check(engine.get(["a"]) == [], "an empty engine gives a document")
                pair.delete(["a"])
                engine.update({})
                engine.clear()
                verify(engine)
                pair.check_search(drawn(1, 3), 5)
                pair.check_search(drawn(1, 3), 5, {"name": "a"})

    def test_the_first_batch_pins_the_space(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(passages(["a", "b"]), drawn(1, 2, 5))
                expected = Space(metric, 5, "any")
                check(pair.engine.space == expected, f"the space is {pair.engine.space}, not {expected}")

    def test_documents_and_vectors_come_back_as_they_were(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                documents = [Document(f"text {i}", METADATA[i], f"m{i}") for i in range(len(METADATA))]
                pair.add(documents, drawn(1, len(documents)))
                pair.check_contents()

    def test_an_empty_batch_changes_nothing(self) -> None:
        with self.opened() as pair:
            pair.engine.add([], *prepare([], pair.engine.space))
            check(pair.engine.space == Space("cosine"), "an empty batch pins the space")
            pair.add(passages(["a", "b"]), drawn(1, 2))
            pair.engine.add([], *prepare([], pair.engine.space))
            pair.check_contents()

    def test_the_same_id_replaces(self) -> None:
        with self.opened() as pair:
            pair.add(passages(numbered(20), old=True), drawn(1, 20))
            replaced = numbered(20)[5:9]
            pair.add([Document("new", {"old": False}, name) for name in replaced], -drawn(2, 4))
            pair.check_contents()
            pair.check_contents({"old": False})
            # Queries near the new vectors find the new documents; queries near the old vectors do not find replaced
            # ones.
            pair.check_search(np.concatenate([-drawn(2, 4), drawn(1, 20)]), 4)

    def test_of_equal_ids_in_a_batch_the_last_wins(self) -> None:
        with self.opened() as pair:
            documents = [Document(f"text {i}", {"i": i}, f"d{i % 3}") for i in range(8)]
            pair.add(documents, drawn(1, 8))
            pair.check_contents()
            pair.check_search(drawn(1, 8), 8)

    def test_a_batch_with_a_bad_document_is_refused_whole(self) -> None:
        bad = (
            (Document("no id", {}, ""), "an empty id"),
            (Document("\ud800", {}, "bad"), "a text with a lone surrogate"),
            (Document("text", {}, "\udfff"), "an id with a lone surrogate"),
            (Document("text", {"set": {1, 2}}, "bad"), "metadata with a set"),
            (Document("text", {"nan": float("nan")}, "bad"), "metadata with NaN"),
        )
        for document, what in bad:
            for fill in (0, 3):
                with self.opened() as pair:
                    if fill:
                        pair.add(passages(numbered(fill)), drawn(1, fill))
                    space = pair.engine.space
                    vectors, settled = prepare(drawn(2, 3), space)
                    first, last = passages([*numbered(1), "new"])
                    with raising(DocumentError, f"adding {what}"):
                        pair.engine.add([first, document, last], vectors, settled)
                    pair.check_contents()
                    check(pair.engine.space == space, f"the space is {pair.engine.space} after a refused batch")

    def test_vectors_of_another_space_are_refused(self) -> None:
        unit = drawn(1, 3) / np.linalg.norm(drawn(1, 3), axis=1, keepdims=True)
        others: tuple[tuple[MetricName, Any, Any, str], ...] = (
            ("cosine", drawn(1, 3), drawn(2, 1, 7), "vectors of another dimension"),
            ("dot", unit, 3 * drawn(2, 1), "vectors of any norm among unit vectors"),
        )
        for metric, first, other, what in others:
            with self.opened(metric) as pair:
                pair.add(passages(["a", "b", "c"]), first)
                pinned = pair.engine.space
                # Simulates a writer that read the space before the first batch arrived.
                vectors, settled = prepare(other, Space(pinned.metric))
                with raising(VectorError, f"adding {what}"):
                    pair.engine.add(passages(["d"]), vectors, settled)
                check(pair.engine.space == pinned, f"{what} change the space to {pair.engine.space}")
                pair.check_contents()

    def test_update_merges(self) -> None:
        with self.opened() as pair:
            pair.add(passages(["a", "b", "c"], keep=1, change=1), drawn(1, 3))
            pair.update({"a": {"change": 2, "new": [1]}, "c": {"change": None}})
            pair.check_contents()
            pair.check_contents({"change": 2})
            pair.check_contents({"change": 1})
            pair.check_search(drawn(1, 3), 3, {"change": None})

    def test_update_replaces_if_asked_to(self) -> None:
        with self.opened() as pair:
            pair.add(passages(["a", "b", "c"], keep=1, change=1), drawn(1, 3))
            pair.update({"a": {"change": 2}, "c": {}}, replace=True)
            pair.check_contents()
            pair.check_contents({"keep": 1})
            pair.check_search(drawn(1, 3), 3, {"keep": None})

    def test_update_of_unknown_ids_changes_nothing(self) -> None:
        for replace in (False, True):
            with self.opened() as pair:
                pair.add(passages(["a", "b"]), drawn(1, 2))
                pair.delete(["b"])
                for unknown in ("nobody", "b"):
                    with raising(DocumentError, f"updating {unknown!r}, which is not there,"):
                        pair.engine.update({"a": {"x": 1}, unknown: {"x": 1}}, replace=replace)
                    pair.check_contents()

    def test_delete(self) -> None:
        with self.opened() as pair:
            names = numbered(30)
            pair.add(passages(names), drawn(1, 30))
            pair.delete([names[3], "nobody", names[5], names[3]])
            pair.delete([names[3]])
            pair.delete([])
            pair.check_contents()
            pair.check_search(drawn(1, 30), 3)
            pair.add(passages(["x", "xx", "X", "x%", "y"]), drawn(2, 5))
            pair.delete(["x", "%", "_"])
            pair.check_contents()
            # More ids than some stores allow in one statement.
            pair.delete([*names, *(f"nobody {number}" for number in range(40_000)), "xx", "X", "x%", "y"])
            pair.check_contents()
            pair.check_search(drawn(1, 3), 3)
            pair.add(passages(names[:4], again=True), drawn(2, 4))
            pair.check_contents()
            pair.check_search(drawn(1, 3), 30)

    def test_delete_by_filter(self) -> None:
        with self.opened() as pair:
            names = numbered(30)
            pair.add(passages(names), drawn(1, 30))
            pair.update({name: {"n": number % 3} for number, name in enumerate(names)})
            for where in ({"n": 1}, {"n": 7}, {"n": [2, 5]}):
                tree, gone = parse(where), pair.eligible(where)
                count = 0 if tree is None else pair.engine.delete(tree)
                check(count == len(gone), f"delete by {where} returns {count}, not {len(gone)}")
                for name in gone:
                    del pair.stored[name]
                pair.check_contents()
            pair.check_search(drawn(1, 3), 30)

    def test_clear(self) -> None:
        with self.opened() as pair:
            pair.add(passages(["a", "b", "c"]), drawn(1, 3))
            pinned = pair.engine.space
            pair.clear()
            pair.check_contents()
            pair.check_search(drawn(1, 3), 3)
            check(pair.engine.space == pinned, f"after clear the space is {pair.engine.space}, not {pinned}")
            pair.add(passages(["b", "d"]), drawn(2, 2))
            pair.check_contents()
            pair.check_search(drawn(1, 3), 3)

    def test_unusual_names_and_texts(self) -> None:
        with self.opened() as pair:
            pair.add([Document(name * 3, {name: name}, name) for name in NAMES], drawn(1, len(NAMES)))
            pair.check_contents()
            for name in NAMES:
                pair.check_contents({name: name})
            pair.add([Document("", {}, "no text"), Document("long " * 10_000, {}, "long")], drawn(2, 2))
            pair.check_contents()
            # A store may reject very long texts and NUL, but must neither truncate a text there nor lose it.
            for document in (Document("long " * 50_000, {}, "longer"), Document("a\0b", {"a\0b": "a\0b"}, "a\0b")):
                with suppress(DocumentError):
                    pair.add([document], drawn(3, 1))
            pair.check_contents()

    def test_nothing_mutable_is_shared(self) -> None:
        with self.opened("l2") as pair:
            given: dict[str, Any] = {"list": [1, {"x": [2]}], "text": "kept"}
            vectors, settled = prepare(drawn(1, 3), pair.engine.space)
            documents = [*passages(["a", "b"]), Document("text", given, "c")]
            pair.add(documents, vectors)
            pair.engine.add(documents, vectors, settled)
            given["list"].append(3)
            given["list"][1]["x"].append(3)
            given["new"] = 1
            vectors[:] = 0
            documents.clear()
            pair.check_contents()
            readers: tuple[Callable[[], Document], ...] = (
                lambda: pair.engine.get(["c"])[0][0],
                lambda: next(iter(pair.engine.documents(after="b")))[0],
                lambda: pair.engine.search(Request(prepared(drawn(1, 1), pair.engine), 3))[0].documents[-1],
            )
            for read in readers:
                for value in read().metadata.values():
                    if isinstance(value, list):
                        value.append(4)
                metadata: Any = read().metadata
                if isinstance(metadata, dict):
                    metadata.clear()
                pair.check_contents()
            for _, vector in pair.engine.documents():
                if vector.flags.writeable:
                    vector[:] = 0
            pair.check_contents()
            pair.check_search(drawn(1, 3), 3)

    def test_verify_and_info(self) -> None:
        with self.opened() as pair:
            pair.add(passages(numbered(20)), drawn(1, 20))
            pair.delete(numbered(3))
            pair.update({numbered(20)[10]: {"x": 1}})
            verify(pair.engine)
            vectors, settled = prepare(drawn(2, 4), pair.engine.space)
            pair.engine.add(passages(["p", "q", "r", "s"]), vectors, settled, truncated={0, 1, 2})
            pair.engine.update({"p": {"x": 1}})
            pair.engine.delete(["q"])
            pair.engine.add(passages(["r"]), prepared(drawn(3, 1), pair.engine), settled)
            found = pair.engine.info()
            got = found.get("documents"), found.get("truncated")
            check(got == (20, 1), f"info() tells {got} documents and truncated ones, not (20, 1)")
            try:
                json.dumps(pair.engine.info(), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"info() is not JSON: {error}") from error

    def test_closed_engines_raise(self) -> None:
        with self.opened() as pair:
            pair.add(passages(["a", "b"]), drawn(1, 2))
            engine = pair.engine
            vectors, settled = prepare(drawn(1, 1), engine.space)
            engine.close()
            engine.close()
            calls: dict[str, Callable[[], Any]] = {
                "add": lambda: engine.add(passages(["c"]), vectors, settled),
                "update": lambda: engine.update({"a": {"x": 1}}),
                "delete": lambda: engine.delete(["a"]),
                "clear": engine.clear,
                "get": lambda: engine.get(["a"]),
                "documents": lambda: list(engine.documents()),
                "count": engine.count,
                "search": lambda: engine.search(Request(vectors, 1)),
                "info": engine.info,
            }
            if isinstance(engine, Maintenance):
                calls |= {"verify": engine.verify, "repair": engine.repair, "compact": engine.compact}
            if isinstance(engine, Indexing):
                calls |= {"reindex": partial(engine.reindex, "flat"), "warm": engine.warm}
            if isinstance(engine, Notes):
                calls |= {
                    "read_note": partial(engine.read_note, "a"),
                    "write_note": partial(engine.write_note, "a", "b"),
                }
            for name, call in calls.items():
                with raising(EngineError, f"{name} on a closed engine"):
                    call()

    def test_a_reopened_engine_holds_the_same(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(passages(numbered(40)), drawn(1, 40))
                pair.add(passages(numbered(10), new=True), drawn(2, 10))
                pair.delete(numbered(5, first=20))
                pair.update({numbered(1)[0]: {"x": 1}})
                if isinstance(pair.engine, Notes):
                    pair.engine.write_note("a", "kept")
                space, before = pair.engine.space, answers(pair.engine)
                again = self.reopened(pair.engine)
                if again is None:
                    return
                pair.engine = again
                noted = not isinstance(again, Notes) or again.read_note("a") == "kept"
                check(noted, "reopened, the engine has lost a note")
                check(again.space == space, f"reopened, the space is {again.space}, not {space}")
                verify(again)
                pair.check_contents()
                pair.check_search(drawn(1, 5), 10)
                check(answers(again) == before, "reopened, the engine gives other answers")
                pair.add(passages(["z"]), drawn(3, 1))
                pair.check_contents()
