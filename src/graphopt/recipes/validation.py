"""Join what a user named as stages to the comparison."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from graphopt.core.comparison import FLOAT32_REORDERED, Tolerance
from graphopt.core.detections import detections_of_roles
from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError
from graphopt.core.golden import GOLDEN_FILE
from graphopt.core.roles import Roles
from graphopt.core.session import Session
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.roles import outputs_of, with_roles
from graphopt.recipes.run_checkpoint import check_exported_from
from graphopt.recipes.run_sources import RunSources
from graphopt.recipes.samples import feeds_for
from graphopt.recipes.stages import RUN_STAGES, Stage, parse_stage
from graphopt.validate.report import ComparisonReport
from graphopt.validate.stages import compare_sessions


def validate_stages(
    texts: Sequence[str],
    *,
    data: Path | None = None,
    annotations: Path | None = None,
    count: int = 8,
    recipe_name: str = "",
    tolerance: Tolerance | None = None,
    roles: Roles | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ComparisonReport:
    """Compare the first stage with all others.

    Args:
        texts: stages as users name them; a single run folder stands for all its stages.
        data: inputs; see ``recipes.samples.feeds_for``.
        annotations: the file of a data set's labels, where its format has one.
        count: at most so many samples.
        recipe_name: for files without a sidecar.
        tolerance: None takes the recipe's, else that of reordered float32 sums.
        roles: of the outputs, in their order where no tensors are named; None takes those of the
            sidecars, else the recipe's.
        on_progress: told samples done and their total.

    Raises:
        UsageError: fewer than two stages, or a stage that cannot run.
    """
    stages = _stages(texts, recipe_name)
    recipe = next((stage.recipe for stage in stages if stage.recipe), None)
    with ExitStack() as stack:
        sessions = [stack.enter_context(stage.open()) for stage in stages]
        golden = next((place for stage in stages if (place := _golden(stage))), None)
        feeds = feeds_for(
            sessions[0].inputs,
            data=data,
            recipe=recipe,
            golden=golden,
            annotations=annotations,
            count=count,
        )

        def report_done(done: int) -> None:
            if on_progress is not None:
                on_progress(done, len(feeds.samples))

        _check_roles(roles, sessions)
        known = _alike([_known_outputs(*pair, roles) for pair in zip(stages, sessions, strict=True)])
        labels = [stage.label for stage in stages]
        return compare_sessions(
            sessions[0],
            dict(zip(labels[1:], sessions[1:], strict=True)),
            feeds.samples,
            tolerance or (recipe.tolerance if recipe else FLOAT32_REORDERED),
            reference_name=stages[0].label,
            sample_kind=feeds.kind,
            outputs=known[0],
            candidate_outputs=dict(zip(labels[1:], known[1:], strict=True)),
            on_progress=report_done,
        )


def _check_roles(roles: Roles | None, sessions: Sequence[Session]) -> None:
    outputs = {spec.name for session in sessions for spec in session.outputs}
    if roles is not None and (unknown := [name for name in roles.tensors if name not in outputs]):
        raise UsageError(
            f"--as: no stage has an output {unknown[0]!r}; {did_you_mean(unknown[0], sorted(outputs))}"
        )


def _alike(stages: list[tuple[TensorSpec, ...]]) -> list[tuple[TensorSpec, ...]]:
    """Where one stage is known to answer with detections, tell those of others by their dtypes and sizes."""
    if not any(detections_of_roles(outputs) for outputs in stages):
        return stages
    return [outputs if detections_of_roles(outputs) else _as_detections(outputs) for outputs in stages]


def _as_detections(outputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    boxes = [spec.name for spec in outputs if spec.dtype.startswith("float") and spec.shape[-1:] == (5,)]
    classes = [spec.name for spec in outputs if spec.dtype.startswith("int")]
    if len(boxes) != 1 or len(classes) != 1:
        return outputs
    return with_roles(outputs, {boxes[0]: "dets", classes[0]: "labels"})


def _known_outputs(stage: Stage, session: Session, roles: Roles | None) -> tuple[TensorSpec, ...]:
    """Return the outputs of a stage with their roles, as far as they are known."""
    names = [spec.name for spec in session.outputs]
    if roles is not None and not roles.tensors and set(roles.names) <= set(names):
        return with_roles(session.outputs, {name: name for name in roles.names})  # whatever their order
    if roles is not None and (not roles.tensors or set(roles.tensors) <= set(names)):
        return with_roles(session.outputs, roles.by_tensor(names))
    known = outputs_of(stage.artefact, stage.recipe)
    return with_roles(session.outputs, {spec.name: spec.role for spec in known if spec.role})


def _stages(texts: Sequence[str], recipe_name: str) -> list[Stage]:
    if len(texts) == 1 and (Path(texts[0]) / "run.json").is_file():
        texts = _stages_of_run(Path(texts[0]))
    if len(texts) < 2:
        raise UsageError("validate compares at least two stages: graphopt validate A B")
    if len(set(texts)) < len(texts):
        raise UsageError("a stage is named twice; comparing it with itself says nothing")
    stages = [parse_stage(text, recipe_name=recipe_name) for text in texts]
    return [stage.with_specs_of(stages) for stage in stages]


def _stages_of_run(run: Path) -> list[str]:
    """Return every stage of a run that can run here, PyTorch first when its checkpoint is there."""
    recipe = json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"]
    sources = RunSources.load(run)
    checkpoint = sources.checkpoint
    if checkpoint is not None:
        sources.check_recipe(find_recipe(recipe), run)
        check_exported_from(run, checkpoint)
    known = checkpoint is not None and checkpoint.is_file() and find_spec("torch")
    torch = [f"torch:{recipe}@{checkpoint}"] if known else []
    missing = () if find_spec("openvino") else ("openvino",)
    stages = [name for name in RUN_STAGES if name != "compiled" and name not in missing]
    return torch + [f"{run}#{name}" for name in stages if any(run.glob(RUN_STAGES[name]))]


def _golden(stage: Stage) -> Path | None:
    place = stage.path.with_name(GOLDEN_FILE) if stage.path is not None else None
    return place if place is not None and place.is_file() else None
