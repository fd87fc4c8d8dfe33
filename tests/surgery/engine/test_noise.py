"""A source that answers otherwise to nearly the same inputs blames no pass; a stable one does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.tensors import Array
from graphopt.surgery import RewriteError, Samples, Status, Verify, rewrite_file
from graphopt.surgery.engine.noise import nudged
from graphopt.surgery.graph_edits import add_constant
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

Write = Callable[[str, str], Path]

# A sine of numbers so large that one rounding is a large part of its period.
TEXT = """<ir_version: 8, opset_import: ["" : 13]>
g (float[3,7] x) => (float[3,7] y) <float factor = {FACTOR}, float two = {2}>
{
    [steep] a = Mul (x, factor)
    s = Sin (a)
    [last] y = Mul (s, two)
}"""
CHAOTIC, STABLE = "3000000", "3"


@dataclass(frozen=True, kw_only=True)
class Factor(GraphPass):
    """Multiply by another number at one node."""

    name: ClassVar[str] = "factor"
    node: str
    value: float

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.name == self.node and "changed" not in node.metadata_props:
                yield Site(node=node, what="another factor")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        site.node.metadata_props["changed"] = "yes"
        number = add_constant(model, site.node, np.array(self.value, np.float32), "number")
        site.node.replace_input_with(1, number)


@pytest.fixture
def chaotic(write_text: Write) -> Path:
    return write_text(TEXT.replace("FACTOR", CHAOTIC), "chaotic.onnx")


@pytest.fixture
def stable(write_text: Write) -> Path:
    return write_text(TEXT.replace("FACTOR", STABLE), "stable.onnx")


ROUNDED = Factor(node="steep", value=3000000.25)
"""The next number but one: what a rewrite may do that multiplies in another order."""


@pytest.mark.parametrize("verify", [Verify.FINAL, Verify.EACH])
def test_a_rounding_in_a_chaotic_source_is_unproven_and_nobody_is_blamed(
    chaotic: Path, tmp_path: Path, verify: Verify
) -> None:
    text = r"unproven: the source itself moves by .* in output y \(the result: by .*one rounding.*--data"
    with pytest.raises(RewriteError, match=text) as caught:
        rewrite_file(chaotic, tmp_path / "o.onnx", [ROUNDED], verify=verify)
    verification = caught.value.report.verification
    assert (verification.status, verification.guilty) == (Status.UNPROVEN, "")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "o.onnx").exists()
    assert not any(item.passed for item in verification.comparisons)


def test_it_is_written_when_that_is_allowed(chaotic: Path, tmp_path: Path) -> None:
    report = rewrite_file(chaotic, tmp_path / "o.onnx", [ROUNDED], allow_unproven=True)
    assert report.verification.status is Status.UNPROVEN
    assert (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("node", ["steep", "last"])
def test_in_a_stable_source_the_same_size_of_error_is_wrong(stable: Path, tmp_path: Path, node: str) -> None:
    with pytest.raises(RewriteError, match="factor is wrong: output y differs"):
        rewrite_file(stable, tmp_path / "o.onnx", [Factor(node=node, value=4)])


def test_an_error_far_above_the_noise_is_wrong(chaotic: Path, tmp_path: Path) -> None:
    steps = [ROUNDED, Factor(node="last", value=20)]
    with pytest.raises(RewriteError, match="factor is wrong: output y differs") as caught:
        rewrite_file(chaotic, tmp_path / "o.onnx", steps)
    assert [item.name for item in caught.value.report.passes] == ["factor", "factor"]


def test_nan_in_a_chaotic_source_is_wrong(chaotic: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="factor is wrong: output y: not finite"):
        rewrite_file(chaotic, tmp_path / "o.onnx", [Factor(node="last", value=float("nan"))])


def test_one_output_in_noise_excuses_no_other(write_text: Write, tmp_path: Path) -> None:
    text = TEXT.replace("FACTOR", CHAOTIC).replace("(float[3,7] y)", "(float[3,7] y, float[3,7] z)")
    source = write_text(text.replace("[last]", "[calm] z = Mul (x, two) [last]"), "two.onnx")
    with pytest.raises(RewriteError, match="factor is wrong"):
        rewrite_file(source, tmp_path / "o.onnx", [ROUNDED, Factor(node="calm", value=2.1)])


def test_whole_numbers_are_no_noise(chaotic: Path, tmp_path: Path) -> None:
    feeds = tuple({"x": np.full((3, 7), start, np.float32)} for start in (1, 2))
    samples = Samples(feeds=feeds, kind="whole")
    with pytest.raises(RewriteError, match="factor is wrong"):
        rewrite_file(chaotic, tmp_path / "o.onnx", [ROUNDED], samples=samples)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_nudge_is_one_rounding_and_leaves_zeros_integers_and_infinities(dtype: type) -> None:
    array: Array = np.array([0.3, -1.7, 250.5, 0, np.inf, np.nan], dtype)
    codes = np.arange(6)
    moved = nudged({"x": array, "codes": codes, "mask": np.ones(3, dtype)}, seed=3)
    assert moved["x"].dtype == dtype
    relative = np.abs(moved["x"][:3].astype(np.float64) / array[:3].astype(np.float64) - 1)
    eps = float(np.finfo(dtype).eps)
    assert (relative > 0).all()
    assert (relative <= eps).all()
    np.testing.assert_array_equal(moved["x"][3:], array[3:])
    assert moved["codes"] is codes
    assert (moved["mask"] == 1).all()
    np.testing.assert_array_equal(moved["x"], nudged({"x": array}, seed=3)["x"])
