"""How long something takes on this machine."""

import time
from collections.abc import Callable

_REPEATS = 3


def best_time(call: Callable[[], object]) -> float:
    """Seconds of the fastest of three calls."""
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
