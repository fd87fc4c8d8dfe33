"""Detectors of mmdet from a checkpoint to a proven ONNX file, at their published sizes: seconds and memory.

``python benchmarks/export_detectors.py [RECIPE ...] [--repeat N] [--checkpoint FILE] [--markdown FILE]``

Without ``--checkpoint`` each recipe's demo makes one; that is not measured. An export runs the network and
the graph on two drawn scenes, on both together where the batch is open, and compares all detections.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphopt.core.onnx_files import load_model
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.export import make_demo

HERE = Path(__file__).resolve().parent
RECIPES = ("nas_fpn", "fcos", "faster_rcnn_dcn")
SECONDS, MEGABYTES = 120, 8000
"""What an export may take, in seconds of the processors: others may use the machine."""


@dataclass
class Row:
    """What the exports of one recipe cost."""

    recipe: str
    size: str
    nodes: int = 0
    megabytes: float = 0.0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it came out, and in no more than is allowed."""
        return not self.problem and self.megabytes < MEGABYTES and min(self.cpu_s, default=0) < SECONDS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"default: {', '.join(RECIPES)}")
    parser.add_argument("--repeat", type=int, default=1, help="exports of each (default 1)")
    parser.add_argument("--checkpoint", type=Path, help="trained weights, for one recipe")
    parser.add_argument("--limit", type=float, default=900, help="seconds until an export is stopped")
    parser.add_argument("--markdown", type=Path, help="append the table there, too")
    options = parser.parse_args()
    if options.checkpoint and len(options.recipes) != 1:
        parser.error("--checkpoint is of one recipe: name it")
    rows = [
        measure(name, options.checkpoint, options.repeat, options.limit)
        for name in options.recipes or RECIPES
    ]
    text = "\n".join(table(rows))
    print(text)
    if options.markdown:
        with options.markdown.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
    return 0 if all(row.is_good for row in rows) else 1


def measure(name: str, checkpoint: Path | None, repeat: int, limit_s: float) -> Row:
    """Export a recipe some times, each in a process of its own."""
    recipe = find_recipe(name)
    row = Row(recipe=name, size="x".join(str(size) for size in recipe.inputs[0].shape[2:]))
    with tempfile.TemporaryDirectory(prefix="graphopt-bench-") as scratch:
        folder = Path(scratch)
        if checkpoint is None:
            print(f"{name}: making the demo checkpoint", file=sys.stderr, flush=True)
            checkpoint = make_demo(recipe, folder / "demo").checkpoint
        output = folder / "bundle"
        export = ["export", name, "--checkpoint", str(checkpoint), "-o", str(output), "--force"]
        for _ in range(repeat):
            print(f"{name}: {' '.join(export)}", file=sys.stderr, flush=True)
            cost = run([sys.executable, "-m", "graphopt", *export], folder, limit_s)
            row.wall_s.append(cost["wall_s"])
            row.cpu_s.append(cost["cpu_s"])
            row.megabytes = max(row.megabytes, cost["tree_bytes"] / 1e6)
            if cost["exit_code"]:
                row.problem = (folder / "log").read_text(encoding="utf-8", errors="replace")[-300:].strip()
                return row
        row.nodes = len(list(load_model(output / "model.onnx").graph))
    return row


def run(command: list[str], folder: Path, limit_s: float) -> dict[str, Any]:
    cost = folder / "cost.json"
    wrapper = [sys.executable, str(HERE / "measure.py"), str(cost), str(folder / "log"), str(limit_s)]
    subprocess.run([*wrapper, *command], check=True)
    found: dict[str, Any] = json.loads(cost.read_text(encoding="utf-8"))
    return found


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the report, as Markdown."""
    yield f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}."
    yield ""
    yield "| recipe | input | nodes | seconds | seconds of the processors | peak MB | |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        seconds = f"{statistics.median(row.wall_s):.0f} | {statistics.median(row.cpu_s):.0f}"
        note = row.problem or ("" if row.is_good else f"more than {SECONDS} s or {MEGABYTES} MB")
        yield f"| {row.recipe} | {row.size} | {row.nodes} | {seconds} | {row.megabytes:.0f} | {note} |"


if __name__ == "__main__":
    raise SystemExit(main())
