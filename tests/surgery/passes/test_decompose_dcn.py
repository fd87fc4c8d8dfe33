from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import to_proto
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.decompose_dcn import DecomposeDcn
from graphopt.surgery.passes.fold_constants import FoldConstants
from graphopt.surgery.passes.merge_duplicates import MergeDuplicates
from graphopt.surgery.passes.static_shapes import StaticShapes

Rewrite = Callable[..., Any]

SUITABLE = """
<ir_version: 8, opset_import: ["" : 13, "npu" : 1]>
g (float[1,2,5,4] x, float[1,12,5,4] o) => (float[1,3,5,4] y)
<float[3,2,2,2] w = {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2,1,2,3,4,3,2,1,2}> {
    [moved] d = npu.DeformableConv2D <strides: ints = [1,1], pads: ints = [1,1], dilations: ints = [2,2],
        groups: int = 1> (x, w, o)
    [last] y = Relu (d)
}
"""
ONES = "stride: ints = [1,1], padding: ints = [1,1], dilation: ints = [1,1]"
MMCV = f"{ONES}, groups: int = 2, deform_groups: int = 2"
CALLS = {
    "plain": (f"mmcv.MMCVDeformConv2d <{MMCV}> (x, o, w)", 11),
    "masked": (f"mmcv.MMCVModulatedDeformConv2d <{MMCV}> (x, o, m, w, b)", 12),
    "standard": ("DeformConv <pads = [1,1,1,1], group = 2, offset_group = 2> (x, w, o, b, m)", 19),
    "standard 22": ("DeformConv <pads = [1,1,1,1], group = 2, offset_group = 2> (x, w, o)", 22),
}
TEXT = """<ir_version: 8, opset_import: ["" : {opset}, "mmcv" : 1]>
g (float[{n},8,9,7] x, float[{n},36,9,7] o, float[{n},18,9,7] m, float[6,4,3,3] w, float[6] b)
=> (float[n,6,9,7] y) {{ y = {call} }}"""


@pytest.mark.parametrize("kind", CALLS)
def test_every_spelling_becomes_standard_operators(rewrite: Rewrite, kind: str) -> None:
    call, opset = CALLS[kind]
    result = rewrite(TEXT.format(n=2, opset=opset, call=call), DecomposeDcn(), ("w", "b"))
    assert not [op for op in result.ops if "eform" in op]
    assert result.ops.count("Gather") >= 4
    assert result.applied == ("becomes four gathers and a product",)
    result.assert_same(rtol=1e-5)


def test_sizes_are_constants_after_folding_where_they_are_known() -> None:
    call, opset = CALLS["masked"]
    model = ir.from_onnx_text(TEXT.format(n=1, opset=opset, call=call))
    for item in (DecomposeDcn(), StaticShapes(), FoldConstants(), MergeDuplicates()):
        model, _ = run_pass(model, item)
    ops = [node.op_type for node in model.graph]
    assert not {"Shape", "Range", "ConstantOfShape"} & set(ops)
    assert len(ops) < 75
    onnx.checker.check_model(to_proto(model), full_check=True)


def test_declines_below_the_opset_that_it_is_written_for(rewrite: Rewrite) -> None:
    text = TEXT.format(n=1, opset=10, call=CALLS["plain"][0])
    result = rewrite(text, DecomposeDcn(), compare=False)
    assert result.declined == ("it takes operators of opset 11, the model follows 10",)


def test_declines_what_it_cannot_read(rewrite: Rewrite) -> None:
    call = "mmcv.MMCVDeformConv2d <stride: ints = [1,1], groups: int = 2> (x, o, w)"
    result = rewrite(TEXT.format(n=1, opset=11, call=call), DecomposeDcn(), compare=False)
    assert result.declined == ("padding is missing",)
