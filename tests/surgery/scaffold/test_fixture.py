"""Fixtures cut out of a model: static, runnable, small, and still the same pattern."""

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import input_specs, to_proto
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.lookup import find_node
from graphopt.surgery.scaffold.fixture import SMALL_BYTES, Fixture, make_fixture


def fixture_of(model: ir.Model, node: str, radius: int = 1) -> Fixture:
    return make_fixture(model, find_node(model, node), radius=radius)


def ops(fixture: Fixture) -> list[str]:
    return [node.op_type for node in fixture.model.graph]


CHAIN = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[batch,3,5,7] x) => (float[batch,3,5,7] y) <float[1,3,1,1] scale = {1,2,3}>
{
    [a] p = Relu (x)
    [b] q = Sigmoid (p)
    [c] r = Mul (q, scale)
    [d] s = Tanh (r)
    [e] y = Neg (s)
}
"""


def test_the_neighbourhood_is_static_and_keeps_small_weights() -> None:
    fixture = fixture_of(ir.from_onnx_text(CHAIN), "c")
    assert ops(fixture) == ["Sigmoid", "Mul", "Tanh"]
    assert fixture.problem == ""
    assert not fixture.shrunk
    (spec,) = input_specs(fixture.model)
    assert (spec.name, spec.shape, spec.dtype) == ("p", (2, 3, 5, 7), "float32")
    scale = fixture.model.graph.initializers["scale"].const_value
    assert scale is not None
    assert scale.numpy().ravel().tolist() == [1, 2, 3]


def test_radius_0_is_the_node_alone() -> None:
    assert ops(fixture_of(ir.from_onnx_text(CHAIN), "c", 0)) == ["Mul"]


def wide(groups: int = 1) -> ir.Model:
    model = ir.from_onnx_text(f"""
        <ir_version: 8, opset_import: ["" : 13]>
        agraph (float[1,96,4,6] x) => (float[1,64,4,6] y)
        <float[1] none = {{0}}>
        {{
            [first] a = Conv <group = {groups}> (x, weight)
            [second] b = Add (a, bias)
            [last] y = Relu (b)
        }}
    """)
    rng = np.random.default_rng(7)
    shapes = {"weight": (64, 96 // groups, 3, 3), "bias": (1, 64, 1, 1)}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        value = ir.Value(name=name, const_value=ir.Tensor(array, name=name))
        for node in model.graph:
            for index, old in enumerate(node.inputs):
                if old is not None and old.name == name:
                    node.replace_input_with(index, value)
        model.graph.register_initializer(value)
    for node in model.graph:
        if node.op_type == "Conv":
            node.attributes["pads"] = ir.AttrInt64s("pads", [1, 1, 1, 1])
    return model


@pytest.mark.parametrize("groups", [1, 32])
def test_large_weights_lose_rows_and_columns_and_the_part_still_runs(groups: int) -> None:
    model = wide(groups)
    fixture = fixture_of(model, "second")
    assert (fixture.problem, ops(fixture)) == ("", ["Conv", "Add", "Relu"])
    if groups == 1:
        assert fixture.shrunk
        sizes = {
            name: v.const_value.nbytes
            for name, v in fixture.model.graph.initializers.items()
            if v.const_value
        }
        assert sum(sizes.values()) < SMALL_BYTES
    with OnnxRuntimeSession(to_proto(fixture.model).SerializeToString(), threads=1) as session:
        feeds = {s.name: np.ones([int(d or 1) for d in s.shape], np.float32) for s in session.inputs}
        assert all(np.isfinite(array).all() for array in session.run(feeds).values())
    weight = model.graph.initializers["weight"].const_value
    assert weight is not None
    assert weight.shape == (64, 96 // groups, 3, 3), "the model itself is not cut down"


def test_sizes_that_only_a_run_tells_are_recorded() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 13]>
        agraph (float[6] x) => (float[M] y) <float zero = {0}, int64[1] one = {1}>
        {
            [above] a = Greater (x, zero)
            [number] i = Cast <to = 7> (a)
            [sum] s = ReduceSum <keepdims = 1> (i)
            [best] values, places = TopK (x, s)
            [last] y = Neg (values)
        }
    """
    fixture = fixture_of(ir.from_onnx_text(text), "best", 0)
    assert fixture.problem == ""
    assert fixture.feeds is not None, "a count cannot be made up"
    assert 0 < fixture.feeds["s"].item() < 6


def test_what_onnxruntime_does_not_know_is_kept_and_said() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 13, "vendor" : 1]>
        agraph (float[2,3] x) => (float[2,3] y) { [a] p = Relu (x) [odd] q = vendor.Odd (p) [b] y = Neg (q) }
    """
    model = ir.from_onnx_text(text)
    for node in model.graph:
        for value in node.outputs:
            value.type = ir.TensorType(ir.DataType.FLOAT)
    fixture = fixture_of(model, "odd")
    assert ops(fixture) == ["Relu", "Odd", "Neg"]
    assert "vendor" in fixture.problem
    assert "/tmp" not in fixture.problem
