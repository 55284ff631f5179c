"""Assertion helpers for the contract tests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def check(kept: object, broken: str) -> None:
    """Raise AssertionError with the message `broken` unless `kept` is true.

    The `assert` statement would not do: `python -O` removes it, and pytest explains it only in test files.
    """
    if not kept:
        raise AssertionError(broken)


@contextmanager
def raising(expected: type[Exception], when: str) -> Iterator[None]:
    """Check that the block raises `expected`."""
    try:
        yield
    except expected:
        return
    except Exception as error:
        raise AssertionError(f"{when} raises {error!r}, not {expected.__name__}") from error
    raise AssertionError(f"{when} does not raise {expected.__name__}")


def together(tasks: int, task: Callable[[int], None]) -> None:
    """Run `task(0)` … `task(tasks - 1)` in one thread each, starting at the same time. Raise the first error."""
    start = threading.Barrier(tasks)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait()
            task(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
