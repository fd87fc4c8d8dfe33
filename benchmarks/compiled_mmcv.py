"""Bodies of target operators in onnxruntime beside mmcv's compiled operators: worst errors, and seconds.

``python benchmarks/compiled_mmcv.py [--settings N] [--repeat N] [--seed N]``

Needs a Python in which mmcv is compiled (``mmcv-full`` 1.x or ``mmcv`` 2.x, not ``mmcv-lite``), and says so
where it is not. Draws N settings for each kind in ``random_calls.py``, then measures the cases of the files
``*_cases.py``. What was found, and how such an mmcv is built: docs/operator_accuracy.md.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from compiled_answers import answer
from operators import all_cases
from random_calls import KINDS, Call

from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array

FINE = 1e-4
"""Up to this fraction of the largest value it is rounding: of sums in another order, of places of samples."""

OPSETS = (11, 13, 16)
"""Bodies differ between them: how axes are given, and what ``RoiAlign`` can do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--settings", type=int, default=100, help="of each kind (default 100)")
    parser.add_argument("--repeat", type=int, default=3, help="of each measured case (default 3; 0: none)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if (missing := not_compiled()) is not None:
        parser.exit(3, f"compiled_mmcv.py: {missing}\n")
    print(
        table("kind | settings | beyond rounding | worst error / peak", accuracy(given.settings, given.seed))
    )
    if given.repeat:
        print(table("case | body ms | mmcv ms | ratio | error / peak", speed(given.repeat)))
    return 0


def not_compiled() -> str | None:
    """Say why mmcv's operators do not run; None when they do."""
    try:
        importlib.import_module("mmcv.ops")
    except ImportError as error:
        return (
            f"mmcv's compiled operators do not load ({error}); run it in a Python that has them "
            "(see docs/operator_accuracy.md)"
        )
    return None


def accuracy(settings: int, seed: int) -> list[str]:
    """Draw settings of every kind and compare; the settings beyond rounding are named on stderr."""
    rows = []
    for kind, draw in KINDS.items():
        errors: list[float] = []
        for number in range(settings):
            call = draw(np.random.default_rng([seed, number]))
            opset = OPSETS[number % len(OPSETS)]
            got, wanted = run_body(call.model(opset), call.feeds)(), answer(call.node, call.inputs)
            errors.append(error_of(call, got, wanted))
            if not errors[-1] <= FINE:
                print(
                    f"{kind} {seed}/{number}: {errors[-1]:.1e} {call.words}, opset {opset}",
                    file=sys.stderr,
                    flush=True,
                )
        beyond = Counter(error <= FINE for error in errors)[False]
        rows.append(f"{kind} | {settings} | {beyond} | {max(errors):.1e}")
    return rows


def speed(repeat: int) -> list[str]:
    """Measure the cases of the other benchmark; both take turns."""
    rows = []
    for case in all_cases():
        model = onnx.parser.parse_model(case.text)
        node = model.graph.node[0]
        inputs = [case.feeds[name] for name in node.input]
        body, times = run_body(model, dict(case.feeds)), [[0.0] * 0, [0.0] * 0]
        error = error_of(Call(node, inputs, ""), body(), answer(node, inputs))
        for _ in range(repeat):
            runs: tuple[Callable[[], object], ...] = (body, lambda: answer(node, inputs))  # noqa: B023
            for found, run in zip(times, runs, strict=True):
                started = time.perf_counter()
                run()
                found.append(time.perf_counter() - started)
        mine, theirs = (statistics.median(found) * 1e3 for found in times)
        rows.append(f"{case.name} | {mine:.0f} | {theirs:.0f} | {mine / theirs:.2f} | {error:.0e}")
    return rows


def run_body(model: onnx.ModelProto, feeds: dict[str, Array]) -> Callable[[], tuple[Array, ...]]:
    """Return what runs a model of one call through its body."""
    held = from_proto(model)
    with attached(held):
        session = OnnxRuntimeSession(to_proto(held).SerializeToString())
    return lambda: tuple(session.run(feeds).values())


def error_of(call: Call, got: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Return the largest error over the largest wanted value; infinite when the detections are others."""
    if call.node.op_type == "BatchMultiClassNMS":
        got, wanted = as_rows(got), as_rows(wanted)
    worst = 0.0
    for mine, theirs in zip(got, wanted, strict=True):
        if mine.shape != theirs.shape:
            return float("inf")
        wide = theirs.astype(np.float64)
        peak = np.abs(wide).max(initial=0.0) or 1.0
        worst = max(worst, float(np.abs(mine.astype(np.float64) - wide).max(initial=0.0) / peak))
    return worst


def as_rows(outputs: Sequence[Array]) -> list[Array]:
    """Return the filled rows of each image in an order that equal scores do not change."""
    boxes, scores, classes, counts = outputs
    rows = []
    for image, count in enumerate(counts.astype(int)):
        table = np.column_stack([scores[image], classes[image], boxes[image]])
        rows.append(table[:count][np.lexsort(table[:count].T[::-1])])
        rows.append(table[count:])
    return rows


def table(head: str, rows: Sequence[str]) -> str:
    """Return a table in Markdown."""
    marks = "|".join(["---", *["--:"] * head.count("|")])
    return "\n".join([f"| {head} |", f"|{marks}|", *(f"| {row} |" for row in rows), ""])


if __name__ == "__main__":
    raise SystemExit(main())
