"""Shared by the benchmarks: percentiles, memory, tables, child processes."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

T = TypeVar("T")
P = ParamSpec("P")

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
)
"""Variables that libraries read once, when they are imported."""


def progress(message: str) -> None:
    """Print a line to stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[float, T]:
    """Return the seconds taken and the result."""
    started = time.perf_counter()
    outcome = work(*args, **kwargs)
    return time.perf_counter() - started, outcome


def clocked(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> tuple[float, float]:
    """Return the milliseconds of a call: wall-clock time, and the processor time of all threads."""
    started, used = time.perf_counter(), time.process_time()
    work(*args, **kwargs)
    return 1e3 * (time.perf_counter() - started), 1e3 * (time.process_time() - used)


def summary(taken: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Summarize results of `clocked`: `p50` and `p95` of wall-clock time, and the median processor time `cpu`."""
    walls = [wall for wall, _ in taken]
    return {"p50": median(walls), "p95": percentile(walls, 95), "cpu": median([cpu for _, cpu in taken])}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the `share` percentile (0 to 100)."""
    return float(np.percentile(np.asarray(values, np.float64), share))


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def anonymous_bytes() -> int:
    """Return this process's memory that is not backed by files; 0 if the system does not report it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def settle() -> None:
    """Return freed memory to the system, so that each measurement starts from the same state."""
    import ctypes
    import gc

    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sync_folder(folder: Path) -> None:
    """Sync every file below the folder to disk."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_file() or os.name == "posix":
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a child process whose libraries use this many threads.

    It keeps compiled modules, as an installed package has them.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **dict.fromkeys(THREADS, str(threads))}


def limit(threads: int) -> None:
    """Limit this process to this many processors, if the system can, and our scans to as many threads."""
    from theodolite.indexes.flat.workers import Workers, workers

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    Workers.__init__(workers, threads)  # every user holds this object


def child(script: str, task: Mapping[str, Any], threads: int) -> Any:
    """Run `script --child TASK` in a fresh process, and return the JSON in its last line of output.

    Raises:
        subprocess.CalledProcessError: it failed; its message is on stderr.
    """
    command = [sys.executable, script, "--child", json.dumps(task)]
    done = subprocess.run(command, env=environment(threads), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> str:
    """Return a line that describes the machine."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Return a table as text or Markdown. The first column is aligned left, the others right."""
    cells = [list(map(str, head)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = [
        [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in cells
    ]
    if not markdown:
        lines.insert(1, ["-" * width for width in widths])
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = [("-" * width) if i == 0 else ("-" * max(1, width - 1) + ":") for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def verdict(name: str, value: float, limit: float, *, least: bool = False, unit: str = "") -> str:
    """Return a line that says whether `value` is at most `limit` (at least, with `least`)."""
    passed = value >= limit if least else value <= limit
    asked = f"{'at least' if least else 'at most'} {limit:g}{unit}"
    return f"{'PASS' if passed else 'FAIL'}  {name}: {value:.3g}{unit} ({asked})"


def in_turns(names: Sequence[str], count: int, block: int = 10) -> Iterator[tuple[str, int]]:
    """Yield each name with each number below `count`, in turns: some numbers for one name, as many for the next.

    So noise affects all names alike, while most queries find the caches as the previous query of the same name left
    them. At any time the names are at different numbers, so none benefits from another one's reads for the same query.
    """
    blocks = [range(start, min(count, start + block)) for start in range(0, count, block)]
    for turn in range(len(blocks)):
        for place in range(len(names)):
            name = (turn + place) % len(names)
            for number in blocks[(turn + name * len(blocks) // len(names)) % len(blocks)]:
                yield names[name], number


@contextmanager
def quiet_gc() -> Any:
    """Disable garbage collection inside a timed block."""
    import gc

    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def write_json(path: str | None, outcome: Any) -> None:
    """Write the raw figures if a path is given."""
    if path:
        Path(path).write_text(json.dumps(outcome, indent=1) + "\n")
