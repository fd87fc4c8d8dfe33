"""Time the interval of box mAP: weights on one matching, beside evaluating every drawn data set anew.

``python benchmarks/lost_points.py [--images 5000] [--detections 100] [--draws 1000] [--anew 3]``

Data as for ``coco_eval.py``. "Anew" copies the drawn images' annotations and detections under new numbers
and evaluates them with the fast exact evaluator; a few draws are timed and the rest is reckoned. Both must
agree on these draws: to 1e-9 where scores differ, and here they do.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from coco_eval import _detections, _write_annotations
from numpy.typing import NDArray

from graphopt.core.preprocessing import DecodeCv2, ToNchw
from graphopt.runtime.datasets.coco_detection import CocoDetection
from graphopt.runtime.metrics.coco_boxes import coco_figures
from graphopt.runtime.tasks.detection import DetectionTask
from graphopt.validate.bootstrap import draw_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--anew", type=int, default=3, help="draws to evaluate anew")
    options = parser.parse_args()
    task = DetectionTask(steps=(DecodeCv2(), ToNchw()))
    with tempfile.TemporaryDirectory() as scratch:
        annotations = _write_annotations(Path(scratch), options.images)
        predictions = _detections(annotations, options.images, options.detections)
        dataset = task.open_data(Path(scratch), labels_only=True)
        score = task.score(dataset, predictions)
        assert score.weighted is not None
        weights = draw_images(options.images, draws=options.draws)
        start = time.process_time()
        ones = score.weighted(np.ones((1, options.images), np.int64))
        matched = time.process_time() - start
        figures = score.weighted(weights)
        ours = time.process_time() - start
        found = task.detections(dataset, predictions)
        start = time.process_time()
        anew = [_evaluated(dataset, found, counts) for counts in weights[: options.anew]]
        theirs = (time.process_time() - start) / options.anew * options.draws
    apart = float(np.abs(figures[: options.anew] - anew).max())
    if apart > 1e-9 or abs(float(ones[0]) - score.headline) > 1e-12:
        raise SystemExit(f"the figures differ by {apart}, on all images by {ones[0] - score.headline}")
    print(f"{options.images} images, {options.detections} detections each, {options.draws} draws")
    print("| | CPU s | ratio |\n|---|--:|--:|")
    print(f"| every draw evaluated anew (reckoned from {options.anew}) | {theirs:.0f} | 1 |")
    print(f"| graphopt ({matched:.1f} s of it matching once) | {ours:.1f} | 1/{theirs / ours:.0f} |")


def _evaluated(dataset: CocoDetection, found: Any, counts: NDArray[np.int64]) -> float:
    sources = np.repeat(np.arange(len(counts)), counts)
    objects, answers = (_drawn(side, sources) for side in (dataset.objects, found))
    by_name = {name: category for category, name in dataset.categories.items()}
    classes = [(name, by_name.get(name)) for name in DetectionTask(steps=()).classes]
    ids = range(1, len(sources) + 1)
    return coco_figures(objects, answers, image_ids=ids, classes=classes).figures["AP"]


def _drawn(side: Any, sources: NDArray[np.int64]) -> Any:
    """Return the rows of the drawn images, these numbered anew."""
    order = np.argsort(side.image, kind="stable")
    start = np.searchsorted(side.image[order], sources, side="left")
    counts = np.searchsorted(side.image[order], sources, side="right") - start
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = side.at(order[np.repeat(start, counts) + within])
    return replace(rows, image=np.repeat(np.arange(len(sources)), counts))


if __name__ == "__main__":
    main()
