"""``--against torch`` finds the checkpoint of the run, or takes the one that is named."""

from pathlib import Path
from typing import Any

import pytest

from graphopt.core.errors import CheckpointError, PreconditionError, UsageError
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
