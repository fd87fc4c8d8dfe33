"""The pass ``set_batch``."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.batching.batch_plan import BatchPlan, Fix, Repeat, plan_batch
from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_of, label, shape_text
from graphopt.surgery.node_builder import NodeBuilder
from graphopt.surgery.shapes.shape_analysis import analyse_shapes
from graphopt.surgery.shapes.shape_inference import infer_types, record_types

_PROBE = 2
"""Stands for a symbolic batch: unlike 1, it cannot pass for another size by accident."""
_LARGEST_CONSTANT = 1 << 20
"""Bytes; a larger constant is repeated by a node instead of in the file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _InputSite(Site):
    value: ir.Value
    plan: BatchPlan


@dataclass(frozen=True, kw_only=True, eq=False)
class _FixSite(Site):
    fix: Fix | Repeat


@dataclass(frozen=True, kw_only=True)
class SetBatch(GraphPass):
    """Set the batch size, also where it is baked into constants.

    Why: a device wants one graph per batch size; exporters write the batch of the example input
    into Reshape, Expand and Resize constants.
    Before: ``x[1,3,224,224] -> ... -> Reshape(., [1,-1]) -> y[1,35]``.
    After: ``x[4,3,224,224] -> ... -> Reshape(., [4,2048]) -> y[4,35]``; a node that mixes samples is
    named and nothing is changed.
    Seen in: deepmar_bs1.
    Known as: batch-dim-fix (37).

    Attributes:
        size: samples per run, at least 1.
        inputs: names of the inputs whose first axis is the batch; empty means all.
    """

    name: ClassVar[str] = "set_batch"

    size: int
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"set_batch: size must be at least 1, not {self.size}")

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield each input to change and each constant that holds the batch.

        Raises:
            UsageError: ``inputs`` names an unknown input.
            PreconditionError: the batch cannot be told, or a node does not allow another one.
        """
        chosen = self._chosen(model)
        if all(value.shape is not None and value.shape[0] == self.size for value in chosen):
            return
        old = _old_batch(chosen)
        shapes = {value.name or "": _with_batch(value, old) for value in chosen}
        types, _ = analyse_shapes(model, inputs=shapes)
        plan = plan_batch(model, types, chosen, old=old, new=self.size)
        _check(model, plan)
        for value in chosen:
            anchor = next((user for user, _ in value.uses()), None)
            if anchor is not None:
                new = plan.types[value].text
                what = f"input {value.name}: {shape_text(value.shape)} becomes {new}"
                yield _InputSite(node=anchor, what=what, value=value, plan=plan)
        for fix in plan.fixes:
            yield _FixSite(node=fix.node, what=_what(fix), fix=fix)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Change an input and the shapes that follow from it, or one constant."""
        if isinstance(site, _InputSite):
            record_types(site.plan.types)
        elif isinstance(site, _FixSite):
            _apply(model, site.fix)

    def _chosen(self, model: ir.Model) -> list[ir.Value]:
        values = {value.name or "": value for value in model.graph.inputs if not value.is_initializer()}
        for name in self.inputs:
            if name not in values:
                raise UsageError(f"set_batch: the model has no input {name!r}; {did_you_mean(name, values)}")
        chosen = [values[name] for name in self.inputs] or list(values.values())
        for value in chosen:
            if value.shape is None or len(value.shape) == 0:
                raise PreconditionError(
                    f"set_batch: input {value.name} has no axes; "
                    "name those whose first axis is the batch: set_batch:inputs=NAME+NAME"
                )
        return chosen


def _old_batch(chosen: list[ir.Value]) -> int:
    declared = {str(value.shape[0]): value for value in chosen if value.shape is not None}
    if len(declared) != 1:
        listed = ", ".join(f"{value.name} {shape_text(value.shape)}" for value in declared.values())
        raise PreconditionError(
            f"set_batch: the inputs do not agree on a batch ({listed or 'there are none'}); "
            "name those whose first axis is the batch: set_batch:inputs=NAME+NAME"
        )
    shape = next(iter(declared.values())).shape
    size = shape[0] if shape is not None else None
    return size if isinstance(size, int) else _PROBE


def _with_batch(value: ir.Value, size: int) -> tuple[int | str | None, ...]:
    rest = list(value.shape or ())[1:]
    return (size, *(item if isinstance(item, int) else item.value for item in rest))


def _check(model: ir.Model, plan: BatchPlan) -> None:
    """Infer the changed graph anew: every shape must be what the plan says."""
    trial = model.clone()
    nodes = dict(zip(model.graph, trial.graph, strict=True))
    for fix in plan.fixes:
        _apply(trial, replace(fix, node=nodes[fix.node]))
    wanted = {value.name or "": found.static for value, found in plan.types.items()}
    inputs = [value.name or "" for value in trial.graph.inputs]
    found = infer_types(trial, inputs={name: shape for name in inputs if (shape := wanted.get(name))})
    for value, inferred in found.items():
        shape = wanted.get(value.name or "")
        if shape is not None and inferred.static is not None and inferred.static != shape:
            node = value.producer()
            where = f"input {value.name}" if node is None else label(node)
            raise PreconditionError(
                f"set_batch: {where} would make {list(inferred.static)} instead of {list(shape)}; "
                "export the model again with this batch"
            )


def _what(fix: Fix | Repeat) -> str:
    value = fix.node.inputs[fix.index]
    if isinstance(fix, Repeat):
        name = value.name if value is not None else ""
        return f"{name}, the same for all samples, is repeated {fix.size} times on axis {fix.axis}"
    array = constant_of(value)
    before = [] if array is None else array.ravel().tolist()
    return f"constant {before} becomes {list(fix.values)}"


def _apply(model: ir.Model, fix: Fix | Repeat) -> None:
    old = fix.node.inputs[fix.index]
    stem = f"{fix.node.outputs[0].name}.sizes"
    if isinstance(fix, Fix):
        new = add_constant(model, fix.node, np.array(fix.values, dtype=np.int64), stem)
    else:
        new = _repeated(model, fix)
    fix.node.replace_input_with(fix.index, new)
    if old is not None:
        remove_unread(model, [old])


def _repeated(model: ir.Model, fix: Repeat) -> ir.Value:
    value = fix.node.inputs[fix.index]
    array = constant_of(value)
    if array is not None:
        array = array.take([0], axis=fix.axis)  # of equal copies
        if array.nbytes * fix.size <= _LARGEST_CONSTANT:
            copies = array.repeat(fix.size, axis=fix.axis)
            return add_constant(model, fix.node, copies, f"{fix.node.outputs[0].name}.copies")
    builder = NodeBuilder(model, fix.node)
    one = builder.constant(array, "copy") if array is not None else value
    times = np.ones(fix.rank, dtype=np.int64)
    times[fix.axis] = fix.size
    return builder.op("Tile", one, builder.constant(times, "copies"))
