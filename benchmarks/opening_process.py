"""A process that opens a collection and searches, for `opening.py`. Nothing is imported before the clock runs."""

import sys
import time

STARTED, USED = time.perf_counter(), time.process_time()

K = 10


def main() -> None:
    import numpy as np

    numpy_ready = time.perf_counter()
    from theodolite import Retriever

    imported = time.perf_counter()
    import json

    task = json.loads(sys.argv[2])
    with Retriever.open(task["folder"], read_only=task["read_only"]) as kb:
        opened, used = time.perf_counter(), time.process_time()
        vectors = np.load(task["queries"])
        began = time.perf_counter()
        first = kb.search(vector=vectors[0], k=K)
        found = time.perf_counter()
        second = kb.search(vector=vectors[1], k=K)
        ended = time.perf_counter()
        sys.path.insert(0, task["root"])
        from benchmarks.measure import anonymous_bytes

        memory = anonymous_bytes()
        closing = time.perf_counter()
    closed = time.perf_counter()
    again = Retriever.open(task["folder"], read_only=task["read_only"])
    reopened = time.perf_counter()
    again.close()
    if len(first) != K or len(second) != K:
        raise RuntimeError("the folder does not answer")
    figures = {
        "numpy": numpy_ready - STARTED,
        "theodolite": imported - numpy_ready,
        "open": opened - imported,
        "import_and_open": opened - STARTED,
        "processor": used - USED,
        "first": found - began,
        "second": ended - found,
        "import_open_and_first": opened - STARTED + found - began,
        "close": closed - closing,
        "reopen": reopened - closed,
        "anonymous": memory,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
