"""Compare models that select: where two candidates are nearly equal, float noise decides which is taken.

Such a model can answer quite differently although every number in it is right to the last digit. It is
then cut at the selecting nodes: what these made of the source's numbers is fed to both models, what
they read is compared, and so is everything behind them.
"""

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array, TensorSpec
from graphopt.surgery.engine.feeds import Feeds
from graphopt.surgery.engine.opening import Cuts, Pair, Side, plan_cuts
from graphopt.surgery.engine.trials import Answers, Trial, TrialRunner, can_join
from graphopt.surgery.shapes.known_types import KnownTypes

_SELECTING = frozenset(("ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "TopK", "Unique"))
_ROUNDING = frozenset(("Ceil", "Floor", "Round", "Sign"))
_COMPARING = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"))
_JUMPING = _SELECTING | _ROUNDING | _COMPARING
_JUMP = 0.5
_FLOATS = frozenset((ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16))


@dataclasses.dataclass(frozen=True)
class Between:
    """What was found between selecting nodes.

    Attributes:
        answers: of a trial that is cut at them.
        feeds: inputs of that trial.
        operators: of the selecting nodes that chose otherwise in the rewritten model.
    """

    answers: Answers
    feeds: tuple[Feeds, ...]
    operators: tuple[str, ...]

    def note(self, reason: str) -> str:
        """Say what that means for outputs that differ for a reason."""
        return (
            f"{', '.join(self.operators)} chose otherwise between nearly equal numbers, and so {reason}; "
            "what it chooses from, and what follows from the source's choice, is equal"
        )


def compare_between(
    source: ir.Model, trial: Trial, feeds: tuple[Feeds, ...], scratch: Path
) -> Between | None:
    """Run a source and a candidate again, cut at the nodes that select.

    Returns:
        None when that says nothing: no such node chose otherwise, a pass changed one of them, or the
        models cannot be run side by side.
    """
    nodes = _selecting_nodes(source)
    if not nodes or trial.cuts.operators is not None or not can_join(source, trial, feeds):
        return None
    runner = TrialRunner(scratch)
    names = [value.name for node in nodes for value in node.outputs if value.name]
    made = {value.name for node in trial.candidate.model.graph for value in node.outputs}
    if not made.issuperset(names):
        return None
    probes = Cuts(pairs=tuple(Pair(name, name, name) for name in names))
    (chosen,) = runner.run(source, [dataclasses.replace(trial, cuts=probes)], feeds)
    if chosen.reference.error or chosen.answer.error:
        return None
    flipped = [node.op_type for node in nodes if _chose_otherwise(node, chosen)]
    cuts = _cuts(source, trial, nodes, chosen.reference.outputs[0])
    if not flipped or cuts is None:
        return None
    fed = tuple({**feed, **values} for feed, values in zip(feeds, chosen.reference.outputs, strict=True))
    (answers,) = runner.run(source, [dataclasses.replace(trial, cuts=cuts)], fed)
    if answers.reference.error or answers.answer.error:
        return None
    return Between(answers, fed, tuple(dict.fromkeys(flipped)))


def _selecting_nodes(model: ir.Model) -> list[ir.Node]:
    """Return the nodes of the main graph at which a small difference can become a large one."""
    types = KnownTypes(model)
    return [
        node
        for node in model.graph
        if node.domain == ""
        and (node.op_type in _JUMPING or node.op_type == "Cast")
        and _reads_floats(types, node)
        and not (node.op_type == "Cast" and types.of(node.outputs[0]).dtype in _FLOATS)
    ]


def _reads_floats(types: KnownTypes, node: ir.Node) -> bool:
    return any(value is not None and types.of(value).dtype in _FLOATS for value in node.inputs)


def _chose_otherwise(node: ir.Node, chosen: Answers) -> bool:
    pairs = zip(chosen.reference.outputs, chosen.answer.outputs, strict=True)
    names = [value.name for value in node.outputs if value.name]
    return any(
        not _same_choice(mine[name], its[name]) for mine, its in pairs for name in names if name in mine
    )


def _same_choice(one: Array, two: Array) -> bool:
    if one.shape != two.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, two))
    # Values that were chosen are nearly equal in any case; what is rounded jumps by one.
    return not bool((np.abs(one.astype(np.float64) - two.astype(np.float64)) >= _JUMP).any())


def _cuts(source: ir.Model, trial: Trial, nodes: list[ir.Node], values: dict[str, Array]) -> Cuts | None:
    names = {tuple(value.name for value in node.outputs) for node in nodes}
    twins = [
        node for node in trial.candidate.model.graph if tuple(value.name for value in node.outputs) in names
    ]
    specs = {
        # Any size: it differs from one input to the next.
        name: TensorSpec(name=name, shape=(None,) * array.ndim, dtype=str(array.dtype))
        for name, array in values.items()
    }
    cuts = plan_cuts(
        Side(source, nodes, specs), Side(trial.candidate.model, twins, specs), trial.candidate.names
    )
    return None if cuts.has_unjudged else dataclasses.replace(cuts, operators=None)
