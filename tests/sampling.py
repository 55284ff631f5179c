"""How much random tests try: everything, or with `--sample` a fifth."""

_sampling = False


def enable() -> None:
    """Make `sampled` return fewer from now on. `--sample` calls this before any test is imported."""
    global _sampling
    _sampling = True


def sampled(count: int) -> int:
    """Return how many of `count` examples or steps to try."""
    return max(1, count // 5) if _sampling else count
