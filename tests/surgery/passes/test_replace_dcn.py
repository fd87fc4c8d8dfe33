import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.operator_bodies import call_of
from graphopt.core.operators import operator_of
from graphopt.surgery import RewriteError, Status, rewrite_file
from graphopt.surgery.passes import replace_dcn
from graphopt.surgery.passes.replace_dcn import ReplaceDcn
from graphopt.surgery.semantics.offset_blocks import OffsetBlocks, plan_blocks

Rewrite = Callable[..., Any]

SUITABLE = """
<ir_version: 8, opset_import: ["" : 13, "mmcv" : 1]>
g (float[1,2,5,4] x) => (float[1,3,5,4] y)
<float[8,2,1,1] k = {0.3,0.1,-0.4,0.2,0.6,-0.1,0.5,0.2,-0.2,0.9,0.1,0.1,0.4,-0.5,0.2,0.3},
 float[8] b = {0.5,-0.5,0.25,1,0,-1,0.75,0.1},
 float[3,2,2,2] w = {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2,1,2,3,4,3,2,1,2}> {
    [offsets] o = Conv (x, k, b)
    [moved] d = mmcv.MMCVDeformConv2d <stride: ints = [1,1], padding: ints = [1,1], dilation: ints = [2,2],
        groups: int = 1, deform_groups: int = 1> (x, o, w)
    [last] y = Relu (d)
}
"""
V1 = """<ir_version: 8, opset_import: ["" : {opset}, "mmcv" : 1]>
g (float[{n},8,9,7] x, float[36,8,3,3] k, float[36] b, float[6,4,3,3] w) => (float[n,6,9,7] y) {{
    o = Conv <pads = [1,1,1,1]> (x, {given})
    y = mmcv.MMCVDeformConv2d <stride: ints = [1,1], padding: ints = {pads}, dilation: ints = [1,1],
        groups: int = 2, deform_groups: int = 2> (x, o, w)
}}"""
PACK = """<ir_version: 8, opset_import: ["" : {opset}, "mmcv" : 1]>
g (float[2,8,11,9] x, float[54,8,3,3] k, float[54] b, float[6,8,3,3] w, float[6] c) => (float[n,6,p,q] y) {{
    t = Conv <pads = [1,2,1,2], strides = [2,1], dilations = [1,2]> (x, k, b)
    {parts}
    m = Sigmoid (t2)
    y = mmcv.MMCVModulatedDeformConv2d <stride: ints = [2,1], padding: ints = [1,1], dilation: ints = [1,1],
        groups: int = 1, deform_groups: int = 2> (x, o, m, w, c)
}}"""
SPLIT = "t0, t1, t2 = Split <axis = 1{sizes}> (t) o = Concat <axis = 1> (t0, t1)"
SLICES = """zero = Constant <value_ints: ints = [0]> () end = Constant <value_ints: ints = [36]> ()
    far = Constant <value_ints: ints = [9223372036854775807]> () one = Constant <value_ints: ints = [1]> ()
    o = Slice (t, zero, end, one) t2 = Slice (t, end, far, one)"""
STANDARD = """<ir_version: 9, opset_import: ["" : {opset}]>
g (float[1,8,9,7] x, float[18,8,3,3] k, float[6,8,3,3] w, float[6] c, float[9,8,3,3] r)
=> (float[n,6,p,q] y) {{
    o = Conv <pads = [1,1,1,1]> (x, k)
    m = Conv <pads = [1,1,1,1]> (x, r)
    y = DeformConv <pads = {pads}> (x, w, o{more})
}}"""
WEIGHTS = ("k", "b", "w", "c", "r")


def v1(*, n: str = "1", given: str = "k, b", pads: str = "[1,1]", opset: int = 11) -> str:
    return V1.format(n=n, given=given, pads=pads, opset=opset)


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("given", ["k", "k, b"])
def test_the_convolution_of_the_offsets_makes_them_in_order_with_a_mask_of_ones(
    rewrite: Rewrite, given: str, opset: int
) -> None:
    result = rewrite(v1(given=given, opset=opset), ReplaceDcn(), WEIGHTS)
    assert result.ops == ["Conv", "DeformableConv2D"]
    weight = result.model.graph[0].inputs[1].const_value.numpy()
    assert weight.shape == (54, 8, 3, 3)
    assert not weight[36:].any()
    np.testing.assert_array_equal(result.model.graph[0].inputs[2].const_value.numpy()[36:], np.ones(18))
    (what,) = result.applied
    assert what.startswith("3x3 to 6 channels, offsets put in order in Conv")
    result.assert_same(rtol=1e-6)


def test_the_node_has_all_attributes_as_the_parser_reads_them(rewrite: Rewrite) -> None:
    node = rewrite(v1(), ReplaceDcn(), WEIGHTS).model.graph[1]
    operator = operator_of(node)
    assert operator is not None
    assert node.domain == "npu"
    assert node.graph is not None
    assert "mmcv" not in node.graph.opset_imports
    assert {name: item.type for name, item in node.attributes.items()} == operator.attributes
    assert call_of(node, 11).attributes == {
        "strides": (1, 1),
        "pads": (1, 1),
        "dilations": (1, 1),
        "groups": 2,
        "deformable_groups": 2,
        "data_format": "NCHW",
        "modulated": 1,
    }


def test_the_batch_may_be_open(rewrite: Rewrite) -> None:
    assert rewrite(v1(n="N"), ReplaceDcn(), WEIGHTS, compare=False).ops == ["Conv", "DeformableConv2D"]
    rewrite(v1(n="3"), ReplaceDcn(), WEIGHTS).assert_same(rtol=1e-6)


def test_what_the_target_runs_slowly_is_said_before(rewrite: Rewrite) -> None:
    (what,) = rewrite(v1(), ReplaceDcn(), WEIGHTS).applied
    assert "2 deformable groups, which kernels of 2022 leave to" in what


@pytest.mark.parametrize(
    ("parts", "opset"),
    [
        (SPLIT.format(sizes=""), 11),
        (SPLIT.format(sizes=""), 13),
        (SPLIT.format(sizes=", split = [18,18,18]"), 11),
        (SLICES, 12),
    ],
)
def test_offsets_and_mask_of_one_convolution_stay_in_one(rewrite: Rewrite, parts: str, opset: int) -> None:
    result = rewrite(PACK.format(parts=parts, opset=opset), ReplaceDcn(), WEIGHTS)
    made = [op for op in result.ops if op != "Constant"]
    assert made == ["Conv", "Split", "Sigmoid", "Concat", "DeformableConv2D"]
    assert "its mask too" in result.applied[0]
    result.assert_same(rtol=1e-6)


def test_a_mask_that_others_read_stays_where_it_is(rewrite: Rewrite) -> None:
    text = PACK.format(parts=SPLIT.format(sizes=""), opset=13)
    text = text.replace("p,q] y)", "p,q] y, float[i,j,r,s] z)").replace("m = Sig", "z = Neg (m) m = Sig")
    text = text.replace("z = Neg (m) m = Sigmoid (t2)", "m = Sigmoid (t2) z = Neg (m)")
    result = rewrite(text, ReplaceDcn(), WEIGHTS)
    assert result.ops.count("Gather") == 1
    result.assert_same(rtol=1e-6)


def test_a_mask_of_other_origin_becomes_the_third_block(rewrite: Rewrite) -> None:
    text = STANDARD.format(opset=19, pads="[1,1,1,1]", more=", c, m")
    result = rewrite(text, ReplaceDcn(), WEIGHTS)
    assert sorted(result.ops) == ["Concat", "Conv", "Conv", "DeformableConv2D"]
    assert result.model.graph[-1].inputs[3].name == "c"
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("more", ["", ", c", ", , m"])
def test_the_standard_operator_is_replaced_too(rewrite: Rewrite, more: str) -> None:
    result = rewrite(STANDARD.format(opset=22, pads="[1,1,1,1]", more=more), ReplaceDcn(), WEIGHTS)
    assert result.ops[-1] == "DeformableConv2D"
    assert "DeformConv" not in result.ops
    result.assert_same(rtol=1e-5)


TORCH_NPU = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
g (float[1,8,9,7] x, float[54,8,1,1] k, float[6,8,3,3] w, float[6] b) => (float[n,6,p,q] y{more}) {{
    o = Conv (x, k)
    none = Constant <value = float[0] {{}}> ()
    y, z = npu.NPUDeformableConv2d <strides: ints = [1,1,1,1], paddings: ints = {pads},
        deformable_groups: int = 2> (x, w, o, {bias})
}}"""


@pytest.mark.parametrize("bias", ["none", "b"])
def test_what_torch_npu_exports_gets_the_name_that_all_releases_know(rewrite: Rewrite, bias: str) -> None:
    text = TORCH_NPU.format(pads="[1,1,1,1]", bias=bias, more="")
    result = rewrite(text, ReplaceDcn(), WEIGHTS)
    assert result.ops[-1] == "DeformableConv2D"
    assert len(result.model.graph[-1].inputs) == (4 if bias == "b" else 3)
    assert "offsets in order already" in result.applied[0]
    result.assert_same(rtol=1e-6)


def test_torch_npus_unequal_padding_becomes_a_node_too(rewrite: Rewrite) -> None:
    result = rewrite(TORCH_NPU.format(pads="[2,0,1,1]", bias="b", more=""), ReplaceDcn(), WEIGHTS)
    assert "Pad" in result.ops
    result.assert_same(rtol=1e-6)


HIGH_PADDING = v1(pads="[2,0]").replace("pads = [1,1,1,1]", "pads = [2,0,2,0]").replace("n,6,9,7", "n,6,p,q")
ONE_SIDED = STANDARD.format(opset=19, pads="[2,1,0,1]", more="")


@pytest.mark.parametrize("text", [HIGH_PADDING, ONE_SIDED])
def test_unequal_padding_becomes_a_node_as_releases_read_it_differently(rewrite: Rewrite, text: str) -> None:
    result = rewrite(text, ReplaceDcn(), WEIGHTS)
    assert "Pad" in result.ops
    assert "as a Pad" in result.applied[0]
    assert list(result.model.graph[-1].attributes["pads"].as_ints()) == [0, 0]
    result.assert_same(rtol=1e-5)


READ_TWICE = v1().replace("] y)", "] y, float[p,q,r,s] z)").replace("y = mmcv", "z = Neg (o) y = mmcv")
AN_OUTPUT = v1().replace("] y)", "] y, float[1,36,9,7] o)")
OF_A_PRODUCT = v1().replace("o = Conv", "e = Conv").replace("y = mmcv", "o = Mul (e, e) y = mmcv")
GROUPED = v1().replace("<pads", "<group = 2, pads").replace("float[36,8,3,3]", "float[36,4,3,3]")


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        (READ_TWICE, WEIGHTS),
        (AN_OUTPUT, WEIGHTS),
        (OF_A_PRODUCT, WEIGHTS),
        (GROUPED, WEIGHTS),
        (v1(), ("b", "w")),
        (v1(), ("k", "w")),
    ],
    ids=["read twice", "an output", "of a product", "grouped", "weight computed", "bias computed"],
)
def test_other_offsets_are_put_in_order_by_a_gather(
    rewrite: Rewrite, text: str, weights: tuple[str, ...]
) -> None:
    result = rewrite(text, ReplaceDcn(), weights)
    assert "put in order by a Gather, mask of ones" in result.applied[0]
    (gather,) = (node for node in result.model.graph if node.op_type == "Gather")
    assert min(gather.inputs[1].const_value.numpy()) >= 0
    result.assert_same(rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "weights", "reason"),
    [
        (v1(pads="[1,0,1,0]"), WEIGHTS, "padding is [1, 0, 1, 0]"),
        (
            TORCH_NPU.format(pads="[1,1,1,1]", bias="b", more=", float z"),
            WEIGHTS,
            "its second output z is read",
        ),
        (
            TORCH_NPU.format(pads="[1,1,1,1]", bias="b", more="").replace("[54,8", "[53,8"),
            WEIGHTS,
            "its offsets have 53 channels, not the 54",
        ),
        (v1().replace("[6,4,3,3]", "[6,4,u,v]"), ("k", "b"), "the size of its kernel w is not known"),
        (
            v1().replace(", deform_groups: int = 2", ""),
            WEIGHTS,
            "its offsets have 36 channels, not the 18",
        ),
        (v1(n="N"), ("b", "w"), "the size of its offsets o is not known, so that no mask can be added"),
        (
            v1().replace("stride: ints = [1,1]", "stride: ints = [64,64]"),
            WEIGHTS,
            "the target does not take it: strides is [64, 64]",
        ),
    ],
)
def test_declines(rewrite: Rewrite, text: str, weights: tuple[str, ...], reason: str) -> None:
    result = rewrite(text, ReplaceDcn(), weights, compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why


def test_declines_in_a_function_whose_attributes_its_caller_gives(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "local" : 1, "mmcv" : 1]>
        g (float[1,2,5,4] x, float[1,8,5,4] o, float[3,2,2,2] w) => (float[p,q,r,s] y)
        { y = local.Moved <by = 1> (x, o, w) }
        <domain: "local", opset_import: ["" : 13, "mmcv" : 1]>
        Moved <by> (x, o, w) => (y) {
            y = mmcv.MMCVDeformConv2d <stride: ints = [1,1], padding: ints = [1,1], dilation: ints = [2,2],
                groups: int = @by> (x, o, w)
        }"""
    result = rewrite(text, ReplaceDcn(), compare=False)
    assert result.declined == ("an attribute comes from the caller of its function",)


@pytest.mark.parametrize("fault", ["offsets swapped", "groups swapped", "mask zeroed"])
def test_a_wrong_order_or_mask_is_not_proven(
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    write_ir: Callable[[ir.Model, str], Path],
    model_of: Callable[..., ir.Model],
    tmp_path: Path,
) -> None:
    source = write_ir(model_of(v1(), WEIGHTS), "source.onnx")
    assert rewrite_file(source, tmp_path / "right.onnx", [ReplaceDcn()]).verification.status is Status.PROVEN

    def planted(*args: Any) -> OffsetBlocks | str:
        plan = plan_blocks(*args)
        assert isinstance(plan, OffsetBlocks)
        distance = {"offsets swapped": 18, "groups swapped": 9}.get(fault, 0)
        return dataclasses.replace(plan, rows=(*plan.rows[distance:], *plan.rows[:distance]))

    monkeypatch.setattr(replace_dcn, "plan_blocks", planted)
    if fault == "mask zeroed":
        monkeypatch.setattr(np, "ones", np.zeros)
    with pytest.raises(RewriteError) as caught:
        rewrite_file(source, tmp_path / "wrong.onnx", [ReplaceDcn()])
    assert caught.value.report.verification.status is Status.FAILED
    assert caught.value.report.verification.guilty == "replace_dcn"
