"""How sure a mean recall is."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def mean_and_stderr(recalls: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard error of some recalls, at least one, and one more of a half.

    Without that, a sample without a miss would prove that there are none.
    """
    more = np.append(np.asarray(recalls, np.float64), 0.5)
    return float(more.mean()), float(more.std(ddof=1)) / math.sqrt(len(more))
