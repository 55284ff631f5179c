"""Common recall and latency targets, by use case."""

from dataclasses import dataclass

from theodolite.errors import InputError


@dataclass(frozen=True, slots=True)
class Target:
    """A recall and latency target.

    Attributes:
        recall: the minimum mean recall, and the recall above which users hardly notice an improvement.
        seconds: the desired and the maximum p95 latency; None for offline work.
    """

    recall: tuple[float, float]
    seconds: tuple[float, float] | None

    def passed(self, recall: float, seconds: float) -> bool:
        """Return whether a recall (its lower confidence bound) and a p95 latency reach the target."""
        return recall >= self.recall[0] and (self.seconds is None or seconds <= self.seconds[1])


TARGETS = {
    "rag": Target((0.90, 0.95), (0.050, 0.100)),
    "recommendation": Target((0.85, 0.90), (0.010, 0.030)),
    "images": Target((0.92, 0.97), (0.050, 0.200)),
    "fraud": Target((0.99, 0.99), (0.200, 0.200)),
    "offline": Target((0.99, 0.99), None),
}


def target(use_case: str) -> Target:
    """Return the target of a use case. Raises InputError for an unknown one."""
    if use_case not in TARGETS:
        raise InputError(f"there is no target for {use_case!r}; there are {', '.join(TARGETS)}", use_case=use_case)
    return TARGETS[use_case]
