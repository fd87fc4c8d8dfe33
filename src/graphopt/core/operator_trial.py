"""Run one call of an operator by itself: what a test of its body needs."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import AttributeValue, ForeignOperator
from graphopt.core.onnx_files import write_model
from graphopt.core.operator_bodies import body_of
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array

_NEWEST_IR = 10
_DEVICE_IR = 8


def run_call(
    operator: ForeignOperator,
    inputs: Sequence[Array | None],
    *,
    attributes: Mapping[str, AttributeValue] | None = None,
    outputs: int = 1,
    opset: int = 11,
) -> list[Array]:
    """Compute a call with the operator's body in onnxruntime, optimisation off.

    Args:
        operator: one of graphopt, or of a plugin that is loaded.
        inputs: None leaves one out.
        attributes: of the call; tuples are lists.
        outputs: how many the call has.
        opset: version of the standard operators to write the body in.

    Raises:
        PreconditionError: the body does not understand the call.
    """
    values = [
        None if array is None else _value(f"input_{index}", array) for index, array in enumerate(inputs)
    ]
    node = ir.node(
        operator.op_type,
        values,
        dict(attributes or {}),
        domain=operator.home,
        num_outputs=outputs,
        name="call",
    )
    for index, value in enumerate(node.outputs):
        value.name = f"output_{index}"
    given = [value for value in values if value is not None]
    graph = ir.Graph(
        given, node.outputs, nodes=[node], name="trial", opset_imports={"": opset, operator.home: 1}
    )
    if body_of(node, opset) is None:
        raise PreconditionError(f"{operator.op_type}: its body does not understand this call")
    model = ir.Model(graph, ir_version=_NEWEST_IR if opset > 15 else _DEVICE_IR)
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        path = Path(folder) / "trial.onnx"
        write_model(model, path)
        feeds = {
            value.name or "": array
            for value, array in zip(values, inputs, strict=True)
            if value is not None and array is not None
        }
        with OnnxRuntimeSession(path) as session:
            found = session.run(feeds)
    return [found[value.name or ""] for value in node.outputs]


def _value(name: str, array: Array) -> ir.Value:
    return ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(np.asarray(array).dtype)),
        shape=ir.Shape(array.shape),
    )
