import dataclasses
import json

from graphopt.core.comparison import FLOAT32_REORDERED, Outcome, TensorComparison
from graphopt.validate import CandidateComparison, ComparisonReport, Flips, OutputComparison

MATCH = TensorComparison(
    name="logits",
    outcome=Outcome.MATCH,
    max_abs=1e-6,
    max_rel=2e-5,
    cosine=0.9999999,
    margin=0.25,
    worst=(0, 3),
)
MISSING = TensorComparison(name="boxes", outcome=Outcome.MISSING, detail="the candidate lacks this output")
REPORT = ComparisonReport(
    reference="raw",
    candidates=(
        CandidateComparison(
            name="rewritten",
            outputs=(
                OutputComparison(tensor=MATCH, role="attributes", flips=Flips(flipped=1, decisions=35)),
            ),
        ),
    ),
    samples=7,
    sample_kind="7 images of PETA",
    tolerance=FLOAT32_REORDERED,
)


def test_verdict_needs_samples_candidates_and_outputs() -> None:
    assert REPORT.passed
    assert not dataclasses.replace(REPORT, samples=0).passed
    assert not dataclasses.replace(REPORT, candidates=()).passed
    empty = CandidateComparison(name="rewritten", outputs=())
    assert not dataclasses.replace(REPORT, candidates=(empty,)).passed


def test_one_missing_output_of_one_candidate_fails_all() -> None:
    bad = CandidateComparison(
        name="compiled", outputs=(OutputComparison(tensor=MATCH), OutputComparison(tensor=MISSING))
    )
    assert not bad.passed
    assert not dataclasses.replace(REPORT, candidates=(*REPORT.candidates, bad)).passed
    assert bad.max_abs == 1e-6


def test_report_has_no_truth_value_of_its_own() -> None:
    assert "__bool__" not in vars(ComparisonReport)
    assert "__len__" not in vars(ComparisonReport)


def test_rows_fit_the_columns() -> None:
    (row,) = REPORT.rows()
    assert len(row) == len(ComparisonReport.COLUMNS)
    assert row == ("rewritten", "logits", "match", "1e-06", "2e-05", "1.000000", "0.25", "1 of 35", "")


def test_json_says_what_was_compared_and_why() -> None:
    content = json.loads(json.dumps(REPORT.to_json(), allow_nan=False))
    assert content["passed"] is True
    assert content["sample_kind"] == "7 images of PETA"
    assert content["tolerance"]["why"] == FLOAT32_REORDERED.why
    output = content["candidates"][0]["outputs"][0]
    assert output["outcome"] == "MATCH"
    assert output["flips"] == {"flipped": 1, "decisions": 35}
    assert output["worst"] == [0, 3]
