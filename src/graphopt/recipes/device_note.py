"""What to type on the device box, and the versions a report names."""

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.recipes.recipe import Recipe

if TYPE_CHECKING:
    from graphopt.recipes.pipeline import PipelineOptions

_REPORTED = ("graphopt", "numpy", "onnx", "onnx-ir", "onnxruntime", "openvino", "torch")


def device_commands(recipe: Recipe, options: "PipelineOptions") -> tuple[str, tuple[str, ...]]:
    """Return a sentence and the commands that bring device results into this run."""
    run = options.folder
    data = run / "demo" / "data" if options.demo else options.data or Path("DATA")
    source = (
        "--demo"
        if options.demo
        else f"--onnx {options.onnx}"
        if options.onnx
        else f"--checkpoint {options.checkpoint}"
    )
    keep = "" if options.demo else f" --data {data}"
    bundle = f"{run.name}-device"
    there = f"cd {bundle} && bash {recipe.name}_bs1.sh && python3 device_runner.py"
    back = f"graphopt pipeline {recipe.name} {source}{keep} --results results -o {run}"
    commands = (
        f"graphopt bundle {run} --data {data} -o {bundle}",
        f"# copy {bundle} to the box, then there:\n{there}",
        f"# copy the folder 'results' back, then here:\n{back}",
    )
    note = (
        "The compiled stages above ran on this machine's CPU. To add the device's own row, build the .om "
        "there, run the data, and score what it wrote:"
    )
    if options.results is not None:
        note = f"The row 'device' was read from {options.results}. To make such results again:"
    return note, commands


def environment() -> dict[str, str]:
    """Return the versions of what took part."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in _REPORTED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
