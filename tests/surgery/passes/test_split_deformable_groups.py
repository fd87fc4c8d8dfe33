from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.split_deformable_groups import SplitDeformableGroups

Rewrite = Callable[..., Any]

SUITABLE = """
<ir_version: 8, opset_import: ["" : 13, "npu" : 1]>
g (float[1,2,5,4] x, float[1,24,5,4] o) => (float[1,3,5,4] y)
<float[3,2,2,2] w = {1,2,3,4,5,6,7,8,9,8,7,6,5,4,3,2,1,2,3,4,3,2,1,2}> {
    [moved] d = npu.DeformableConv2D <strides: ints = [1,1], pads: ints = [1,1], dilations: ints = [2,2],
        groups: int = 1, deformable_groups: int = 2> (x, w, o)
    [last] y = Relu (d)
}
"""
REQUIRED = {"multiple": 1}
PREPARE = "replace_dcn"
OPTIONS: dict[str, dict[str, int]] = {"deformable_block": {}}
TEXT = """<ir_version: 8, opset_import: ["" : {opset}, "npu" : 1]>
g (float[2,{channels},9,7] x, float[2,{offsets},9,7] o, float[6,{columns},3,3] w, float[6] b)
=> (float[n,6,9,7] y) {{
    y = npu.DeformableConv2D <strides: ints = [1,1], pads: ints = [1,1], groups: int = {groups},
    deformable_groups: int = {moved}> (x, w, o, b)
}}"""


def text(*, channels: int = 24, moved: int = 3, groups: int = 1, opset: int = 11) -> str:
    columns, offsets = channels // groups, 27 * moved
    return TEXT.format(
        channels=channels, offsets=offsets, columns=columns, moved=moved, groups=groups, opset=opset
    )


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize(("channels", "moved"), [(24, 3), (16, 2), (32, 4)])
def test_every_group_gets_its_own_node(rewrite: Rewrite, channels: int, moved: int, opset: int) -> None:
    given = text(channels=channels, moved=moved, opset=opset)
    result = rewrite(given, SplitDeformableGroups(), ("w", "b"))
    assert result.ops.count("DeformableConv2D") == moved
    assert result.ops.count("Add") == moved - 1
    nodes = [node for node in result.model.graph if node.op_type == "DeformableConv2D"]
    assert {node.attributes["deformable_groups"].as_int() for node in nodes} == {1}
    assert [len(node.inputs) for node in nodes] == [4, *[3] * (moved - 1)]
    assert "w" not in result.model.graph.initializers
    result.assert_same(rtol=1e-5)


def test_one_group_is_left_alone(rewrite: Rewrite) -> None:
    result = rewrite(text(moved=1), SplitDeformableGroups(), ("w", "b"))
    assert not result.applied
    assert not result.declined


@pytest.mark.parametrize(
    ("given", "weights", "reason"),
    [
        (text(), ("b",), "its weight is computed at run time"),
        (text(groups=2, moved=2), ("w", "b"), "its channels are in 2 groups of their own"),
        (text(channels=12), ("w", "b"), "12 channels do not fall into 3 parts of a multiple of 8"),
        (text().replace("pads: ints = [1,1]", "pads: ints = [1,1,1,1]"), ("w", "b"), "pads is"),
    ],
)
def test_declines(rewrite: Rewrite, given: str, weights: tuple[str, ...], reason: str) -> None:
    result = rewrite(given, SplitDeformableGroups(), weights, compare=False)
    assert not result.applied
    (why,) = result.declined
    assert reason in why
