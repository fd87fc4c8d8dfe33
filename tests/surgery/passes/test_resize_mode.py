from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.surgery import PassStep, rewrite_file
from graphopt.surgery.passes.resize_mode import ResizeMode
from graphopt.surgery.report import RewriteError

Rewrite = Callable[..., Any]
Write = Callable[[str, str], Path]

SUITABLE = """
    r = Constant <value = int64[4] {{1,1,2,2}}> () f = Reshape ({x}, r) g = GlobalMaxPool (f)
    s = Constant <value = float[4] {{1,1,2,2}}> ()
    u = Resize <mode = "linear"> (g, , s) q = Constant <value = int64[2] {{1,4}}> () y = Reshape (u, q)
"""


def text(attributes: str, *, opset: int = 13, call: str = "(x, , f)") -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[1,2,3,4] x) => (float[1,2,6,12] y)
        <float[4] f = {{1,1,2,3}}> {{ y = Resize <{attributes}> {call} }}"""


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_each_element_becomes_one_of_those_mixed(rewrite: Rewrite, mode: str, coordinates: str) -> None:
    attributes = f'mode = "{mode}", cubic_coeff_a = -0.5, coordinate_transformation_mode = "{coordinates}"'
    result = rewrite(text(attributes), ResizeMode())
    assert result.applied == (f"{mode} -> nearest",)
    (node,) = result.model.graph
    assert node.attributes["nearest_mode"].as_string() == "round_prefer_ceil"
    assert "cubic_coeff_a" not in node.attributes
    before, after = result.before["y"], result.after["y"]
    assert len(np.unique(after)) <= 24
    assert np.abs(after - before).max() <= np.ptp(after)


def test_old_opsets_have_the_mode_only(rewrite: Rewrite) -> None:
    result = rewrite(text('mode = "linear"', opset=10, call="(x, f)"), ResizeMode())
    (node,) = result.model.graph
    assert set(node.attributes) == {"mode"}


def test_only_the_mode_asked_for(rewrite: Rewrite) -> None:
    result = rewrite(text('mode = "linear"'), ResizeMode(replace="cubic"))
    assert not result.applied
    assert not result.declined
    assert not rewrite(text('mode = "nearest"'), ResizeMode()).applied


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('mode = "linear", antialias = 1', "it smooths before it shrinks"),
        ('mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"', "a constant outside"),
    ],
)
def test_declines(rewrite: Rewrite, attributes: str, reason: str) -> None:
    result = rewrite(text(attributes, opset=18), ResizeMode(), compare=False)
    assert not result.applied
    assert reason in result.declined[0]


def test_the_proof_refuses_a_model_with_detail(write_text: Write, tmp_path: Path) -> None:
    source = write_text(text('mode = "linear"'), "detail.onnx")
    with pytest.raises(RewriteError, match=r"resize_mode is wrong: output y differs by up to .* times"):
        rewrite_file(source, tmp_path / "o.onnx", [PassStep("resize_mode")])
    assert not (tmp_path / "o.onnx").exists()
