"""Sizes that a graph computes for its own nodes."""

import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery.shapes.shape_analysis import analyse_sizes


def shape_of_output(body: str, opset: int = 13) -> tuple[int | str | None, ...] | None:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[n,3,8,10] x) => (float[a,b,c,d] y)
        <int64[1] o = {{0}}, int64[1] t = {{2}}, int64[2] f = {{2,3}}, int64[2] h = {{16,30}},
         int64[2] q = {{2,3}}> {{ {body} }}"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    (output,) = model.graph.outputs
    return analyse_sizes(model, inputs={}).types[output].shape


RESIZE = (
    "s = Shape (x) k = Slice (s, o, t) z = Concat <axis = 0> (k, h) v = Resize {} (x, , , z) y = Relu (v)"
)


def test_a_resize_has_the_sizes_it_is_given_of_which_some_may_be_open() -> None:
    assert shape_of_output(RESIZE.format("")) == ("n", 3, 16, 30)


@pytest.mark.parametrize("attributes", ['<keep_aspect_ratio_policy = "not_larger">', "<axes = [0, 1, 2, 3]>"])
def test_a_resize_that_takes_sizes_in_another_way_stays_open(attributes: str) -> None:
    found = shape_of_output(RESIZE.format(attributes), opset=18)
    assert found is None or "n" not in found
