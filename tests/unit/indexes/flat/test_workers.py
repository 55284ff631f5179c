"""The threads of scans: all is done once, errors arrive, nothing hangs."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from theodolite.indexes.flat.workers import Workers, processors, workers

PATIENCE = 60  # seconds after which a test calls it a deadlock


class Counter:
    """Counts tasks, and how many run at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.done: list[int] = []
        self.threads: set[str] = set()
        self.running = 0
        self.most = 0
        self.helping = 0
        self.most_helping = 0

    def task(self, item: int) -> None:
        helper = threading.current_thread().name.startswith("theodolite")
        with self.lock:
            self.running += 1
            self.helping += helper
            self.most = max(self.most, self.running)
            self.most_helping = max(self.most_helping, self.helping)
            self.threads.add(threading.current_thread().name)
        time.sleep(0.001)
        with self.lock:
            self.running -= 1
            self.helping -= helper
            self.done.append(item)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work(0)` … at once. Raise what one of them raises, or fail if they hang."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]


def meet(pool: Workers, parties: int) -> None:
    """Succeeds only if this many tasks run at once."""
    barrier = threading.Barrier(parties)

    def wait(_: int) -> None:
        barrier.wait(PATIENCE)

    pool.run(wait, range(parties))


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
@pytest.mark.parametrize("items", [[], [7], list(range(100)), range(5), (3, 3, 3)], ids=repr)
def test_every_item_is_done_once(limit: int, items: Any) -> None:
    counter = Counter()
    Workers(limit).run(counter.task, items)
    assert sorted(counter.done) == sorted(items)
    assert counter.most <= limit


def test_items_may_be_anything() -> None:
    seen: list[Any] = []
    items = [None, False, 0, "", (), iter(())]
    Workers(3).run(seen.append, items)
    assert len(seen) == len(items)
    assert all(any(item is one for one in seen) for item in items)


@pytest.mark.parametrize("limit", [2, 4])
def test_helpers_join(limit: int) -> None:
    pool = Workers(limit)
    for _ in range(5):
        meet(pool, limit)


def test_one_thread_needs_no_helpers() -> None:
    for pool, items in ((Workers(1), range(20)), (Workers(0), range(3)), (Workers(-1), range(3)), (Workers(4), [1])):
        counter = Counter()
        pool.run(counter.task, items)
        assert counter.threads == {threading.current_thread().name}


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_many_callers_get_all_done(limit: int) -> None:
    pool = Workers(limit)
    counters = [Counter() for _ in range(8)]
    in_threads(8, lambda number: pool.run(counters[number].task, range(50)))
    assert [sorted(counter.done) for counter in counters] == [list(range(50))] * 8


def test_never_more_than_the_limit_at_once() -> None:
    """The limit holds over all callers, also if there are more callers than the limit."""
    pool = Workers(2)
    counter = Counter()
    in_threads(6, lambda _: pool.run(counter.task, range(30)))
    assert counter.most <= 2


def test_never_more_helpers_than_the_limit() -> None:
    pool = Workers(3)
    counter = Counter()
    in_threads(6, lambda _: pool.run(counter.task, range(30)))
    assert counter.most_helping <= 3
    assert counter.most <= 6 + 3


def test_helpers_stay_away_while_enough_callers_work() -> None:
    pool = Workers(3)
    busy, end = threading.Semaphore(0), threading.Event()

    def hold(_: int) -> None:
        busy.release()
        end.wait(PATIENCE)

    holders = [threading.Thread(target=pool.run, args=(hold, [0])) for _ in range(2)]
    for holder in holders:
        holder.start()
    try:
        for _ in holders:
            assert busy.acquire(timeout=PATIENCE)
        counter = Counter()
        pool.run(counter.task, range(20))
        assert counter.threads == {threading.current_thread().name}
    finally:
        end.set()
        for holder in holders:
            holder.join(PATIENCE)
    meet(pool, 2)


def test_a_caller_waits_for_a_place() -> None:
    pool = Workers(1)
    busy, end, done = threading.Event(), threading.Event(), threading.Event()

    def hold(_: int) -> None:
        busy.set()
        end.wait(PATIENCE)

    def second() -> None:
        pool.run(lambda _: None, [0])
        done.set()

    threads = [threading.Thread(target=pool.run, args=(hold, [0])), threading.Thread(target=second)]
    threads[0].start()
    assert busy.wait(PATIENCE)
    threads[1].start()
    try:
        assert not done.wait(0.2)
    finally:
        end.set()
    assert done.wait(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)


class Wrong(Exception):
    pass


@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("kind", [Wrong, KeyboardInterrupt, SystemExit])
def test_errors_arrive(limit: int, kind: type[BaseException]) -> None:
    pool = Workers(limit)
    for bad, count in ((0, 5000), (37, 5000), (99, 100)):
        counter = Counter()

        def task(item: int) -> None:
            counter.task(item)  # noqa: B023 - used up in this round
            if item == bad:  # noqa: B023
                raise kind(f"item {item}")

        with pytest.raises(kind, match=f"item {bad}"):
            pool.run(task, range(count))
        assert counter.running == 0, "tasks still run when the error arrives"
        before = len(counter.done)
        assert len(set(counter.done)) == before
        assert before < 5000, "everything is done in spite of the error"
        time.sleep(0.005)
        assert len(counter.done) == before, "tasks begin after the error has arrived"
    meet(pool, limit)


def test_an_error_of_a_helper_arrives() -> None:
    pool = Workers(2)
    barrier = threading.Barrier(2)
    main = threading.current_thread()

    def task(_: int) -> None:
        barrier.wait(PATIENCE)
        if threading.current_thread() is not main:
            raise Wrong("in a helper")

    for _ in range(5):
        with pytest.raises(Wrong, match="in a helper"):
            pool.run(task, range(2))
    barrier = threading.Barrier(2)
    meet(pool, 2)


def test_errors_of_all_at_once() -> None:
    pool = Workers(4)
    barrier = threading.Barrier(4)

    def task(item: int) -> None:
        barrier.wait(PATIENCE)
        raise Wrong(f"item {item}")

    with pytest.raises(Wrong, match="item"):
        pool.run(task, range(4))
    meet(pool, 4)


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_nested_use_does_not_hang(limit: int) -> None:
    pool = Workers(limit)
    counter = Counter()

    def nest(depth: int) -> None:
        if depth:
            pool.run(nest, [depth - 1] * 3)
        else:
            counter.task(0)

    in_threads(4, lambda _: nest(3))
    assert len(counter.done) == 4 * 27
    meet(pool, limit)


def test_errors_of_nested_use_arrive() -> None:
    pool = Workers(3)

    def outer(_: int) -> None:
        pool.run(inner, range(3))

    def inner(item: int) -> None:
        if item == 2:
            raise Wrong("inside")

    def work(_: int) -> None:
        with pytest.raises(Wrong, match="inside"):
            pool.run(outer, range(3))

    in_threads(3, work)
    meet(pool, 3)


def test_processors() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)
    assert workers.limit == processors()


FORK = """
import os, signal, sys, threading
from theodolite.indexes.flat.workers import workers

workers.limit = 4
done = []
workers.run(done.append, range(100))

stop = threading.Event()
def keep_busy():
    while not stop.is_set():
        workers.run(done.append, range(20))
busy = [threading.Thread(target=keep_busy) for _ in range(3)]
for thread in busy:
    thread.start()

codes = []
for _ in range(20):
    child = os.fork()
    if not child:
        signal.alarm(30)
        barrier, mine = threading.Barrier(4), []
        workers.run(lambda item: (mine.append(item), barrier.wait(20)), range(4))
        os._exit(0 if sorted(mine) == [0, 1, 2, 3] else 1)
    codes.append(os.waitpid(child, 0)[1])
stop.set()
for thread in busy:
    thread.join()
print(codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """Also while the parent's threads are working."""
    # From 3.12 on Python warns of forking beside threads; here that is the point.
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=240)
    assert run.stdout.strip() == str([0] * 20), run.stderr
