"""Plant causes of lost points in a finished run and write a table of what ``drift`` says of each.

``python benchmarks/planted_causes.py RUN [--limit N] [--against ROW] [--work DIR] [--only WORD]``

RUN is a folder that ``graphopt pipeline`` made; it is left as it is. What is planted: wrong inputs, which
are fed to the rewritten model and given to ``drift`` together with its answers; wrong answers (a class map);
another arithmetic (half precision at the suppression); a mistake in the rewritten model (shifts of a
deformable convolution swapped).
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.recipes.catalogue import find_recipe

_TESTS = Path(__file__).resolve().parents[1] / "tests" / "recipes"


def main() -> int:
    """Print one row per cause."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--against", default="")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", default="", help="causes with this word")
    options = parser.parse_args()
    recipe = find_recipe(json.loads((options.run / "run.json").read_text(encoding="utf-8"))["recipe"])
    plants, mutants = _load("planted_causes"), _load("detector_mutants")
    with tempfile.TemporaryDirectory() as scratch:
        bench = plants.Bench(
            recipe,
            options.run,
            options.work or Path(scratch),
            limit=options.limit,
            against=options.against,
        )
        print("| planted | points lost | enter at | named |\n|---|---|---|---|", flush=True)
        for cause, plant in _all(bench, plants, mutants, recipe).items():
            if options.only in cause:
                found = plant()
                print(f"| {cause} | {found.lost:.2f} | `{found.enters}` | {found.named or '-'} |", flush=True)
    return 0


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, _TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _all(bench: Any, plants: Any, mutants: Any, recipe: Any) -> dict[str, Callable[[], Any]]:
    """Return what can be planted into this recipe's run."""
    roles = [spec.role for spec in recipe.outputs]
    padded = any(type(step).__name__.startswith("Pad") for step in recipe.preprocessing)
    found: dict[str, Callable[[], Any]] = {
        cause: lambda cause=cause: bench.fed(cause)  # type: ignore[misc]  # its default is its own
        for cause in plants.INPUTS
        if padded or "padding" not in cause
    }
    found["wrong class map"] = lambda: bench.answered("wrong class map", _map_classes(roles))
    if "dets" in roles:
        found["fp16 NMS"] = lambda: bench.ran_as("fp16 NMS", "fp16-nms")
    if any("dcn" in step.name for step in recipe.passes):
        found["swapped offsets"] = lambda: bench.rewrote("swapped offsets", mutants.offsets_swapped)
    return found


def _map_classes(roles: list[str]) -> Callable[[list[Any]], list[Any]]:
    """Count classes from one: labels one higher, channels or attributes one further."""

    def change(outputs: list[Any]) -> list[Any]:
        if "labels" in roles:
            # Outputs of whole numbers are the labels, whatever their order in the model.
            return [each + 1 if np.issubdtype(each.dtype, np.integer) else each for each in outputs]
        return [np.roll(each, 1, axis=0) for each in outputs]

    return change


if __name__ == "__main__":
    sys.exit(main())
