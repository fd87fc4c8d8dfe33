from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.onnx_files import load_model, to_proto
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.engine.structure import faults
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.node_builder import NodeBuilder

Write = Callable[[str, str], Path]

TEXT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[2,3] x) => (float[2,3] y) { [log] h = Exp (x) y = Neg (h) }
"""


def test_new_nodes_stand_before_the_old_one_and_take_its_place(write_text: Write) -> None:
    model = load_model(write_text(TEXT, "builder.onnx"))
    (old,) = nodes_of(model, "Neg")
    new = NodeBuilder(model, old)
    product = new.op("Mul", old.inputs[0], new.constant(np.array([-1.0], np.float32)), like=old.outputs[0])
    new.replace(product)
    assert [node.op_type for node in model.graph] == ["Exp", "Mul"]
    assert model.graph.outputs[0].name == "y"
    assert faults(model) == ()
    x = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    with OnnxRuntimeSession(to_proto(model).SerializeToString(), threads=1) as session:
        assert np.allclose(np.asarray(session.run({"x": x})["y"], np.float32), -np.exp(x), rtol=1e-6)


def test_names_are_fresh_and_types_are_those_told(write_text: Write) -> None:
    model = load_model(write_text(TEXT, "builder.onnx"))
    (old,) = nodes_of(model, "Neg")
    assert old.inputs[0] is not None
    old.inputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    new = NodeBuilder(model, old, "s")
    first, second = (new.op("Relu", old.inputs[0], like=old.inputs[0]) for _ in range(2))
    assert first.name != second.name
    halves = new.ops("Split", first, attributes={"axis": 0}, outputs=2, like=first, shape=(1, 3))
    assert [value.name for value in halves] == ["s.split", "s.split_1"]
    assert halves[0].shape == ir.Shape([1, 3])
    assert first.dtype == ir.DataType.FLOAT
