"""The estimate of half precision as a stage: where it is understood, what it says of itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from graphopt.core.errors import InvalidModelError, PreconditionError, UsageError
from graphopt.core.onnx_files import from_proto, load_model, write_model
from graphopt.recipes.evaluation import evaluate
from graphopt.recipes.half_estimate import estimate_note, half_precision_copy, open_estimate
from graphopt.recipes.inference import bench
from graphopt.recipes.stages import parse_stage
from graphopt.recipes.validation import validate_stages

Feeds = dict[str, Any]


@pytest.fixture
def model(small: Any, finished: Path, tmp_path: Path) -> Path:
    """The small recipe's raw graph, alone in a folder."""
    path = tmp_path / "alone" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes((finished / "raw.onnx").read_bytes())
    return path


@pytest.fixture
def feeds() -> Feeds:
    rng = np.random.default_rng(4)
    return {"image": rng.standard_normal((1, 3, 32, 16)).astype(np.float32)}


def test_the_users_folder_stays_as_it_is(model: Path, feeds: Feeds) -> None:
    before = model.read_bytes()
    with open_estimate(model, "fp16") as session:
        assert [spec.dtype for spec in (*session.inputs, *session.outputs)] == ["float32", "float32"]
        session.run(feeds)
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]
    assert model.read_bytes() == before


def test_models_whose_weights_fill_a_second_file(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,300] x) => (float[2,7] y) { y = MatMul (x, w) }"""
    proto, rng = onnx.parser.parse_model(text), np.random.default_rng(6)
    weights = rng.standard_normal((300, 7)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    source, copy = tmp_path / "source.onnx", tmp_path / "copy.onnx"
    write_model(from_proto(proto), source, limit=6000)
    write_model(half_precision_copy(load_model(source)), copy, limit=6000)
    assert copy.with_name("copy.onnx.data").is_file()
    assert source.with_name("source.onnx.data").is_file()
    x: Any = rng.standard_normal((2, 300)).astype(np.float32)
    halves = [array.astype(np.float16).astype(np.float32) for array in (x, weights)]
    for session in (open_estimate(source, "fp16"), parse_stage(str(copy)).open()):
        with session:
            got: Any = session.run({"x": x})["y"]
            np.testing.assert_allclose(got, halves[0] @ halves[1], rtol=2**-10)


def test_a_comparison_calls_it_an_estimate(model: Path) -> None:
    report = validate_stages([str(model), f"fp16:{model}"], count=2, recipe_name="small")
    compared = report.candidates[0]
    assert compared.name == f"fp16:{model} (estimate)"
    error = compared.outputs[0].tensor.max_abs
    assert error is not None
    assert error > 0


def test_it_is_scored_like_any_stage_and_shares_no_kept_answers(
    small: Any, finished: Path, tmp_path: Path
) -> None:
    run, store = f"{finished / 'run'}#rewritten", tmp_path / "answers.npz"
    exact = evaluate(run, finished / "data", store=store)
    estimate = evaluate(f"fp16:{run}", finished / "data", store=store)
    outputs: list[Any] = [item.predictions.outputs["output1"] for item in (exact, estimate)]
    assert 0 < np.abs(outputs[0] - outputs[1]).max() < 0.05
    np.testing.assert_array_equal(outputs[1], outputs[1].astype(np.float16))


@pytest.mark.torch
def test_it_loses_as_much_as_pytorch_in_half_precision(small: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = small.RECIPE.build()
    small.RECIPE.load(module, small.write_checkpoint(tmp_path / "c.pth"))
    rng = np.random.default_rng(8)
    image: Any = rng.standard_normal((1, 3, small.HEIGHT, small.WIDTH)).astype(np.float32)
    with torch.no_grad():
        exact = module(torch.from_numpy(image)).numpy()
        half = module.half()(torch.from_numpy(image).half()).float().numpy()
    with open_estimate(small.write_onnx(tmp_path / "raw.onnx"), "fp16") as session:
        got: Any = session.run({"image": image})["output1"]
    lost = [float(np.sqrt(np.square(side - exact).mean())) for side in (got, half)]
    assert 0.5 < lost[0] / lost[1] < 2, lost
    np.testing.assert_allclose(got, half, atol=2e-3 * np.abs(exact).max())


def test_its_time_is_no_answer(model: Path) -> None:
    with pytest.raises(UsageError, match="its time says nothing"):
        bench(f"fp16:{model}", seconds=0.1)


def test_a_classifier_has_no_suppression(model: Path) -> None:
    with pytest.raises(
        PreconditionError, match=r"fp16-nms:.*model\.onnx: the model has none of .* nothing can be rounded"
    ):
        parse_stage(f"fp16-nms:{model}").open()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x07\x12")
    with pytest.raises(InvalidModelError, match=r"cut\.onnx"):
        open_estimate(tmp_path / "cut.onnx", "fp16")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("fp16:a.onnx", "estimate: tensors in float16, sums in float32"),
        ("fp16-nms:a.onnx", "estimate: boxes and scores in float16 at the NMS only"),
        ("a.onnx", ""),
        ("openvino:a.onnx", ""),
    ],
)
def test_what_is_said_beside_the_numbers(text: str, note: str) -> None:
    assert estimate_note(text) == note
