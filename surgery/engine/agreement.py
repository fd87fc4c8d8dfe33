"""Tell from runs whether a model that was cut out or joined answers as its sources do."""

from collections.abc import Mapping, Sequence

from graphopt.core.comparison import FLOAT32_REORDERED, compare_outputs, merge_samples
from graphopt.core.tensors import Array
from graphopt.surgery.engine.model_runs import Run
from graphopt.surgery.report import Status, Verification, Verify


def agreement(expected: Run, answer: Run, *, names: Mapping[str, str], kind: str) -> Verification:
    """Compare every output of ``answer`` with what was expected.

    Args:
        expected: of the sources; its samples come in the order of ``answer``'s.
        answer: of the model to judge.
        names: output of ``answer`` -> output of ``expected``.
        kind: where the inputs come from.

    Returns:
        PROVEN, FAILED (``reason`` names the output), or UNPROVEN where a side did not run, or the
        expected values are no numbers to compare with.
    """
    if expected.error:
        return _unproven(f"the source does not run: {expected.error}", kind)
    if answer.error:
        return _unproven(f"the result does not run: {answer.error}", kind)
    wanted = [{now: outputs[then] for now, then in names.items()} for outputs in expected.outputs]
    if reason := _worthless(wanted):
        return _unproven(reason, kind)
    pairs = zip(wanted, answer.outputs, strict=True)
    found = merge_samples([compare_outputs(mine, theirs, FLOAT32_REORDERED) for mine, theirs in pairs])
    wrong = next((item for item in found if not item.passed), None)
    return Verification(
        mode=Verify.FINAL,
        status=Status.FAILED if wrong else Status.PROVEN,
        reason=f"output {wrong.name}: {wrong.outcome.value}, {wrong.detail}" if wrong else "",
        samples=len(wanted),
        kind=kind,
        tolerance=FLOAT32_REORDERED,
        comparisons=found,
    )


def _worthless(samples: Sequence[Mapping[str, Array]]) -> str:
    itself = merge_samples([compare_outputs(outputs, outputs, FLOAT32_REORDERED) for outputs in samples])
    broken = next((item for item in itself if not item.passed), None)
    return f"output {broken.name} of the source proves nothing: {broken.detail}" if broken else ""


def _unproven(reason: str, kind: str) -> Verification:
    return Verification(mode=Verify.FINAL, status=Status.UNPROVEN, reason=" ".join(reason.split()), kind=kind)
