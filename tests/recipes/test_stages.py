"""Everything a user may name as a stage, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.core.errors import (
    CheckpointError,
    GraphoptError,
    InvalidModelError,
    UsageError,
)
from graphopt.recipes.stages import parse_stage

FEEDS: Any = {"image": np.zeros((1, 3, 32, 16), np.float32)}


def logits(text: str, **options: Any) -> Any:
    with parse_stage(text, **options).open() as session:
        return session.run(FEEDS)["output1"]


def test_a_file_without_sidecar_has_the_recipe_it_is_given(small: Any, tmp_path: Path) -> None:
    model = small.write_onnx(tmp_path / "a.onnx")
    stage = parse_stage(str(model))
    assert (stage.kind, stage.path, stage.recipe, stage.artefact) == ("model", model, None, None)
    assert parse_stage(str(model), recipe_name="small").recipe is small.RECIPE
    assert logits(str(model)).shape == (1, 35)


@pytest.mark.parametrize(("name", "is_known"), [("small", True), ("nobody", False)])
def test_a_file_without_sidecar_may_name_its_recipe_itself(
    small: Any, tmp_path: Path, name: str, is_known: bool
) -> None:
    path = small.write_onnx(tmp_path / "a.onnx")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"graphopt.recipe": name})
    onnx.save(model, path)
    assert parse_stage(str(path)).recipe is (small.RECIPE if is_known else None)
    assert parse_stage(str(path), recipe_name="small").recipe is small.RECIPE


def test_the_stages_of_a_run(small: Any, finished: Path) -> None:
    run = finished / "run"
    for name, file in (
        ("raw", "raw/model.onnx"),
        ("rewritten", "rewritten/model.onnx"),
        ("compiled", "compiled/onnxruntime/small.ort.onnx"),
    ):
        stage = parse_stage(f"{run}#{name}")
        assert (stage.kind, stage.path, stage.label) == ("model", run / file, f"{run}#{name}")
        assert stage.recipe is small.RECIPE  # its sidecar says so
        np.testing.assert_allclose(logits(f"{run}#{name}"), logits(str(finished / "raw.onnx")), atol=1e-5)


@pytest.mark.openvino
def test_openvino_reads_an_onnx_file(small: Any, finished: Path) -> None:
    pytest.importorskip("openvino")
    text = f"openvino:{finished / 'raw.onnx'}"
    assert parse_stage(text).kind == "openvino"
    np.testing.assert_allclose(logits(text), logits(str(finished / "raw.onnx")), atol=1e-5)


def test_an_estimate_of_half_precision(small: Any, finished: Path) -> None:
    stage = parse_stage(f"fp16:{finished / 'run'}#raw")
    assert stage.is_estimate
    assert stage.label == f"fp16:{finished / 'run'}#raw (estimate)"
    assert stage.recipe is small.RECIPE
    feeds: Any = {"image": np.random.default_rng(2).standard_normal((1, 3, 32, 16)).astype(np.float32)}
    with stage.open() as session, parse_stage(f"{finished / 'run'}#raw").open() as plain:
        got: Any = session.run(feeds)["output1"]
        exact: Any = plain.run(feeds)["output1"]
    np.testing.assert_array_equal(got, got.astype(np.float16))
    assert 0 < np.abs(got - exact).max() < 0.02 * np.abs(exact).max()


@pytest.mark.torch
def test_a_network_with_its_checkpoint(small: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = small.write_checkpoint(tmp_path / "c@1.pth")
    stage = parse_stage(f"torch:small@{checkpoint}")
    assert (stage.kind, stage.path, stage.recipe) == ("torch", checkpoint, small.RECIPE)
    wanted = logits(str(small.write_onnx(tmp_path / "a.onnx")))
    np.testing.assert_allclose(logits(f"torch:small@{checkpoint}"), wanted, atol=1e-5)
    with pytest.raises(UsageError, match="torch:small@FILE"):
        parse_stage("torch:small").open()


def test_folders(small: Any, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    model = small.write_onnx(tmp_path / "bundle" / "model.onnx")
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    assert parse_stage(str(tmp_path / "bundle")).path == model
    results = parse_stage(str(tmp_path), recipe_name="small")
    assert (results.kind, results.recipe) == ("results", small.RECIPE)
    with pytest.raises(UsageError, match="not a model that can run"):
        results.open()


REFUSED: list[tuple[str, type[GraphoptError], str]] = [
    ("none.onnx", InvalidModelError, "none.onnx does not exist; a stage is"),
    ("openvino:none.onnx", InvalidModelError, "does not exist"),
    ("fp16:none.onnx", InvalidModelError, "none.onnx does not exist"),
    ("fp16:text.txt", UsageError, "a model file ends in"),
    ("fp16-nms:.", UsageError, "half precision is estimated of an ONNX file: fp16-nms:FILE.onnx"),
    ("fp16:torch:small", UsageError, "half precision is estimated of an ONNX file"),
    ("torch:smal@c.pth", UsageError, "did you mean small?"),
    ("torch:small@none.pth", CheckpointError, "none.pth does not exist"),
    ("torch:", InvalidModelError, "torch: does not exist"),
    ("text.txt", UsageError, "a model file ends in .onnx, .ort, .xml, .om"),
    (".#raw", UsageError, ". is not a run folder"),
    (
        "RUN#stag",
        UsageError,
        "unknown stage 'stag' of a run; known: compiled, onnxruntime, openvino, raw, rewritten",
    ),
    ("RUN#rewriten", UsageError, "did you mean rewritten?"),
    ("RUN#", UsageError, "unknown stage ''"),
    ("RUN", UsageError, "is a run; name one of its stages"),
]


@pytest.mark.parametrize(("text", "error", "message"), REFUSED, ids=[item[0] for item in REFUSED])
def test_refusals(
    small: Any,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    error: type[GraphoptError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").touch()
    with pytest.raises(error, match=re.escape(message)):
        parse_stage(text.replace("RUN", str(finished / "run")))


def test_an_unknown_recipe_and_an_unfinished_run(small: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean deepmar"):
        parse_stage("a.onnx", recipe_name="depmar")
    (tmp_path / "run.json").touch()
    with pytest.raises(InvalidModelError, match="no compiled model yet"):
        parse_stage(f"{tmp_path}#compiled")
