"""What the estimate of half precision costs: time and memory against the plain model.

``python benchmarks/half_precision.py FILE.onnx [FILE.onnx ...] [--repeat N] [--markdown FILE]``

Every file runs as it is and as ``fp16:FILE`` (a detector as ``fp16-nms:FILE`` too) on one structured input,
in onnxruntime, optimisation off, a new process for each file. Seconds are of the processor, all threads
together, as the machine may be shared; memory is what opening and running needed beyond what was held.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.core.peak_memory import peak_memory
from graphopt.core.samples import structured_feeds
from graphopt.recipes.half_estimate import ESTIMATES
from graphopt.recipes.stages import parse_stage

PLAIN = "as it is"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.files[0], options.repeat)))
        return 0
    lines = [
        "| graph | stage | to open, s | a run, s | ratio | peak MB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for file in options.files:
        command = [sys.executable, __file__, str(file), "--repeat", str(options.repeat), "--one"]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        lines += table(file.stem, json.loads(answer))
        print("\n".join(lines), flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def measured(file: Path, repeat: int) -> dict[str, Any]:
    """Return seconds and bytes of each stage of a file."""
    feeds = structured_feeds(input_specs(load_model(file)), seed=0)
    found: dict[str, Any] = {}
    with parse_stage(str(file)).open() as session:
        session.run(feeds)  # libraries are loaded, and count for nobody
    for kind in (PLAIN, *ESTIMATES):
        stage = parse_stage(str(file) if kind == PLAIN else f"{kind}:{file}")
        opened, ran = [], []
        try:
            with peak_memory() as memory:
                start = time.process_time()
                with stage.open() as session:
                    opened.append(time.process_time() - start)
                    for _ in range(repeat):
                        start = time.process_time()
                        session.run(feeds)
                        ran.append(time.process_time() - start)
        except PreconditionError:
            continue  # no suppression
        found[kind] = {"open_s": opened[0], "run_s": statistics.median(ran), "peak_bytes": memory.bytes}
    return found


def table(name: str, stages: dict[str, Any]) -> list[str]:
    lines = []
    for kind, cost in stages.items():
        seconds, megabytes = cost["run_s"], (cost["peak_bytes"] or 0) / 1e6
        slower = seconds / stages[PLAIN]["run_s"]
        larger = megabytes * 1e6 / (stages[PLAIN]["peak_bytes"] or 1)
        cells = [name, kind, f"{cost['open_s']:.2f}", f"{seconds:.2f}", f"{slower:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{megabytes:.0f}", f"{larger:.2f}"]) + " |")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
