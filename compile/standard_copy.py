"""A model in standard operators only, for runtimes that know no others and no functions."""

from pathlib import Path

import onnx
import onnx.inliner
import onnx_ir as ir

from graphopt.core.errors import UsageError
from graphopt.core.lineage import node_label
from graphopt.core.onnx_files import FIRST_WITHOUT_INPUTS, load_model, to_proto, write_model
from graphopt.core.operator_bodies import body_of, inline_calls
from graphopt.core.operators import at_home


def needs_inlining(model: ir.Model) -> bool:
    """Whether a model calls functions, or operators whose body we know."""
    return bool(model.functions) or any(at_home(node) is not None for node in model.graph.all_nodes())


def write_standard_copy(source: Path, copy: Path) -> None:
    """Write a model with all calls replaced by what they compute.

    Args:
        source: ONNX file.
        copy: where to write; a temporary file that the caller looks after.

    Raises:
        UsageError: a call of an operator has no body.
        OSError: it cannot be written.
    """
    model = load_model(source)
    opset = model.opset_imports.get("", 1)
    for node in model.graph.all_nodes():
        operator = at_home(node)
        if operator is None or node.op_identifier() in model.functions:
            continue
        if body_of(node, opset) is None:
            known = operator.body is not None
            raise UsageError(
                f"{source}: {node.op_type} {node_label(node)} is no standard operator, and "
                f"{'its call is not understood' if known else 'nobody has written what it computes'}; "
                f"'graphopt operators {node.op_type}' shows what is known of it"
            )
    inline_calls(model)
    if model.functions:
        onnx.save(onnx.inliner.inline_local_functions(to_proto(model)), copy)
        return
    # Functions needed a newer one: without them an onnxruntime of the opset's own time reads the file.
    oldest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    model.ir_version = min(model.ir_version, max(oldest, FIRST_WITHOUT_INPUTS))
    write_model(model, copy)
