"""Write a model that passes mended, proven as every rewrite is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.core.errors import InvalidModelError
from graphopt.core.files import check_output
from graphopt.recipes.mending_trial import Mending, try_mending
from graphopt.recipes.rewrite import rewrite
from graphopt.recipes.support import Checked, check_file
from graphopt.surgery import RewriteReport


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What ``fix_file`` did.

    Attributes:
        mending: the passes, and the verdicts that they were chosen by.
        report: of the rewrite; None when nothing was to be mended or nothing mends.
        after: verdicts of the written file; None when there is none.
        reason: why nothing was written.
    """

    mending: Mending
    report: RewriteReport | None = None
    after: Checked | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        after = self.after.support if self.after else self.mending.before
        return {
            "counts_before": self.mending.before.counts,
            "counts": after.counts,
            "verdict": after.verdict.value,
            "passes": [{"name": step.name, "options": dict(step.options)} for step in self.mending.steps],
            "reason": self.reason,
            "rewrite": self.report.to_json() if self.report else None,
        }


def fix_file(
    checked: Checked,
    output: Path,
    *,
    force: bool = False,
    data: Path | None = None,
    allow_unproven: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Fixed:
    """Apply the passes that mend what ATC refuses; those that change numbers are left to the user.

    Args:
        checked: the model.
        output: where to write.
        force: replace an existing output.
        data: inputs to verify with.
        allow_unproven: write a model that cannot be compared.
        on_progress: told what is being done.

    Raises:
        InvalidModelError: the file lacks its weights.
        GraphoptError: as ``recipes.rewrite``.
    """
    if checked.stripped:
        raise InvalidModelError(
            f"{checked.path} lacks {checked.stripped} weights: nothing could be proven; get the whole model"
        )
    check_output(output, force=force, inputs=(checked.path,))
    mending = try_mending(checked, on_progress=on_progress)
    if not mending.steps:
        clean = not any(item.faults for item in checked.support.nodes) and not checked.support.model
        reason = "nothing is to be mended" if clean else "no pass of the catalogue mends what is left"
        return Fixed(mending=mending, reason=reason)
    report = rewrite(
        checked.path,
        output,
        mending.steps,
        data=data,
        force=force,
        allow_unproven=allow_unproven,
        on_progress=on_progress,
    )
    after = check_file(output, checked.support.aim, records=checked.records)
    return Fixed(mending=mending, report=report, after=after)
