"""Bodies of target operators in onnxruntime beside PyTorch's versions: seconds, their ratio, and the error.

``python benchmarks/operators.py [CASE ...] [--repeat N] [--threads N] [--markdown FILE]``

Cases are what ``cases()`` of the files ``*_cases.py`` beside this one yields; a word chooses those that
contain it. Where PyTorch has several ways, the fastest one counts. All take turns, so that a machine that
slows down slows them all down: compare the ratios. See benchmarks/README.md.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from operator_case import Case

from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array

HERE = Path(__file__).resolve().parent
ALLOWED = 1.5
"""A body may take so many times the time of PyTorch."""


@dataclass
class Row:
    """What a case took; seconds by name, the body's as ``body``."""

    case: Case
    seconds: dict[str, list[float]] = field(default_factory=dict)
    error: float = 0.0

    @property
    def best(self) -> tuple[str, float]:
        """Return name and median of PyTorch's fastest version."""
        times = {name: statistics.median(found) for name, found in self.seconds.items() if name != "body"}
        name = min(times, key=lambda name: times[name])
        return name, times[name]

    @property
    def ratio(self) -> float:
        """Return the body's median over PyTorch's."""
        return statistics.median(self.seconds["body"]) / self.best[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="words; a case that contains one is run")
    parser.add_argument("--repeat", type=int, default=5, help="counted runs of each (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both (default: all)")
    parser.add_argument("--markdown", type=Path, help="append the table there, too")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    rows = []
    for case in all_cases():
        if not given.cases or any(word in case.name for word in given.cases):
            rows.append(measure(case, given.repeat, given.threads))
            print(line(rows[-1]), file=sys.stderr, flush=True)
    if not rows:
        parser.error(f"no case contains {' or '.join(given.cases)}")
    table = "\n".join([HEAD, *map(line, rows)])
    print(table)
    if given.markdown is not None:
        with given.markdown.open("a", encoding="utf-8") as stream:
            stream.write(f"{table}\n")
    return int(any(row.ratio > ALLOWED or row.error > row.case.bound for row in rows))


def all_cases() -> Iterator[Case]:
    """Yield the cases of all files."""
    for path in sorted(HERE.glob("*_cases.py")):
        yield from importlib.import_module(path.stem).cases()


def measure(case: Case, repeat: int, threads: int) -> Row:
    """Run the body and its rivals in turn; the first round only warms up, and compares."""
    row = Row(case)
    model = from_proto(onnx.parser.parse_model(case.text))
    with attached(model):
        proto = to_proto(model)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=threads) as session:
        runs: dict[str, Callable[[], tuple[Array, ...]]] = {
            "body": lambda: tuple(session.run(case.feeds).values()),
            **case.rivals,
        }
        for turn in range(repeat + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                made = run()
                elapsed = time.perf_counter() - started
                if turn:
                    row.seconds.setdefault(name, []).append(elapsed)
                elif name == "body":
                    answer = made
                else:
                    row.error = max(row.error, _error(answer, made))
    return row


def _error(got: tuple[Array, ...], expected: tuple[Array, ...]) -> float:
    """Return the largest error as a fraction of the largest expected value."""
    found = [0.0]
    for answer, wanted in zip(got, expected, strict=True):
        wide = wanted.astype(np.float64)
        peak = np.abs(wide).max(initial=0.0) or 1.0
        found.append(float(np.abs(answer.astype(np.float64) - wide).max(initial=0.0) / peak))
    return max(found)


HEAD = "| case | body ms | PyTorch ms | by | ratio | error / peak |\n|---|--:|--:|---|--:|--:|"


def line(row: Row) -> str:
    """Return a row of the table."""
    name, seconds = row.best
    body = statistics.median(row.seconds["body"])
    return (
        f"| {row.case.name} | {body * 1e3:.0f} | {seconds * 1e3:.0f} | {name} | {row.ratio:.2f} "
        f"| {row.error:.0e} |"
    )


if __name__ == "__main__":
    raise SystemExit(main())
