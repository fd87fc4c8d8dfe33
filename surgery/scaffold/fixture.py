"""A small model cut out around one node: static, typed, runnable, its weights cut down."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.onnx_files import input_specs, write_model
from graphopt.core.samples import DYNAMIC_SIZE
from graphopt.core.tensors import Array
from graphopt.surgery.engine.feeds import shared_inputs
from graphopt.surgery.engine.made_inputs import make_inputs
from graphopt.surgery.engine.model_runs import Run, run_files
from graphopt.surgery.parts.cutting import extract_model, inputs_needed, neighbourhood

SMALL_BYTES = 1 << 16
"""Weights that need no more than this stay as they are."""
_SMALL_SIZE = 8
"""Sizes up to this are not cut down: kernels, strides, coordinates."""

Feeds = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """A part of a model, ready to be saved.

    Attributes:
        model: the part.
        feeds: inputs recorded from the whole model; None when made-up ones do.
        problem: why onnxruntime does not run it; empty when it does.
        shrunk: whether sizes of weights were cut down.
    """

    model: ir.Model
    feeds: Feeds | None = None
    problem: str = ""
    shrunk: bool = False


def make_fixture(model: ir.Model, node: ir.Node, *, radius: int) -> Fixture:
    """Cut the neighbourhood of a node out of a model.

    Inputs of unknown size get the sizes that they have when the whole model runs. Large weights lose
    rows and columns, the same sizes everywhere, where the part still runs then.

    Args:
        model: not changed.
        node: the centre, in the main graph or in a subgraph.
        radius: how many nodes to go from there, up and down.

    Raises:
        UsageError: the radius is negative.
        PreconditionError: a dtype or rank at the edge is unknown, or the node is in a function.
    """
    entering, leaving = neighbourhood(model, node, radius)
    part = extract_model(model, entering, leaving)
    with tempfile.TemporaryDirectory(prefix="graphopt-") as name:
        scratch = Path(name)
        recorded: Feeds | None = None
        if not all(spec.is_static for spec in input_specs(part)):
            recorded = _record(model, entering, scratch)
            _fix_inputs(part, recorded)
        problem = _run(part, None, scratch).error
        if problem and recorded is None:
            recorded = _record(model, entering, scratch)
        if problem and recorded:
            problem = _run(part, recorded, scratch).error
            return Fixture(model=_detached(part), feeds=None if problem else recorded, problem=problem)
        if problem:
            return Fixture(model=_detached(part), problem=problem)
        for smaller in _smaller(part):
            if not _run(smaller, None, scratch).error:
                return Fixture(model=smaller, shrunk=True)
        return Fixture(model=_detached(part))


def _run(part: ir.Model, feeds: Feeds | None, scratch: Path) -> Run:
    path = scratch / "part.onnx"
    write_model(part, path)
    try:
        run = run_files([path], (feeds,) if feeds is not None else _made_up(part))[0]
    except (PreconditionError, UsageError) as error:  # an input that cannot be made up
        return Run(error=str(error))
    if run.error:
        return Run(error=run.error.replace(str(path), "it").rpartition("Error ")[2])
    broken = [name for answer in run.outputs for name, array in answer.items() if not _is_finite(array)]
    return Run(error=f"{broken[0]} is not finite") if broken else run


def _made_up(model: ir.Model) -> tuple[Feeds, ...]:
    specs = input_specs(model)
    return make_inputs(model, shared_inputs(specs, specs)).feeds


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _record(model: ir.Model, names: Sequence[str], scratch: Path) -> Feeds:
    """Return what the tensors hold when the whole model runs; nothing when it does not."""
    inputs = {value.name for value in model.graph.inputs}
    inner = [name for name in names if name not in inputs]
    path = scratch / "whole.onnx"
    try:
        feeds = _made_up(model)[0]
        if not inner:
            return {name: feeds[name] for name in names}
        write_model(extract_model(model, inputs_needed(model, inner), inner), path)
        run = run_files([path], (feeds,))[0]
    except (PreconditionError, UsageError):
        return {}
    if run.error:
        return {}
    known = {**feeds, **run.outputs[0]}
    return {name: known[name] for name in names}


def _fix_inputs(part: ir.Model, recorded: Feeds) -> None:
    sizes: dict[str, int] = {}
    for value in part.graph.inputs:
        if (array := recorded.get(value.name or "")) is not None:
            value.shape = ir.Shape(array.shape)
            continue
        assert value.shape is not None  # extract_model() refuses unknown ranks
        names = [size if isinstance(size, int) else str(size.value) for size in value.shape]
        value.shape = ir.Shape(
            [size if isinstance(size, int) else sizes.setdefault(size, DYNAMIC_SIZE) for size in names]
        )
    for value in part.graph.outputs:  # follows from the inputs; what was known for other ones may be wrong
        value.shape = None


def _detached(part: ir.Model) -> ir.Model:
    """Return the part with weights of its own, so that its file refers to nothing."""
    for value in part.graph.initializers.values():
        if value.const_value is not None:
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    return part


def _smaller(part: ir.Model) -> Iterator[ir.Model]:
    """Yield models with the large sizes of large weights made small, the same size in the same way."""
    tensors = [v.const_value for v in part.graph.initializers.values() if v.const_value is not None]
    if sum(tensor.nbytes for tensor in tensors) <= SMALL_BYTES:
        return
    shapes = [tuple(int(size) for size in tensor.shape.numpy()) for tensor in tensors if tensor.size > 1]
    large = sorted({size for shape in shapes for size in shape if size > _SMALL_SIZE})
    # All different, so that a transposition still shows; even, so that channels can be split.
    sizes = {size: 2 * (index + 2) for index, size in enumerate(large)}
    sizes = {size: new for size, new in sizes.items() if new < size}
    for with_integers in (True, False):
        yield _with_sizes(part, sizes, with_integers=with_integers)


def _with_sizes(part: ir.Model, sizes: Mapping[int, int], *, with_integers: bool) -> ir.Model:
    model = part.clone()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        assert tensor is not None
        array = tensor.numpy()
        if array.dtype == np.int64 and array.ndim == 1 and array.size <= _SMALL_SIZE:
            if with_integers:  # sizes that a Reshape or Expand is given
                array = np.array([sizes.get(int(item), int(item)) for item in array], np.int64)
        else:
            array = np.ascontiguousarray(array[tuple(slice(sizes.get(size, size)) for size in array.shape)])
        value.const_value = ir.Tensor(array, name=value.name)
        value.shape = ir.Shape(array.shape)
    for value in model.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([sizes.get(s, s) if isinstance(s, int) else s for s in value.shape])
    for node in model.graph:
        group = node.attributes.get("group")
        if with_integers and group is not None and group.as_int() in sizes:
            node.attributes["group"] = ir.AttrInt64("group", sizes[group.as_int()])
        for output in node.outputs:
            output.shape = None
    return model
