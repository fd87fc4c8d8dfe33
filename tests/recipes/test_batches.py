"""Copies for batch sizes: which are run themselves, which are proven on a small one, and how that is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import GraphoptError, VerificationError
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.recipes import batches
from graphopt.recipes.batches import BatchCopies
from graphopt.recipes.rewrite import rewrite
from graphopt.surgery import RewriteError, Status, Verify
from graphopt.surgery.steps import parse_steps

SIZES = """<ir_version: 8, opset_import: ["" : 13]> g (float[{batch},3,4] x) => (float[{batch},3,8] y)
    <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[2] rest = {{3,8}}, float[1] two = {{2.0}}> {{
        a = Concat <axis = 2> (x, x)
        s = Shape (x)
        b = Slice (s, zero, one)
        t = Concat <axis = 0> (b, rest)
        r = Reshape (a, t)
        y = Mul (r, two)
    }}"""
"""48 elements per sample, and sizes computed from the batch."""


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Path]:
    def write(batch: int | str = "n") -> Path:
        path = tmp_path / "source.onnx"
        onnx.save(onnx.parser.parse_model(SIZES.format(batch=batch)), path)
        return path

    return write


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Verify]]:
    """Files that are written, and whether they are run."""
    seen: list[tuple[str, Verify]] = []

    def spy(source: Path, output: Path, steps: Any, **options: Any) -> Any:
        seen.append((output.name, options["verify"]))
        return rewrite(source, output, steps, **options)

    monkeypatch.setattr(batches, "rewrite", spy)
    return seen


@pytest.mark.parametrize("batch", ["n", 1, 3])
def test_a_copy_that_is_cheap_is_run_itself(
    source: Callable[..., Path], tmp_path: Path, batch: int | str, proofs: list[Any]
) -> None:
    report = BatchCopies(source(batch)).write(tmp_path / "bs6.onnx", 6)
    assert report.verification.status is Status.PROVEN
    assert report.verification.reason == ""
    assert proofs == [("bs6.onnx", Verify.FINAL)]


def test_what_follows_from_the_batch_is_constant_in_a_copy(
    source: Callable[..., Path], tmp_path: Path
) -> None:
    BatchCopies(source()).write(tmp_path / "bs6.onnx", 6)
    model = load_model(tmp_path / "bs6.onnx")
    assert [node.op_type for node in model.graph] == ["Concat", "Reshape", "Mul"]
    assert input_specs(model)[0].shape == (6, 3, 4)


def test_large_copies_are_proven_once_on_a_small_one_and_say_so(
    source: Callable[..., Path], tmp_path: Path, proofs: list[Any]
) -> None:
    # 61 elements per sample: 24 + 24 + 24 and, of two samples, 3 + 1 + 3 sizes.
    copies = BatchCopies(source(), most_elements=400)
    for size in (1, 5, 8, 16):
        report = copies.write(tmp_path / f"bs{size}.onnx", size)
        assert report.verification.status is Status.PROVEN
        assert ("in place of" in report.verification.reason) == (size > 5)
    assert proofs == [
        ("bs1.onnx", Verify.FINAL),
        ("bs5.onnx", Verify.FINAL),
        ("probe_bs2.onnx", Verify.FINAL),
        ("bs8.onnx", Verify.OFF),
        ("bs16.onnx", Verify.OFF),
    ]
    artefact = Artefact.load(tmp_path / "bs16.onnx")
    assert artefact is not None
    assert artefact.batch == 16
    assert artefact.settings["verification"] == (
        "proven, run at batch 2 in place of 16; both copies have the same nodes"
    )
    x = np.random.default_rng(0).standard_normal((16, 3, 4)).astype(np.float32)
    with OnnxRuntimeSession(tmp_path / "bs16.onnx") as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * np.concatenate([x, x], axis=2))


def test_a_large_copy_with_other_nodes_than_the_small_one_is_refused(
    source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = batches._signature
    monkeypatch.setattr(batches, "_signature", lambda model: (signature(model), input_specs(model)[0].shape))
    with pytest.raises(VerificationError, match="for batch 8 has other nodes than the one for batch 2"):
        BatchCopies(source(), most_elements=100).write(tmp_path / "bs8.onnx", 8)
    assert [path.name for path in tmp_path.iterdir()] == ["source.onnx"]


def test_a_small_copy_that_is_wrong_stops_the_large_one(
    source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphopt.surgery.passes.set_batch import SetBatch

    original = SetBatch.rewrite

    def spoil(self: SetBatch, model: Any, site: Any) -> None:
        original(self, model, site)
        node = next(node for node in model.graph if node.op_type == "Mul")
        node.replace_input_with(1, node.inputs[0])

    monkeypatch.setattr(SetBatch, "rewrite", spoil)
    with pytest.raises(RewriteError, match="set_batch is wrong"):
        BatchCopies(source(), most_elements=100).write(tmp_path / "bs8.onnx", 8)
    assert [path.name for path in tmp_path.iterdir()] == ["source.onnx"]


def test_a_plan_proves_nothing(source: Callable[..., Path], tmp_path: Path, proofs: list[Any]) -> None:
    report = BatchCopies(source(), verify=Verify.OFF).write(tmp_path / "bs8.onnx", 8)
    assert report.verification.status is Status.OFF
    assert proofs == [("bs8.onnx", Verify.OFF)]


def test_inputs_that_do_not_share_a_batch_are_left_as_they_are(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,4] x, float[5,4] regions)
        => (float[1,5,4] y) { m = ReduceMean <axes = [1]> (x)  y = Mul (m, regions) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "source.onnx")
    copies = BatchCopies(tmp_path / "source.onnx")
    copies.write(tmp_path / "bs1.onnx", 1)
    assert [spec.shape for spec in input_specs(load_model(tmp_path / "bs1.onnx"))] == [(1, 3, 4), (5, 4)]
    with pytest.raises(GraphoptError, match=r"x \[1, 3, 4\], regions \[5, 4\]") as refused:
        copies.write(tmp_path / "bs2.onnx", 2)
    command = str(refused.value).splitlines()[-1].split("--passes ")[1]
    own = tmp_path / "own.onnx"
    rewrite(tmp_path / "source.onnx", own, parse_steps(command))
    assert [spec.shape for spec in input_specs(load_model(own))] == [(2, 3, 4), (5, 4)]
    BatchCopies(own).write(tmp_path / "bs2.onnx", 2)
