"""``graphopt apply --preset clean`` beside other simplifiers: seconds, memory, nodes, and is it right.

``python benchmarks/apply.py [CASE ...] [--repeat N] [--limit SECONDS] [--markdown FILE]``

Every command is measured as a whole process, interpreter start included, and all take turns, so that a
machine that slows down slows them all down. See benchmarks/README.md for cases and columns.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import generated
import onnx
from tools import REFERENCE, Tool, tools

from graphopt.core.comparison import FLOAT32_REORDERED, compare_outputs
from graphopt.core.errors import GraphoptError
from graphopt.core.onnx_files import count_nodes, input_specs, load_model
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
VERSIONS_OF = ("onnx", "onnx-ir", "onnxruntime", "onnxsim", "onnxslim", "onnxscript", "onnx-graphsurgeon")
REAL = ("deepmar_bs1", "refinenet", "fcos", "nas_fpn", "faster_rcnn_dcn")
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
WEIGHTS = "weights-4gb"
WEIGHT_BYTES = 4 * 10**9


@dataclass
class Row:
    """One tool on one model: what its runs cost and what it made."""

    tool: Tool
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    largest_mb: list[float] = field(default_factory=list)
    tree_mb: list[float] = field(default_factory=list)
    nodes: int | None = None
    file_mb: float | None = None
    result: str = ""


@dataclass(frozen=True)
class Reference:
    """What a source answers to seeded inputs; no outputs when it cannot be run."""

    feeds: dict[str, Array]
    outputs: dict[str, Array]
    why_not: str = ""


def main() -> int:
    known = case_names()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"a file, or one of {', '.join(known)}")
    parser.add_argument("--repeat", type=int, default=3, help="counted runs of each (default 3)")
    parser.add_argument("--limit", type=float, default=600, help="seconds until a run is stopped")
    parser.add_argument(
        "--tools",
        nargs="+",
        default=[""],
        metavar="WORD",
        help=f"only tools with such a word and {REFERENCE}",
    )
    parser.add_argument("--markdown", type=Path, help="append the tables there, too")
    parser.add_argument("--work", type=Path, help="folder for temporary files; the largest case needs 15 GB")
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat must be at least 1")
    for case in options.cases or known:
        if case not in known and not Path(case).is_file():
            parser.error(f"there is no case and no file {case}; cases: {', '.join(known)}")
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    for case in options.cases or known:
        with tempfile.TemporaryDirectory(prefix="graphopt-bench-", dir=options.work) as name:
            try:
                model = make(case, Path(name))
            except FileNotFoundError as error:
                print(f"{case}: left out, {error}", file=sys.stderr)
                continue
            chosen = [tool for tool in tools() if _is_wanted(tool, options.tools)]
            report = compare(model, chosen, Path(name), options.repeat, options.limit)
        print(report, flush=True)
        if options.markdown:
            with options.markdown.open("a", encoding="utf-8") as stream:
                stream.write(report + "\n\n")
    return 0


def case_names() -> list[str]:
    """Return all cases, the cheap ones first."""
    chains = [f"{kind}-{size}" for size in SIZES for kind in generated.CHAINS]
    return [*REAL, *chains, WEIGHTS]


def make(case: str, folder: Path) -> Path:
    """Return the model of a case.

    Raises:
        FileNotFoundError: it is a real graph, and the folder of real graphs is not at hand.
    """
    if Path(case).is_file():
        return Path(case)
    target = folder / f"{case}.onnx"
    if case in REAL:
        raw = SHARED / "raw" / f"{case}.onnx"
        if not raw.is_file():
            raise FileNotFoundError(f"there is no {raw}")
        fill = [sys.executable, str(SHARED / "tools" / "weights.py"), "fill", str(raw), str(target)]
        subprocess.run(fill, check=True, stdout=subprocess.DEVNULL)
    elif case == WEIGHTS:
        generated.generate("weights", WEIGHT_BYTES, target)
    else:
        kind, _, size = case.partition("-")
        generated.generate(kind, SIZES[size], target)
    return target


def compare(model: Path, chosen: list[Tool], folder: Path, repeat: int, limit_s: float) -> str:
    """Run tools in turns and return the report."""
    table = [Row(tool) for tool in chosen]
    reference = run_source(model)
    load_before = os.getloadavg()[0]
    first = 0 if repeat > 1 else 1  # the first of several turns warms up caches and is not counted
    for turn in range(first, repeat + 1):
        for row in table:
            if row.result:
                continue  # missing, or it failed before
            print(f"{model.stem}: run {turn} of {repeat}: {row.tool.name}", file=sys.stderr, flush=True)
            output = folder / "out" / "out.onnx"
            run_once(row, model, output, limit_s, counted=turn > 0)
            if turn == repeat and not row.result:
                examine(row, output, reference)
    loads = f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    return "\n".join([*_heading(model, repeat, loads), "", *_table(table)])


def _is_wanted(tool: Tool, words: list[str]) -> bool:
    return tool.name == REFERENCE or any(word in tool.name for word in words)


def run_source(model: Path) -> Reference:
    """Run the source on seeded inputs."""
    feeds = structured_feeds(input_specs(load_model(model)), seed=0)
    try:
        return Reference(feeds, run_model(model, feeds))
    except GraphoptError as error:
        return Reference(feeds, {}, "not compared: onnxruntime cannot run the source, " + _plain(error)[-80:])


def run_model(model: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    with OnnxRuntimeSession(model) as session:
        return session.run(feeds)


def run_once(row: Row, model: Path, output: Path, limit_s: float, *, counted: bool) -> None:
    """Run a command once, into an empty folder."""
    if row.tool.needs and importlib.util.find_spec(row.tool.needs) is None:
        row.result = "not installed"
        return
    output.parent.mkdir(exist_ok=True)
    for old in output.parent.iterdir():
        old.unlink()
    cost_file, log = output.parents[1] / "cost.json", output.parents[1] / "log"
    files = {"IN": str(model), "OUT": str(output)}
    command = [files.get(word, word) for word in row.tool.command]
    measure = [sys.executable, str(HERE / "measure.py"), str(cost_file), str(log), str(limit_s)]
    subprocess.run([*measure, *command], check=True, cwd=output.parent)
    cost = json.loads(cost_file.read_text(encoding="utf-8"))
    if cost["timed_out"]:
        row.result = f"not done after {limit_s:.0f} s"
    elif cost["exit_code"] != 0 or not output.is_file():
        row.result = f"failed with exit code {cost['exit_code']}: {_last_line(log)}"
    if counted or row.result:
        row.wall_s.append(cost["wall_s"])
        row.cpu_s.append(cost["cpu_s"])
        row.largest_mb.append(cost["largest_bytes"] / 1e6)
        row.tree_mb.append(cost["tree_bytes"] / 1e6)


def examine(row: Row, output: Path, reference: Reference) -> None:
    """Look at what a command wrote: its size, its nodes, and whether it computes the same."""
    files = [file for file in output.parent.iterdir() if file.suffix != ".json"]
    row.file_mb = sum(file.stat().st_size for file in files) / 1e6
    row.nodes = len(onnx.load(output, load_external_data=False).graph.node)
    if reference.why_not:
        row.result = reference.why_not
        return
    try:
        row.nodes = count_nodes(load_model(output))
        got = run_model(output, reference.feeds)
    except GraphoptError as error:
        row.result = "DIFFERENT: " + _plain(error)
        return
    compared = compare_outputs(reference.outputs, got, FLOAT32_REORDERED)
    wrong = [item for item in compared if not item.passed]
    row.result = f"DIFFERENT: {wrong[0].name} {wrong[0].detail}" if wrong else "equal"


def _plain(error: Exception) -> str:
    return " ".join(str(error).replace("|", "/").split())


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].replace("|", "/")[:100] if lines else ""


def _heading(model: Path, repeat: int, loads: str) -> list[str]:
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS_OF)
    size = sum(file.stat().st_size for file in model.parent.glob(f"{model.name}*")) / 1e6
    return [
        f"### {model.stem}: {count_nodes(load_model(model))} nodes, {size:.1f} MB",
        "",
        f"Medians of {repeat} runs in turns; {os.cpu_count()} processors, load average {loads}.",
        f"Python {platform.python_version()}, {versions}.",
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


COLUMNS: dict[str, Callable[[Row, Row], str]] = {
    "tool": lambda row, _: row.tool.name,
    "seconds": lambda row, _: f"{statistics.median(row.wall_s):.2f}",
    "min..max": lambda row, _: f"{min(row.wall_s):.2f}..{max(row.wall_s):.2f}",
    f"/ {REFERENCE}": lambda row, other: _ratio(row.wall_s, other.wall_s),
    "CPU s": lambda row, _: f"{statistics.median(row.cpu_s):.2f}",
    "peak MB": lambda row, _: f"{statistics.median(row.largest_mb):.0f}",
    f"peak / {REFERENCE}": lambda row, other: _ratio(row.largest_mb, other.largest_mb),
    "tree MB": lambda row, _: f"{statistics.median(row.tree_mb):.0f}",
    "nodes": lambda row, _: "" if row.nodes is None else str(row.nodes),
    "file MB": lambda row, _: "" if row.file_mb is None else f"{row.file_mb:.1f}",
    "outputs": lambda row, _: row.result,
}
_TEXT = ("tool", "outputs")


def _table(table: list[Row]) -> list[str]:
    reference = next(row for row in table if row.tool.name == REFERENCE)
    cells = [list(COLUMNS), *(_cells(row, reference) for row in table)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [name in _TEXT for name in COLUMNS]
    lines = [
        " | ".join(
            text.ljust(width) if side else text.rjust(width)
            for text, width, side in zip(row, widths, left, strict=True)
        )
        for row in cells
    ]
    marks = ["-" * (width + 1) + ("-" if side else ":") for width, side in zip(widths, left, strict=True)]
    return [f"| {lines[0]} |", f"|{'|'.join(marks)}|", *(f"| {line} |" for line in lines[1:])]


def _cells(row: Row, reference: Row) -> list[str]:
    if not row.wall_s:
        return [row.tool.name, *[""] * (len(COLUMNS) - 2), row.result]
    return [make_cell(row, reference) for make_cell in COLUMNS.values()]


def _ratio(values: list[float], reference: list[float]) -> str:
    return f"{statistics.median(values) / statistics.median(reference):.2f}" if reference else ""


if __name__ == "__main__":
    raise SystemExit(main())
