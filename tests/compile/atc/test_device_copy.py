"""The copy that ATC reads, in both directions."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from graphopt.compile.atc.device_copy import device_copy
from graphopt.core.errors import UsageError
from graphopt.core.onnx_files import from_proto, load_model, save_model

DETECTOR = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
detector (float[1,8,6,7] x, float[16,8,3,3] w, float[1,27,6,7] o, float[1,9,1,4] b, float[1,9,2] s)
    => (float[1,16,6,7] y, float[1,5,4] boxes, float[1,5] scores, float[1,5] classes, int32[1] count)
{
    [Dcn_0] y = npu.DeformableConv2D <strides = [1,1], pads = [1,1], dilations = [1,1], groups = 1,
        deformable_groups = 1, data_format = "NCHW", modulated = 1> (x, w, o)
    [Nms_1] boxes, scores, classes, count = npu.BatchMultiClassNMS <iou_threshold = 0.5,
        score_threshold = 0.1, max_size_per_class = 5, max_total_size = 5> (b, s)
}"""


def model_of(text: str = DETECTOR) -> ir.Model:
    return from_proto(onnx.parser.parse_model(text))


def bare(text: str = DETECTOR) -> onnx.ModelProto:
    return ir.to_proto(device_copy(model_of(text), Path("m.onnx")).model)


def test_the_copy_is_what_the_parser_reads() -> None:
    proto = bare()
    assert [(node.domain, node.op_type, node.name) for node in proto.graph.node] == [
        ("", "DeformableConv2D", "Dcn_0"),
        ("", "BatchMultiClassNMS", "Nms_1"),
    ]
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", 11)]
    assert not proto.functions
    assert proto.ir_version == 8
    dcn, nms = (
        {item.name: (item.type, onnx.helper.get_attribute_value(item)) for item in node.attribute}
        for node in proto.graph.node
    )
    kinds = onnx.AttributeProto
    assert dcn == {
        "strides": (kinds.INTS, [1, 1]),
        "pads": (kinds.INTS, [1, 1]),
        "dilations": (kinds.INTS, [1, 1]),
        "groups": (kinds.INT, 1),
        "deformable_groups": (kinds.INT, 1),
        "data_format": (kinds.STRING, b"NCHW"),
        "modulated": (kinds.INT, 1),
    }
    assert nms == {
        "iou_threshold": (kinds.FLOAT, 0.5),
        "score_threshold": (kinds.FLOAT, pytest.approx(0.1)),
        "max_size_per_class": (kinds.INT, 5),
        "max_total_size": (kinds.INT, 5),
    }


def test_a_saved_copy_comes_home_and_gets_its_bodies_again(tmp_path: Path) -> None:
    save_model(device_copy(model_of(), Path("m.onnx")).model, tmp_path / "m.atc.onnx", force=False)
    assert not onnx.load(tmp_path / "m.atc.onnx").functions
    again = load_model(tmp_path / "m.atc.onnx")
    assert [node.domain for node in again.graph] == ["npu", "npu"]
    save_model(again, tmp_path / "m.onnx", force=False)
    assert {item.name for item in onnx.load(tmp_path / "m.onnx").functions} == {
        "DeformableConv2D",
        "BatchMultiClassNMS",
    }
    assert bare() == ir.to_proto(device_copy(load_model(tmp_path / "m.onnx"), Path("m.onnx")).model)


def test_the_changes_are_said() -> None:
    copy = device_copy(model_of(), Path("m.onnx"))
    assert copy.changes == ("1 DeformableConv2D and 1 BatchMultiClassNMS bare in the default domain",)


def test_a_model_of_standard_operators_needs_no_copy() -> None:
    text = '<ir_version: 8, opset_import: ["" : 11]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
    assert device_copy(model_of(text), Path("m.onnx")).changes == ()


def test_a_new_ir_version_and_unused_domains_are_dropped() -> None:
    text = """<ir_version: 10, opset_import: ["" : 11, "mmcv" : 1, "ai.onnx.ml" : 2]>
        g (float[2] x) => (float[2] y) { y = Relu (x) }"""
    copy = device_copy(model_of(text), Path("m.onnx"))
    assert copy.changes == ("without the unused domains ai.onnx.ml, mmcv", "IR version 8 instead of 10")
    assert copy.model.ir_version == 8
    assert dict(copy.model.opset_imports) == {"": 11}


def test_dtypes_that_an_old_ir_version_cannot_hold_keep_the_new_one() -> None:
    model = model_of(
        '<ir_version: 10, opset_import: ["" : 11]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
    )
    small = ir.tensor([1, 2], dtype=ir.DataType.INT4, name="small")
    model.graph.register_initializer(ir.Value(name="small", const_value=small))
    copy = device_copy(model, Path("m.onnx"))
    assert copy.model.ir_version == 10
    assert copy.changes == ()


def test_an_exporters_operator_is_refused_with_its_count() -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,4,6,7] x, float[1,18,6,7] o, float[8,4,3,3] w) => (float[1,8,6,7] y) {
        [Dcn_0] y = MMCVDeformConv2d <stride = [1,1], padding = [1,1], dilation = [1,1], groups = 1,
            deform_groups = 1> (x, o, w) }"""
    with pytest.raises(
        UsageError, match=r"1 MMCVDeformConv2d \(the first is Dcn_0\).*graphopt support m.onnx"
    ):
        device_copy(model_of(text), Path("m.onnx"))


def test_attributes_get_the_types_that_the_parser_reads() -> None:
    text = DETECTOR.replace("strides = [1,1]", "strides = 1")
    text = text.replace("max_total_size = 5", "max_total_size = 5.0").replace(
        "iou_threshold = 0.5", "iou_threshold = 1"
    )
    copy = device_copy(model_of(text), Path("m.onnx"))
    assert "strides of DeformableConv2D as INTS" in copy.changes
    dcn, nms = ir.to_proto(copy.model).graph.node
    found = {item.name: item for node in (dcn, nms) for item in node.attribute}
    kinds = onnx.AttributeProto
    assert (found["strides"].type, list(found["strides"].ints)) == (kinds.INTS, [1])
    assert (found["max_total_size"].type, found["max_total_size"].i) == (kinds.INT, 5)
    assert (found["iou_threshold"].type, found["iou_threshold"].f) == (kinds.FLOAT, 1.0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_total_size = 5", "max_total_size = 5.5", "max_total_size is FLOAT 5.5, the parser reads INT"),
        ("groups = 1,", "groups = [1, 1],", r"groups is INTS \(1, 1\), the parser reads INT"),
        ('data_format = "NCHW"', "data_format = 3", "data_format is INT 3, the parser reads STRING"),
        ("pads = [1,1]", 'pads = "same"', "pads is STRING 'same', the parser reads INTS"),
    ],
)
def test_an_attribute_that_cannot_be_of_the_type_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        device_copy(model_of(DETECTOR.replace(old, new, 1)), Path("m.onnx"))


def test_limits_of_the_target_are_noted_with_the_nodes() -> None:
    text = DETECTOR.replace("pads = [1,1]", "pads = [1,2]").replace('"" : 11', '"" : 17')
    notes = device_copy(model_of(text), Path("m.onnx")).notes
    assert any(note.startswith("DeformableConv2D Dcn_0: pads is [1, 2]") for note in notes)
    assert any("opsets 8 to 16" in note for note in notes)


def test_shapes_of_calls_are_recorded_by_who_can_infer_them() -> None:
    text = DETECTOR.replace("=> (float[1,16,6,7] y, ", "=> (float[1,16,6,7] z, ").replace(
        "(b, s)", "(b, s) z = Relu (y)"
    )

    def record(model: ir.Model, values: object) -> None:
        value = model.graph[0].outputs[0]
        value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, 16, 6, 7])

    assert any("not recorded" in note for note in device_copy(model_of(text), Path("m")).notes)
    copy = device_copy(model_of(text), Path("m"), record)
    assert not any("not recorded" in note for note in copy.notes)
    assert [item.name for item in ir.to_proto(copy.model).graph.value_info] == ["y"]
