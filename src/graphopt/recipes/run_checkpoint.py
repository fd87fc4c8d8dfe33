"""The PyTorch stage that goes with a model: its recipe's network with the checkpoint that it came from."""

from pathlib import Path

from graphopt.core.errors import CheckpointError, UsageError
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.stages import Stage

TORCH = "torch"
"""What users write for it."""


def torch_stage(stage: Stage, recipe: Recipe, checkpoint: Path | None = None) -> Stage:
    """Return the stage that ``torch`` stands for beside another one.

    Args:
        stage: the other one; a file of a run knows the run's checkpoint.
        recipe: of both.
        checkpoint: trained weights; None takes the run's.

    Raises:
        UsageError: nobody says which checkpoint.
        CheckpointError: it does not exist.
        PreconditionError: the recipe has no network.
    """
    recipe.check_has("build", "load", purpose=TORCH)
    found = checkpoint or checkpoint_of(stage.path)
    if found is None:
        raise UsageError(
            f"{stage.label} does not belong to a run with a checkpoint, so that {TORCH} says nothing; add "
            f"--checkpoint FILE, or write torch:{recipe.name}@FILE"
        )
    if not found.is_file():
        raise CheckpointError(f"the checkpoint {found} does not exist, or is no file; name it: --checkpoint")
    return Stage(label=TORCH, kind="torch", path=found, recipe=recipe)


def checkpoint_of(path: Path | None) -> Path | None:
    """Return the checkpoint of the run that a file lies in; None when there is no run, or it had none."""
    if path is None:
        return None
    run = next((folder for folder in path.absolute().parents if (folder / "run.json").is_file()), None)
    return RunSources.load(run).checkpoint if run is not None else None
