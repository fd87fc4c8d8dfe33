"""Time COCO's metric on drawn numbers: graphopt's task beside pycocotools by its documented calls.

``python benchmarks/coco_eval.py [--images 5000] [--detections 100] [--skip-reference]``

Both start from an annotation file (as large as val2017's, without masks) and from the same detections:
pycocotools reads them as a result file, graphopt as the arrays that a model answers, which it also maps
back to the images and judges image by image. The twelve figures must be equal.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.coco import COCO_CATEGORY_IDS, COCO_CLASSES
from graphopt.core.preprocessing import DecodeCv2, ToNchw
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.tasks.detection import DetectionTask

_PER_IMAGE = 7.36
"""Annotated objects of an image of val2017."""
_SIDE = 640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--skip-reference", action="store_true", help="do not wait for pycocotools")
    options = parser.parse_args()
    task = DetectionTask(steps=(DecodeCv2(), ToNchw()))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        annotations = _write_annotations(root, options.images)
        predictions = _detections(annotations, options.images, options.detections)
        result_file = root / "found.json"
        dataset = task.open_data(root, labels_only=True)
        task.write_original(dataset, predictions, result_file)

        def ours() -> list[float]:
            data = task.open_data(root, labels_only=True)
            return list(task.score(data, predictions).figures.values())

        ours()  # imports
        figures, wall, cpu = _timed(ours)
        print(f"{options.images} images, {options.detections} detections each")
        print("| | seconds | CPU s | ratio of CPU |\n|---|--:|--:|--:|")
        if not options.skip_reference:
            known, wall_reference, cpu_reference = _timed(
                lambda: _reference(root / "instances_val2017.json", result_file)
            )
            if known != figures:
                raise SystemExit(f"the figures differ: {known} and {figures}")
            print(f"| pycocotools | {wall_reference:.2f} | {cpu_reference:.2f} | 1 |")
            print(f"| graphopt | {wall:.2f} | {cpu:.2f} | 1/{cpu_reference / cpu:.0f} |")
        else:
            print(f"| graphopt | {wall:.2f} | {cpu:.2f} | |")


def _timed(call: Callable[[], list[float]]) -> tuple[list[float], float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def _reference(annotations: Path, results: Path) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        run = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(value) for value in run.stats]


def _write_annotations(root: Path, images: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    count = round(images * _PER_IMAGE)
    sides = np.exp(rng.uniform(np.log(8), np.log(400), (count, 2)))
    corner = rng.uniform(0, 1, (count, 2)) * (_SIDE - sides)
    # Classes are as uneven as COCO's: the first has a third of all objects.
    label = np.minimum(rng.geometric(0.06, count) - 1, 79) * (rng.random(count) > 0.3)
    annotations = [
        {
            "id": i + 1,
            "image_id": 1 + int(i * images / count),
            "category_id": COCO_CATEGORY_IDS[label[i]],
            "bbox": [round(float(value), 2) for value in (*corner[i], *sides[i])],
            "area": round(float(sides[i].prod()) * 0.6, 4),
            "iscrowd": int(rng.random() < 0.012),
        }
        for i in range(count)
    ]
    content = {
        "info": {},
        "images": [
            {"id": i + 1, "file_name": f"{i + 1:012d}.jpg", "width": _SIDE, "height": _SIDE}
            for i in range(images)
        ],
        "categories": [
            {"id": category, "name": name}
            for category, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True)
        ],
        "annotations": annotations,
    }
    (root / "instances_val2017.json").write_text(json.dumps(content), encoding="utf-8")
    return annotations


def _detections(annotations: list[dict[str, Any]], images: int, each: int) -> Predictions:
    """Return each object twice, moved a little, and boxes anywhere up to the number."""
    rng = np.random.default_rng(11)
    corner = rng.uniform(0, _SIDE - 60, (images, each, 2))
    dets = np.concatenate(
        [corner, corner + rng.uniform(8, 60, (images, each, 2)), rng.uniform(0.05, 0.6, (images, each, 1))],
        axis=2,
    ).astype(np.float32)
    labels = np.minimum(rng.geometric(0.06, (images, each)) - 1, 79)
    used = np.zeros(images, np.int64)
    for item in annotations * 2:
        image = item["image_id"] - 1
        if used[image] < each:
            x, y, width, height = item["bbox"]
            noise = rng.normal(0, 0.06, 4) * [width, height, width, height]
            box = np.array([x, y, x + width, y + height]) + noise
            dets[image, used[image]] = [*box, rng.uniform(0.2, 1)]
            labels[image, used[image]] = COCO_CATEGORY_IDS.index(item["category_id"])
            used[image] += 1
    names = tuple(f"{i + 1:012d}.jpg" for i in range(images))
    return Predictions(names=names, outputs={"dets": dets, "labels": labels})


if __name__ == "__main__":
    main()
