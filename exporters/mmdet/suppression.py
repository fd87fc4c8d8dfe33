"""Choose detections class by class, in the forms that the pass ``replace_nms`` knows.

Traced, each becomes standard ONNX; run, it answers what mmcv's ``batched_nms`` would.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from graphopt.core.optional import require
from graphopt.exporters.mmdet.mmcv_kernels import nms
from graphopt.exporters.mmdet.mmcv_ops import untraced

if TYPE_CHECKING:
    import torch

_ALL = 1 << 40
"""Boxes to keep of each class: no limit."""


def best_of_classes(
    boxes: "torch.Tensor", scores: "torch.Tensor", *, iou: float, above: float, most: int
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Suppress in a batch of images; what is missing to ``most`` is filled up with zeros.

    Args:
        boxes: float [B, N, 4].
        scores: float [B, N, C].
        iou: overlap from which on the worse box of a class goes.
        above: score that a candidate must exceed, at least 0.
        most: detections to keep of each image.

    Returns:
        float [B, M, 5] of boxes and scores, the best first, and int64 [B, M] of classes.
    """
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")
    count, classes = int(boxes.shape[1]), int(scores.shape[2])
    chances = scores.permute(0, 2, 1)
    chosen = _functions().chosen(boxes, chances.contiguous(), iou, above)
    places = (chosen[:, 0] * classes + chosen[:, 1]) * count + chosen[:, 2]
    flat = chances.reshape(-1)
    kept = torch.zeros_like(flat).scatter(0, places, flat[places]).reshape(-1, classes * count)
    best, places = kept.topk(min(most, classes * count))
    labels = torch.div(places, count, rounding_mode="trunc")
    rows = places - labels * count
    found = boxes.gather(1, rows.unsqueeze(2).expand(-1, -1, 4))
    is_found = best > 0
    dets = torch.cat((found, best.unsqueeze(2)), 2) * is_found.unsqueeze(2).to(found.dtype)
    return dets, labels * is_found.long()


def best_of_listed(
    boxes: "torch.Tensor",
    scores: "torch.Tensor",
    labels: "torch.Tensor",
    *,
    iou: float,
    above: float,
    most: int,
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Suppress in a list of candidates of one image, their classes kept apart by moving their boxes.

    Args:
        boxes: float [K, 4].
        scores: float [K].
        labels: int64 [K].
        iou: as in ``best_of_classes``.
        above: as there.
        most: detections to keep.

    Returns:
        float [M, 5] of boxes and scores, the best first, and int64 [M] of classes; M is what is found.
    """
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")
    functions = _functions()
    places = (scores > above).nonzero().squeeze(1)
    boxes, scores, labels = boxes[places], scores[places], labels[places]
    apart = boxes + (labels.to(boxes) * (functions.largest(boxes) + 1))[:, None]
    kept = functions.listed(apart, scores, iou)[:most]
    return torch.cat((boxes[kept], scores[kept][:, None]), 1), labels[kept]


class _Functions:
    """The operator NonMaxSuppression in both forms, as autograd functions."""

    def __init__(self) -> None:
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")

        def numbers(g: Any, value: Any, dtype: Any) -> Any:
            return g.op("Constant", value_t=torch.tensor(value, dtype=dtype))

        def select(g: Any, boxes: Any, scores: Any, iou: float, *above: float) -> Any:
            limits = [numbers(g, [item], torch.float32) for item in (iou, *above)]
            chosen = g.op("NonMaxSuppression", boxes, scores, numbers(g, [_ALL], torch.int64), *limits)
            chosen.setType(boxes.type().with_dtype(torch.int64).with_sizes([None, 3]))
            return chosen

        class Chosen(torch.autograd.Function):
            @staticmethod
            def forward(_: Any, boxes: Any, scores: Any, iou: float, above: float) -> Any:
                return untraced(_suppressed)(boxes, scores, iou, above)

            @staticmethod
            def symbolic(g: Any, boxes: Any, scores: Any, iou: float, above: float) -> Any:
                return select(g, boxes, scores, iou, above)

        class Listed(torch.autograd.Function):
            @staticmethod
            def forward(_: Any, boxes: Any, scores: Any, iou: float) -> Any:
                return untraced(nms)(boxes, scores, iou, 0)

            @staticmethod
            def symbolic(g: Any, boxes: Any, scores: Any, iou: float) -> Any:
                chosen = select(
                    g, g.op("Unsqueeze", boxes, axes_i=[0]), g.op("Unsqueeze", scores, axes_i=[0, 1]), iou
                )
                column = g.op("Gather", chosen, numbers(g, [2], torch.int64), axis_i=1)
                kept = g.op("Squeeze", column, axes_i=[1])
                kept.setType(boxes.type().with_dtype(torch.int64).with_sizes([None]))
                return kept

        class Largest(torch.autograd.Function):
            """The largest element: torch has none of an empty tensor, so an image without any would fail."""

            @staticmethod
            def forward(_: Any, boxes: Any) -> Any:
                return boxes.amax() if len(boxes) else boxes.new_zeros(())

            @staticmethod
            def symbolic(g: Any, boxes: Any) -> Any:
                largest = g.op("ReduceMax", boxes, keepdims_i=0)
                largest.setType(boxes.type().with_sizes([]))
                return largest

        self.chosen = Chosen.apply
        self.largest = Largest.apply
        self.listed = Listed.apply


@cache
def _functions() -> _Functions:
    return _Functions()


def _suppressed(boxes: "torch.Tensor", scores: "torch.Tensor", iou: float, above: float) -> "torch.Tensor":
    """Return int64 [K, 3] of image, class and box, in this order; of a class, the best box first."""
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")
    rows = [torch.zeros(0, 3, dtype=torch.int64)]
    for image, label in (scores > above).any(2).nonzero().tolist():
        places = (scores[image, label] > above).nonzero().squeeze(1)
        kept = places[nms(boxes[image, places], scores[image, label, places], iou, 0)]
        head = torch.tensor([image, label]).expand(len(kept), 2)
        rows.append(torch.cat((head, kept[:, None]), 1))
    return torch.cat(rows)
