"""The attributes of deformable convolutions, as they are found in exported graphs."""

from typing import Any

import onnx_ir as ir
import pytest

from graphopt.core.bodies.deformable import Geometry
from graphopt.core.bodies.deformable_spellings import (
    ascend_geometry,
    mmcv_geometry,
    onnx_geometry,
    torch_npu_geometry,
)
from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, ForeignOperator
from graphopt.core.operator_bodies import body_of, call_of
from graphopt.core.operators import operator_of

PLAIN = Geometry(strides=(2, 1), pads=(1, 0), dilations=(1, 3), groups=2, deformable_groups=4)
MMCV: dict[str, Any] = {
    "stride": (2, 1),
    "padding": (1, 0),
    "dilation": (1, 3),
    "groups": 2,
    "deform_groups": 4,
}
ASCEND: dict[str, Any] = {
    "strides": (1, 1),
    "pads": (1, 1),
    "dilations": (1, 1),
    "groups": 1,
    "deformable_groups": 1,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": 0, "im2col_step": 32},
        {"padding": (1, 1, 0, 0)},
        {"deform_groups": None, "deformable_groups": 4},
        {"deform_groups": None, "deform_groups_i": 4, "groups": None, "groups_i": 2},
    ],
    ids=["mmcv", "leftovers", "mmdeploy", "another name", "marks of the type"],
)
def test_exporters_spellings_mean_the_same(changes: dict[str, Any]) -> None:
    attributes = {name: value for name, value in {**MMCV, **changes}.items() if value is not None}
    assert mmcv_geometry(attributes) == PLAIN


def test_a_single_number_stands_for_both_axes() -> None:
    found = mmcv_geometry({"stride": 2, "padding": (3,), "dilation": 1})
    assert (found.strides, found.pads, found.groups, found.deformable_groups) == ((2, 2), (3, 3), 1, 1)
    assert ascend_geometry({**ASCEND, "strides": (2,)}).strides == (2, 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stride": None}, "stride is missing"),
        ({"padding": (1, 0, 1, 0)}, r"padding is \[1, 0, 1, 0\], not one number per axis"),
        ({"dilation": (1.5, 1.5)}, "dilation is"),
        ({"groups": 0}, "groups is 0, not a count"),
        ({"deform_groups": (1, 1)}, "deform_groups is"),
    ],
)
def test_exporters_attributes_of_another_form_are_not_guessed(changes: dict[str, Any], reason: str) -> None:
    attributes = {name: value for name, value in {**MMCV, **changes}.items() if value is not None}
    with pytest.raises(PreconditionError, match=reason):
        mmcv_geometry(attributes)


TORCH_NPU: dict[str, Any] = {
    "strides": (1, 1, 2, 1),
    "paddings": (1, 1, 0, 0),
    "dilations": (1, 1, 1, 3),
    "groups": 2,
    "deformable_groups": 4,
    "modulated": 1,
}


def test_torch_npu_writes_sizes_of_all_axes() -> None:
    assert torch_npu_geometry(TORCH_NPU) == PLAIN


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strides": (2, 1)}, "strides is"),
        ({"strides": (1, 2, 1, 1)}, "skip channels"),
        ({"paddings": None}, "paddings is missing"),
        ({"modulated": 0}, "modulated is 0"),
    ],
)
def test_torch_npus_attributes_of_another_form_are_not_guessed(changes: dict[str, Any], reason: str) -> None:
    attributes = {name: value for name, value in {**TORCH_NPU, **changes}.items() if value is not None}
    with pytest.raises(PreconditionError, match=reason):
        torch_npu_geometry(attributes)
    node = _node(attributes, op_type="NPUDeformableConv2d")
    assert _operator(node).shaped_like(node) is None
    assert body_of(node, 11) is None


def test_torch_npus_second_output_is_a_scalar() -> None:
    node = _node(TORCH_NPU, op_type="NPUDeformableConv2d", outputs=2)
    shapes = _operator(node).shaped_like(node)
    assert shapes is not None
    assert [item.op_type for item in shapes] == ["Conv", "Constant"]
    body = body_of(node, 11)
    assert body is not None
    assert len(body.outputs) == 2


def test_the_standard_operator_has_defaults_and_four_pads() -> None:
    found = onnx_geometry({"pads": (1, 2, 1, 2), "offset_group": 3})
    assert (found.strides, found.pads, found.deformable_groups) == ((1, 1), (1, 2), 3)
    with pytest.raises(PreconditionError, match="pads is"):
        onnx_geometry({"pads": (1, 2)})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strides": (1, 1, 2, 2)}, "strides is"),
        ({"strides": None}, "strides is missing"),
        ({"pads": (1, 1, 1, 1)}, "pads is"),
        ({"modulated": 0}, "modulated is 0"),
    ],
)
def test_what_the_target_does_not_read_has_no_body(changes: dict[str, Any], reason: str) -> None:
    attributes = {name: value for name, value in {**ASCEND, **changes}.items() if value is not None}
    with pytest.raises(PreconditionError, match=reason):
        ascend_geometry(attributes)
    node = _node(attributes)
    assert body_of(node, 11) is None
    assert _operator(node).shaped_like(node) is None
    assert any(reason in clause for clause in _operator(node).check(_call(node)))


def test_names_that_the_parser_does_not_know_are_ignored_as_there() -> None:
    assert ascend_geometry({**ASCEND, "defomable_groups": 4}).deformable_groups == 1


@pytest.mark.parametrize(
    ("sizes", "changes", "clause"),
    [
        ({}, {}, None),
        ({}, {"pads": (1, 2)}, "releases of CANN read two different numbers in different ways"),
        ({}, {"groups": None}, "groups is not written"),
        ({}, {"strides": (64, 64)}, "strides is [64, 64], the target takes 1 to 63"),
        ({}, {"dilations": (256, 1)}, "dilations is [256, 1], the target takes 1 to 255"),
        ({"w": "6,8,64,1", "o": "1,192,9,7"}, {}, "the kernel has 64 taps"),
        ({"x": "1,8,9,1366"}, {}, "the image is 1366 wide, the target takes 1365 with 3 taps"),
        ({"x": "1,8,33334,7"}, {}, "the image is 33334 high, the target takes 33333 with 3 taps"),
        ({}, {"groups": 3}, "8 channels do not fall into 3 groups"),
        ({}, {"groups": 4}, "6 output channels do not fall into 4 groups"),
        ({"o": "1,81,9,7"}, {"deformable_groups": 3}, "8 channels do not fall into 3 deformable groups"),
        ({"o": "1,54,9,7"}, {"deformable_groups": 2}, "2 deformable groups, which kernels of 2022 leave to"),
        (
            {"x": "1,4,9,7", "w": "6,4,3,3"},
            {},
            "4 channels, no multiple of 8, which kernels of 2022 leave to",
        ),
        ({"o": "1,18,9,7"}, {}, "the offsets have 18 channels, 27 belong to this kernel"),
    ],
)
def test_the_targets_limits_are_told_before_compilation(
    sizes: dict[str, Any], changes: dict[str, Any], clause: str | None
) -> None:
    attributes = {name: value for name, value in {**ASCEND, **changes}.items() if value is not None}
    node = _node(attributes, **sizes)
    found = list(_operator(node).check(_call(node)))
    assert found == [] if clause is None else any(item.startswith(clause) or clause in item for item in found)


def test_limits_on_sizes_wait_until_sizes_are_known() -> None:
    node = _node(ASCEND, x="n,c,h,w", w="a,b,e,f", o="n,p,q,r")
    assert list(_operator(node).check(_call(node))) == []


def test_attributes_have_the_types_that_the_parser_reads() -> None:
    node = _node({**ASCEND, "data_format": "NCHW", "modulated": 1})
    types = _operator(node).attributes
    assert {name: item.type for name, item in node.attributes.items()} == types


@pytest.mark.parametrize("op_type", ["MMCVDeformConv2d", "MMCVModulatedDeformConv2d", "DeformableConv2D"])
@pytest.mark.parametrize("missing", [0, 1])
def test_a_call_that_lacks_an_input_has_no_body(op_type: str, missing: int) -> None:
    attributes = MMCV if op_type.startswith("MMCV") else ASCEND
    node = _node(attributes, op_type=op_type)
    node.replace_input_with(missing, None)
    assert body_of(node, 11) is None


def test_old_opsets_have_no_body() -> None:
    assert body_of(_node(ASCEND), 10) is None


def _operator(node: ir.Node) -> ForeignOperator:
    found = operator_of(node)
    assert found is not None
    return found


def _call(node: ir.Node) -> Call:
    return call_of(node, 11)


def _node(
    attributes: dict[str, Any],
    *,
    op_type: str = "DeformableConv2D",
    x: str = "1,8,9,7",
    w: str = "6,8,3,3",
    o: str = "1,27,9,7",
    outputs: int = 1,
) -> ir.Node:
    """Return a call at home."""
    shapes = {"x": x, "w": w, "o": o, "m": "1,9,9,7"}
    inputs = []
    for name, text in shapes.items():
        sizes = [int(size) if size.isdigit() else size for size in text.split(",")]
        type_ = ir.TensorType(ir.DataType.FLOAT)
        inputs.append(ir.Value(name=name, shape=ir.Shape(sizes), type=type_))
    count = 4 if op_type == "MMCVModulatedDeformConv2d" else 3
    home = "mmcv" if op_type.startswith("MMCV") else "npu"
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()}
    node = ir.node(op_type, inputs[:count], plain, domain=home, num_outputs=outputs)
    for index, value in enumerate(node.outputs):
        value.name = f"out_{index}"
    return node
