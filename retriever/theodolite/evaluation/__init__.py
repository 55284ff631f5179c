"""Evaluation: the quality of searches by judged questions, the recall of an index, and common targets."""

from theodolite.evaluation.calibration import Calibration, Promise, Separation
from theodolite.evaluation.compare import Comparison, Difference
from theodolite.evaluation.diff_result import Cause, Change, Diff
from theodolite.evaluation.judged_questions import JudgedQuestions
from theodolite.evaluation.recall import TARGETS, Latency, Recall, Target
from theodolite.evaluation.result import Evaluation, Ranked
from theodolite.evaluation.why_not import Reason, WhyNot

__all__ = [
    "TARGETS",
    "Calibration",
    "Cause",
    "Change",
    "Comparison",
    "Diff",
    "Difference",
    "Evaluation",
    "JudgedQuestions",
    "Latency",
    "Promise",
    "Ranked",
    "Reason",
    "Recall",
    "Separation",
    "Target",
    "WhyNot",
]
