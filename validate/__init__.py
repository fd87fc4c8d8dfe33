"""Compare stages numerically."""

from graphopt.validate.recorded import RecordedSession
from graphopt.validate.report import CandidateComparison, ComparisonReport, Flips, OutputComparison
from graphopt.validate.stages import compare_sessions, count_class_flips, count_sign_flips

__all__ = [
    "CandidateComparison",
    "ComparisonReport",
    "Flips",
    "OutputComparison",
    "RecordedSession",
    "compare_sessions",
    "count_class_flips",
    "count_sign_flips",
]
