"""``--against torch`` finds the checkpoint of the run, or takes the one that is named."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import CheckpointError, PreconditionError, UsageError
from graphopt.core.files import sha256_of
from graphopt.recipes.drift import DriftOptions, measure_drift
from graphopt.recipes.evaluation import evaluate
from graphopt.recipes.run_checkpoint import checkpoint_of
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.validation import validate_stages


def _evaluate(project: Path, what: str = "run#rewritten", **options: Any) -> Any:
    return evaluate(str(project / what), project / "data", against="torch", **options)


@pytest.mark.torch
def test_the_checkpoint_of_the_run_is_found(small: Any, project: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = small.write_checkpoint(project / "c.pth")
    RunSources(checkpoint=checkpoint).save(project / "run")
    found = _evaluate(project)
    assert found.reference is not None
    assert found.score.headline == 1
    assert validate_stages([str(project / "run")]).reference == f"torch:small@{checkpoint}"
    other = small.write_checkpoint(project / "other.pth", scale=-1.0)
    assert _evaluate(project, checkpoint=other).score.headline < 0.5
    # A loose file has no run.
    assert _evaluate(project, "raw.onnx", recipe_name="small", checkpoint=checkpoint).score.headline == 1


@pytest.mark.usefixtures("small")
def test_a_checkpoint_that_nobody_knows_is_asked_for(project: Path) -> None:
    RunSources().save(project / "run")
    with pytest.raises(UsageError, match=r"with a checkpoint.* --checkpoint FILE, or write torch:small@"):
        _evaluate(project)
    with pytest.raises(UsageError, match="--checkpoint FILE"):
        _evaluate(project, "raw.onnx", recipe_name="small")
    with pytest.raises(UsageError, match="goes with --against torch"):
        evaluate(str(project / "run#raw"), project / "data", checkpoint=project / "c.pth")
    RunSources(checkpoint=project / "gone.pth").save(project / "run")
    with pytest.raises(CheckpointError, match=r"gone\.pth does not exist"):
        _evaluate(project)


def test_a_recipe_without_a_network_says_so(boxes: Any, tmp_path: Path) -> None:
    model = boxes.write_onnx(tmp_path / "raw.onnx")
    data = boxes.write_data(tmp_path / "data", images=1)
    with pytest.raises(PreconditionError, match="recipe boxes lacks: build"):
        evaluate(str(model), data, recipe_name="boxes", against="torch", checkpoint=model)


def test_no_file_and_no_run_have_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint_of(None) is None
    assert checkpoint_of(tmp_path / "raw.onnx") is None
    (tmp_path / "run.json").write_text("{}")
    assert checkpoint_of(tmp_path / "raw" / "model.onnx") is None
    RunSources(checkpoint=tmp_path / "c.pth").save(tmp_path)
    assert checkpoint_of(tmp_path / "raw" / "model.onnx") == tmp_path / "c.pth"


@pytest.mark.torch
def test_weights_that_the_run_was_not_exported_from_are_compared_with_nothing(
    small: Any, project: Path
) -> None:
    """Training went on and replaced the file: its difference is no loss of the export."""
    pytest.importorskip("torch")
    run, checkpoint = project / "run", small.write_checkpoint(project / "c.pth")
    RunSources(checkpoint=checkpoint, data=project / "data").save(run)
    raw = Artefact.load(run / "raw" / "model.onnx")
    assert raw is not None
    dataclasses.replace(raw, parent_sha256=sha256_of(checkpoint), settings={}).save()
    assert _evaluate(project).score.headline == 1
    assert _torch_row(small, run).metric is not None
    small.write_checkpoint(checkpoint, scale=-1.0)
    with pytest.raises(CheckpointError, match=r"exported from another checkpoint than .*c\.pth is now"):
        _evaluate(project)
    with pytest.raises(CheckpointError, match="run graphopt pipeline again"):
        validate_stages([str(run)])
    row = _torch_row(small, run)
    assert row.metric is None
    assert row.note.startswith("not run: the run ")
    with pytest.raises(CheckpointError, match="another checkpoint"):
        _torch_row(small, run, checkpoint=checkpoint)


def _torch_row(small: Any, run: Path, **options: Any) -> Any:
    return measure_drift(small.RECIPE, DriftOptions(run=run, **options)).report.waterfall.rows[0]


@pytest.mark.torch
def test_stored_answers_of_another_network_are_not_taken(
    small: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    checkpoint = small.write_checkpoint(project / "c.pth")
    store = project / "p.npz"
    what = f"torch:small@{checkpoint}"

    def answers() -> Any:
        found = evaluate(what, project / "data", store=store)
        return found.predictions.outputs["output1"].copy()

    first = answers()
    build = small.RECIPE.build

    def negated() -> Any:
        module = build()
        module.register_forward_hook(lambda _, __, output: -output)
        return module

    changed = dataclasses.replace(small.RECIPE, build=negated, digest="another configuration")
    monkeypatch.setattr("graphopt.recipes.stages.find_recipe", lambda _: changed)
    assert np.allclose(answers(), -first, atol=1e-5)
