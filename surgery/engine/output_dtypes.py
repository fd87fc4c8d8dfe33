"""Give outputs whose dtype a pass changed on purpose their old dtype again, to compare the numbers."""

from collections.abc import Mapping

import onnx_ir as ir

from graphopt.surgery.graph_edits import fresh_name


def with_source_dtypes(model: ir.Model, source: ir.Model, names: Mapping[str, str]) -> ir.Model:
    """Return a model whose outputs have the dtypes that they have in the source.

    Args:
        model: not changed; returned as it is when nothing differs.
        source: an output of it, or an inner tensor of recorded dtype, says what is wanted.
        names: output of the model -> tensor of the source.
    """
    made = (value for node in source.graph for value in node.outputs)
    wanted = {value.name: value.dtype for value in (*source.graph.inputs, *made)}
    different = {
        value.name: dtype
        for value in model.graph.outputs
        if (dtype := wanted.get(names.get(value.name or "", ""))) is not None and value.dtype != dtype
    }
    if not different:
        return model
    model = model.clone()
    for index, value in enumerate(list(model.graph.outputs)):
        dtype = different.get(value.name)
        if dtype is None:
            continue
        name = value.name or ""
        value.name = fresh_name(model, f"{name}.narrow")
        cast = ir.node("Cast", [value], {"to": dtype.value}, name=fresh_name(model, f"{name}.wide_node"))
        back = cast.outputs[0]
        back.name, back.type, back.shape = name, ir.TensorType(dtype), value.shape
        model.graph.append(cast)
        model.graph.outputs[index] = back
    return model
