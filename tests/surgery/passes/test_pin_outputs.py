from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.pin_outputs import PinOutputs

Rewrite = Callable[..., Any]
Build = Callable[..., ir.Model]

HEADS = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4] x) => (float[1,4] scores, float[1,4] boxes, float[1,4] aux) <float[4] w = {1,2,3,4}> {
    [stem] h = Relu (x)
    [cut] left, right = Split <axis = 1> (h)
    [head] scores = Sigmoid (h)
    [box] boxes = Exp (h)
    [extra] u = Mul (h, w)
    [tail] aux = Tanh (u)
}"""

UNRELATED = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[1,4] x) => (float[1,4] y) { a = Exp (x) y = Tanh (a) }
"""
REQUIRED = {"names": ("y",)}
NO_SUITABLE = "it changes which outputs there are"
OPTIONS = {"skip_decoder": {"names": ("/down/down.2/Relu_output_0",)}}


def outputs(model: ir.Model) -> list[str | None]:
    return [value.name for value in model.graph.outputs]


def test_outputs_are_chosen_and_reordered_and_the_rest_is_cut(rewrite: Rewrite) -> None:
    result = rewrite(HEADS, PinOutputs(names=("boxes", "scores")))
    assert outputs(result.model) == ["boxes", "scores"]
    assert "Tanh" not in result.ops
    assert "w" not in result.model.graph.initializers
    for name, array in result.after.items():
        assert (array == result.before[name]).all()


def test_inner_tensors_get_their_type(rewrite: Rewrite) -> None:
    result = rewrite(HEADS, PinOutputs(names=("u", "cut:1"), rename=("inner", "half")))
    assert outputs(result.model) == ["inner", "half"]
    inner, half = result.model.graph.outputs
    assert (inner.dtype, list(inner.shape)) == (ir.DataType.FLOAT, [1, 4])
    assert (half.dtype, list(half.shape)) == (ir.DataType.FLOAT, [1, 2])
    assert result.after["half"].shape == (1, 2)


def test_names_can_be_swapped_once(rewrite: Rewrite) -> None:
    item = PinOutputs(names=("scores", "boxes"), rename=("boxes", "scores"))
    result = rewrite(HEADS, item)
    assert outputs(result.model) == ["boxes", "scores"]
    assert (result.after["boxes"] == result.before["scores"]).all()
    assert (result.after["scores"] == result.before["boxes"]).all()


def test_a_name_that_an_inner_tensor_has_is_freed(rewrite: Rewrite) -> None:
    result = rewrite(HEADS, PinOutputs(names=("aux",), rename=("u",)))
    assert outputs(result.model) == ["u"]
    assert (result.after["u"] == result.before["aux"]).all()


def test_a_finished_model_is_left_alone_also_after_a_renaming(model_of: Build) -> None:
    item = PinOutputs(names=("u",), rename=("inner",))
    model, first = run_pass(model_of(HEADS), item)
    assert first.modified
    again = ir.from_proto(ir.to_proto(model))
    _, second = run_pass(again, item)
    assert not second.modified
    assert item.output_names(again) is None


def test_the_engine_is_told_which_output_is_which(model_of: Build) -> None:
    item = PinOutputs(names=("box:0", "u"), rename=("dets", "inner"))
    assert item.output_names(model_of(HEADS)) == {"dets": "boxes", "inner": "u"}


@pytest.mark.parametrize(
    ("names", "rename", "message"),
    [
        (("scoers",), (), "no tensor 'scoers'; did you mean scores"),
        (("heda:0",), (), "no tensor 'heda:0'; did you mean head:0"),
        (("head:1",), (), "head has 1 outputs, counted from 0"),
        (("x",), (), "'x' is an input or a constant"),
        (("boxes", "box:0"), (), "are the same tensor"),
        (("boxes", "boxes"), (), "given twice"),
        (("boxes",), ("a", "b"), "2 new names for 1 output;"),
        (("boxes",), ("x",), "that of an input"),
        ((), (), "needs names"),
    ],
)
def test_wrong_options_are_usage_errors(
    model_of: Build, names: tuple[str, ...], rename: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_pass(model_of(HEADS), PinOutputs(names=names, rename=rename))


def test_a_tensor_of_unknown_dtype_cannot_be_an_output(model_of: Build) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]>
        g (float[3] x) => (float[3] y) { a = vendor.Odd (x) b = vendor.Even (a) y = vendor.Odd (b) }"""
    with pytest.raises(PreconditionError, match="dtype of b cannot be inferred"):
        run_pass(model_of(text), PinOutputs(names=("b",)))


def test_subgraphs_keep_what_they_read(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (bool flag, float[3] x) => (float[3] y, float[3] z) {
            h = Exp (x) z = Neg (x)
            y = If (flag) <
                then_branch = t () => (float[3] p) { p = Neg (h) },
                else_branch = e () => (float[3] q) { q = Tanh (h) }
            >
        }"""
    kept = rewrite(text, PinOutputs(names=("y",)))
    assert kept.ops == ["Exp", "If"]
    cut = rewrite(text, PinOutputs(names=("z",)))
    assert cut.ops == ["Neg"]
