"""What to type on the device box, and the versions a report names."""

import platform
import shlex
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.recipes.catalogue import word_for
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.bundle import RUNNER_NAME

if TYPE_CHECKING:
    from graphopt.recipes.pipeline_options import PipelineOptions

_REPORTED = (
    "graphopt",
    "numpy",
    "onnx",
    "onnx-ir",
    "onnxruntime",
    "opencv-python",
    "openvino",
    "pillow",
    "torch",
)


def device_commands(recipe: Recipe, options: "PipelineOptions") -> tuple[str, tuple[str, ...]]:
    """Return a sentence and the commands that bring device results into this run."""
    run = options.folder
    data = run / "demo" / "data" if options.demo else options.data or Path("DATA")
    bundle = f"{recipe.stem}-device"
    limit: list[object] = [] if options.limit is None else ["--limit", options.limit]
    if options.annotations is not None:
        limit += ["--annotations", options.annotations]
    there = f"cd {bundle} && bash {recipe.stem}_bs1.atc.sh && python3 {RUNNER_NAME}"
    if recipe.task is None or not recipe.preprocessing:
        note = (
            "The compiled stages above ran on this machine's CPU. To run the golden samples on the device "
            f"(the recipe {recipe.name} lacks a task or preprocessing, so there is no data to score):"
        )
        make = _line("bundle", run, "-o", bundle)
        return note, (make, f"# copy {bundle} to the box, then there:\n{there} --check")
    commands = (
        _line("bundle", run, "--data", data, *limit, "-o", bundle),
        f"# copy {bundle} to the box, then there:\n{there}",
        "# copy the folder 'results' back, then here:\n"
        + _line(
            "pipeline",
            word_for(recipe),
            *_source(options, data),
            *limit,
            *_settings(options),
            "--results",
            "results",
            "-o",
            run,
        ),
    )
    note = (
        "The compiled stages above ran on this machine's CPU. To add the device's own row, build the .om "
        "there, run the data, and score what it wrote:"
    )
    if options.results is not None:
        note = f"The row 'device' was read from {options.results}. To make such results again:"
    return note, commands


def _source(options: "PipelineOptions", data: Path) -> list[object]:
    if options.demo:
        return ["--demo"]
    files = (("--checkpoint", options.checkpoint), ("--onnx", options.onnx), ("--data", data))
    return [word for name, file in files if file is not None for word in (name, file)]


def _settings(options: "PipelineOptions") -> list[object]:
    """Return what was not left at its default, so that the same stages are found done."""
    words: list[object] = []
    for flag, name in (
        ("--targets", "targets"),
        ("--batch", "batches"),
        ("--soc", "soc"),
        ("--max-drop", "max_drop"),
    ):
        value = getattr(options, name)
        if value != getattr(type(options), name):
            words += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else value]
    return words


def _line(*words: object) -> str:
    return shlex.join(["graphopt", *map(str, words)])


def environment() -> dict[str, str]:
    """Return the versions of what took part."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in _REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
