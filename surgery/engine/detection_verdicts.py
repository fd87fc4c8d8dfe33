"""Judge answers of which some are detections: those are compared as sets, the others number by number."""

import dataclasses
from collections.abc import Mapping, Sequence

from graphopt.core.comparison import Tolerance
from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import DetectionComparison, Detections, merge_detections
from graphopt.core.tensors import Array
from graphopt.surgery.engine.verdicts import Answers, Verdict, judge_answers
from graphopt.surgery.report import Status


def in_source(what: Detections, names: Mapping[str, str]) -> Detections:
    """Return detections by the tensors of the source.

    Args:
        what: by outputs of a rewritten model.
        names: output of that model -> tensor of the source.
    """
    labels = names.get(what.labels, what.labels)
    return dataclasses.replace(what, dets=names.get(what.dets, what.dets), labels=labels)


def add_detections(known: Sequence[Detections], new: Detections) -> tuple[Detections, ...]:
    """Put together what several passes say of the same outputs: the newer cuts, the larger tolerance."""
    older = next((item for item in known if item.dets == new.dets), None)
    if older is None:
        return (*known, new)
    merged = dataclasses.replace(
        new,
        limit=new.limit if new.limit is not None else older.limit,
        score_threshold=older.score_threshold if new.score_threshold is None else new.score_threshold,
        iou_threshold=older.iou_threshold if new.iou_threshold is None else new.iou_threshold,
        tolerance=max(older.tolerance, new.tolerance, key=lambda item: (item.box, item.score)),
    )
    return tuple(merged if item is older else item for item in known)


def judge_sets(
    expected: Answers, got: Answers, tolerance: Tolerance, groups: Sequence[Detections]
) -> Verdict:
    """Compare what two models answered to the same inputs.

    Args:
        expected: of the source, one mapping per input.
        got: of the rewritten model.
        tolerance: of what is no detection.
        groups: which outputs are detections, by the names in ``expected``.
    """
    groups = [item for item in groups if _answered(item, expected, got)]
    taken = {name for item in groups for name in (item.dets, item.labels)}
    verdict = judge_answers(_without(taken, expected), _without(taken, got), tolerance)
    for what in groups:
        verdict = _with(verdict, _compare(what, expected, got))
    return verdict


def _answered(what: Detections, expected: Answers, got: Answers) -> bool:
    return all(
        name in sample for sample in (*expected, *got) for name in filter(None, (what.dets, what.labels))
    )


def _without(names: set[str], samples: Answers) -> list[dict[str, Array]]:
    return [{name: array for name, array in sample.items() if name not in names} for sample in samples]


def _compare(what: Detections, expected: Answers, got: Answers) -> list[DetectionComparison]:
    found: list[DetectionComparison] = []
    for mine, its in zip(expected, got, strict=True):
        pair = [(side[what.dets], side.get(what.labels) if what.labels else None) for side in (mine, its)]
        first = sum(item.images for item in found)
        found.append(compare_detections(pair[0], pair[1], what, first_image=first))
    return found


def _with(verdict: Verdict, samples: list[DetectionComparison]) -> Verdict:
    whole = merge_detections(samples)
    added = dataclasses.replace(
        verdict,
        comparisons=(*verdict.comparisons, whole.as_tensor()),
        detections=(*verdict.detections, whole),
    )
    if verdict.status is Status.FAILED:
        return added
    if whole.says_nothing:
        reason = f"the source detects nothing ({whole.name}) in any sample; give inputs on which it does"
        if whole.zero_area:
            reason = (
                f"of the detections {whole.name} none has an area ({whole.zero_area} rows of both sides, "
                "x2 <= x1 or y2 <= y1), so that none counts; boxes are to be x1, y1, x2, y2: is their order "
                "another one, or do the inputs show nothing?"
            )
        return dataclasses.replace(added, status=Status.UNPROVEN, reason=reason)
    if not whole.passed:
        reason = f"the detections {whole.name} differ: {whole.failure}"
        return dataclasses.replace(added, status=Status.FAILED, reason=reason)
    silent = sum(item.says_nothing for item in samples)
    return added.with_note(f"{silent} of {len(samples)} inputs show no detection") if silent else added
