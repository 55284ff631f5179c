"""Evaluation: how much of the exact answer an index finds, and the usual targets."""

from theodolite.evaluation.recall import Latency, Recall
from theodolite.evaluation.targets import TARGETS, Target

__all__ = ["TARGETS", "Latency", "Recall", "Target"]
