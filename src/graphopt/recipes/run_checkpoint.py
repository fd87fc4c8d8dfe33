"""The PyTorch stage that goes with a model: its recipe's network with the checkpoint that it came from."""

from pathlib import Path

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import CheckpointError, UsageError
from graphopt.core.files import sha256_of
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.stages import RUN_STAGES, Stage

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
        CheckpointError: it does not exist, or is no longer what the run was exported from.
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
    """Return the checkpoint of the run that a file lies in; None when there is no run, or it had none.

    Raises:
        CheckpointError: it is no longer what the run was exported from.
    """
    if path is None:
        return None
    run = next((folder for folder in path.absolute().parents if (folder / "run.json").is_file()), None)
    found = RunSources.load(run).checkpoint if run is not None else None
    if run is not None and found is not None:
        check_exported_from(run, found)
    return found


def check_exported_from(run: Path, checkpoint: Path) -> None:
    """Refuse a checkpoint that differs from the one that a run's graphs were exported from.

    Training may have gone on and replaced the file: compared with it, the export would seem to lose what
    are other weights. Nothing is said of a checkpoint that is missing, or a run that began with a graph.

    Raises:
        CheckpointError: it differs.
    """
    raw = Artefact.load(run / RUN_STAGES["raw"])
    if raw is None or not raw.parent_sha256 or "copied_from" in raw.settings or not checkpoint.is_file():
        return
    if sha256_of(checkpoint) != raw.parent_sha256:
        raise CheckpointError(
            f"the run {run} was exported from another checkpoint than {checkpoint} is now, so that comparing "
            f"them says nothing of the export; run graphopt pipeline again with --checkpoint {checkpoint}"
        )
