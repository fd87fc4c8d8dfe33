"""A call of a target operator is compared also where no output shows what it computes."""

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from graphopt.core.comparison import FLOAT32_REORDERED, OWN_INPUTS
from graphopt.core.onnx_files import load_model
from graphopt.surgery import Status
from graphopt.surgery.engine.own_inputs import add_probes
from graphopt.surgery.engine.trials import Candidate
from graphopt.surgery.engine.verdicts import Verdict
from graphopt.surgery.engine.verification import Verifier

Write = Callable[[str, str], Path]

# A residual branch as detectors begin: its last scale is zero.
_BLIND = """
<ir_version: 8, opset_import: ["" : 11, "npu" : 1, "mmcv" : 1]>
blind (float[1,2,5,7] x) => (float[1,2,5,7] y)
<float[2,2,1,1] weight = {{0.5,-0.3,0.2,0.7}}, float[1,2,1,1] scale = {{{scale}, {scale}}},
 float[2,2,1,1] w_shift = {{0.4,-0.2,0.3,0.6}}, float[1,1,5,7] ones = {{{ones}}},
 int64[2] order = {{1, 0}}>
{{
    features = Sigmoid (x)
    shift = Conv (features, w_shift)
    {call}
    scaled = Mul (branch, scale)
    y = Add (scaled, x)
}}
"""
_ONES = ",".join("1" for _ in range(35))
_SOURCE = """branch = mmcv.MMCVDeformConv2d <stride = [1, 1], padding = [0, 0], dilation = [1, 1], groups = 1,
        deform_groups = 1, im2col_step = 32> (features, shift, weight)"""
_RESULT = """swapped = Gather <axis = 1> (shift, order)
    offsets = Concat <axis = 1> (swapped, ones)
    branch = npu.DeformableConv2D <strides = [1, 1], pads = [0, 0], dilations = [1, 1], groups = 1,
        deformable_groups = 1, modulated = 1> (features, weight, offsets)"""


def _masked(nodes: str) -> str:
    """Return the result with another mask, made by ``nodes``."""
    return _RESULT.replace("offsets =", f"{nodes}\n    offsets =").replace(
        "(swapped, ones)", "(swapped, mask)"
    )


WRONG = {
    "offsets not regrouped": _RESULT.replace("(swapped, ones)", "(shift, ones)"),
    "mask of zeros": _masked("mask = Sub (ones, ones)"),
    "other weights": _RESULT.replace("(features, weight, offsets)", "(features, w_shift, offsets)"),
}


def _text(call: str, scale: str = "0") -> str:
    return _BLIND.format(call=call, scale=scale, ones=_ONES)


def _judge(write_text: Write, tmp_path: Path, source: str, *results: str) -> tuple[Verdict, ...]:
    path = write_text(source, "source.onnx")
    models = [load_model(write_text(text, f"result{i}.onnx")) for i, text in enumerate(results)]
    verifier = Verifier(path, None, tmp_path)
    return verifier.judge([_candidate(model) for model in models])


def _candidate(model: ir.Model) -> Candidate:
    return Candidate(model=model, names={"y": "y"}, tolerance=FLOAT32_REORDERED)


def test_a_call_that_no_output_shows_is_compared(write_text: Write, tmp_path: Path) -> None:
    (verdict,) = _judge(write_text, tmp_path, _text(_SOURCE), _text(_RESULT))
    assert verdict.status is Status.PROVEN
    own = [item for item in verdict.comparisons if item.detail == OWN_INPUTS]
    assert [item.name.split()[0] for item in own] == ["npu::DeformableConv2D"]
    assert own[0].max_abs is not None
    assert own[0].max_abs < 1e-6


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_that_no_output_shows_is_found(write_text: Write, tmp_path: Path, mistake: str) -> None:
    (verdict,) = _judge(write_text, tmp_path, _text(_SOURCE), _text(WRONG[mistake]))
    assert verdict.status is Status.FAILED
    assert "computes something else, given the source's inputs: " in verdict.reason
    assert verdict.reason.startswith("npu::DeformableConv2D")


def test_several_results_are_told_apart(write_text: Write, tmp_path: Path) -> None:
    results = [_text(call) for call in (_RESULT, *WRONG.values())]
    found = _judge(write_text, tmp_path, _text(_SOURCE), *results)
    assert [verdict.status is Status.PROVEN for verdict in found] == [True, False, False, False]


def test_an_output_that_differs_comes_first(write_text: Write, tmp_path: Path) -> None:
    wrong = _text(WRONG["other weights"], scale="2")
    (verdict,) = _judge(write_text, tmp_path, _text(_SOURCE, scale="2"), wrong)
    assert verdict.status is Status.FAILED
    assert verdict.reason.startswith("output y differs")


def test_nan_is_no_match(write_text: Write, tmp_path: Path) -> None:
    divided = _masked("none = Sub (ones, ones)\n    mask = Div (none, none)")
    (verdict,) = _judge(write_text, tmp_path, _text(_SOURCE), _text(divided))
    assert verdict.status is Status.FAILED


@pytest.mark.parametrize("above", ["1000", "0"])
def test_a_call_on_no_regions_at_all_is_no_error(write_text: Write, tmp_path: Path, above: str) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
        pooling (float[1,2,5,7] x) => (float[1,2,5,7] y) <float least = {{{{{above}}}}}> {{{{
        above = Greater (x, least) found = NonZero (above) first = Constant <value = int64 {{{{0}}}}> ()
        image = Gather (found, first) places = Transpose (found) boxes = Cast <to = 1> (places)
        {{call}}
        all = ReduceSum <keepdims = 0> (pooled) nothing = Sub (all, all) y = Add (x, nothing) }}}}"""
    source = (
        """pooled = RoiAlign <output_height = 2, output_width = 3, sampling_ratio = 1> (x, boxes, image)"""
    )
    result = """tall = Unsqueeze <axes = [1]> (image) number = Cast <to = 1> (tall)
        rois = Concat <axis = 1> (number, boxes)
        pooled = npu.RoiExtractor <spatial_scale = [1.0], pooled_height = 2, pooled_width = 3,
            sample_num = 1, aligned = {aligned}> (x, rois)"""
    right, wrong = (text.format(call=result.format(aligned=aligned)) for aligned in (0, 1))
    (verdict,) = _judge(write_text, tmp_path, text.format(call=source), right)
    assert verdict.status is Status.PROVEN
    (verdict,) = _judge(write_text, tmp_path, text.format(call=source), wrong)
    assert verdict.status is (Status.PROVEN if above == "1000" else Status.FAILED)


def test_the_same_call_needs_no_second_look(write_text: Write) -> None:
    source = load_model(write_text(_text(_RESULT), "source.onnx"))
    model, probes = add_probes(source, [_candidate(load_model(write_text(_text(_RESULT), "same.onnx")))])
    assert model is source
    assert probes == ((),)


def test_a_call_of_another_size_is_left_to_the_outputs(write_text: Write, tmp_path: Path) -> None:
    narrow = """picked = Gather <axis = 3> (features, order)
    swapped = Gather <axis = 1> (shift, order)
    offsets = Concat <axis = 1> (swapped, ones)
    few = Gather <axis = 3> (offsets, order)
    branch = npu.DeformableConv2D <strides = [1, 1], pads = [0, 0], dilations = [1, 1], groups = 1,
        deformable_groups = 1, modulated = 1> (picked, weight, few)"""
    text = _text(narrow).replace("Mul (branch, scale)", "Mul (most, scale)")
    text = text.replace("scaled =", "most = ReduceMax <axes = [2, 3]> (branch)\n    scaled =")
    (verdict,) = _judge(write_text, tmp_path, _text(_SOURCE), text)
    assert verdict.status is Status.PROVEN
    assert "cannot be run on the source's tensors" in verdict.reason
    assert [item.name for item in verdict.comparisons] == ["y"]


def test_a_model_of_another_opset_is_left_to_the_outputs(write_text: Write) -> None:
    source = load_model(write_text(_text(_SOURCE), "source.onnx"))
    newer = load_model(write_text(_text(_RESULT).replace('"" : 11', '"" : 12'), "newer.onnx"))
    assert add_probes(source, [_candidate(newer)])[1] == ((),)


def test_a_call_far_from_the_sources_tensors_is_left_to_the_outputs(write_text: Write) -> None:
    source = load_model(write_text(_text(_SOURCE), "source.onnx"))
    chain = "\n".join(f"    s{i + 1} = Relu (s{i})" for i in range(120))
    far = _RESULT.replace("swapped =", f"s0 = Relu (shift)\n{chain}\n    swapped =").replace(
        "(shift, order)", "(s120, order)"
    )
    assert add_probes(source, [_candidate(load_model(write_text(_text(far), "far.onnx")))])[1] == ((),)
