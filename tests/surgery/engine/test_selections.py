"""Float noise that decides which of two nearly equal candidates is taken is no error; all else is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery import RewriteError, Samples, Status, rewrite_file
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

TEXT = """<ir_version: 8, opset_import: ["" : 13]>
g (float[40] x, float[40] other) => (float[5] y, int64[5] i)
<float third = {0.33333334}, float three = {3}, float two = {2}, int64[1] k = {5}>
{
    [id] a = Identity (x)
    [first] b = Mul (a, third)
    [second] c = Mul (b, three)
    [top] v, i = TopK (c, k)
    [pick] p = Gather (other, i)
    [double] y = Mul (p, two)
}"""


@dataclass(frozen=True, kw_only=True)
class Patch(GraphPass):
    """Replace constants of nodes."""

    name: ClassVar[str] = "patch"
    values: tuple[tuple[str, float], ...]

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.name in dict(self.values) and "patched" not in node.metadata_props:
                yield Site(node=node, what="patched")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        name = site.node.name or ""
        tensor = ir.tensor(np.float32(dict(self.values)[name]), name=f"new_{name}")
        value = ir.Value(name=tensor.name, const_value=tensor, type=ir.TensorType(tensor.dtype))
        value.shape = ir.Shape([])
        model.graph.register_initializer(value)
        site.node.metadata_props["patched"] = "yes"
        site.node.replace_input_with(1, value)


NOISE = (("first", 0.1), ("second", 10.0))
"""The same product, rounded otherwise."""


@pytest.fixture
def samples() -> Samples:
    rng = np.random.default_rng(5)
    feeds = []
    for _ in range(4):
        near = np.float32(1) + rng.permutation(40).astype(np.float32) * np.float32(2**-23)
        feeds.append({"x": near, "other": rng.standard_normal(40).astype(np.float32)})
    return Samples(feeds=tuple(feeds), kind="near ties")


@pytest.fixture
def source(write_text: Callable[[str, str], Path]) -> Path:
    return write_text(TEXT, "s.onnx")


def test_near_ties_are_told_and_are_no_error(source: Path, samples: Samples, tmp_path: Path) -> None:
    report = rewrite_file(source, tmp_path / "o.onnx", [Patch(values=NOISE)], samples=samples)
    assert report.verification.status is Status.PROVEN
    assert "TopK chose otherwise between nearly equal numbers" in report.verification.reason
    assert [item.name for item in report.verification.comparisons] == ["y", "input 0 of TopK top"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((*NOISE, ("double", 2.1)), id="behind the choice"),
        pytest.param((("first", 0.1), ("second", 11.0)), id="before the choice"),
        pytest.param((("second", -3.0),), id="another choice"),
    ],
)
def test_what_is_wrong_besides_is_wrong(source: Path, samples: Samples, tmp_path: Path, values: Any) -> None:
    with pytest.raises(RewriteError, match="patch is wrong"):
        rewrite_file(source, tmp_path / "o.onnx", [Patch(values=values)], samples=samples)


@dataclass(frozen=True, kw_only=True)
class Smallest(GraphPass):
    """Let TopK take the smallest."""

    name: ClassVar[str] = "smallest"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.op_type == "TopK" and "largest" not in node.attributes:
                yield Site(node=node, what="smallest")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        site.node.attributes["largest"] = ir.AttrInt64("largest", 0)


def test_a_changed_selection_is_wrong(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="smallest is wrong"):
        rewrite_file(source, tmp_path / "o.onnx", [Smallest()])


def test_among_near_ties_another_selection_cannot_be_told_from_noise(
    source: Path, samples: Samples, tmp_path: Path
) -> None:
    with pytest.raises(RewriteError, match="unproven: the source itself moves by"):
        rewrite_file(source, tmp_path / "o.onnx", [Smallest()], samples=samples)


def test_thresholds_jump_too(write_text: Callable[[str, str], Path], tmp_path: Path) -> None:
    text = TEXT.replace("v, i = TopK (c, k)", "t = Greater (c, one)  n = NonZero (t)  m = Squeeze (n, z)")
    text = text.replace("(float[5] y, int64[5] i)", "(float[q] y)").replace("(other, i)", "(other, m)")
    text = text.replace("int64[1] k = {5}", "float one = {1.7}, int64[1] z = {0}")
    rng = np.random.default_rng(5)
    feeds = tuple(
        {
            "x": np.float32(1.7) + rng.integers(-2, 3, 40).astype(np.float32) * np.float32(2**-23),
            "other": rng.standard_normal(40).astype(np.float32),
        }
        for _ in range(3)
    )
    samples = Samples(feeds=feeds, kind="near the threshold")
    report = rewrite_file(
        write_text(text, "t.onnx"), tmp_path / "o.onnx", [Patch(values=NOISE)], samples=samples
    )
    assert report.verification.status is Status.PROVEN
    assert report.verification.reason.startswith("Greater chose otherwise")


def test_rounding_jumps_too(write_text: Callable[[str, str], Path], tmp_path: Path) -> None:
    text = TEXT.replace("v, i = TopK (c, k)", "t = Div (c, unit)  n = Floor (t)").replace(
        "p = Gather (other, i)", "p = Mul (other, n)"
    )
    text = text.replace("(float[5] y, int64[5] i)", "(float[40] y)")
    text = text.replace("int64[1] k = {5}", "float unit = {1.0999999}")
    rng = np.random.default_rng(6)
    feeds = tuple(
        {
            "x": np.float32(1.1) + rng.integers(-3, 3, 40).astype(np.float32) * np.float32(2**-23),
            "other": rng.standard_normal(40).astype(np.float32),
        }
        for _ in range(3)
    )
    samples = Samples(feeds=feeds, kind="near a whole number")
    source = write_text(text, "t.onnx")
    report = rewrite_file(source, tmp_path / "o.onnx", [Patch(values=NOISE)], samples=samples)
    assert report.verification.status is Status.PROVEN
    assert report.verification.reason.startswith("Floor chose otherwise")
