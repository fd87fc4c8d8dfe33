"""The whole way of one model: export, rewrite, compile, run, score, compare, report.

Each stage is a function below that names what it depends on; ``RunFolder`` decides whether its
earlier result still holds.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from graphopt.compile.target import find_target
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import MissingBackendError, UsageError
from graphopt.core.files import sha256_of
from graphopt.core.golden import GOLDEN_FILE
from graphopt.core.model_digest import model_digest
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.recipes.batches import batch_model
from graphopt.recipes.compilation import CompileOptions, compile_model, make_target
from graphopt.recipes.device_note import device_commands, environment
from graphopt.recipes.export import export_recipe, make_demo
from graphopt.recipes.pipeline_estimates import score_estimates
from graphopt.recipes.pipeline_options import PipelineOptions
from graphopt.recipes.pipeline_report import BatchCheck, PipelineReport
from graphopt.recipes.progress import Progress, Silent
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.rewrite import rewrite
from graphopt.recipes.run_folder import RunFolder, StageRecord
from graphopt.recipes.run_sources import RunSources, own_version, run_versions
from graphopt.recipes.scoring import Scored, Scorer
from graphopt.recipes.stages import parse_stage
from graphopt.surgery.catalogue import find_pass, plugin_sha256

__all__ = ["PipelineOptions", "run_pipeline"]

_RAW = "raw/model.onnx"
_REWRITTEN = "rewritten/model.onnx"
_NO_DATA = "no --data: stages are compared, but not scored, and batch sizes are not compared"


@dataclass(kw_only=True)
class _Run:
    """What the stages of one run share."""

    recipe: Recipe
    options: PipelineOptions
    folder: RunFolder
    say: Callable[[str], None]
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def path(self, relative: str) -> Path:
        return self.folder.path(relative)


def run_pipeline(
    recipe: Recipe,
    options: PipelineOptions,
    *,
    progress: Progress | None = None,
) -> PipelineReport:
    """Walk all stages of a recipe and write ``report.json`` and ``report.html``.

    Args:
        recipe: the model.
        options: see ``PipelineOptions``.
        progress: told what is being done.

    Raises:
        GraphoptError: a stage could not be done. A bad verdict is no exception but in the report.
    """
    _check_early(recipe, options)
    folder = RunFolder(options.folder, recipe.name, versions=run_versions(recipe))
    progress = progress or Silent()
    run = _Run(recipe=recipe, options=options, folder=folder, say=progress.say)
    checkpoint, data = _sources(run)
    raw = _raw(run, checkpoint, data)
    sources = RunSources(
        checkpoint=checkpoint,
        data=data,
        annotations=options.annotations,
        limit=options.limit,
        recipe=own_version(recipe),
    )
    sources.save(options.folder)
    rewritten = _rewritten(run, raw)
    compiled = _compiled(run)
    scorer = Scorer(
        recipe=recipe,
        folder=folder,
        data=data,
        golden=run.path(_RAW).with_name(GOLDEN_FILE),
        annotations=options.annotations,
        limit=options.limit,
        workers=options.workers,
        count=progress.count,
    )
    scored = _scored(run, scorer, checkpoint, raw, rewritten, compiled)
    checks = _batch_checks(run, scorer, compiled)
    report = _report(run, scorer, scored, checks, rewritten)
    from graphopt.recipes.html_report import write_reports

    note = write_reports(report, scorer, options.folder)
    return report if note is None else _with_note(report, note)


def _check_early(recipe: Recipe, options: PipelineOptions) -> None:
    """Refuse what can be known to be wrong before anything is made."""
    for name in options.targets:
        make_target(CompileOptions(target=name, soc=options.soc if name == "atc" else ""), recipe).check()
    if options.data is not None:
        recipe.check_has("preprocessing", purpose="--data")
        task = recipe.needed_task("--data")
        task.open_data(options.data, limit=options.limit, annotations=options.annotations)
    if options.demo:
        recipe.check_has("make_demo", "build", "load", "task", purpose="--demo")
    if options.checkpoint is not None:
        recipe.check_has("build", "load", purpose="--checkpoint")


def _sources(run: _Run) -> tuple[Path | None, Path | None]:
    options = run.options
    if not options.demo:
        return options.checkpoint, options.data
    run.say("making the demo checkpoint and its data set")

    def work() -> Mapping[str, Any]:
        shutil.rmtree(run.path("demo"), ignore_errors=True)
        demo = make_demo(run.recipe, run.path("demo"))
        base = run.folder.folder
        return {
            "checkpoint": demo.checkpoint.relative_to(base).as_posix(),
            "data": demo.data.relative_to(base).as_posix(),
        }

    record = run.folder.stage("demo", {"recipe": run.recipe.name}, work, outputs=("demo",))
    return run.path(record.result["checkpoint"]), run.path(record.result["data"])


def _raw(run: _Run, checkpoint: Path | None, data: Path | None) -> StageRecord:
    options, recipe = run.options, run.recipe
    if options.onnx is not None:
        source = options.onnx
        load_model(source)  # refuse a broken file before anything is made
        run.say(f"copying {source}")

        def copy() -> Mapping[str, Any]:
            return _copy_raw(run, source)

        depends: dict[str, Any] = {"onnx": model_digest(source)}
        return run.folder.stage("raw", depends, copy, outputs=("raw",))
    assert checkpoint is not None
    if not checkpoint.is_file():
        raise UsageError(f"the checkpoint {checkpoint} does not exist")
    run.say("exporting")

    def work() -> Mapping[str, Any]:
        export_recipe(
            recipe,
            run.path("raw"),
            checkpoint=checkpoint,
            data=data,
            annotations=options.annotations,
            force=True,
            on_progress=run.say,
        )
        return {}

    depends = {"checkpoint": sha256_of(checkpoint), "opset": recipe.opset, "inputs": str(recipe.inputs)}
    return run.folder.stage("raw", depends, work, outputs=("raw",))


def _copy_raw(run: _Run, source: Path) -> Mapping[str, Any]:
    from graphopt.core.files import atomic_folder
    from graphopt.core.onnx_files import output_specs, save_model

    with atomic_folder(run.path("raw"), force=True) as folder:
        model = load_model(source)
        save_model(model, folder / "model.onnx", force=True)
        Artefact(
            path=folder / "model.onnx",
            stage="raw",
            target="onnx",
            sha256=sha256_of(folder / "model.onnx"),
            recipe=run.recipe.name,
            inputs=input_specs(model),
            outputs=output_specs(model),
            parent_sha256=sha256_of(source),
            settings={"copied_from": source.name},
        ).save()
    return {}


def _rewritten(run: _Run, raw: StageRecord) -> StageRecord:
    run.say("rewriting and verifying")
    recipe = run.recipe

    def work() -> Mapping[str, Any]:
        run.path("rewritten").mkdir(exist_ok=True)
        report = rewrite(
            run.path(_RAW),
            run.path(_REWRITTEN),
            None,
            recipe_name=recipe.name,
            force=True,
            on_progress=run.say,
        )
        _keep_golden(run)
        return report.to_json()

    depends = {
        "raw": raw.files[_RAW],
        "passes": repr(recipe.passes),
        "plugins": [plugin_sha256(find_pass(step.name)) for step in recipe.passes],
    }
    return run.folder.stage("rewritten", depends, work, outputs=(_REWRITTEN, f"{_REWRITTEN}.json"))


def _keep_golden(run: _Run) -> None:
    """Put the export's inputs beside the rewritten model: copies made of it are verified with them.

    On made-up inputs a trained detector may see nothing, which proves nothing.
    """
    golden = run.path(_RAW).with_name(GOLDEN_FILE)
    kept = run.path(_REWRITTEN).with_name(GOLDEN_FILE)
    kept.unlink(missing_ok=True)
    if golden.is_file():
        shutil.copyfile(golden, kept)


def _compiled(run: _Run) -> dict[str, StageRecord]:
    """Compile for every target that is there; note those that are not."""
    options, recipe = run.options, run.recipe
    records: dict[str, StageRecord] = {}
    for name in options.targets:
        run.say(f"compiling for {name}")
        folder = run.path(f"compiled/{name}")

        def work(name: str = name, folder: Path = folder) -> Mapping[str, Any]:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            request = CompileOptions(
                target=name,
                soc=options.soc if name == "atc" else "",
                batches=options.batches if name == "atc" else (),
                allow_unsupported=name == "atc",  # the script is written, and the report says why it fails
            )
            model = run.path(_REWRITTEN)
            compiled = compile_model(model, folder, request, stem=recipe.stem, recipe=recipe, force=True)
            return compiled.to_json()

        depends = {
            "rewritten": sha256_of(run.path(_REWRITTEN)),
            "target": repr(find_target(name)),
            "soc": options.soc if name == "atc" else "",
            "batches": options.batches if name == "atc" else (),
            "atc": shutil.which("atc") or "",
        }
        try:
            records[name] = run.folder.stage(f"compiled-{name}", depends, work, outputs=(f"compiled/{name}",))
        except MissingBackendError as error:
            run.notes.append(f"not compiled for {name}: {error}")
            continue
        if refused := records[name].result.get("refused"):
            run.refused.append(str(refused))
    return records


def _scored(
    run: _Run,
    scorer: Scorer,
    checkpoint: Path | None,
    raw: StageRecord,
    rewritten: StageRecord,
    compiled: Mapping[str, StageRecord],
) -> list[Scored]:
    """Run every stage over the data; the first one is the reference."""
    scored: list[Scored] = []
    name = run.recipe.name
    if checkpoint is not None:
        stage = parse_stage(f"torch:{name}@{checkpoint}")
        scored.append(scorer.run("torch", stage, file=checkpoint, made=None))
    for label, record, relative in (("raw", raw, _RAW), ("rewritten", rewritten, _REWRITTEN)):
        place = run.path(relative)
        scored.append(scorer.run(label, parse_stage(str(place), recipe_name=name), file=place, made=record))
    if run.options.estimates:
        scored += score_estimates(scorer, run.path(_REWRITTEN), run.notes.append)
    else:
        run.notes.append("half precision was not estimated (--no-estimates)")
    for target, record in compiled.items():
        places = [run.path(f"compiled/{target}/{file}") for file in record.result["artefacts"]]
        if target == "atc":
            scored.append(_atc_row(record, places))
            continue
        stage = parse_stage(str(places[0]), recipe_name=name)
        scored.append(scorer.run(target, stage, file=places[0], made=record, optimize=True))
    if run.options.results is not None:
        scored.append(scorer.results("device", run.options.results, run.path(_REWRITTEN)))
    return scored


def _atc_row(record: StageRecord, places: Sequence[Path]) -> Scored:
    note = "built; runs on the device box" if places else "scripts written; atc is not installed here"
    return Scored(
        label="atc",
        predictions=None,
        score=None,
        seconds=record.seconds,
        bytes=sum(place.stat().st_size for place in places),
        sha256=sha256_of(places[0]) if places else "",
        reused=record.reused,
        note=note,
    )


def _batch_checks(run: _Run, scorer: Scorer, compiled: Mapping[str, StageRecord]) -> list[BatchCheck]:
    """Compare batch sizes with the rewritten model on a few images, the last batch being partial."""
    checks: list[BatchCheck] = []
    if scorer.dataset is None:
        return checks
    own = input_specs(load_model(run.path(_REWRITTEN)))[0].shape[0]
    for size in (size for size in run.options.batches if size != own):
        run.say(f"comparing batch {size}")
        relative, sha256 = _batch_copy(run, size, compiled)

        def check(size: int = size, relative: str = relative) -> Mapping[str, Any]:
            return asdict(scorer.check_batch(run.path(relative), size))

        depends = {
            "rewritten": sha256_of(run.path(_REWRITTEN)),
            "batch": size,
            "model": sha256,
            "data": scorer.dataset.digest,
            "steps": repr(run.recipe.preprocessing),
            "tolerance": repr(run.recipe.tolerance),
        }
        checks.append(BatchCheck(**run.folder.stage(f"check-{size}", depends, check, outputs=()).result))
    return checks


def _batch_copy(run: _Run, size: int, compiled: Mapping[str, StageRecord]) -> tuple[str, str]:
    """Return a model of that batch and its sha256: the one that ATC gets, else one made for the check."""
    relative = f"compiled/atc/{run.recipe.stem}_bs{size}.onnx"
    if "atc" in compiled and relative in compiled["atc"].files:
        return relative, compiled["atc"].files[relative]
    relative = f"rewritten/model_bs{size}.onnx"

    def work() -> Mapping[str, Any]:
        name = run.recipe.name
        batch_model(run.path(_REWRITTEN), run.path(relative), size, recipe_name=name, force=True)
        return {}

    depends = {"rewritten": sha256_of(run.path(_REWRITTEN)), "batch": size}
    made = run.folder.stage(f"batch-{size}", depends, work, outputs=(relative, f"{relative}.json"))
    return relative, made.files[relative]


def _report(
    run: _Run,
    scorer: Scorer,
    scored: Sequence[Scored],
    checks: Sequence[BatchCheck],
    rewritten: StageRecord,
) -> PipelineReport:
    recipe, options = run.recipe, run.options
    note, commands = device_commands(recipe, options)
    return PipelineReport(
        recipe=recipe.name,
        title=recipe.title,
        reference=scored[0].label,
        metric=recipe.task.headline if recipe.task is not None and scorer.data is not None else "",
        samples=scorer.samples,
        sample_kind=scorer.sample_kind,
        tolerance=_tolerance_text(recipe),
        max_drop=options.max_drop,
        stages=tuple(item.row(scored[0], recipe, options.max_drop) for item in scored),
        batches=tuple(checks),
        rewrite=rewritten.result,
        scores={item.label: item.score.to_json() for item in scored if item.score is not None},
        published=tuple(vars(item) for item in recipe.published),
        commands=commands,
        device_note=note,
        environment=environment(),
        folder=str(options.folder),
        notes=(*run.notes, *([] if scorer.data else [_NO_DATA])),
        refused=tuple(run.refused),
    )


def _tolerance_text(recipe: Recipe) -> str:
    allowed = recipe.tolerance
    return (
        f"{allowed.atol:g} + {allowed.rtol:g} x |reference| + {allowed.peak:g} x its largest ({allowed.why})"
    )


def _with_note(report: PipelineReport, note: str) -> PipelineReport:
    from dataclasses import replace

    return replace(report, notes=(*report.notes, note))
