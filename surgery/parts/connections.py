"""Work out which tensor feeds which when models are joined, and whether they fit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.graph_queries import shape_text
from graphopt.surgery.shapes.shape_inference import infer_types, record_types

Source: TypeAlias = tuple[int, str]
"""Which model, counted from 0, and the name of its output or input."""


@dataclass(frozen=True)
class Part:
    """One of the models to join.

    Attributes:
        name: what messages call it, and the prefix of names that clash.
        model: in memory.
    """

    name: str
    model: ir.Model


def connections(parts: Sequence[Part], connect: Mapping[str, str]) -> dict[tuple[int, str], Source]:
    """Return what each connected input reads: (which model, input) -> (which earlier one, tensor).

    Args:
        parts: in the order they run; their output types are recorded.
        connect: input -> tensor of an earlier model, as the user says.

    Raises:
        UsageError: an unknown name, or a model that reads nothing of those before it.
        PreconditionError: a dtype or shape does not fit.
    """
    _check_known(parts, connect)
    for part in parts:
        types = infer_types(part.model)
        record_types({value: types[value] for value in part.model.graph.outputs if value in types})
    links: dict[tuple[int, str], Source] = {}
    for index, part in enumerate(parts[1:], start=1):
        found = dict(_links_of(parts, index, connect))
        if not found:
            offered = ", ".join(_outputs(parts[index - 1].model))
            wanted = ", ".join(_inputs(part.model)) or "nothing"
            raise UsageError(
                f"{part.name} reads {wanted}, {parts[index - 1].name} makes {offered}: no name fits; say "
                "what belongs together with --connect OUTPUT=INPUT"
            )
        for name, source in found.items():
            _check_fits(parts, source, (index, name))
        links.update({(index, name): source for name, source in found.items()})
    return links


def _links_of(parts: Sequence[Part], index: int, connect: Mapping[str, str]) -> Iterator[tuple[str, Source]]:
    inputs = list(_inputs(parts[index].model))
    outputs = list(_outputs(parts[index - 1].model))
    for name in inputs:
        if name in connect:
            yield name, _find(parts, index, connect[name], name)
        elif (source := _output_before(parts, index, name)) is not None:
            yield name, source
        elif len(inputs) == len(outputs) == 1:
            yield name, (index - 1, outputs[0])


def _find(parts: Sequence[Part], index: int, tensor: str, target: str) -> Source:
    source = _output_before(parts, index, tensor)
    if source is not None:
        return source
    for before in reversed(range(index)):
        if tensor in _inputs(parts[before].model):
            return before, tensor
    known = [name for part in parts[:index] for name in (*_outputs(part.model), *_inputs(part.model))]
    raise UsageError(
        f"--connect {tensor}={target}: no model before {parts[index].name} has an output or input "
        f"{tensor!r}; {did_you_mean(tensor, known)}"
    )


def _output_before(parts: Sequence[Part], index: int, name: str) -> Source | None:
    for before in reversed(range(index)):
        if name in _outputs(parts[before].model):
            return before, name
    return None


def _check_known(parts: Sequence[Part], connect: Mapping[str, str]) -> None:
    known = [name for part in parts[1:] for name in _inputs(part.model)]
    for target, source in connect.items():
        if target not in known:
            where = "no model after the first has" if len(parts) > 2 else f"{parts[1].name} has no"
            raise UsageError(
                f"--connect {source}={target}: {where} input {target!r}; {did_you_mean(target, known)}"
            )
        if known.count(target) > 1:
            raise UsageError(
                f"--connect {source}={target}: several models have an input {target!r}; join two "
                "models first, then the next"
            )


def _check_fits(parts: Sequence[Part], source: Source, target: tuple[int, str]) -> None:
    made, read = _value(parts, source), _value(parts, target)
    what = (
        f"{parts[source[0]].name} makes {source[1]} as {_type_text(made)}, {parts[target[0]].name} reads "
        f"{target[1]} as {_type_text(read)}"
    )
    if made.type != read.type and made.type is not None and read.type is not None:
        raise PreconditionError(f"{what}: insert a Cast, or connect another tensor with --connect")
    if made.shape is None or read.shape is None:
        return
    if len(made.shape) != len(read.shape) or any(
        isinstance(mine, int) and isinstance(theirs, int) and mine != theirs
        for mine, theirs in zip(made.shape, read.shape, strict=True)
    ):
        raise PreconditionError(f"{what}: the shapes do not fit")


def _value(parts: Sequence[Part], where: Source) -> ir.Value:
    graph = parts[where[0]].model.graph
    return next(value for value in (*graph.outputs, *graph.inputs) if value.name == where[1])


def _type_text(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else str(value.type)
    return f"{dtype} {shape_text(value.shape)}"


def _inputs(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name or "": value for value in model.graph.inputs}


def _outputs(model: ir.Model) -> dict[str, ir.Value]:
    return {value.name or "": value for value in model.graph.outputs}
