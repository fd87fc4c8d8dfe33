"""The folder for the device box: model, ATC script, golden samples, inputs, and the runner.

The box needs Python >= 3.7 and numpy, with acl (for the .om) or onnxruntime (for the .onnx).
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.compile.atc.device_copy import SUFFIX
from graphopt.compile.standard_copy import needs_inlining, write_standard_copy
from graphopt.core.artefacts import sidecar_path
from graphopt.core.comparison import Tolerance
from graphopt.core.errors import UsageError
from graphopt.core.files import check_free, output_errors, write_text
from graphopt.core.golden import GOLDEN_FILE, Sample, read_golden
from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.preprocessing import PadBehindTo, PadCentredTo, ResizeCv2, ResizePil
from graphopt.core.session import OnnxRuntimeSession
from graphopt.recipes.compilation import CompileOptions, compile_model
from graphopt.recipes.inference import recipe_of
from graphopt.recipes.progress import Count
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.roles import known_outputs, with_roles
from graphopt.recipes.samples import feeds_for
from graphopt.recipes.stages import RUN_STAGES, parse_stage
from graphopt.runtime.bundle import RUNNER_NAME, BundleModel, write_bundle
from graphopt.runtime.prepare import PreparedInputs, prepare

_HALF = Tolerance(
    atol=1e-2, rtol=2e-2, peak=1e-2, why="half precision on the device: 11 bits of mantissa, about 50 layers"
)

_HALF_AGREEMENT = 0.99
"""Of a mask's pixels: single logits near zero may leave the bound without moving a border."""


STANDARD = ".standard.onnx"
"""End of the name of a model whose target operators are written out."""


@dataclass(frozen=True, kw_only=True)
class DeviceBundle:
    """What ``make_bundle`` wrote.

    Attributes:
        folder: of the bundle.
        files: names in it.
        commands: what to type on the box, inside the folder.
    """

    folder: Path
    files: tuple[str, ...]
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"folder": str(self.folder), "files": list(self.files), "commands": list(self.commands)}


def prepare_inputs(
    recipe: Recipe,
    data: Path,
    folder: Path,
    *,
    limit: int | None = None,
    annotations: Path | None = None,
    force: bool = False,
    workers: int | None = None,
    on_progress: Count | None = None,
) -> PreparedInputs:
    """Write a data set's preprocessed inputs and their lists; see ``runtime.prepare``.

    Raises:
        DatasetError: the data set is incomplete.
        OutputError: the folder exists without ``force``, or the disk is full.
    """
    dataset = recipe.needed_task("preparing inputs").open_data(data, limit=limit, annotations=annotations)
    width, height = _input_size(recipe)
    return prepare(
        dataset,
        recipe.needed_steps("preparing inputs"),
        folder,
        width=width,
        height=height,
        name=recipe.stem,
        force=force,
        workers=workers,
        on_progress=on_progress,
    )


def make_bundle(
    what: str,
    output: Path | None,
    *,
    data: Path | None = None,
    batch: int = 1,
    soc: str = "310P3",
    limit: int | None = None,
    annotations: Path | None = None,
    workers: int | None = None,
    force: bool = False,
    recipe_name: str = "",
    on_progress: Count | None = None,
) -> DeviceBundle:
    """Write the folder for the device box.

    Args:
        what: a pipeline's run folder, or an ONNX file.
        output: folder; None takes ``RECIPE-device``.
        data: data set whose inputs to prepare; None leaves them out.
        batch: fixed batch size on the device.
        soc: chip for the ATC script.
        limit: only the first samples of ``data``.
        annotations: the file of the labels, where the data set's format has one.
        workers: number of threads that prepare images; None for one per processor.
        force: replace an existing folder.
        recipe_name: for an ONNX file without a sidecar.
        on_progress: told prepared inputs and their total.

    Raises:
        GraphoptError: the model, its recipe or the data cannot be used.
    """
    run = Path(what) if (Path(what) / "run.json").is_file() else None
    stage = parse_stage(f"{what}#rewritten" if run else what, recipe_name=recipe_name)
    if stage.kind == "model" and stage.path is not None and stage.path.suffix == ".onnx":
        load_model(stage.path)  # a broken file is said before a missing recipe
    recipe = recipe_of(stage)
    if stage.kind != "model" or stage.path is None or stage.path.suffix != ".onnx":
        raise UsageError(f"{what}: a bundle is made from a run folder or an ONNX file")
    folder = output or Path(f"{recipe.stem}-device")
    check_free(folder, force=force)
    stem = f"{recipe.stem}_bs{batch}"
    with _scratch_beside(folder) as name:
        scratch = Path(name)
        compiled = compile_model(
            stage.path,
            scratch,
            CompileOptions(target="atc", soc=soc, batches=(batch,), allow_unsupported=True),
            stem=recipe.stem,
            recipe=recipe,
            force=True,
            log_folder=folder.parent,
        )
        source = scratch / f"{stem}.onnx"
        onnx = _standard(source)
        om = compiled.artefacts[0].path if compiled.artefacts else None
        prepared = None
        if data is not None:
            prepared = prepare_inputs(
                recipe,
                data,
                scratch / "inputs",
                limit=limit,
                annotations=annotations,
                workers=workers,
                on_progress=on_progress,
            )
        commands = _commands(stem, built=om is not None, prepared=prepared is not None)
        write_text(scratch / "README.txt", _readme(recipe, commands))
        model = load_model(source)
        for_atc = scratch / f"{stem}{SUFFIX}"
        extras = [scratch / "README.txt", scratch / f"{stem}.atc.sh"]
        extras += [sidecar_path(source)] if onnx == source else []
        extras += [path for path in (for_atc, for_atc.with_name(f"{for_atc.name}.data")) if path.is_file()]
        write_bundle(
            folder,
            name=recipe.name,
            models=(
                BundleModel(
                    backend="acl", name=f"{stem}.om", path=om, tolerance=_HALF, agreement=_HALF_AGREEMENT
                ),
                BundleModel(backend="onnxruntime", name=onnx.name, path=onnx, tolerance=recipe.tolerance),
            ),
            inputs=input_specs(model),
            outputs=with_roles(
                output_specs(model), {spec.name: spec.role for spec in known_outputs(source, recipe)}
            ),
            batch=batch,
            golden=_golden(stage.path, run),
            steps=recipe.preprocessing,
            prepared=prepared,
            scripts=extras if om is None else [*extras, sidecar_path(om)],
            force=force,
        )
    files = tuple(sorted(entry.name for entry in folder.iterdir()))
    return DeviceBundle(folder=folder, files=files, commands=commands)


def _standard(model: Path) -> Path:
    """Return the model in standard operators only: the box's onnxruntime may be too old for functions."""
    if not needs_inlining(load_model(model)):
        return model
    inlined = model.with_name(f"{model.stem}{STANDARD}")
    write_standard_copy(model, inlined)
    return inlined


def _scratch_beside(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """Make a temporary folder on the disk of ``folder``: prepared inputs may take gigabytes."""
    # Named as core.files names its own, so that what a kill leaves is cleared by the next write.
    prefix = f".{folder.name}.{os.getpid()}."
    with output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=prefix, suffix=".tmp", dir=folder.parent)


def _golden(model: Path, run: Path | None) -> list[Sample]:
    recorded = (run / RUN_STAGES["raw"] if run else model).with_name(GOLDEN_FILE)
    if recorded.is_file():
        return read_golden(recorded)
    # A graph exported elsewhere brings no golden outputs: its own on this machine serve.
    with OnnxRuntimeSession(model) as session:
        return [(dict(feeds), session.run(feeds)) for feeds in feeds_for(session.inputs).samples]


def _commands(stem: str, *, built: bool, prepared: bool) -> tuple[str, ...]:
    build = () if built else (f"bash {stem}.atc.sh",)
    return (*build, f"python3 {RUNNER_NAME}" + ("" if prepared else " --check"))


def _readme(recipe: Recipe, commands: tuple[str, ...]) -> str:
    lines = "\n".join(f"    {command}" for command in commands)
    return (
        f"{recipe.title}: bundle for the device box\n\n"
        "Needs Python >= 3.7 and numpy, with acl (pyACL of CANN) for the .om, or onnxruntime for the .onnx.\n"
        f"Inside this folder:\n\n{lines}\n\n"
        "The runner first compares the golden samples with what the original model said, then runs all\n"
        f"prepared inputs and writes the folder 'results'. Without an Ascend device: python3 {RUNNER_NAME} "
        "--backend onnxruntime\n"
        "Back on the other machine, score it:\n\n"
        f"    graphopt evaluate results --recipe {recipe.name} --data DATA\n"
    )


def _input_size(recipe: Recipe) -> tuple[int, int]:
    for step in reversed(recipe.preprocessing):
        if isinstance(step, (ResizePil, ResizeCv2, PadCentredTo, PadBehindTo)):
            return step.width, step.height
    raise UsageError(f"the preprocessing of {recipe.name} does not say the size of an input")
