"""How much random tests try: everything, or with `--sample` a tenth."""

_sampling = False


def enable() -> None:
    """Make `sampled` return fewer from now on. `--sample` calls this before any test is imported."""
    global _sampling
    _sampling = True


def sampled(count: int) -> int:
    """Return how many of `count` examples or steps to try: with `--sample` a tenth, and at least ten."""
    return min(count, max(10, count // 10)) if _sampling else count
