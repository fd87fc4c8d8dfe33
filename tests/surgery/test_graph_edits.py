from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery.engine.structure import faults
from graphopt.surgery.graph_edits import (
    add_constant,
    bypass,
    fresh_name,
    remove_dead,
    replace_by_constant,
    why_not_bypassed,
)
from graphopt.surgery.graph_queries import (
    constant_of,
    constant_tensor,
    label,
    nodes_of,
    opset_of,
    static_shape,
    used_elsewhere,
)

TEXT = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
g (bool flag, float[3] x, float[3] given) => (float[3] y, float[3] z)
<float[3] w = {1,2,3}, float[3] given = {4,5,6}> {
    [first] a = Exp (x)
    b = Mul (a, w)
    k = Constant <value_floats = [1.0, 2.0, 3.0]> ()
    i = Identity (k)
    c = Add (b, i)
    d = Add (c, given)
    w2 = Constant <value_int = 7> ()
    [dead] unused = Neg (w2)
    [branch] y = If (flag) <
        then_branch = t () => (float[3] p) { p = local.F (d) },
        else_branch = e () => (float[3] q) <float[3] v = {7,8,9}> { q = Mul (d, v) }
    >
    z = Relu (c)
}
<domain: "local", opset_import: ["" : 11]> F (m) => (n) { o = Exp (m) n = Neg (o) }
"""


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def value(model: ir.Model, name: str) -> ir.Value:
    return next(v for node in model.graph.all_nodes() for v in node.outputs if v.name == name)


def test_nodes_of_visits_main_graph_subgraphs_and_functions(model: ir.Model) -> None:
    assert [node.outputs[0].name for node in nodes_of(model, "Exp", "Mul")] == ["a", "b", "q", "o"]
    assert [node.outputs[0].name for node in nodes_of(model, "F", domain="local")] == ["p"]
    assert len(list(nodes_of(model))) == 14


def test_nodes_of_leaves_out_what_was_removed_meanwhile(model: ir.Model) -> None:
    seen = []
    for node in nodes_of(model, "Constant", "Neg"):
        seen.append(node.op_type)
        remove_dead(model)
    assert seen == ["Constant", "Neg"]  # of k, and of the function


def test_constants_are_found_wherever_they_are(model: ir.Model) -> None:
    assert constant_of(value(model, "b").producer().inputs[1]).tolist() == [1, 2, 3]  # type: ignore[union-attr]
    assert constant_of(value(model, "i")).tolist() == [1, 2, 3]  # type: ignore[union-attr]
    assert constant_of(value(model, "q").producer().inputs[1]).tolist() == [7, 8, 9]  # type: ignore[union-attr]
    integer = constant_tensor(value(model, "w2"))
    assert integer is not None
    assert (integer.dtype, integer.numpy().shape) == (ir.DataType.INT64, ())
    assert constant_of(value(model, "a")) is None
    assert constant_of(None) is None


def test_an_initializer_that_is_an_input_is_no_constant(model: ir.Model) -> None:
    assert constant_of(model.graph.initializers["given"]) is None


def test_a_function_has_its_own_opset(model: ir.Model) -> None:
    assert opset_of(model, next(nodes_of(model, "Mul"))) == 13
    assert [opset_of(model, node) for node in nodes_of(model, "Neg")] == [13, 11]


def test_used_elsewhere_says_by_whom(model: ir.Model) -> None:
    c, z = value(model, "c"), value(model, "z")
    relu = z.producer()
    assert relu is not None
    assert used_elsewhere(c, relu) == "c is also read by Add d"
    assert used_elsewhere(z, relu) == "z is a graph output"
    assert used_elsewhere(value(model, "a"), value(model, "b").producer()) is None  # type: ignore[arg-type]
    assert label(relu) == "Relu z"


def test_static_shape_needs_every_size(model: ir.Model) -> None:
    x = model.graph.inputs[1]
    assert static_shape(x) == (3,)
    x.shape = ir.Shape(["n"])
    assert static_shape(x) is None


def test_fresh_names_are_fresh_in_subgraphs_and_functions_too(model: ir.Model) -> None:
    taken = ["a", "v", "o", "branch", "w", "x"]
    fresh = [fresh_name(model, stem) for stem in (*taken, "new", "new")]
    assert fresh == ["a_1", "v_1", "o_1", "branch_1", "w_1", "x_1", "new", "new_1"]


def test_bypass_and_its_reasons(model: ir.Model) -> None:
    relu = value(model, "z").producer()
    assert relu is not None
    assert why_not_bypassed(relu) is None
    bypass(model, relu)
    assert [output.name for output in model.graph.outputs] == ["y", "z"]
    producer = model.graph.outputs[1].producer()
    assert producer is not None
    assert producer.op_type == "Add"
    assert not list(faults(model))


def test_remove_dead_removes_what_nothing_needs_and_nothing_else(model: ir.Model) -> None:
    assert remove_dead(model) == 2
    assert "dead" not in [node.name for node in model.graph]
    assert {"w", "given"} == set(model.graph.initializers)
    assert not list(faults(model))


def test_removing_a_node_with_subgraphs_frees_what_they_read(model: ir.Model) -> None:
    model.graph.outputs.pop(0)
    remove_dead(model)
    assert [node.op_type for node in model.graph] == ["Exp", "Mul", "Constant", "Identity", "Add", "Relu"]
    assert "given" in model.graph.initializers  # a graph input stays


def test_a_scalar_constant_has_no_axis() -> None:
    model = ir.from_onnx_text(TEXT)
    value = add_constant(model, model.graph[0], np.array(3, dtype=np.int64), "k")
    assert value.shape is not None
    assert len(value.shape) == 0
    assert constant_of(value) == 3


def test_constants_are_put_where_the_reader_can_see_them(model: ir.Model) -> None:
    inner = value(model, "q").producer()
    function_node = next(node for node in nodes_of(model, "Neg") if node.outputs[0].name == "n")
    assert inner is not None
    first = add_constant(model, inner, np.arange(3, dtype=np.float32), "w")
    second = add_constant(model, function_node, np.arange(3, dtype=np.float32), "w")
    assert (first.name, second.name) == ("w_1", "w_2")
    assert inner.graph is not None
    assert "w_1" in inner.graph.initializers
    producer = second.producer()
    assert producer is not None
    assert producer.op_type == "Constant"
    assert (second.dtype, static_shape(second)) == (ir.DataType.FLOAT, (3,))


def test_a_constant_takes_over_the_name(model: ir.Model) -> None:
    c = value(model, "c")
    node = c.producer()
    replace_by_constant(model, c, ir.tensor(np.zeros(3, dtype=np.float32)))
    assert node is not None
    remove_dead(model, [node])
    assert "c" in model.graph.initializers
    assert not list(faults(model))


def test_edits_survive_a_round_trip(model: ir.Model, tmp_path: Path) -> None:
    remove_dead(model)
    ir.save(model, tmp_path / "m.onnx")
    assert len(ir.load(tmp_path / "m.onnx").graph) == len(model.graph)
