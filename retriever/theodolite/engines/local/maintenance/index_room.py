"""Whether an index fits: its estimated memory and disk, against what this machine has."""

import os
from pathlib import Path

from theodolite.engines.local.storage.folder import PARTIAL_INDEX, Folder
from theodolite.errors import EngineError
from theodolite.indexes.registry import estimate

_LISTS = 16  # bytes a row in the two lists of rows beside the index
_NO_LIMIT = 1 << 60  # what a container without a limit says


def check_room(folder: Folder, spec: str, rows: int, dimension: int) -> None:
    """Raise EngineError if an index needs more memory to build than is available, or more disk than is free.

    Nothing is refused if the index does not estimate its size, or the system does not tell how much memory it has.
    """
    needs = estimate(spec, rows, dimension)
    memory, file = needs["peak"] or needs["memory"], needs["file"]
    if memory is None or file is None:
        return
    import shutil  # seldom needed, and slow to import

    disk = file + _LISTS * rows
    free = shutil.disk_usage(folder.path).free + folder.size(
        PARTIAL_INDEX
    )  # which is deleted before it is written again
    available = available_memory()
    if disk <= free and (available is None or memory <= available):
        return
    here = "an unknown amount" if available is None else f"{available:,}"
    raise EngineError(
        f"{folder}: the index {spec} of {rows:,} vectors needs {memory:,} bytes of memory while it is built, and "
        f"{here} is available; it needs {disk:,} bytes of disk, and {free:,} are free. Nothing was changed. Make room, "
        "or build a smaller index, such as faiss:IVF1024,PQ48",
        folder=str(folder),
        needed=disk,
        free=free,
        memory=memory,
        available=available,
    )


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still take; None if the system does not tell.

    On Linux: free and reclaimable memory and swap, within the limit of the container. Elsewhere: all memory there is.
    """
    limits = [limit for limit in (_from_meminfo(), *_from_containers()) if limit is not None]
    if limits:
        return min(limits)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _from_meminfo() -> int | None:
    text = _read(Path("/proc/meminfo"))
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        return sum(1024 * int(values[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (KeyError, ValueError, IndexError):
        return None


def _from_containers() -> list[int | None]:
    """Return what the limits of control groups leave, of both versions."""
    left: list[int | None] = []
    for folder, limit, used, cache in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, now = (_read(Path(folder, name)).strip() for name in (limit, used))
        if most.isdigit() and now.isdigit() and int(most) < _NO_LIMIT:
            stats = dict(line.split(" ", 1) for line in _read(Path(folder, "memory.stat")).splitlines() if " " in line)
            left.append(int(most) - int(now) + int(stats.get(cache, "0")))
    return left


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
