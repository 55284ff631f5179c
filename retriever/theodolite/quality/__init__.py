"""Quality in production: how good the answers are, and whether they still are what they were.

Below the retriever, which offers it: everything here works on an `Engine` and its answers, and knows no texts.
"""

from theodolite.quality.monitor import Monitor
from theodolite.quality.recall import Latency, Recall
from theodolite.quality.rules import Alert
from theodolite.quality.targets import TARGETS, Target

__all__ = ["TARGETS", "Alert", "Latency", "Monitor", "Recall", "Target"]
