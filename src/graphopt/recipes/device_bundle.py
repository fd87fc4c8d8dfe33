"""The folder for the device box: model, ATC script, golden samples, inputs, and the runner.

The box needs Python >= 3.7 and numpy, with acl (for the .om) or onnxruntime (for the .onnx).
"""

import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.errors import InvalidModelError, UsageError
from graphopt.core.files import atomic_folder, check_free, sha256_of, write_json, write_text
from graphopt.core.golden import GOLDEN_FILE, Sample, read_golden
from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.preprocessing import ResizePil
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.compilation import CompileOptions, compile_model
from graphopt.recipes.inference import recipe_of
from graphopt.recipes.progress import Count
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.samples import feeds_for
from graphopt.recipes.stages import RUN_STAGES, parse_stage
from graphopt.runtime.prepare import PreparedInputs, prepare
from graphopt.validate.batches import run_in_batches

BUNDLE_VERSION = 1
RUNNER = "device_runner.py"

# Half precision on the device: 11 bits of mantissa, about 50 layers deep.
_HALF = {"atol": 1e-2, "rtol": 2e-2, "peak": 1e-2}


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
    force: bool = False,
    on_progress: Count | None = None,
) -> PreparedInputs:
    """Write a data set's preprocessed inputs and their lists; see ``runtime.prepare``.

    Raises:
        DatasetError: the data set is incomplete.
        OutputError: the folder exists without ``force``, or the disk is full.
    """
    dataset = recipe.task.open_data(data, limit=limit)
    width, height = _input_size(recipe)
    return prepare(
        dataset,
        recipe.preprocessing,
        folder,
        width=width,
        height=height,
        name=recipe.name,
        force=force,
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
        force: replace an existing folder.
        recipe_name: for an ONNX file without a sidecar.
        on_progress: told prepared inputs and their total.

    Raises:
        GraphoptError: the model, its recipe or the data cannot be used.
    """
    run = Path(what) if (Path(what) / "run.json").is_file() else None
    stage = parse_stage(f"{what}#rewritten" if run else what, recipe_name=recipe_name)
    recipe = recipe_of(stage)
    if stage.kind != "model" or stage.path is None or stage.path.suffix != ".onnx":
        raise UsageError(f"{what}: a bundle is made from a run folder or an ONNX file")
    golden = run / Path(RUN_STAGES["raw"]).parent / GOLDEN_FILE if run else stage.path.with_name(GOLDEN_FILE)
    folder = output or Path(f"{recipe.name}-device")
    check_free(folder, force=force)
    with atomic_folder(folder, force=force) as temporary:
        request = CompileOptions(target="atc", soc=soc, batches=(batch,))
        compiled = compile_model(stage.path, temporary, request, stem=recipe.name, recipe=recipe, force=True)
        model = temporary / f"{recipe.name}_bs{batch}.onnx"
        specs = (input_specs(load_model(model)), output_specs(load_model(model)))
        _write_golden(temporary / GOLDEN_FILE, model, golden, recipe)
        _copy_runner(temporary / RUNNER)
        prepared = None
        if data is not None:
            prepared = "inputs/index.json"
            prepare_inputs(recipe, data, temporary / "inputs", limit=limit, on_progress=on_progress)
        built = compiled.artefacts[0].path if compiled.artefacts else None
        content = _description(recipe, batch, model, built, specs, prepared)
        write_json(temporary / "bundle.json", content)
        commands = _commands(recipe, batch, built=built is not None, prepared=prepared is not None)
        write_text(temporary / "README.txt", _readme(recipe, commands))
        files = tuple(sorted(entry.name for entry in temporary.iterdir()))
    return DeviceBundle(folder=folder, files=files, commands=commands)


def _description(
    recipe: Recipe,
    batch: int,
    model: Path,
    built: Path | None,
    specs: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]],
    prepared: str | None,
) -> dict[str, Any]:
    allowed = recipe.tolerance
    exact = {"atol": allowed.atol, "rtol": allowed.rtol, "peak": allowed.peak}
    om = f"{recipe.name}_bs{batch}.om"
    return {
        "bundle_version": BUNDLE_VERSION,
        "name": recipe.name,
        "batch": batch,
        "models": [
            # Built on the box: its content is not known here.
            {"backend": "acl", "file": om, "sha256": sha256_of(built) if built else ""},
            {"backend": "onnxruntime", "file": model.name, "sha256": sha256_of(model)},
        ],
        "inputs": [_spec(spec, batch) for spec in specs[0]],
        "outputs": [_spec(spec, batch) for spec in specs[1]],
        "golden": GOLDEN_FILE,
        "tolerance": {"acl": _HALF, "onnxruntime": exact},
        "prepared": prepared,
        "preprocessing": [f"{type(step).__name__} {vars(step)}" for step in recipe.preprocessing],
    }


def _spec(spec: TensorSpec, batch: int) -> dict[str, Any]:
    shape = list(spec.shape)
    batched = bool(shape) and shape[0] == batch
    return {"name": spec.name, "dtype": spec.dtype, "shape": shape, "batched": batched}


def _write_golden(target: Path, model: Path, golden: Path, recipe: Recipe) -> None:
    """Write golden rows for the runner: ``input_0``, ``output_0``, ... with one row per sample."""
    samples = read_golden(golden) if golden.is_file() else _recorded(model, recipe)
    inputs, outputs = input_specs(load_model(model)), output_specs(load_model(model))
    arrays: dict[str, Any] = {}
    for i, spec in enumerate(inputs):
        arrays[f"input_{i}"] = np.concatenate([feeds[spec.name] for feeds, _ in samples])
    for i, spec in enumerate(outputs):
        lacking = [results for _, results in samples if spec.name not in results]
        if lacking:
            raise InvalidModelError(f"{golden} has no output {spec.name}; was it made from another model?")
        arrays[f"output_{i}"] = np.concatenate([results[spec.name] for _, results in samples])
    np.savez(target, **arrays)


def _recorded(model: Path, recipe: Recipe) -> list[Sample]:
    # A graph exported elsewhere brings no golden outputs: its own on this machine serve.
    with OnnxRuntimeSession(model) as session:
        feeds = feeds_for(recipe.inputs)
        return [(dict(sample), run_in_batches(session, sample)) for sample in feeds.samples]


def _copy_runner(target: Path) -> None:
    source = resources.files("graphopt.runtime").joinpath(RUNNER)
    with resources.as_file(source) as place:
        shutil.copyfile(place, target)


def _commands(recipe: Recipe, batch: int, *, built: bool, prepared: bool) -> tuple[str, ...]:
    build = () if built else (f"bash {recipe.name}_bs{batch}.sh",)
    return (*build, f"python3 {RUNNER}" + ("" if prepared else " --check"))


def _readme(recipe: Recipe, commands: tuple[str, ...]) -> str:
    lines = "\n".join(f"    {command}" for command in commands)
    return (
        f"{recipe.title}: bundle for the device box\n\n"
        "Needs Python >= 3.7 and numpy, with acl (pyACL of CANN) for the .om, or onnxruntime for the .onnx.\n"
        f"Inside this folder:\n\n{lines}\n\n"
        "The runner first compares the golden samples with what PyTorch said, then runs all prepared inputs\n"
        "and writes the folder 'results'. Without an Ascend device: python3 device_runner.py --backend "
        "onnxruntime\n"
        "Back on the other machine, score it:\n\n"
        f"    graphopt evaluate results --recipe {recipe.name} --data DATA\n"
    )


def _input_size(recipe: Recipe) -> tuple[int, int]:
    for step in recipe.preprocessing:
        if isinstance(step, ResizePil):
            return step.width, step.height
    raise UsageError(f"the preprocessing of {recipe.name} does not say the size of an input")
