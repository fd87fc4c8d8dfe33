"""The passes on graphs that exporters really wrote, weights refilled by seeded noise."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import check_model_file, load_model, write_model
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.catalogue import make_pass
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.fold_constants import FoldConstants
from graphopt.surgery.passes.fuse_batchnorm import FuseBatchnorm
from graphopt.surgery.passes.remove_pad import RemovePad
from graphopt.surgery.passes.set_batch import SetBatch
from graphopt.surgery.passes.static_shapes import StaticShapes
from graphopt.surgery.presets import PRESETS
from graphopt.surgery.steps import parse_steps

pytestmark = pytest.mark.shared

CLEAN = (RemovePad(), StaticShapes(), FoldConstants(), FuseBatchnorm())


def clean(path: Path) -> ir.Model:
    model = load_model(path)
    for item in CLEAN:
        model, _ = run_pass(model, item)
    return model


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph.all_nodes()]


def outputs_of(path: Path, batch: int | None = None) -> dict[str, Array]:
    """Run a file on seeded inputs; ``batch`` feeds one sample at a time and joins the answers."""
    with OnnxRuntimeSession(path) as session:
        if batch is None:
            return session.run(structured_feeds(session.inputs, seed=1))
        feeds = samples(session, batch)
        answers = [session.run({k: v[i : i + 1] for k, v in feeds.items()}) for i in range(batch)]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def samples(session: OnnxRuntimeSession, batch: int) -> dict[str, Array]:
    rng = np.random.default_rng(2)
    return {
        spec.name: rng.standard_normal((batch, *(int(d or 1) for d in spec.shape[1:]))).astype(np.float32)
        for spec in session.inputs
    }


def assert_close(reference: dict[str, Array], candidate: dict[str, Array]) -> None:
    assert list(reference) == list(candidate)
    for name, expected in reference.items():
        assert candidate[name].shape == expected.shape
        wide, got = expected.astype(np.float64), candidate[name].astype(np.float64)
        assert np.abs(got - wide).max() < 1e-5 * np.abs(wide).max()


def test_deepmar_has_one_zero_pad_fed_by_a_constant_node(filled_deepmar: Path) -> None:
    model, report = run_pass(load_model(filled_deepmar), RemovePad())
    (change,) = report.applied
    assert change.node == "Pad_173"
    assert report.declined == ()
    assert "Pad" not in ops(model)


def test_deepmar_becomes_as_small_as_the_simplifiers_make_it(filled_deepmar: Path, tmp_path: Path) -> None:
    model = clean(filled_deepmar)
    assert model.graph.num_nodes() <= 122
    unwanted = {"Shape", "Gather", "Unsqueeze", "Concat", "Pad", "Constant", "BatchNormalization"}
    assert not unwanted & set(ops(model))
    target = tmp_path / "clean.onnx"
    write_model(model, target)
    assert check_model_file(target) is None
    assert_close(outputs_of(filled_deepmar), outputs_of(target))


@pytest.mark.parametrize("static_first", [False, True])
@pytest.mark.parametrize("batch", [4, 8])
def test_deepmar_takes_another_batch(
    filled_deepmar: Path, tmp_path: Path, batch: int, static_first: bool
) -> None:
    model = load_model(filled_deepmar)
    if static_first:  # then the batch of 1 is baked into a Reshape constant
        model, _ = run_pass(model, StaticShapes())
    model, _ = run_pass(model, SetBatch(size=batch))
    target = tmp_path / f"bs{batch}.onnx"
    write_model(model, target)
    assert check_model_file(target) is None
    with OnnxRuntimeSession(target) as session:
        together = session.run(samples(session, batch))
    assert together["output1"].shape == (batch, 35)
    assert_close(outputs_of(filled_deepmar, batch), together)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "nodes"), [("refinenet", 416), ("fcos", 480), ("nas_fpn", 866)])
def test_other_graphs_stay_valid_and_equal(
    filled: Callable[[str], Path], tmp_path: Path, name: str, nodes: int
) -> None:
    source = filled(name)
    model = clean(source)
    assert model.graph.num_nodes() <= nodes
    target = tmp_path / "clean.onnx"
    write_model(model, target)
    assert check_model_file(target) is None
    assert_close(outputs_of(source), outputs_of(target))


@pytest.mark.parametrize("name", ["fcos", "nas_fpn"])
def test_detectors_written_for_one_image_are_refused_by_node(
    filled: Callable[[str], Path], name: str
) -> None:
    model = load_model(filled(name))
    with pytest.raises(PreconditionError, match=r"Gather Gather_\d+ does not allow another batch"):
        run_pass(model, SetBatch(size=4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "smallest"),
    # What the best of onnxsim 0.8.1, OnnxSlim 0.1.98 and onnxscript 0.7.2 leaves of each.
    [("deepmar_bs1", 122), ("refinenet", 416), ("fcos", 442), ("nas_fpn", 803), ("faster_rcnn_dcn", 498)],
)
def test_the_preset_clean_comes_within_two_percent_of_the_smallest(
    filled: Callable[[str], Path], name: str, smallest: int
) -> None:
    model = load_model(filled(name))
    for step in parse_steps(PRESETS["clean"]):
        model, _ = run_pass(model, make_pass(step))
    assert model.graph.num_nodes() <= 1.02 * smallest
