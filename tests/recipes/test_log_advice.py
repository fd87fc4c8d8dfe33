from pathlib import Path

import onnx
import pytest

from graphopt.compile.atc.log_reading import read_log
from graphopt.recipes.log_advice import advise, command_for, onnx_name

MODEL = """
<ir_version: 8, opset_import: ["" : 19]>
agraph (float[1,3,5,7] x, float[4,7] w) => (float[5,4] y)
{
    [Equation_1] a = Einsum<equation="abcd,ed->ce"> (x, w)
    [Relu_2] y = Relu (a)
}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


UNKNOWN = "E19010: No parser is registered for Op [E, optype [ai.onnx::{}::Einsum]]."


def test_an_operator_above_the_last_opset_is_lowered_whatever_it_is() -> None:
    (advice,) = advise(read_log([UNKNOWN.format(19)]))
    assert advice.passes == ("lower_opset",)
    assert advice.command == "graphopt apply MODEL --passes lower_opset"


def test_an_operator_in_the_lowest_opset_is_rewritten_and_not_lowered() -> None:
    (advice,) = advise(read_log([UNKNOWN.format(11)]))
    assert advice.passes == ("decompose_einsum",)


def test_the_model_says_where_the_node_is_and_whether_the_pass_matches(model: Path) -> None:
    log = ["EZ3003: No supported Ops kernel and engine are found for [Equation_1], optype [Einsum]."]
    (advice,) = advise(read_log(log), model)
    (place,) = advice.places
    assert (place.node, place.op_type) == ("Equation_1", "Einsum")
    assert place.facts[0] == "input 0: x float[1, 3, 5, 7]"
    assert [(item.name, item.sites, item.here) for item in advice.mends] == [("lower_opset", 2, True)]
    assert advice.command == f"graphopt apply {model} --passes lower_opset"


def test_a_pass_that_does_not_match_is_named_with_its_reason_and_not_advised(model: Path) -> None:
    log = ["EZ3003: No supported Ops kernel and engine are found for [Relu_2], optype [Clip]."]
    onnx.save(
        onnx.parser.parse_model(MODEL.replace('"" : 19', '"" : 13')), model
    )  # nothing there that clip_bounds looks for
    (advice,) = advise(read_log(log), model)
    (mend,) = advice.mends
    assert (mend.name, mend.sites) == ("clip_bounds", 0)
    assert "nothing in the model" in mend.reason
    assert advice.command == ""


def test_a_node_is_found_under_a_longer_name_of_atc(model: Path) -> None:
    log = ["EZ3003: No supported Ops kernel and engine are found for [PartitionedCall_Relu_2_0], optype [X]."]
    (advice,) = advise(read_log(log), model)
    assert advice.places[0].node == "Relu_2"


def test_the_name_of_a_tensor_inside_a_name_is_no_node(model: Path) -> None:
    text = MODEL.replace("] a = ", "] made_1124 = ").replace("(a)", "(made_1124)")
    onnx.save(onnx.parser.parse_model(text), model)
    log = ["EZ3003: No supported Ops kernel and engine are found for [NonZero_made_1124], optype [NonZero]."]
    (advice,) = advise(read_log(log), model)
    assert advice.places[0].node == ""


POOL = """<ir_version: 8, opset_import: ["" : 11]>
agraph (float[1,3,6,8] x) => (float[1,3,1,1] y) {
    [Pool_0] a = AveragePool <kernel_shape = [1,1]> (x)
    [Pool_1] y = GlobalAveragePool (a)
}"""


def test_of_passes_for_one_operator_the_first_that_does_it_here_is_advised(model: Path) -> None:
    log = ["EZ3003: No supported Ops kernel and engine are found for [Pool_1], optype [AvgPoolV2]."]
    (before,) = advise(read_log(log))
    assert before.passes == ("split_avgpool",)
    assert [item.name for item in before.mends][1:] == ["pool3d_to_pool2d", "global_pool_to_reduce"]
    onnx.save(onnx.parser.parse_model(POOL), model)
    (after,) = advise(read_log(log), model)
    assert after.passes == ("global_pool_to_reduce",)
    assert after.command.endswith("--passes global_pool_to_reduce")
    assert [item["advised"] for item in after.to_json()["passes"]] == [True, False, False]


def test_a_node_that_atc_made_is_not_in_the_model(model: Path) -> None:
    log = ["EZ3003: No supported Ops kernel and engine are found for [trans_Cast_9], optype [Cast]."]
    (advice,) = advise(read_log(log), model)
    assert advice.places[0].node == ""


def test_a_wrong_input_name_is_answered_with_the_right_ones(model: Path) -> None:
    log = ["E10016: Opname [input] specified in [--input_shape] is not found in the model"]
    (advice,) = advise(read_log(log), model)
    assert "inputs of" in advice.hint
    assert "x" in advice.hint
    assert "[1,3,5,7]" in advice.hint


def test_consequences_get_no_advice() -> None:
    first, second = advise(read_log(["E19999: Inner Error!", "E10016: Opname [a] specified in [--x] is not"]))
    assert first.kind == "cause"
    assert second.kind == "consequence"
    assert second.mends == ()


@pytest.mark.parametrize(
    ("op_type", "expected"),
    [
        ("Conv2D", "Conv"),
        ("GatherV2D", "Gather"),
        ("StridedSliceV2", "Slice"),
        ("TopKD", "TopK"),
        ("ResizeBilinearV2", "Resize"),
        ("NonZero", "NonZero"),
        ("Strange3D", "Strange3D"),
    ],
)
def test_operators_of_ascend_are_known_by_their_name_in_graphs(op_type: str, expected: str) -> None:
    assert onnx_name(op_type) == expected


def test_a_command_names_each_pass_once() -> None:
    assert command_for(["a", "b", "a"], Path("a b.onnx")) == "graphopt apply 'a b.onnx' --passes a,b"
    assert command_for([], None) == ""


def test_passes_come_in_the_order_in_which_they_serve_each_other() -> None:
    assert command_for(["replace_nms", "static_shapes"], None).endswith("--passes static_shapes,replace_nms")
