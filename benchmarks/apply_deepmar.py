"""``graphopt apply`` on DeepMAR beside other simplifiers: seconds, memory, nodes, and whether it is right.

``python benchmarks/apply_deepmar.py [--model FILE] [--repeat N] [--markdown FILE]``

Every command is measured as a whole process, interpreter start included, and all take turns, so that a
machine that slows down slows them all down. See benchmarks/README.md for what the columns mean.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from graphopt.core.comparison import FLOAT32_REORDERED, compare_outputs
from graphopt.core.errors import GraphoptError
from graphopt.core.onnx_files import count_nodes, input_specs, load_model
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
REFERENCE = "onnxsim"
CLEAN = "remove_pad,static_shapes,fold_constants,fuse_batchnorm,remove_identity"
VERSIONS_OF = ("onnx", "onnx-ir", "onnxruntime", "onnxsim", "onnxslim", "onnxscript", "onnx-graphsurgeon")

ONNXSIM = """
import sys, onnx, onnxsim
model, fine = onnxsim.simplify(onnx.load(sys.argv[1]))
assert fine
onnx.save(model, sys.argv[2])
"""
ONNXSCRIPT = """
import sys, onnx, onnxscript.optimizer
onnx.save(onnxscript.optimizer.optimize(onnx.load(sys.argv[1])), sys.argv[2])
"""
GRAPHSURGEON = """
import sys, onnx, onnx_graphsurgeon
graph = onnx_graphsurgeon.import_onnx(onnx.load(sys.argv[1]))
graph.fold_constants().cleanup().toposort()
onnx.save(onnx_graphsurgeon.export_onnx(graph), sys.argv[2])
"""


@dataclass
class Row:
    """One tool: its command (``IN`` and ``OUT`` stand for the files) and what its runs cost."""

    name: str
    command: Sequence[str]
    needs: str = ""
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    largest_mb: list[float] = field(default_factory=list)
    tree_mb: list[float] = field(default_factory=list)
    nodes: int | None = None
    file_mb: float | None = None
    result: str = ""


def rows() -> list[Row]:
    """Return the commands to compare; the reference of the ratios is among them."""
    python = sys.executable
    apply = [python, "-m", "graphopt", "apply", "IN", "-o", "OUT", "--passes"]
    return [
        Row("graphopt, five passes, --verify off", [*apply, CLEAN, "--verify", "off"]),
        Row("graphopt, five passes", [*apply, CLEAN]),
        Row("graphopt, remove_pad", [*apply, "remove_pad"]),
        Row(REFERENCE, [python, "-c", ONNXSIM, "IN", "OUT"], needs="onnxsim"),
        Row("onnxsim, its command line", [python, "-m", "onnxsim", "IN", "OUT"], needs="onnxsim"),
        Row("OnnxSlim", [python, "-m", "onnxslim", "IN", "OUT"], needs="onnxslim"),
        Row("onnxscript optimizer", [python, "-c", ONNXSCRIPT, "IN", "OUT"], needs="onnxscript"),
        Row(
            "graphsurgeon fold + cleanup",
            [python, "-c", GRAPHSURGEON, "IN", "OUT"],
            needs="onnx_graphsurgeon",
        ),
        Row("imports alone", [python, "-c", "import onnx, onnx_ir, onnxruntime"]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="default: DeepMAR as torch 1.6 exported it")
    parser.add_argument(
        "--repeat", type=int, default=3, help="counted runs of each (default 3), after one more"
    )
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    with tempfile.TemporaryDirectory(prefix="graphopt-bench-") as name:
        folder = Path(name)
        model = options.model or default_model(folder)
        if not model.is_file():
            parser.error(f"there is no file {model}")
        report = compare(model, folder, options.repeat)
    print(report)
    if options.markdown:
        options.markdown.write_text(report + "\n", encoding="utf-8")
    return 0


def default_model(folder: Path) -> Path:
    """Return the real torch 1.6 graph with seeded weights where it is at hand, else one exported here."""
    real = SHARED / "raw" / "deepmar_bs1.onnx"
    if real.is_file():
        target = folder / "deepmar.onnx"
        fill = [sys.executable, str(SHARED / "tools" / "weights.py"), "fill", str(real), str(target)]
        subprocess.run(fill, check=True, stdout=subprocess.DEVNULL)
        return target
    bundle = folder / "bundle"
    export = [sys.executable, "-m", "graphopt", "export", "deepmar", "--demo", "--style", "torch-1.6"]
    subprocess.run([*export, "-o", str(bundle)], check=True, stdout=subprocess.DEVNULL)
    return (bundle / "model.onnx").rename(folder / "deepmar.onnx")


def compare(model: Path, folder: Path, repeat: int) -> str:
    """Run all commands in turns and return the report."""
    table = rows()
    feeds = structured_feeds(input_specs(load_model(model)), seed=0)
    with OnnxRuntimeSession(model) as session:
        expected = session.run(feeds)
    load_before = os.getloadavg()[0]
    for turn in range(repeat + 1):
        for row in table:
            if row.result:
                continue  # missing, or it failed before
            print(f"run {turn} of {repeat}: {row.name}", file=sys.stderr)
            output = folder / "out" / "out.onnx"
            run_once(row, model, output, counted=turn > 0)
            if turn == repeat and not row.result:
                examine(row, output, feeds, expected)
    loads = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    return "\n".join([*_heading(model, repeat, loads), "", *_table(table)])


def run_once(row: Row, model: Path, output: Path, *, counted: bool) -> None:
    """Run a command once, into an empty folder."""
    if row.needs and importlib.util.find_spec(row.needs) is None:
        row.result = "not installed"
        return
    output.parent.mkdir(exist_ok=True)
    for old in output.parent.iterdir():
        old.unlink()
    cost_file, log = output.parents[1] / "cost.json", output.parents[1] / "log"
    files = {"IN": str(model), "OUT": str(output)}
    command = [files.get(word, word) for word in row.command]
    subprocess.run([sys.executable, str(HERE / "measure.py"), str(cost_file), str(log), *command], check=True)
    cost = json.loads(cost_file.read_text(encoding="utf-8"))
    if cost["exit_code"] != 0:
        row.result = f"failed with exit code {cost['exit_code']}"
        print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
    elif counted:
        row.wall_s.append(cost["wall_s"])
        row.cpu_s.append(cost["cpu_s"])
        row.largest_mb.append(cost["largest_bytes"] / 1e6)
        row.tree_mb.append(cost["tree_bytes"] / 1e6)


def examine(row: Row, output: Path, feeds: dict[str, Array], expected: dict[str, Array]) -> None:
    """Look at what a command wrote: its size, its nodes, and whether it computes the same."""
    if "OUT" not in row.command:
        return
    try:
        row.nodes = count_nodes(load_model(output))
        row.file_mb = (
            sum(file.stat().st_size for file in output.parent.iterdir() if file.suffix != ".json") / 1e6
        )
        with OnnxRuntimeSession(output) as session:
            got = session.run(feeds)
    except GraphoptError as error:
        row.result = "DIFFERENT: " + " ".join(str(error).replace("|", "/").split())
        return
    wrong = [item for item in compare_outputs(expected, got, FLOAT32_REORDERED) if not item.passed]
    row.result = f"DIFFERENT: {wrong[0].name} {wrong[0].detail}" if wrong else "equal"


def _heading(model: Path, repeat: int, loads: str) -> list[str]:
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS_OF)
    size = model.stat().st_size / 1e6
    return [
        f"{model.name}: {count_nodes(load_model(model))} nodes, {size:.1f} MB.",
        f"Medians of {repeat} runs in turns, after one that is not counted.",
        f"{os.cpu_count()} processors, load average {loads}.",
        f"Python {platform.python_version()}, {versions}.",
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _table(table: list[Row]) -> list[str]:
    reference = next(row for row in table if row.name == REFERENCE)
    cells = [
        ["tool", "seconds", "min..max", f"/ {REFERENCE}", "CPU s", "peak MB", f"/ {REFERENCE}", "tree MB"],
        *(_cells(row, reference) for row in table),
    ]
    cells[0] += ["nodes", "file MB", "outputs"]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(_padded(text, i, widths[i]) for i, text in enumerate(row)) for row in cells]
    rule = "|".join(
        "-" * (width + 1) + ("-" if i in (0, len(widths) - 1) else ":") for i, width in enumerate(widths)
    )
    return [f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])]


def _padded(text: str, column: int, width: int) -> str:
    return text.ljust(width) if column in (0, 10) else text.rjust(width)


def _cells(row: Row, reference: Row) -> list[str]:
    if not row.wall_s:
        return [row.name, *[""] * 9, row.result]
    return [
        row.name,
        f"{statistics.median(row.wall_s):.2f}",
        f"{min(row.wall_s):.2f}..{max(row.wall_s):.2f}",
        _ratio(row.wall_s, reference.wall_s),
        f"{statistics.median(row.cpu_s):.2f}",
        f"{statistics.median(row.largest_mb):.0f}",
        _ratio(row.largest_mb, reference.largest_mb),
        f"{statistics.median(row.tree_mb):.0f}",
        "" if row.nodes is None else str(row.nodes),
        "" if row.file_mb is None else f"{row.file_mb:.1f}",
        row.result,
    ]


def _ratio(values: list[float], reference: list[float]) -> str:
    return f"{statistics.median(values) / statistics.median(reference):.2f}" if reference else ""


if __name__ == "__main__":
    raise SystemExit(main())
