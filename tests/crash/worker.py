"""A process that writes, and dies at a given point: `worker.py FOLDER WORKLOAD FIRST_STEP POINT ARRIVAL`.

Prints a line after each write that has returned, and `points` with what was passed if it comes to its end.
"""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.crash.workloads import WORKLOADS

from theodolite import Retriever
from theodolite.engines.local.storage import crash_points


def main() -> None:
    folder, workload, first, point, arrival = sys.argv[1:]
    passed: Counter[str] = Counter()

    def observe(name: str) -> None:
        passed[name] += 1
        if name == point and passed[name] == int(arrival):
            os.kill(os.getpid(), signal.SIGKILL)

    crash_points.observer = observe
    kb = Retriever.open(folder)
    for step in WORKLOADS[workload][int(first) :]:
        step.run(kb)
        print("done", flush=True)
    kb.close()
    print("points", *(f"{name}={count}" for name, count in passed.items()), flush=True)


main()
