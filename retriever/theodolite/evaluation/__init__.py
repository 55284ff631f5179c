"""Evaluation: the recall of an index against the exact answer, and common targets."""

from theodolite.evaluation.recall import Latency, Recall
from theodolite.evaluation.targets import TARGETS, Target

__all__ = ["TARGETS", "Latency", "Recall", "Target"]
