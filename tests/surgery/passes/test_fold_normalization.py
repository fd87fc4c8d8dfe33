import random
from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.fold_normalization import FoldNormalization

Rewrite = Callable[..., Any]

SUITABLE = """
    r = Constant <value = int64[4] {{1,2,1,2}}> () f = Reshape ({x}, r)
    m = Constant <value = float[2,1,1] {{0.5,-2}}> () w = Constant <value = float[2,2,1,1] {{1,2,3,4}}> ()
    s = Sub (f, m) d = Div (s, m) c = Conv (d, w)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (c, q)
"""


def text(body: str, *, k: str = "4,6,3,3", opset: int = 13, more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[2,6,9,7] x, float[{k}] k, float[4] b, float[6,1,1] m, float[1,6,1,1] s)
        => (float[e,f,h,w] y{more}) <float half = {{127.5}}, float[1] one = {{128}}> {{ {body} }}"""


STEPS = ["Sub ({0}, m)", "Div ({0}, s)", "Mul (one, {0})", "Add ({0}, half)", "Sub (m, {0})", "Mul ({0}, s)"]
CONSTANT = ("k", "b", "m", "s")


@pytest.mark.parametrize("seed", range(20))
def test_any_arithmetic_goes_into_any_convolution_that_does_not_pad(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    group = rng.choice([1, 2])
    lines, value = [], "x"
    for index in range(rng.randint(1, 4)):
        lines.append(f"t{index} = " + rng.choice(STEPS).format(value))
        value = f"t{index}"
    operands = f"{value}, k, b" if seed % 2 else f"{value}, k"
    strides = [rng.randint(1, 2), rng.randint(1, 2)]
    lines.append(f"y = Conv <group = {group}, strides = {strides}> ({operands})")
    model = text(" ".join(lines), k=f"4,{6 // group},3,2")
    result = rewrite(model, FoldNormalization(), CONSTANT)
    assert result.ops == ["Conv"]
    result.assert_same(rtol=1e-5)


def test_a_scale_alone_goes_into_a_convolution_that_pads(rewrite: Rewrite) -> None:
    result = rewrite(text("d = Div (x, s) y = Conv <pads = [1,1,1,1]> (d, k)"), FoldNormalization(), CONSTANT)
    assert result.ops == ["Conv"]
    assert len(result.model.graph.node(0).inputs) == 2
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("pads", ["pads = [1,1,1,1]", 'auto_pad = "SAME_UPPER"'])
def test_with_padding_one_addition_stays(rewrite: Rewrite, pads: str) -> None:
    body = f"t = Sub (x, m) d = Div (t, s) y = Conv <{pads}> (d, k, b)"
    result = rewrite(text(body), FoldNormalization(), CONSTANT)
    assert result.ops == ["Add", "Conv"]
    assert result.applied == ("2 nodes go into Conv y but for one Add, as it pads",)
    assert len(result.declined) == 1
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_a_common_mean_can_be_padded_with(rewrite: Rewrite, opset: int) -> None:
    body = "t = Sub (x, half) d = Div (t, s) y = Conv <pads = [1,0,2,1]> (d, k, b)"
    result = rewrite(text(body, opset=opset), FoldNormalization(pad=True), CONSTANT)
    assert [op for op in result.ops if op != "Constant"] == ["Pad", "Conv"]
    assert "a Pad writes 127.5" in result.applied[0]
    result.assert_same(rtol=1e-4)


def test_other_readers_keep_what_they_read(rewrite: Rewrite) -> None:
    body = "t = Sub (x, m) d = Div (t, s) c = Conv (d, k) r = Relu (t) u = ReduceMax (r) y = Add (c, u)"
    result = rewrite(text(body), FoldNormalization(), CONSTANT)
    assert sorted(result.ops) == sorted(["Sub", "Relu", "ReduceMax", "Conv", "Add"])
    result.assert_same(rtol=1e-5)


PADDED = "y = Conv <pads = [1,1,1,1]> (d, k)"


@pytest.mark.parametrize(
    ("body", "constant", "pad", "reason"),
    [
        ("d = Sub (x, m) " + PADDED, CONSTANT, False, "its zeros stand for the mean"),
        ("d = Sub (x, m) " + PADDED, CONSTANT, True, "not the same for all channels"),
        ("t = Mul (x, zero) d = Sub (t, m) " + PADDED, CONSTANT, False, "scales a channel by zero"),
        (
            "d = Sub (x, m) z = Conv (d, k) e = ReduceMax (d) y = Add (z, e)",
            CONSTANT,
            False,
            "also read by",
        ),
        ("d = Div (m, x) y = Conv (d, k)", CONSTANT, False, "it divides by the tensor"),
        ("d = Mul (x, w) y = Conv (d, k)", CONSTANT, False, "of shape [7] is not one number per channel"),
        ("d = Sub (x, m) y = Conv (d, k, b)", ("k", "m", "s"), False, "its bias is computed at run time"),
    ],
)
def test_declines(rewrite: Rewrite, body: str, constant: tuple[str, ...], pad: bool, reason: str) -> None:
    constants = "<float zero = {0}, float[7] w = {1,2,3,4,5,6,7}, "
    model = text(body).replace("<float half", constants + "float half")
    result = rewrite(model, FoldNormalization(pad=pad), constant, compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_a_normalised_tensor_that_is_a_graph_output_stays(rewrite: Rewrite) -> None:
    model = text("d = Sub (x, m) y = Conv (d, k)", more=", float[2,6,9,7] d")
    assert rewrite(model, FoldNormalization(), CONSTANT).declined == ("d is a graph output",)


@pytest.mark.parametrize("body", ["d = Add (x, x) y = Conv (d, k)", "d = Relu (x) y = Conv (d, k)"])
def test_other_producers_are_left_alone(rewrite: Rewrite, body: str) -> None:
    result = rewrite(text(body), FoldNormalization(), CONSTANT)
    assert not result.applied
    assert not result.declined
