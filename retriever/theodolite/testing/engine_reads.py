"""The engine contract: search and listing."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np

from theodolite.filters import parse
from theodolite.protocols import Answer, Request, Sampling
from theodolite.testing.checks import check
from theodolite.testing.reference import (
    DIMENSION,
    METRICS,
    EngineUnderTest,
    Pair,
    drawn,
    numbered,
    passages,
    prepared,
    verify,
)
from theodolite.types import Document


class ReadsContract(EngineUnderTest):
    """Tests of get, documents, count and search."""

    def test_get_keeps_the_order_asked(self) -> None:
        with self.opened() as pair:
            names = numbered(30)
            pair.add(passages(names), drawn(1, 30))
            pair.delete(names[:3])
            last = sorted(names[3:])[::-1]
            for expected in ([], last, [*last[1::2], *last[::2]], last[7:8]):
                asked = [*expected[:2], "nobody", *expected[2:], names[1]]
                got = [document.id for document, _ in pair.engine.get(asked)]
                check(got == expected, f"get gives {got}, not {expected}")
            # More ids than some stores allow in one statement.
            many = [f"nobody {number}" for number in range(40_000)]
            got = [document.id for document, _ in pair.engine.get([*many, last[0], *many, last[1]])]
            check(got == last[:2], f"get of many ids gives {got}, not {last[:2]}")

    def test_documents_are_paged(self) -> None:
        with self.opened() as pair:
            names = numbered(60)
            pair.add(passages(names), drawn(1, 60))
            pair.update({name: {"odd": True} for name in names[1::2]})
            for where in (None, {"odd": True}):
                tree, expected = parse(where), pair.eligible(where)
                for limit in (1, 7, 60, 100):
                    listed: list[str] = []
                    while True:
                        after = listed[-1] if listed else ""
                        page = [d.id for d, _ in pair.engine.documents(tree, after=after, limit=limit)]
                        check(len(page) <= limit, f"a page of {len(page)} documents where the limit is {limit}")
                        listed += page
                        if not page or len(listed) > len(expected):
                            break
                    check(listed == expected, f"pages of {limit} list {listed}, not {expected} ({where})")
            # The document with the id `after` need not exist.
            pair.delete([sorted(names)[10]])
            rest = [document.id for document, _ in pair.engine.documents(after=sorted(names)[10])]
            check(rest == sorted(names)[11:], "documents does not go on after an id that was deleted")

    def test_samples_are_evenly_spaced(self) -> None:
        with self.opened() as pair:
            engine = pair.engine
            if not isinstance(engine, Sampling):
                return
            names = numbered(90)
            pair.add(passages(names), drawn(1, 90))
            pair.update({name: {"odd": True} for name in names[1::2]})
            pair.delete(names[10:40])
            pair.add(passages(names[50:60], new=True), drawn(2, 10))
            for where in (None, {"odd": True}, {"odd": 7}):
                tree, eligible = parse(where), pair.eligible(where)
                whole = [document.id for document, _ in engine.sample(1000, tree)]
                for count in (1, 7, len(eligible) or 1, 1000):
                    sampled = list(engine.sample(count, tree))
                    step = max(1, -(-len(eligible) // count))
                    what = f"a sample of {count} of {len(eligible)} documents ({where})"
                    check(sorted(whole) == sorted(eligible), f"a sample of all documents has {len(whole)} ({where})")
                    check([document.id for document, _ in sampled] == whole[::step], f"{what} is not every {step}th")
                    for document, vector in sampled:
                        pair.check_document(document)
                        same = vector.tobytes() == pair.stored[document.id][1].tobytes()
                        check(same, f"{what} gives {document.id!r} another vector than was added")
            begun = engine.sample(1000)
            first, _ = next(begun)
            pair.clear()
            pair.add(passages(names), drawn(3, 90))
            check(
                first.id in names and len(list(begun)) < 90, "a sample goes on with documents of a cleared collection"
            )

    def test_documents_may_be_written_while_they_are_listed(self) -> None:
        with self.opened() as pair:
            names = numbered(300)
            pair.add(passages(names), drawn(1, 300))
            ordered = sorted(names)
            seen = []
            listing = pair.engine.documents()
            for document, _ in islice(listing, 400):
                seen.append(document.id)
                if len(seen) in (1, 100):
                    pair.delete(ordered[150:160])
                    pair.add(passages(ordered[:20] + ordered[200:220], new=True), drawn(2, 40))
                    pair.add(passages([f"{name}+" for name in ordered[::10]]), drawn(3, 30))
            check(seen == sorted(set(seen)), "documents lists an id twice, or out of order, while others write")
            missed = set(ordered) - set(ordered[150:160]) - set(seen)
            check(not missed, f"documents misses {missed}, which were not deleted, while others write")
            pair.check_contents()

    def test_search_agrees_with_brute_force(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                raw = drawn(1, 1500)
                raw[700:720] = raw[3] * (1 + 1e-6 * drawn(2, 20))  # as close as vectors can be
                if metric != "cosine":
                    raw[5] = 0
                for start, stop in ((0, 1000), (1000, 1001), (1001, 1500)):
                    pair.add(passages(numbered(stop - start, start)), raw[start:stop])
                queries = np.concatenate([drawn(3, 4), -drawn(4, 1), raw[[3, 1200]]])
                for k in (1, 10, 200):
                    pair.check_search(queries, k)

    def test_ties_come_in_the_order_of_their_ids(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                corners = np.eye(DIMENSION)[:4] + 0.1
                kind = np.arange(90) % 4
                names = numbered(90)
                for part in (slice(0, 50), slice(50, 90)):
                    pair.add(passages(names[part]), corners[kind[part]])
                query = np.array([4.0, 3, 2, 1] + [0.0] * (DIMENSION - 4))
                expected = [name for _, name in sorted(zip(kind, names, strict=True))]
                for k in (1, 5, 22, 23, 24, 60, 90):
                    (answer,) = pair.check_search(query[None], k)
                    found = [document.id for document in answer.documents]
                    check(found == expected[:k], f"k={k}, {metric}: {found} where ids give {expected[:k]}")

    def test_more_may_be_asked_than_there_are(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(passages(numbered(9)), drawn(1, 9))
                for k in (9, 10, 1000):
                    pair.check_search(drawn(2, 3), k)

    def test_a_filtered_search_is_never_short(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                raw = drawn(1, 800)
                # The filter admits only the documents farthest from the queries.
                worst = np.argsort(-np.linalg.norm(raw + raw[0], axis=1) + np.linalg.norm(raw - raw[0], axis=1))
                rare = set(worst[-12:].tolist())
                kinds = [{"rare": i in rare, "tenth": i % 10 == 0} for i in range(800)]
                documents = [Document("", kind, name) for kind, name in zip(kinds, numbered(800), strict=True)]
                pair.add(documents, raw)
                for where in (
                    {"rare": True},
                    {"tenth": True},
                    {"rare": False},
                    {"rare": True, "tenth": True},
                    {"rare": 7},
                ):
                    for k in (1, 10, 50):
                        pair.check_search(raw[:2], k, where)

    def test_a_batch_gives_what_single_queries_give(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(passages(numbered(700)), drawn(1, 700))
                pair.update({name: {"some": True} for name in numbered(100)})
                queries = prepared(drawn(2, 21), pair.engine)
                for where in (None, {"some": True}):
                    batch = pair.engine.search(Request(queries, 10, parse(where)))
                    for i, answer in enumerate(batch):
                        (alone,) = pair.engine.search(Request(_one(queries, i), 10, parse(where)))
                        check(_plain(alone) == _plain(answer), f"query {i} of a batch is answered otherwise than alone")

    def test_an_exact_answer_is_complete(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(passages(numbered(300)), drawn(1, 300))
                pair.update({name: {"some": True} for name in numbered(50)})
                for where in (None, {"some": True}):
                    for answer in pair.check_search(drawn(2, 9), 10, where, exact=True):
                        check(answer.trace.complete, "an exact answer was asked for, and is not complete")

    def test_commits_are_counted_or_0(self) -> None:
        """Check that two answers with the same commit number saw the same documents."""
        with self.opened() as pair:
            pair.add(passages(numbered(20)), drawn(1, 20))
            request = Request(prepared(drawn(2, 2), pair.engine), 3)
            first, again = (pair.engine.search(request)[0].trace.commit for _ in range(2))
            check(first == again, f"trace.commit is {first}, and then {again} without a write")
            writes: tuple[Callable[[], None], ...] = (
                lambda: pair.update({numbered(1)[0]: {"tag": 1}}),
                lambda: pair.delete(numbered(1)),
                lambda: pair.add(passages(["another"]), drawn(3, 1)),
                pair.clear,
            )
            for write in writes:
                write()
                traces = [answer.trace.commit for answer in pair.engine.search(request)]
                counted = traces[0] > first if first else not traces[0]
                check(counted and len(set(traces)) == 1, f"trace.commit is {traces} after a write, and was {first}")
                first = traces[0]

    def test_filters_do_not_change_scores(self) -> None:
        for metric in METRICS:
            with self.opened(metric) as pair:
                pair.add(passages(numbered(600), all=True), drawn(1, 600))
                pair.update({name: {"few": True} for name in numbered(20)})
                queries = prepared(drawn(2, 3), pair.engine)
                every = pair.engine.search(Request(queries, 600))
                for where in ({"all": True}, {"few": True}):
                    some = pair.engine.search(Request(queries, 600, parse(where)))
                    for answer, full in zip(some, every, strict=True):
                        scores = dict(_plain(full))
                        check(
                            all(scores[name] == score for name, score in _plain(answer)),
                            f"a document has another similarity under the filter {where}",
                        )

    def test_random_histories_agree_with_a_dictionary(self) -> None:
        for seed, metric in enumerate(METRICS):
            draw = np.random.default_rng(seed)
            names = numbered(80)
            with self.opened(metric) as pair:
                for step in range(60):
                    _any_write(pair, draw, names, step)
                    where = [None, {"tag": int(draw.integers(3))}, {"tag": [0, 2], "step": {"$in": [step, step - 1]}}]
                    chosen = where[int(draw.integers(3))]
                    pair.check_contents(chosen)
                    pair.check_search(drawn(step, 2), int(draw.integers(1, 12)), chosen)
                verify(pair.engine)


def _any_write(pair: Pair, draw: np.random.Generator, names: list[str], step: int) -> None:
    some = [names[i] for i in draw.integers(len(names), size=int(draw.integers(1, 15)))]
    here = [name for name in dict.fromkeys(some) if name in pair.stored]
    writes: tuple[Callable[[], None], ...] = (
        lambda: pair.add(passages(some, tag=int(draw.integers(3)), step=step), drawn(1000 + step, len(some))),
        lambda: pair.add(passages(some[:1], tag=None), drawn(2000 + step, 1)),
        lambda: pair.update({name: {"tag": int(draw.integers(3))} for name in here}),
        lambda: pair.update({name: {"step": step} for name in here}, replace=True),
        lambda: pair.delete(some),
        pair.clear,
    )
    writes[int(draw.choice(len(writes), p=(0.4, 0.15, 0.15, 0.05, 0.23, 0.02)))]()


def _one(queries: Any, i: int) -> Any:
    return queries[i : i + 1]


def _plain(answer: Answer) -> list[tuple[str, float]]:
    return [(d.id, s) for d, s in zip(answer.documents, answer.similarities, strict=True)]
