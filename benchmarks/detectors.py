"""Raw detector graphs through ``graphopt apply``: what goes, what comes, what is proven, what it costs.

``python benchmarks/detectors.py [GRAPH ...] [--repeat N] [--filled FOLDER] [--markdown FILE]``

The proof runs on three structured pictures. Then every mutant of the result, one mistake in each
(``tests/recipes/detector_mutants.py``), is judged on one of them, and source and result are timed in
onnxruntime.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from graphopt.core.detections import Detections
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.recipes.catalogue import find_recipe
from graphopt.surgery import Samples
from graphopt.surgery.engine.plan import make_plan
from graphopt.surgery.engine.verification import Verifier

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
PICTURES = 3
GRAPHS = ("fcos", "nas_fpn", "faster_rcnn_dcn")
"""Their recipes have the same names."""
CUTS = Detections(dets="", limit=100, score_threshold=0.05, iou_threshold=0.5)
"""Of all three."""


@dataclass
class Row:
    """What one graph came to."""

    graph: str
    report: Mapping[str, Any] = field(default_factory=dict)
    off_s: list[float] = field(default_factory=list)
    proven_s: list[float] = field(default_factory=list)
    off_mb: float = 0.0
    proven_mb: float = 0.0
    caught: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    source_s: float = 0.0
    result_s: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("graphs", nargs="*", metavar="GRAPH", help=f"of {', '.join(GRAPHS)}; default: all")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each command (default 1)")
    parser.add_argument("--limit", type=float, default=900, help="seconds until a run is stopped")
    parser.add_argument("--filled", type=Path, help="folder of the graphs with their weights; default: made")
    parser.add_argument("--markdown", type=Path, help="append the tables there, too")
    parser.add_argument("--work", type=Path, help="folder for temporary files")
    options = parser.parse_args()
    if unknown := set(options.graphs) - set(GRAPHS):
        parser.error(f"unknown graph {min(unknown)}; there are {', '.join(GRAPHS)}")
    rows = []
    for graph in options.graphs or GRAPHS:
        with tempfile.TemporaryDirectory(prefix="graphopt-bench-", dir=options.work) as name:
            source = fill(graph, options.filled, Path(name))
            rows.append(measure(graph, source, Path(name), options.repeat, options.limit))
    text = "\n".join(tables(rows))
    print(text)
    if options.markdown:
        with options.markdown.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
    return 1 if any(row.missed or not row.report.get("ok") for row in rows) else 0


def fill(graph: str, filled: Path | None, folder: Path) -> Path:
    """Return the graph with seeded weights."""
    if filled is not None:
        return (filled / f"{graph}.onnx").resolve()
    target = folder / f"{graph}.onnx"
    command = [SHARED / "tools" / "weights.py", "fill", SHARED / "raw" / f"{graph}.onnx", target]
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return target


def measure(graph: str, source: Path, folder: Path, repeat: int, limit_s: float) -> Row:
    """Rewrite a graph, judge its mutants and time it."""
    row, output, data = Row(graph), folder / "out.onnx", folder / "pictures.npz"
    (spec,) = input_specs(load_model(source))
    height, width = (int(size or 0) for size in spec.shape[2:])
    image = module(SHARED / "tools" / "weights.py").image
    pictures = np.concatenate([image(height, width, seed) for seed in range(PICTURES)])
    np.savez(data, **{spec.name: pictures})  # type: ignore[arg-type]
    files = [str(source), "-o", str(output), "--force"]
    apply = [sys.executable, "-m", "graphopt", "apply", *files, "--recipe", graph]
    for _ in range(repeat):
        row.off_mb = run([*apply, "--verify", "off"], folder, limit_s, row.off_s)[0]
        row.proven_mb, row.report = run(
            [*apply, "--data", str(data), "--json"], folder, limit_s, row.proven_s
        )
    if row.report.get("ok"):
        judge_mutants(row, source, output, folder, {spec.name: pictures[:1]})
        row.source_s, row.result_s = seconds((source, output), {spec.name: pictures[:1]})
    return row


def run(
    command: list[str], folder: Path, limit_s: float, seconds_taken: list[float]
) -> tuple[float, Mapping[str, Any]]:
    """Run a command; return its peak in MB and its JSON, if it printed any."""
    cost, log = folder / "cost.json", folder / "log"
    print(f"{folder.name}: {' '.join(command[3:])}", file=sys.stderr, flush=True)
    wrapper = [sys.executable, str(HERE / "measure.py"), str(cost), str(log), str(limit_s)]
    subprocess.run([*wrapper, *command], check=True)
    found = json.loads(cost.read_text(encoding="utf-8"))
    seconds_taken.append(found["wall_s"])
    lines = log.read_text(encoding="utf-8", errors="replace")
    if found["exit_code"]:
        print(lines[-2000:], file=sys.stderr)
    return found["tree_bytes"] / 1e6, json.loads(lines) if lines.startswith("{") else {}


def judge_mutants(row: Row, source: Path, output: Path, folder: Path, feed: Mapping[str, Any]) -> None:
    """Note which mutants of the result are refused."""
    mutants = module(HERE.parent / "tests" / "recipes" / "detector_mutants.py")
    result = load_model(output)
    models = mutants.mutants(result)
    names = mutants.outputs_of(load_model(source), result)
    passes = [planned.item for planned in make_plan(find_recipe(row.graph).passes)]
    verifier = Verifier(source, Samples(feeds=(feed,), kind="a picture"), folder, passes=passes)
    verdicts = verifier.judge([mutants.candidate(model, names, CUTS) for model in models.values()])
    for name, verdict in zip(models, verdicts, strict=True):
        if verdict.status.value == "failed":
            differs = verdict.detections and not verdict.detections[0].passed
            row.caught[name] = verdict.detections[0].summary if differs else verdict.reason.partition(";")[0]
        else:
            row.missed.append(name)


def seconds(paths: tuple[Path, Path], feed: Mapping[str, Any]) -> tuple[float, float]:
    """Return how long onnxruntime, optimisation on, takes for a picture: the best of five runs in turns."""
    taken: tuple[list[float], list[float]] = ([], [])
    with (
        OnnxRuntimeSession(paths[0], optimize=True) as one,
        OnnxRuntimeSession(paths[1], optimize=True) as two,
    ):
        for _ in range(5):
            for session, times in zip((one, two), taken, strict=True):
                started = time.perf_counter()
                session.run(feed)
                times.append(time.perf_counter() - started)
    return min(taken[0]), min(taken[1])


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def tables(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the report, as Markdown."""
    load = f"load average {os.getloadavg()[0]:.1f}"
    yield f"{os.cpu_count()} processors, {load}; {PICTURES} structured pictures."
    yield from table([outcome(row) for row in rows if row.report])
    yield from table([cost(row) for row in rows])
    yield from table(
        [
            {"graph": row.graph, "mistake": name, "the proof": text}
            for row in rows
            for name, text in (*row.caught.items(), *((name, "**does not see it**") for name in row.missed))
        ]
    )


def table(rows: list[dict[str, str]]) -> Iterator[str]:
    if rows:
        yield ""
        yield f"| {' | '.join(rows[0])} |"
        yield f"|{'---|' * len(rows[0])}"
        yield from (f"| {' | '.join(row.values())} |" for row in rows)


def outcome(row: Row) -> dict[str, str]:
    report = row.report
    before, after = report["ops_before"], report["ops_after"]
    found = (report["verification"]["detections"] or [{}])[0]
    return {
        "graph": row.graph,
        "nodes": f"{report['nodes_before']} -> {report['nodes_after']}",
        "operators gone": counts({name: n for name, n in before.items() if name not in after}),
        "emitted": counts({name: n for name, n in after.items() if name not in before}),
        "detections paired": f"{found.get('paired')}/{found.get('reference')}",
        "worst box, px": f"{found.get('box') or 0:.2g}",
        "worst score": f"{found.get('score') or 0:.2g}",
        "near ties": str(len(found.get("near_ties", ()))),
        "boxes without area": str(found.get("zero_area")),
        "padding not zero": str(found.get("dirty_padding")),
        "note": report["verification"]["reason"],
    }


def counts(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items())


def cost(row: Row) -> dict[str, str]:
    return {
        "graph": row.graph,
        "seconds, --verify off": f"{statistics.median(row.off_s):.1f}",
        "seconds, proven": f"{statistics.median(row.proven_s):.1f}",
        "peak MB, --verify off": f"{row.off_mb:.0f}",
        "peak MB, proven": f"{row.proven_mb:.0f}",
        "onnxruntime, source, s": f"{row.source_s:.2f}",
        "result, s": f"{row.result_s:.2f}",
        "ratio": f"{row.result_s / row.source_s:.2f}" if row.source_s else "",
    }


if __name__ == "__main__":
    raise SystemExit(main())
