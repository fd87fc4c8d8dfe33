"""What a ``BatchNormalization`` node does at inference: a fixed scale and shift per channel."""

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import (
    attribute_int,
    constant_of,
    constant_tensor,
    has_attribute_references,
    input_of,
    opset_of,
)
from graphopt.surgery.semantics.affine_layers import Floats


def why_not_affine(model: ir.Model, node: ir.Node) -> str | None:
    """Return why the norm is no fixed scale and shift per channel (a clause), or None when it is one."""
    opset = opset_of(model, node)
    if opset < 7:
        return f"opset {opset} has another BatchNormalization; convert the model to 7 or later first"
    if has_attribute_references(node):
        return "an attribute comes from the caller of its function"
    if attribute_int(node, "training_mode", 0) or any(value.uses() for value in node.outputs[1:]):
        return "it is in training mode: it uses the statistics of the batch"
    if opset < 9 and attribute_int(node, "spatial", 1) == 0:
        return "its statistics are per element (spatial=0), not per channel"
    for index, name in enumerate(("scale", "bias", "mean", "variance"), start=1):
        if constant_tensor(input_of(node, index)) is None:
            return f"its {name} is computed at run time"
    return None


def affine_of_batchnorm(node: ir.Node) -> tuple[Floats, Floats]:
    """Return factor and shift, each [channels]; not finite where variance plus epsilon is not positive."""
    arrays = [constant_of(value) for value in node.inputs[1:5]]
    scale, bias, mean, variance = (np.asarray(array, dtype=np.float64).reshape(-1) for array in arrays)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = scale / np.sqrt(variance + epsilon)
        return factor, bias - mean * factor
