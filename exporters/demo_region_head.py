"""Fit the last layers of a second stage (Faster and Cascade R-CNN) to labelled images."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphopt.core.optional import require
from graphopt.exporters.demo_detector_weights import scale_answers
from graphopt.exporters.demo_priors import Labels, overlaps
from graphopt.exporters.demo_ridge import RidgeFit, SmoothLayer

if TYPE_CHECKING:
    import torch

_PURPOSE = "making a demo checkpoint"
_SCORE_RIDGE, _BOX_RIDGE, _OWN_RIDGE = 0.03, 0.1, 1.0
"""Of scores; of what all classes' boxes share; of what a class's boxes have of their own."""
_REGIONS = 500
"""Of an image, that are fitted."""
_SCALED = 64
"""Regions of an image by which inner layers are scaled."""
_MOVED, _COPIES = 0.1, 3
"""Sizes by which copies of the labelled boxes are moved, and how many are fitted beside the proposals."""
_OUTSIDE, _INSIDE = 0.3, 0.8
"""Overlaps with a labelled box at which a region is no object, and at which it is one for sure."""
_NEAR = 0.4
"""Overlap from which a region says something about its object's box."""
_FEW = 30
"""Regions from which a class's boxes are fitted."""
_UNSEEN = 0.5
"""Quality below none of classes that no image shows: 70 of them would take the others' share."""


@dataclass(frozen=True, kw_only=True)
class Regions:
    """What the second stage is given of an image.

    Attributes:
        levels: the pyramid, float32 [1, C, Hi, Wi] each.
        boxes: float32 [R, 4].
        labels: what the image shows.
    """

    levels: Sequence["torch.Tensor"]
    boxes: "torch.Tensor"
    labels: Labels


class RegionFit:
    """Fits each stage in turn, on the boxes that the one before makes.

    Args:
        head: ``StandardRoIHead`` or ``CascadeRoIHead`` of mmdet 3.x.
        seed: of biases and moved boxes.
    """

    def __init__(self, head: Any, *, seed: int) -> None:
        several = hasattr(head.bbox_head, "__len__")
        self._heads = list(head.bbox_head) if several else [head.bbox_head]
        self._poolings = list(head.bbox_roi_extractor) if several else [head.bbox_roi_extractor]
        self._seed = seed

    def fit(self, images: Sequence[Regions]) -> None:
        """Set the last layers of all stages; scores are qualities from 0 to 1 until ``set_logits``."""
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        labels = [image.labels for image in images]
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self._seed)
            boxes = [_with_copies(torch, image)[:_REGIONS] for image in images]
            for part, pooling in zip(self._heads, self._poolings, strict=True):
                pooled = [
                    _pooled(pooling, image.levels, box) for image, box in zip(images, boxes, strict=True)
                ]
                _scale_inner(torch, part, torch.cat([item[:_SCALED] for item in pooled]))
                rows = [_last_inputs(part, item) for item in pooled]
                _fit_scores(torch, part, [row[0] for row in rows], boxes, labels)
                _fit_moves(torch, part, [row[1] for row in rows], boxes, labels)
                answers = [part(item) for item in pooled]
                boxes = [
                    _moved(part, scores, moves, box)
                    for (scores, moves), box in zip(answers, boxes, strict=True)
                ]

    def answers(self, levels: Sequence["torch.Tensor"], boxes: "torch.Tensor") -> tuple[Any, Any]:
        """Return the qualities [R, classes + 1], averaged over stages, and the boxes [R, kinds * 4]."""
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        total: Any = 0.0
        with torch.no_grad():
            for part, pooling in zip(self._heads, self._poolings, strict=True):
                scores, moves = part(_pooled(pooling, levels, boxes))
                total = total + scores / len(self._heads)
                if part is self._heads[-1]:
                    kinds = moves.shape[1] // 4
                    every = boxes.repeat_interleave(kinds, 0)
                    return total, part.bbox_coder.decode(every, moves.reshape(-1, 4)).reshape(len(boxes), -1)
                boxes = _moved(part, scores, moves, boxes)
        raise AssertionError("a second stage has at least one head")

    def set_logits(self, scale: float, shift: float) -> None:
        """Let the scores be logits: ``scale * quality``, and ``shift`` more for all classes but none."""
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        for part in self._heads:
            shifts = torch.full((part.num_classes + 1,), shift)
            shifts[-1] = 0
            SmoothLayer(part.fc_cls).transform(scale, shifts)


def _with_copies(torch: Any, image: Regions) -> Any:
    """Return the labelled boxes, moved a little, and the proposals."""
    labelled = image.labels.boxes.repeat(_COPIES, 1)
    sizes = (labelled[:, 2:] - labelled[:, :2]).repeat(1, 2)
    return torch.cat((labelled + _MOVED * sizes * torch.randn(sizes.shape), image.boxes))


def _pooled(pooling: Any, levels: Sequence["torch.Tensor"], boxes: Any) -> Any:
    from graphopt.exporters.mmdet.regions import pooled

    return pooled(pooling, levels[: pooling.num_inputs], boxes)


def _scale_inner(torch: Any, part: Any, regions: Any) -> None:
    """Scale the layers before the last ones."""
    last = (part.fc_cls, part.fc_reg)
    kinds = (torch.nn.Linear, torch.nn.Conv2d)

    def hook(layer: Any, _: Any, answer: Any) -> Any:
        return scale_answers(layer, answer)

    with ExitStack() as stack:
        for layer in part.modules():
            if (
                isinstance(layer, kinds)
                and layer.bias is not None
                and not any(layer is item for item in last)
            ):
                stack.callback(layer.register_forward_hook(hook).remove)
        part(regions)


def _last_inputs(part: Any, regions: Any) -> tuple[Any, Any]:
    with ExitStack() as stack:
        scores, moves = (SmoothLayer(layer).recorded(stack) for layer in (part.fc_cls, part.fc_reg))
        part(regions)
    return scores[0], moves[0]


def _fit_scores(torch: Any, part: Any, rows: list[Any], boxes: list[Any], labels: list[Labels]) -> None:
    fit = RidgeFit(int(part.fc_cls.in_features), part.num_classes + 1)
    for row, box, label in zip(rows, boxes, labels, strict=True):
        overlap, owner = overlaps(box, label.boxes).max(1)
        quality = ((overlap - _OUTSIDE) / (_INSIDE - _OUTSIDE)).clamp(0, 1)
        target = torch.zeros(len(box), part.num_classes + 1)
        target.scatter_(1, label.classes[owner][:, None], quality[:, None])
        target[:, -1] = 1 - quality
        share = float((quality > 0).float().mean().clamp(0.05, 0.95))
        fit.add(row, target, torch.where(quality > 0, 0.5 / share, 0.5 / (1 - share)))
    weight, bias = fit.solve(_SCORE_RIDGE)
    seen = torch.cat([label.classes for label in labels]).unique()
    unseen = torch.ones(part.num_classes + 1, dtype=torch.bool)
    unseen[seen] = unseen[-1] = False
    bias[unseen] -= _UNSEEN
    SmoothLayer(part.fc_cls).set(weight, bias)


def _fit_moves(torch: Any, part: Any, rows: list[Any], boxes: list[Any], labels: list[Labels]) -> None:
    """Fit what all classes share, and, where a class has boxes of its own, what these have beyond it."""
    found = []
    for row, box, label in zip(rows, boxes, labels, strict=True):
        overlap, owner = overlaps(box, label.boxes).max(1)
        near = overlap >= _NEAR
        wanted = part.bbox_coder.encode(box[near], label.boxes[owner[near]])
        found.append((row[near], wanted, overlap[near], label.classes[owner[near]]))
    features, moves, weights, classes = (torch.cat(column) for column in zip(*found, strict=True))
    weight, bias = _solved(features, moves, weights, _BOX_RIDGE)
    if not part.reg_class_agnostic:
        rest = moves - (features @ weight.T + bias)
        own = []
        for number in range(part.num_classes):
            mine = classes == number
            more = (torch.zeros_like(weight), torch.zeros_like(bias))
            if int(mine.sum()) >= _FEW:
                more = _solved(features[mine], rest[mine], weights[mine], _OWN_RIDGE)
            own.append((weight + more[0], bias + more[1]))
        weight, bias = (torch.cat(column) for column in zip(*own, strict=True))
    SmoothLayer(part.fc_reg).set(weight, bias)


def _solved(rows: Any, targets: Any, weights: Any, ridge: float) -> tuple[Any, Any]:
    fit = RidgeFit(int(rows.shape[1]), int(targets.shape[1]))
    fit.add(rows, targets, weights)
    return fit.solve(ridge)


def _moved(part: Any, scores: Any, moves: Any, boxes: Any) -> Any:
    """Return the boxes that a stage hands to the next one: those of the best class."""
    if not part.reg_class_agnostic:
        best = scores[:, :-1].argmax(1)
        moves = moves.reshape(len(boxes), -1, 4).gather(1, best[:, None, None].expand(-1, 1, 4))[:, 0]
    return part.bbox_coder.decode(boxes, moves)
