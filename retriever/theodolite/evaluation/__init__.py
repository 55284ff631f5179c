"""Evaluation: the recall of an index against the exact answer, and common targets."""

from theodolite.evaluation.recall import TARGETS, Latency, Recall, Target

__all__ = ["TARGETS", "Latency", "Recall", "Target"]
