import random
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.surgery.passes.pad_into_conv import PadIntoConv

Rewrite = Callable[..., Any]

PREPARE = "fold_constants"
SUITABLE = """
    r = Constant <value = int64[4] {{1,1,2,2}}> () f = Reshape ({x}, r)
    p = Constant <value = int64[8] {{0,0,1,0,0,0,0,1}}> () d = Pad (f, p)
    w = Constant <value = float[1,1,2,2] {{1,2,3,4}}> () c = Conv (d, w)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (c, q)
"""


def text(body: str, *, opset: int = 13, inputs: str = "float[2,3,7,9] x", more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g ({inputs}) => (float[n,c,h,w] y{more}) {{ {body} }}"""


def pad(*amounts: int, value: str = "", source: str = "x") -> str:
    numbers = ",".join(str(amount) for amount in (0, 0, *amounts[:2], 0, 0, *amounts[2:]))
    constant = f"v = Constant <value = float {{{value}}}> ()" if value else ""
    inputs = f"{source}, p, v" if value else f"{source}, p"
    return f"p = Constant <value = int64[8] {{{numbers}}}> () {constant} d = Pad ({inputs})"


@pytest.mark.parametrize("seed", range(12))
def test_any_convolution_takes_any_padding(rewrite: Rewrite, seed: int) -> None:
    rng = random.Random(seed)
    group = rng.choice([1, 2])
    attributes = f"""group = {group}, strides = [{rng.randint(1, 3)}, {rng.randint(1, 3)}],
        dilations = [{rng.randint(1, 2)}, {rng.randint(1, 2)}],
        pads = [{rng.randint(0, 2)}, {rng.randint(0, 2)}, {rng.randint(0, 2)}, {rng.randint(0, 2)}]"""
    if seed % 4 == 0:
        attributes = f'group = {group}, auto_pad = "VALID"'
    model = text(
        pad(*(rng.randint(0, 3) for _ in range(3)), 1) + f" y = Conv <{attributes}> (d, k)",
        inputs=f"float[2,4,7,9] x, float[6,{4 // group},3,2] k",
    )
    result = rewrite(model, PadIntoConv(), ("k",))
    assert [op for op in result.ops if op != "Constant"] == ["Conv"]
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("op", ["AveragePool", "LpPool", "MaxPool", "Positive"])
def test_any_pool_takes_any_padding_below_its_kernel(rewrite: Rewrite, op: str, seed: int) -> None:
    rng = random.Random(f"{op}{seed}")
    kernel = [rng.randint(3, 4), rng.randint(3, 5)]
    own = [0, 0, 0, 0]
    if op != "Positive" and seed % 2:
        own = [rng.randint(0, 1) for _ in range(4)]
    extra = ", count_include_pad = 1" if op == "AveragePool" else ", p = 2" if op == "LpPool" else ""
    strides = [rng.randint(1, 3), rng.randint(1, 3)]
    pool = "MaxPool" if op == "Positive" else op
    attributes = f"kernel_shape = {kernel}, strides = {strides}, pads = {own}{extra}"
    amounts = [rng.randint(0, 1) for _ in range(3)] + [1]
    # The parser of ONNX text knows no infinity; the lowest number does the same.
    value = "-3.4028234663852886e38" if op == "MaxPool" else ""
    head = "a = Relu (x) " if op == "Positive" else "a = Identity (x) "
    result = rewrite(
        text(head + pad(*amounts, value=value, source="a") + f" y = {pool} <{attributes}> (d)"), PadIntoConv()
    )
    assert result.ops[-1] == pool
    assert "Pad" not in result.ops
    result.assert_same(rtol=1e-6)


def test_attributes_of_old_opsets_and_axes_of_new_ones(rewrite: Rewrite) -> None:
    old = text("d = Pad <pads = [0,0,1,2,0,0,0,1], value = 0.0> (x) y = Conv (d, k)", opset=9)
    old = old.replace("x)", "x, float[5,3,2,2] k)", 1)
    result = rewrite(old, PadIntoConv(), ("k",))
    assert result.ops == ["Conv"]
    result.assert_same(rtol=1e-6)
    new = text(
        """p = Constant <value = int64[4] {1,2,0,1}> () a = Constant <value = int64[2] {3,-2}> ()
        d = Pad (x, p, , a) y = Conv (d, k)""",
        opset=18,
        inputs="float[2,3,7,9] x, float[5,3,2,2] k",
    )
    result = rewrite(new, PadIntoConv(), ("k",))
    assert "Pad" not in result.ops
    result.assert_same(rtol=1e-6)


def test_a_pad_with_several_readers_goes_into_all_of_them(rewrite: Rewrite) -> None:
    body = pad(1, 0, 1, 2) + " a = Conv (d, k) b = Conv <strides = [1,1]> (d, k) y = Add (a, b)"
    model = text(body, inputs="float[2,3,7,9] x, float[5,3,2,2] k")
    result = rewrite(model, PadIntoConv(), ("k",))
    assert "Pad" not in result.ops
    result.assert_same(rtol=1e-6)


def test_batch_and_size_may_be_unknown(rewrite: Rewrite) -> None:
    model = text(pad(1, 1, 1, 1) + " y = Conv (d, k)", inputs="float[n,3,h,w] x, float[5,3,3,3] k")
    result = rewrite(model, PadIntoConv(), ("k",), compare=False)
    assert "Pad" not in result.ops


def test_a_1d_and_a_3d_convolution(rewrite: Rewrite) -> None:
    for sizes, amounts, kernel in (("7", "1", "3"), ("5,6,7", "1,0,2", "2,3,3")):
        rank = len(sizes.split(","))
        numbers = f"0,0,{amounts},0,0,{amounts}"
        model = f"""<ir_version: 8, opset_import: ["" : 11]>
            g (float[2,3,{sizes}] x, float[4,3,{kernel}] k) => (float[2,4,{",".join("abc"[:rank])}] y) {{
                p = Constant <value = int64[{2 * rank + 4}] {{{numbers}}}> () d = Pad (x, p) y = Conv (d, k)
            }}"""
        result = rewrite(model, PadIntoConv(), ("k",))
        assert "Pad" not in result.ops
        result.assert_same(rtol=1e-6)


POOL = "<kernel_shape = [3,3]> (d)"
POSITIVE = "a = Relu (x) " + pad(1, 1, 1, 1, source="a")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (pad(1, 1, 1, 1).replace("Pad", 'Pad <mode = "reflect">') + " y = Conv (d, k)",
         "it pads in mode reflect"),
        (pad(1, 1, 1, 1, value="2.5") + " y = Conv (d, k)", "it pads with 2.5"),
        (pad(1, 1, 1, 1) + " a = Conv (d, k) b = ReduceSum (d) y = Add (a, b)",
         "d is also read by ReduceSum b"),
        (pad(-1, 1, 1, 1) + " y = Conv (d, k)", "negative ones cut off"),
        (pad(0, 0, 0, 0) + " y = Conv (d, k)", "remove_pad takes it away"),
        ("p = Constant <value = int64[8] {0,1,1,1,0,1,1,1}> () d = Pad (x, p) y = Conv (d, k5)",
         "batch or channels are padded too"),
        ("p = Cast <to = 7> (f) d = Pad (x, p) y = Conv (d, k)", "pads are computed at run time"),
        (pad(1, 1, 1, 1).replace("(x, p)", "(x, p, s)") + " y = Conv (d, k)",
         "the value it pads with is computed at run time"),
        (pad(1, 1, 1, 1) + ' y = Conv <auto_pad = "SAME_UPPER"> (d, k)', "auto_pad is SAME_UPPER"),
        (pad(1, 1, 1, 1) + " y = MaxPool " + POOL, "wins over negative values"),
        (pad(1, 1, 1, 1, value="0.5") + " y = MaxPool " + POOL, "it pads with 0.5, which may win"),
        (POSITIVE + " y = MaxPool <kernel_shape = [3,3], pads = [1,0,0,0]> (d)",
         "pads too, with minus infinity"),
        (POSITIVE.replace("0,0,1,1", "0,0,3,1", 1) + " y = MaxPool " + POOL,
         "cannot pad by its kernel [3, 3]"),
        (POSITIVE + " y = MaxPool <kernel_shape = [3,3], ceil_mode = 1> (d)",
         "rounds its output size up"),
        (POSITIVE + " y = MaxPool <kernel_shape = [3,3], dilations = [2,1]> (d)",
         "is dilated"),
        (POSITIVE + " y, i = MaxPool <kernel_shape = [3,3]> (d) j = Neg (i)",
         "also gives indices"),
        (pad(1, 1, 1, 1, value="0.5") + " y = AveragePool " + POOL, "it pads with 0.5"),
        (pad(1, 1, 1, 1) + " y = AveragePool <kernel_shape = [3,3], pads = [1,1,0,0]> (d)",
         "does not count what it pads"),
    ],
)  # fmt: skip
def test_declines(rewrite: Rewrite, body: str, reason: str) -> None:
    model = text(
        body, inputs="float[2,3,7,9] x, float[5,3,2,2] k, float[5,5,2,2] k5, float[8] f, float s", opset=13
    )
    result = rewrite(model, PadIntoConv(), ("k", "k5"), compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_declines_when_the_padded_tensor_is_a_graph_output(rewrite: Rewrite) -> None:
    body = pad(1, 1, 1, 1) + " y = Conv (d, k)"
    model = text(body, inputs="float[2,3,7,9] x, float[5,3,2,2] k", more=", float[2,3,9,11] d")
    assert rewrite(model, PadIntoConv(), ("k",)).declined == ("d is a graph output",)


def test_declines_in_a_function_whose_caller_says_the_pads(model_of: Callable[..., ir.Model]) -> None:
    model = model_of("""<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[2,3,7,9] x, float[5,3,2,2] k) => (float[n,c,h,w] y) { y = local.Padded <s = [1, 1]> (x, k) }
        <domain: "local", opset_import: ["" : 13]>
        Padded <s> (a, k) => (c) {
            p = Constant <value = int64[8] {0,0,1,1,0,0,1,1}> () b = Pad (a, p)
            c = Conv <strides : ints = @s> (b, k)
        }""")
    (found,) = PadIntoConv().sites(model)
    assert "comes from the caller of its function" in found.why  # type: ignore[union-attr]
