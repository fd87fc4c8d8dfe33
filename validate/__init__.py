"""Compare stages numerically."""

from graphopt.validate.recorded import RecordedSession
from graphopt.validate.report import CandidateComparison, ComparisonReport, OutputComparison, SignFlips
from graphopt.validate.stages import compare_sessions, count_sign_flips

__all__ = [
    "CandidateComparison",
    "ComparisonReport",
    "OutputComparison",
    "RecordedSession",
    "SignFlips",
    "compare_sessions",
    "count_sign_flips",
]
