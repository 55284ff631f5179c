"""Evaluation: the quality of searches by judged questions, the recall of an index, and common targets."""

from theodolite.evaluation.compare import Comparison, Difference
from theodolite.evaluation.judged_questions import JudgedQuestions
from theodolite.evaluation.recall import TARGETS, Latency, Recall, Target
from theodolite.evaluation.result import Evaluation, Ranked

__all__ = [
    "TARGETS",
    "Comparison",
    "Difference",
    "Evaluation",
    "JudgedQuestions",
    "Latency",
    "Ranked",
    "Recall",
    "Target",
]
