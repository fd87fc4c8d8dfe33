"""Plant mistakes in inputs at random and count how they are named.

``python benchmarks/inputs.py [--trials N] [--seed N] [--full] [--recipe NAME]``

Each trial draws a recipe, a size of its input, a few images (drawn scenes, grey ones, tiny ones, plain ones,
odd sizes), and one or two mistakes of ``tests/recipes/planted_inputs.py``, which makes the files with OpenCV,
Pillow and numpy alone. A mistake that moves no value of these images is none.
"""

import argparse
import dataclasses
import importlib.util
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphopt.recipes.input_comparison import compare_inputs
from graphopt.runtime.datasets.image_folder import ImageFolder
from graphopt.runtime.datasets.synthetic_coco import synthetic_crowd
from graphopt.validate.inputs.verdict import InputOutcome, InputVerdict

_PLANTS = Path(__file__).resolve().parents[1] / "tests" / "recipes" / "planted_inputs.py"
_GOOD = ("named", "nothing, and called so", "of one colour, and told so")
_ROUNDING = 0.04
"""Levels that a verdict takes for rounding."""


def main() -> int:
    """Run the sweep; exit 1 when a wrong name was given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--recipe", default="", help="only this one")
    parser.add_argument("--full", action="store_true", help="at the published sizes")
    parser.add_argument("--show", action="store_true", help="print every trial that is not named exactly")
    options = parser.parse_args()
    plants = _load()
    counts: Counter[str] = Counter()
    seconds = 0.0
    images = 0
    for trial in range(options.trials):
        rng = np.random.default_rng([options.seed, trial])
        with tempfile.TemporaryDirectory() as folder:
            result, text, spent, files = _trial(plants, rng, Path(folder), options.recipe, full=options.full)
        counts[result] += 1
        seconds, images = seconds + spent, images + files
        if result == "wrong" or (options.show and result not in _GOOD):
            print(f"{trial}: {result}: {text}", flush=True)
    print(
        f"{options.trials} trials, seed {options.seed}: " + ", ".join(f"{n} {k}" for k, n in counts.items())
    )
    print(f"{seconds / max(1, images):.3f} s an image")
    return 1 if counts["wrong"] else 0


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("planted_inputs", _PLANTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planted_inputs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _trial(
    plants: Any, rng: np.random.Generator, folder: Path, only: str, *, full: bool
) -> tuple[str, str, float, int]:
    name = only or str(rng.choice(list(plants.PUBLISHED)))
    published = plants.PUBLISHED[name].canvas
    canvas = published
    if not full:
        sides = rng.integers(40, 200, 2).tolist()
        canvas = (sides[0], sides[0]) if published[0] == published[1] else (sides[0], sides[1])
    pictures = folder / "pictures"
    _draw(pictures, rng, full=full)
    dataset = ImageFolder(pictures)
    paths = [sample.path for sample in dataset]
    own = dataclasses.replace(plants.PUBLISHED[name], canvas=canvas)
    single = [mistake for mistake in plants.PLANTS if "," not in mistake]
    chosen = rng.choice(single, int(rng.integers(1, 4)), replace=False).tolist()
    done = own
    changes: list[tuple[tuple[str, ...], dict[str, Any]]] = []
    for mistake in chosen:
        fields = plants.PLANTS[mistake].change(own)
        taken = {part for each in changes for key in each[1] for part in _parts(key)}
        if fields is None or any(taken & _parts(key) for key in fields):
            continue
        done = dataclasses.replace(done, **fields)
        changes.append((plants.PLANTS[mistake].causes, fields))
    wanted: set[str] = set()
    for causes, fields in changes:
        without = dataclasses.replace(done, **{key: getattr(own, key) for key in fields})
        if causes and _differ(plants, paths, done, without):
            wanted |= set(causes)
    plants.write(paths, folder / "bins", done)
    start = time.perf_counter()
    verdict = compare_inputs(plants.recipe_at(name, canvas), dataset, folder / "bins")
    spent = time.perf_counter() - start
    text = f"{name} {canvas} {chosen} wants {sorted(wanted)}, got {verdict.cause}: {verdict.sentence}"
    return _judged(verdict, wanted), text, spent, len(paths)


def _parts(field: str) -> set[str]:
    """Return what a field belongs to: two mistakes of one part can undo each other, or make a third."""
    parts = {
        "order": ("order", "swapped_after"),
        "values": ("prescale", "mean", "std", "dtype", "swapped_after"),
        "scaling": ("library", "interpolation", "moved_by_half"),
        "placing": ("fit", "taller", "side", "shift", "cropped"),
    }
    return {part for part, fields in parts.items() if field in fields} or {field}


def _judged(verdict: InputVerdict, wanted: set[str]) -> str:
    named = {cause.name for cause in verdict.causes}
    if not wanted:
        return "nothing, and called so" if verdict.ok else "wrong"
    if verdict.ok:
        return "wrong"
    if verdict.outcome is InputOutcome.AMBIGUOUS:
        sets = [named | {cause.name for cause in each} for each in verdict.alternatives]
        return "among others" if wanted in sets else "wrong"
    if verdict.outcome is InputOutcome.NAMED:
        return "named" if named == wanted else "wrong"
    if verdict.outcome is InputOutcome.PARTLY:
        return "partly named" if named <= wanted else "wrong"
    return "of one colour, and told so" if "one colour" in verdict.sentence else "unknown"


def _differ(plants: Any, paths: list[Path], one: Any, other: Any) -> bool:
    if one.dtype != other.dtype:
        return True
    scale = min(np.abs(one.std)) / one.prescale if one.dtype != "uint8" else 1.0
    for path in paths:
        a, b = (plants.make(path, each).astype(np.float64) for each in (one, other))
        if np.abs(a.ravel() - b.ravel()).max() * scale > _ROUNDING + (0.51 if one.dtype == "uint8" else 0.0):
            return True
    return False


def _draw(folder: Path, rng: np.random.Generator, *, full: bool) -> None:
    folder.mkdir()
    kind = str(rng.choice(["scenes", "scenes", "scenes", "grey", "tiny", "plain"]))
    for number in range(int(rng.integers(1, 4))):
        low, high = (8, 24) if kind == "tiny" else (330, 640) if full else (60, 260)
        width, height = rng.integers(low, high, 2).tolist()
        if kind == "plain":
            picture = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
        else:
            seed = int(rng.integers(1 << 30))
            picture, _ = synthetic_crowd(number, seed=seed, width=width, height=height, objects=(4, 10))
        if kind == "grey":
            picture = picture.convert("L")
        picture.save(folder / f"image{number}.png")


if __name__ == "__main__":
    sys.exit(main())
