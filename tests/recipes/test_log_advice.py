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
