from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.static_shapes import StaticShapes

Rewrite = Callable[..., Any]
Build = Callable[..., ir.Model]

FLATTEN = """<ir_version: 8, opset_import: ["" : 11]>
g (float[SHAPE] x) => (float[p,q] y) {
    s = Shape (x) i = Constant <value = int64 {0}> () n = Gather (s, i) u = Unsqueeze <axes = [0]> (n)
    m = Constant <value = int64[1] {-1}> () c = Concat <axis = 0> (u, m) r = Reshape (x, c) y = Relu (r)
}"""
"""How old exporters write ``x.view(x.size(0), -1)``."""

SUITABLE = "s = Shape ({x}) e = Exp ({x}) y = Reshape (e, s)"


def test_the_chain_of_an_exported_flatten_is_folded(rewrite: Rewrite) -> None:
    result = rewrite(FLATTEN.replace("SHAPE", "2,3,5"), StaticShapes())
    assert result.ops == ["Reshape", "Relu"]
    (constant,) = result.model.graph.initializers.values()
    assert constant.const_value.numpy().tolist() == [2, -1]
    assert list(result.model.graph.outputs[0].shape) == [2, 15]
    result.assert_same()


@pytest.mark.parametrize("given", ["x=2x3x5", "2x3x5"])
def test_input_sizes_are_taken_from_the_option(rewrite: Rewrite, given: str) -> None:
    result = rewrite(FLATTEN.replace("SHAPE", "batch,3,width"), StaticShapes(shapes=given), compare=False)
    assert result.ops == ["Reshape", "Relu"]
    assert list(result.model.graph.inputs[0].shape) == [2, 3, 5]
    assert list(result.model.graph.outputs[0].shape) == [2, 15]
    assert "x is [2, 3, 5] (declared [batch, 3, width])" in result.applied


def test_numbers_do_not_change_when_sizes_are_fixed(model_of: Build, run_model: Any) -> None:
    text = FLATTEN.replace("SHAPE", "batch,3,width")
    feeds = {"x": np.random.default_rng(5).standard_normal((2, 3, 5)).astype(np.float32)}
    model, _ = run_pass(model_of(text), StaticShapes(shapes="2x3x5"))
    np.testing.assert_array_equal(run_model(model, feeds)["y"], run_model(model_of(text), feeds)["y"])


def test_several_inputs_and_odd_names(model_of: Build) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[n,3] a, float[m,3] b) => (float[k,3] y) { y = Concat <axis = 0> (a, b) }"""
    model = model_of(text)
    model.graph.inputs[1].name = "in=b:0"
    model, _ = run_pass(model, StaticShapes(shapes="a=2x3;in=b:0=5x3"))
    assert list(model.graph.outputs[0].shape or ()) == [7, 3]


def test_the_height_and_width_of_a_dynamic_batch_are_folded(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
        g (float[batch,1,4,6] x, float[batch,1,8,12] z) => (float[batch,1,8,12] y)
        <int64[1] zero = {0}, int64[1] two = {2}, int64[1] four = {4}, float[0] empty = {}> {
            a = Shape (x) front = Slice (a, zero, two, zero)
            b = Shape (z) back = Slice (b, two, four, zero) sizes = Concat <axis = 0> (front, back)
            r = Resize <mode = "nearest"> (x, empty, empty, sizes) y = Add (r, z)
        }"""
    result = rewrite(text, StaticShapes())
    assert result.ops == ["Shape", "Slice", "Concat", "Resize", "Add"]
    assert result.model.graph.initializers["back"].const_value.numpy().tolist() == [8, 12]
    result.assert_same()


def test_sizes_computed_in_floats_reach_the_next_resize(rewrite: Rewrite) -> None:
    scaled = """s{i} = Shape (x{i}) f{i} = Cast <to = 1> (s{i}) d{i} = Mul (f{i}, factor) e{i} = Floor (d{i})
        n{i} = Cast <to = 7> (e{i}) x{j} = Resize <mode = "nearest"> (x{i}, empty, empty, n{i})"""
    body = " ".join(scaled.format(i=i, j=i + 1) for i in range(4))
    text = f"""<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,1,3,5] x0) => (float[a,b,c,d] y)
        <float[4] factor = {{1,1,1.5,1.5}}, float[0] empty = {{}}> {{ {body} y = Relu (x4) }}"""
    result = rewrite(text, StaticShapes(require_static=True))
    assert result.ops == ["Resize"] * 4 + ["Relu"]
    assert list(result.model.graph.outputs[0].shape) == list(result.before["y"].shape)
    result.assert_same()


def test_what_stays_dynamic_is_named_once_with_its_cause(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[4] x) => (int64[1,k] y) { a = Relu (x) n = NonZero (a) b = Neg (n) y = Abs (b) }"""
    result = rewrite(text, StaticShapes())
    assert not result.applied
    (why,) = result.declined
    assert "NonZero makes n, which is [1," in why
    assert "2 tensors that follow" in why


def test_a_dynamic_input_is_named_as_the_cause(rewrite: Rewrite) -> None:
    result = rewrite(FLATTEN.replace("SHAPE", "batch,3,5"), StaticShapes())
    assert any("input x is [batch, 3, 5]" in why for why in result.declined)


def test_require_static_makes_it_an_error(model_of: Build) -> None:
    model = model_of(FLATTEN.replace("SHAPE", "batch,3,5"))
    with pytest.raises(PreconditionError, match=r"input x is \[batch, 3, 5\]"):
        run_pass(model, StaticShapes(require_static=True))
    run_pass(model, StaticShapes(require_static=True, shapes="2x3x5"))


def test_shapes_that_the_file_only_claims_are_not_believed(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[n,3] x) => (int64[2] y) <float[9,3] a> { a = Relu (x) s = Shape (a) y = Abs (s) }"""
    result = rewrite(text, StaticShapes(), compare=False)
    assert "Shape" in result.ops


def test_ordinary_constants_are_left_to_fold_constants(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[3] x) => (float[3] y) <float[3] w = {1,2,3}> { a = Exp (w) y = Add (x, a) }"""
    assert not rewrite(text, StaticShapes()).applied


def test_shapes_in_subgraphs_are_folded_and_functions_left_alone(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (bool flag, float[2,3] x) => (float[2,3] y) {
            h = local.Same (x)
            y = If (flag) <
                then_branch = t () => (float[2,3] p) { s = Shape (x) p = Reshape (h, s) },
                else_branch = e () => (float[2,3] q) { q = Tanh (h) }
            >
        }
        <domain: "local", opset_import: ["" : 13]> Same (a) => (c) { s = Shape (a) c = Reshape (a, s) }"""
    result = rewrite(text, StaticShapes())
    assert "Shape" not in [node.op_type for node in result.model.graph.all_nodes()]
    (function,) = result.model.functions.values()
    assert [node.op_type for node in function] == ["Shape", "Reshape"]
    result.assert_same()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ("y=1x3x5", "no input 'y'"),
        ("1x3", r"input x is \[batch, 3, 5\], not \[1, 3\]"),
        ("1x4x5", r"not \[1, 4, 5\]"),
        ("1x3xwide", "'1x3xwide' is no shape"),
        ("0x3x5", "'0x3x5' is no shape"),
    ],
)
def test_impossible_options_are_usage_errors(model_of: Build, shapes: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_pass(model_of(FLATTEN.replace("SHAPE", "batch,3,5")), StaticShapes(shapes=shapes))


def test_a_shape_without_a_name_needs_a_single_input(model_of: Build) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[n] a, float[n] b) => (float[n] y) { y = Add (a, b) }"""
    with pytest.raises(UsageError, match="needs an input name"):
        run_pass(model_of(text), StaticShapes(shapes="3"))


def test_shape_with_start_and_end(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 15]>
        g (float[2,3,5] x) => (float[a,b] y) {
            s = Shape <start = -1> (x) m = Constant <value = int64[1] {-1}> ()
            c = Concat <axis = 0> (m, s) y = Reshape (x, c)
        }"""
    result = rewrite(text, StaticShapes())
    assert result.ops == ["Reshape"]
    result.assert_same()


def test_an_operator_that_onnx_does_not_know_is_named_and_its_recorded_shape_kept(model_of: Build) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]>
        g (float[2,3] x) => (float[a,b] y) <CLAIM> {
            v = vendor.Odd (x) w = Relu (v) s = Shape (w) y = Reshape (x, s)
        }"""
    _, report = run_pass(model_of(text.replace("<CLAIM>", "")), StaticShapes())
    assert any("Odd makes v, which is ?" in refusal.why for refusal in report.declined)
    model, report = run_pass(model_of(text.replace("CLAIM", "float[3,2] v")), StaticShapes())
    assert [node.op_type for node in model.graph] == ["Reshape"]
    assert report.declined == ()


DYNAMIC = """<ir_version: 8, opset_import: ["" : 11]>
g (float[batch,3,5] x) => (float[p,q] y) {
    s = Shape (x) z = Constant <value = int64 {0}> () n = Gather (s, z) u = Unsqueeze <axes = [0]> (n)
    rest = Constant <value = int64[1] {-1}> () size = Constant <value = int64[1] {15}> () BODY
}"""


@pytest.mark.parametrize(
    ("body", "sizes"),
    [
        # How exporters write x.view(x.size(0), -1) and the like with an open batch.
        ("c = Concat <axis = 0> (u, rest) y = Reshape (x, c)", [0, -1]),
        ("c = Concat <axis = 0> (u, size) y = Reshape (x, c)", [0, 15]),
        ("c = Concat <axis = 0> (size, u) y = Reshape (x, c)", [15, -1]),
        ("r = Relu (x) c = Concat <axis = 0> (u, rest) y = Reshape (r, c)", [0, -1]),
    ],
)
def test_sizes_that_only_repeat_an_open_one_become_constants(
    model_of: Build, run_model: Any, body: str, sizes: list[int]
) -> None:
    text = DYNAMIC.replace("BODY", body)
    model, _ = run_pass(model_of(text), StaticShapes())
    assert {node.op_type for node in model.graph if node.op_type != "Constant"} <= {"Reshape", "Relu"}
    (constant,) = model.graph.initializers.values()
    assert constant.const_value is not None
    assert constant.const_value.numpy().tolist() == sizes
    for batch in (1, 4):
        feeds = {"x": np.random.default_rng(5).standard_normal((batch, 3, 5)).astype(np.float32)}
        np.testing.assert_array_equal(run_model(model, feeds)["y"], run_model(model_of(text), feeds)["y"])


OTHER_TENSOR = """a = NonZero (x) as = Shape (a) one = Constant <value = int64 {1}> () an = Gather (as, one)
    au = Unsqueeze <axes = [0]> (an) c = Concat <axis = 0> (au, rest) y = Reshape (a, c)"""


@pytest.mark.parametrize(
    "body",
    [
        "c = Concat <axis = 0> (u, u) t = Tile (x, s) y = Reshape (t, c)",  # two axes of one open size
        OTHER_TENSOR,
        "d = Mul (u, size) c = Concat <axis = 0> (d, rest) y = Reshape (x, c)",  # computed with
    ],
)
def test_sizes_that_depend_on_an_open_one_otherwise_stay_computed(model_of: Build, body: str) -> None:
    model, report = run_pass(model_of(DYNAMIC.replace("BODY", body)), StaticShapes())
    assert "Concat" in [node.op_type for node in model.graph]
    assert not any("for any input" in change.what for change in report.applied)


def test_the_chain_of_an_exported_expand_is_folded_with_an_open_batch(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[batch,1,6] x, float[batch,4,6] like) => (float[batch,p] y)
        <int64[3] minus = {-1, -1, -1}, int64[3] ones = {1, 1, 1}, int64[1] zero = {0},
         int64[2] rest = {4, -1}, int64[1] flat = {-1}> {
            s = Shape (like) n = Gather (s, zero) sizes = Concat <axis = 0> (n, rest)
            kept = Equal (sizes, minus) chosen = Where (kept, ones, sizes) e = Expand (x, chosen)
            t = Shape (e) m = Gather (t, zero) c = Concat <axis = 0> (m, flat) y = Reshape (e, c)
        }"""
    result = rewrite(text, StaticShapes())
    assert result.ops == ["Expand", "Reshape"]
    sizes = [node.inputs[1].const_value.numpy().tolist() for node in result.model.graph]
    assert sizes == [[1, 4, 1], [0, -1]]
    result.assert_same()


def test_an_open_size_that_comes_back_is_known_again(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[3,8] x) => (float[2,4,q] y)
        <int64[1] rest = {-1}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}> {
            a = NonZero (x) f = Cast <to = 1> (a) e = Exp (f) s = Shape (e) n = Gather (s, one)
            c = Concat <axis = 0> (two, n) r = Reshape (e, c) t = Transpose <perm = [1, 0]> (r)
            d = Concat <axis = 0> (n, two, one) z = Reshape (t, d)
            m = Concat <axis = 0> (two, one, n) v = Transpose <perm = [1, 2, 0]> (z)
            w = Reshape (v, m) h = Concat <axis = 0> (two, four, n) y = Expand (w, h)
        }"""
    result = rewrite(text, StaticShapes())
    assert not {"Shape", "Gather", "Concat"} & set(result.ops)
    reshaping = [node for node in result.model.graph if len(node.inputs) > 1]
    sizes = [node.inputs[1].const_value.numpy().tolist() for node in reshaping]
    assert sizes == [[2, 0], [0, 2, 1], [2, 1, 0], [2, 4, 1]]
    assert "open size" not in str(result.declined)
    result.assert_same()
