"""The proof of an export: the file answers what the network answers, and is no recording of one answer."""

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from graphopt.core.comparison import TensorComparison, Tolerance, compare_outputs
from graphopt.core.detection_sets import compare_detections
from graphopt.core.detections import Detections, detections_of_roles
from graphopt.core.errors import ExportError
from graphopt.core.session import OnnxRuntimeSession, Session
from graphopt.core.tensors import Array, TensorSpec

_log = logging.getLogger(__name__)

Answers = Mapping[str, Array]
Pair = tuple[Answers, Answers]
"""Inputs, and what the network answers."""


def prove_export(model: Path, original: Session, golden: Sequence[Pair], tolerance: Tolerance) -> None:
    """Run the file on what the network was run on, and compare.

    Two samples are run as one batch, too, where the batch is open; and where there is one sample only for
    a detector, another one like it: boxes that the exporter took for constants show on a second input.

    Args:
        model: ONNX file.
        original: the network.
        golden: at least one sample.
        tolerance: of the file against the network.

    Raises:
        ExportError: the file answers differently, or alike where the network does not.
    """
    detections = detections_of_roles(original.outputs)
    pairs = [*golden, *_more(original, golden, two=detections is not None)]
    with OnnxRuntimeSession(model) as session:
        answers = [session.run(feeds) for feeds, _ in pairs]
    _check_varies([expected for _, expected in pairs], answers)
    compared = [
        _compared(expected, found, tolerance, detections)
        for (_, expected), found in zip(pairs, answers, strict=True)
    ]
    for number, results in enumerate(compared):
        for result in results:
            if not result.passed:
                raise ExportError(
                    f"the exported graph differs from the network on sample {number}, output "
                    f"{result.name}: {result.outcome.value} {result.detail}; this is a fault of the "
                    "exporter or of code that tracing cannot follow"
                )
    if not any(compared):
        _log.warning(
            "nothing is detected in the golden inputs, so no detection of the graph was compared with the "
            "network's: give images with objects (--data)"
        )


def _more(original: Session, golden: Sequence[Pair], *, two: bool) -> list[Pair]:
    first = golden[0][0]
    more: list[Answers] = []
    if all(_is_open(spec) for spec in original.inputs):
        last = golden[-1][0]  # another one where there is one: samples must not touch each other
        fits = all(array.shape[1:] == last[name].shape[1:] for name, array in first.items())
        second = last if fits else first
        more.append({name: np.concatenate([array, second[name]]) for name, array in first.items()})
    if two and len(golden) == 1 and all(array.dtype.kind == "f" for array in first.values()):
        more.append({name: _other(array) for name, array in first.items()})
    return [(feeds, original.run(feeds)) for feeds in more]


def _is_open(spec: TensorSpec) -> bool:
    return bool(spec.shape) and isinstance(spec.shape[0], str)


def _other(array: Array) -> Array:
    """Return an input of the same kind: a picture upside down, at half its contrast."""
    turned = np.flip(array, axis=-2) if array.ndim > 2 else array
    return np.multiply(turned, 0.5, dtype=array.dtype)


def _check_varies(expected: Sequence[Answers], found: Sequence[Answers]) -> None:
    """Refuse a file that answers two inputs alike to which the network has different answers."""
    for one, two in combinations(range(len(found)), 2):
        if _alike(found[one], found[two]) and not _alike(expected[one], expected[two]):
            raise ExportError(
                f"the exported graph answers samples {one} and {two} alike, the network does not: what it "
                "chose for the traced input became a constant; this is a fault of the exporter or of code "
                "that tracing cannot follow"
            )


def _alike(one: Answers, two: Answers) -> bool:
    return all(np.array_equal(array, two[name]) for name, array in one.items())


def _compared(
    expected: Answers, found: Answers, tolerance: Tolerance, detections: Detections | None
) -> list[TensorComparison]:
    """Compare outputs: detections as sets, as rows of nearly equal scores may change places.

    Returns:
        A comparison for each output, one for detections; none for these where nothing is detected.
    """
    together = {detections.dets, detections.labels} if detections else set()
    plain = {name: array for name, array in expected.items() if name not in together}
    others = {name: array for name, array in found.items() if name not in together}
    results = list(compare_outputs(plain, others, tolerance)) if plain or others else []
    if detections is not None:
        sides = [(item[detections.dets], item.get(detections.labels)) for item in (expected, found)]
        compared = compare_detections(sides[0], sides[1], detections)
        results += [] if compared.says_nothing else [compared.as_tensor()]
    return results
