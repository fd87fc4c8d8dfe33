from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.onnx_files import load_model
from graphopt.surgery.passes.to_float16 import ToFloat16

PREPARE = "static_shapes,fold_constants"

Rewrite = Callable[..., Any]
Write = Callable[[str, str], Path]

SUITABLE = "c = Constant <value = float[4] {{1,2,3,4}}> () y = Mul ({x}, c)"
NO_NESTED = "subgraphs stay in float32"
INNER_CHANGE = "float16 tensors keep their names, so that stages can be compared by them"
UNRELATED = (
    """<ir_version: 8, opset_import: ["" : 13]> g (int64[3] i) => (int64[3] y) { a = Abs (i) y = Neg (a) }"""
)

NET = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,3,6,6] x, float[4,3,3,3] w, float[4] b) => (float[1,4,4,4] y)
{ [first] a = Conv (x, w, b) [second] s = Sigmoid (a) [third] y = Mul (s, a) }"""


def dtypes(model: ir.Model) -> dict[str, str]:
    return {str(value.name): str(value.dtype) for node in model.graph for value in node.outputs}


def test_nodes_and_weights_are_halved_between_casts(rewrite: Rewrite) -> None:
    result = rewrite(NET, ToFloat16(), weights=("w", "b"))
    assert result.ops == ["Cast", "Conv", "Sigmoid", "Mul", "Cast"]
    weights = [value.const_value for value in result.model.graph.initializers.values()]
    assert {tensor.dtype for tensor in weights if tensor is not None} == {ir.DataType.FLOAT16}
    assert result.after["y"].dtype == np.float32
    result.assert_same(rtol=0.01)
    assert any(abs(result.before["y"] - result.after["y"]).ravel() > 0)


def test_inputs_and_outputs_can_be_halved_too(rewrite: Rewrite) -> None:
    result = rewrite(NET, ToFloat16(keep_io=False), weights=("w", "b"), compare=False)
    assert result.ops == ["Conv", "Sigmoid", "Mul"]
    ends = (*result.model.graph.inputs, *result.model.graph.outputs)
    assert {value.dtype for value in ends} == {ir.DataType.FLOAT16}


@pytest.mark.parametrize("option", [{"keep_ops": ("Sigmoid",)}, {"keep_nodes": ("second",)}])
def test_what_is_to_be_kept_stays_in_float32(rewrite: Rewrite, option: dict[str, Any]) -> None:
    result = rewrite(NET, ToFloat16(**option), weights=("w", "b"))
    assert result.ops == ["Cast", "Conv", "Cast", "Sigmoid", "Cast", "Mul", "Cast"]
    assert result.declined == ("it is to stay in float32",)
    result.assert_same(rtol=0.01)


def test_an_unknown_node_to_keep_is_an_error(write_text: Write) -> None:
    model = load_model(write_text(NET.replace("g (", "g (", 1), "net.onnx"))
    with pytest.raises(UsageError, match="did you mean second"):
        ToFloat16(keep_nodes=("secnd",)).run(model)


def test_inputs_that_must_be_float32_stay(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,2,3,5] x) => (float[1,2,6,10] y)
    <float[4] scales = {1,1,2,2}> { r = Relu (x) y = Resize <mode = "linear"> (r, , scales) }"""
    result = rewrite(text, ToFloat16())
    scales = result.model.graph.initializers["scales"].const_value
    assert scales is not None
    assert scales.dtype == ir.DataType.FLOAT
    result.assert_same(rtol=0.01)


def test_what_has_no_half_form_is_kept_and_named(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[1,4,4] boxes, float[1,2,4] scores) => (int64[n,3] y)
    <int64 k = {2}, float t = {0.5}> {
        a = Mul (boxes, boxes) s = Sigmoid (scores) y = NonMaxSuppression (a, s, k, t) }"""
    result = rewrite(text, ToFloat16(), compare=False)
    assert result.declined == ("it takes no float16",)
    assert result.ops.count("Cast") == 4


def test_casts_and_fillings_change_their_type(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (int64[2,3] i, float[2,3] x) => (float[2,3] y)
    { c = Cast <to = 1> (i) h = Shape (x) f = ConstantOfShape <value = float[1] {0.5}> (h)
      a = Add (c, f) y = Mul (a, x) }"""
    result = rewrite(text, ToFloat16())
    kinds = dtypes(result.model)
    assert kinds["c"] == kinds["f"] == kinds["a"] == "FLOAT16"
    result.assert_same(rtol=0.01)


def test_weights_beyond_the_range_are_clamped_and_listed(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[3] x) => (float[3] y)
    <float[3] w = {1e6, 1e-12, -2}> { m = Mul (x, w) y = Tanh (m) }"""
    result = rewrite(text, ToFloat16())
    assert "1 of 3 values beyond 65504 are clamped" in result.applied
    halved = next(iter(result.model.graph.initializers.values())).const_value
    assert halved is not None
    assert halved.numpy().tolist() == [65504.0, 2.0**-24, -2.0]


def test_a_subgraph_stays_in_float32_and_reads_casts(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (bool flag, float[2,3] x) => (float[2,3] y) {
        h = Exp (x)
        z = If (flag) < then_branch = t () => (float[2,3] p) { p = Neg (h) },
                        else_branch = e () => (float[2,3] q) { q = Tanh (h) } >
        y = Abs (z) }"""
    result = rewrite(text, ToFloat16())
    assert result.declined == ("it has a subgraph",)
    result.assert_same(rtol=0.01)


def test_a_second_run_finds_nothing(rewrite: Rewrite) -> None:
    result = rewrite(NET, ToFloat16(), weights=("w", "b"))
    assert ToFloat16().run(result.model).changes == ()


def test_what_comes_out_of_a_sequence_stays_in_float32(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => (float[4,3] y) {
        e = Exp (x) s = SequenceConstruct (e, x) c = ConcatFromSequence <axis = 0> (s) y = Relu (c)
    }"""
    result = rewrite(text, ToFloat16())
    assert any("works on a sequence" in reason for reason in result.declined)
    result.assert_same(rtol=1e-2)
