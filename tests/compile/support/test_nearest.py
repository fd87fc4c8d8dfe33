"""The rounding of a nearest Resize, against ONNX's own reference."""

import itertools

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from graphopt.compile.support.nearest import nearest_elements

MODES = ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@pytest.mark.parametrize(("coordinates", "rounding"), [*itertools.product(MODES, ROUNDINGS)])
@pytest.mark.parametrize(("size", "count"), [(5, 10), (5, 7), (7, 3), (3, 12)])
def test_elements_are_those_of_the_standard(coordinates: str, rounding: str, size: int, count: int) -> None:
    text = (
        f'<ir_version: 8, opset_import: ["" : 13]> net (float[{size}] x) => (y) <int64[1] n = {{{count}}}> '
        f'{{ y = Resize<mode="nearest", nearest_mode="{rounding}", '
        f'coordinate_transformation_mode="{coordinates}">(x, , , n) }}'
    )
    model = ReferenceEvaluator(onnx.parser.parse_model(text))
    (expected,) = model.run(None, {"x": np.arange(size, dtype=np.float32)})
    found = nearest_elements(coordinates, rounding, count / size, size, count)
    assert found == tuple(int(item) for item in np.asarray(expected))


@pytest.mark.parametrize(
    ("coordinates", "rounding"), [("tf_crop_and_resize", "floor"), ("half_pixel", "odd")]
)
def test_other_modes_are_not_judged(coordinates: str, rounding: str) -> None:
    assert nearest_elements(coordinates, rounding, 2.0, 3, 6) is None


def test_one_element_lies_at_the_beginning_for_pytorch() -> None:
    assert nearest_elements("pytorch_half_pixel", "floor", 0.2, 5, 1) == (0,)
