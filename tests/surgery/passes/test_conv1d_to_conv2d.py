import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.conv1d_to_conv2d import Conv1dToConv2d

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[3] {{1,1,4}}> () f = Reshape ({x}, r)
    w = Constant <value = float[1,1,3] {{1,2,3}}> () c = Conv <pads = [1,1]> (f, w)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (c, q)
"""


def text(body: str, inputs: str = "", *, x: str = "2,4,23", opset: int = 13, more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x{", " + inputs if inputs else ""}) => (float[a,b,c] y{more}) {{ {body} }}"""


WEIGHTS = ("k", "j", "b", "s", "var", "slope", "m", "v")
PARAMETERS = "float[6,4,3] k, float[6,2,5] j, float[6] b, float[6] s, float[6] var, float[6,1] slope"


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_a_chain_is_lifted_once(rewrite: Rewrite, opset: int) -> None:
    body = """c = Conv <strides = [2], pads = [2,1], dilations = [2]> (x, k, b)
        n = BatchNormalization (c, s, s, s, var) r = PRelu (n, slope)
        d = Conv <group = 3, auto_pad = "SAME_UPPER"> (r, j) a = Add (r, d)
        p = MaxPool <kernel_shape = [3], strides = [2], pads = [1,0]> (a) y = Tanh (p)"""
    result = rewrite(text(body, PARAMETERS, opset=opset), Conv1dToConv2d(), WEIGHTS)
    assert result.ops[0] == "Unsqueeze"
    assert result.ops[-1] == "Squeeze"
    assert result.ops.count("Unsqueeze") == 1
    assert result.ops.count("Squeeze") == 1
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize("length", ["width", "height"])
@pytest.mark.parametrize("seed", range(12))
def test_any_chain_keeps_its_numbers(rewrite: Rewrite, seed: int, length: Any) -> None:
    rng = random.Random(seed)
    steps = [
        "Conv <pads = [1,1]> ({0}, k, s4)",
        "Conv <group = 2, pads = [2,0]> ({0}, g)",
        "ConvTranspose <pads = [1,1], strides = [1]> ({0}, k)",
        "AveragePool <kernel_shape = [3], pads = [1,1], count_include_pad = 1> ({0})",
        "MaxPool <kernel_shape = [2], ceil_mode = 1> ({0})",
        "Mul ({0}, two)",
        "Add (row, {0})",
        "Sub ({0}, column)",
        "Sigmoid ({0})",
        "Pad ({0}, p)",
        "Concat <axis = -1> ({0}, {0})",
        "Clip ({0}, low, high)",
        "InstanceNormalization ({0}, s4, s4)",
    ]
    names = ["x"]
    lines = ["h0 = Conv <pads = [1,1]> (x, k)"]
    for index in range(6):
        source = f"h{index}"
        lines.append(f"h{index + 1} = " + rng.choice(steps).format(source))
        names.append(source)
    lines.append("y = Conv (h6, k)")
    constants = """<float two = {2}, float[1] row = {0.5}, float[4,1] column = {1,2,3,4},
        int64[6] p = {0,0,1,0,0,2}, float low = {-1}, float high = {1}, float[4] s4 = {1,2,0.5,1}> {"""
    model = text(" ".join(lines), "float[4,4,3] k, float[4,2,3] g").replace("{ h0", constants + " h0", 1)
    result = rewrite(model, Conv1dToConv2d(length=length), ("k", "g"))
    assert result.ops.count("Unsqueeze") == 1
    assert result.ops.count("Squeeze") == 1
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("length", ["width", "height"])
@pytest.mark.parametrize("axis", [1, 2, -1, -2])
@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_splits_and_softmax_come_along(rewrite: Rewrite, axis: int, length: Any, opset: int) -> None:
    split = f"<axis = {axis}> (c, half)" if opset >= 13 else f"<axis = {axis}> (c)"
    body = f"""c = Conv (x, k) p, q = Split {split} s = Softmax <axis = {axis}> (q)
        m = Mul (p, s) y = Concat <axis = {axis}> (m, p)"""
    size = "3,3" if axis in (1, -2) else "10,10"
    model = text(body, "float[6,4,4] k", opset=opset)
    if opset >= 13:
        model = model.replace("{ c =", f"<int64[2] half = {{{size}}}> {{ c =")
    result = rewrite(model, Conv1dToConv2d(length=length), ("k",))
    assert result.ops.count("Unsqueeze") == (1 if opset >= 13 else 2)
    result.assert_same(rtol=1e-6)


def test_a_row_at_run_time_stays_outside_when_the_length_becomes_the_height(rewrite: Rewrite) -> None:
    body = "c = Conv (x, k) d = Add (c, row) y = Relu (d)"
    model = text(body, "float[6,4,3] k, float[21] row")
    wide = rewrite(model, Conv1dToConv2d(), ("k",))
    assert wide.ops[-1] == "Squeeze"
    wide.assert_same(rtol=1e-6)
    high = rewrite(model, Conv1dToConv2d(length="height"), ("k",))
    assert [op for op in high.ops if op != "Constant"] == ["Unsqueeze", "Conv", "Squeeze", "Add", "Relu"]
    high.assert_same(rtol=1e-6)


def test_values_that_leave_the_group_are_squeezed_and_those_that_enter_lifted(rewrite: Rewrite) -> None:
    body = """c = Conv (x, k) t = Transpose <perm = [0,2,1]> (c) e = Transpose <perm = [0,2,1]> (t)
        n = Relu (e) m = Mul (c, n) y = Conv (m, k2)"""
    model = text(body, "float[6,4,3] k, float[5,6,3] k2", more=", float[d,e,f] c")
    result = rewrite(model, Conv1dToConv2d(), ("k", "k2"))
    assert result.ops.count("Squeeze") == 2
    assert [value.name for value in result.model.graph.outputs] == ["y", "c"]
    result.assert_same(rtol=1e-6)


def test_groups_that_do_not_touch_are_lifted_apart(rewrite: Rewrite) -> None:
    body = """c = Conv (x, k) s = CumSum (c, two) y = Conv (s, j)"""
    model = text(body, "float[6,4,3] k, float[6,6,5] j").replace("{ c =", "<int64 two = {2}> { c =")
    result = rewrite(model, Conv1dToConv2d(), WEIGHTS)
    assert len(result.applied) == 2
    result.assert_same(rtol=1e-6)


def test_a_group_in_a_subgraph_that_reads_an_outer_group(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (bool flag, float[2,4,9] x, float[4,4,3] m) => (float[a,b,c] y) {
            h = Conv (x, m)
            y = If (flag) <
                then_branch = t () => (float[d,e,f] p) { i = Conv (h, m) p = Add (i, i) },
                else_branch = e () => (float[g,j,k] q) { r = Relu (h) q = Conv (r, m) }
            >
        }"""
    result = rewrite(model, Conv1dToConv2d(), ("m",))
    assert len(result.applied) == 3
    result.assert_same(rtol=1e-6)


def test_a_weight_used_twice_is_lifted_once(rewrite: Rewrite) -> None:
    body = "c = Conv (x, m) y = Conv (c, m)"
    result = rewrite(text(body, "float[4,4,3] m"), Conv1dToConv2d(), WEIGHTS)
    assert len([v for v in result.model.graph.initializers.values() if len(v.shape) == 4]) == 1
    assert "m" not in result.model.graph.initializers
    result.assert_same(rtol=1e-6)


def test_unknown_batch_and_length(rewrite: Rewrite) -> None:
    model = text("c = Conv (x, m) y = Relu (c)", "float[4,4,3] m", x="n,4,len")
    result = rewrite(model, Conv1dToConv2d(), WEIGHTS, compare=False)
    assert [op for op in result.ops if op != "Constant"] == ["Unsqueeze", "Conv", "Relu", "Squeeze"]


def test_two_dimensional_convolutions_and_other_models_are_left_alone(rewrite: Rewrite) -> None:
    model = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,2,5,7] x, float[3,2,1,1] k, float[1,2,5] z) => (float[a,b,c,d] y, float[e,f,g] w) {
            y = Conv (x, k) w = Relu (z) }"""
    result = rewrite(model, Conv1dToConv2d(), ("k",))
    assert not result.applied
    assert not result.declined


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Conv (x, k)", "its weight is computed at run time"),
    ],
)
def test_declines(rewrite: Rewrite, body: str, reason: str) -> None:
    result = rewrite(text(body, "float[6,4,3] k"), Conv1dToConv2d(), compare=False)
    assert not result.applied
    assert result.declined == (reason,)


def test_what_cannot_come_along_ends_the_group(rewrite: Rewrite) -> None:
    body = """c = Conv (x, k) p, i = MaxPool <kernel_shape = [2]> (c) f = Cast <to = 1> (i)
        q = Slice (p, f0, f1, f2) z = ReduceMean <axes = [2], keepdims = 1> (f) y = Mul (q, z)"""
    model = text(body, "float[6,4,3] k").replace(
        "{ c =", "<int64[1] f0 = {0}, int64[1] f1 = {3}, int64[1] f2 = {2}> { c =", 1
    )
    result = rewrite(model, Conv1dToConv2d(), WEIGHTS)
    assert result.ops.count("Squeeze") == 1
    result.assert_same(rtol=1e-6)
