"""One network from the image to detections, of a detector that mmdet built: what is traced and exported."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graphopt.core.errors import ExportError
from graphopt.core.optional import require
from graphopt.exporters.mmdet.decoding import DenseDecoder
from graphopt.exporters.mmdet.packages import mmdet_packages, quiet
from graphopt.exporters.mmdet.regions import RegionStage
from graphopt.exporters.mmdet.suppression import best_of_classes, best_of_listed
from graphopt.exporters.mmdet.tracing import exporting

if TYPE_CHECKING:
    import torch


_log = logging.getLogger(__name__)
_ANSWERS = ("dets", "labels")


def exportable(
    model: Any, size: tuple[int, int], *, batched: bool = False, order: Sequence[str] = _ANSWERS
) -> "torch.nn.Module":
    """Wrap a detector, so that it answers with detections in pixels of its input.

    Called with float32 [1, 3, H, W] the module answers ``dets`` float32 [n, 5] (x1, y1, x2, y2, score, the
    best first) and ``labels`` int64 [n]: what ``predict`` of the detector answers for an image of this
    size without rescaling. A one-stage detector answers with ``max_per_img`` rows, zeros at the end, and
    when ``batched``, with a leading axis for images. The attribute ``rows`` of the module is their number,
    None when that is open; ``order`` is as given; ``fixed_sizes`` is True, as sizes of maps are constants on
    purpose.

    Args:
        model: of mmdet 3.x, in eval mode.
        size: height and width of the input.
        batched: keep the axis of images.
        order: in which ``dets`` and ``labels`` are answered.

    Raises:
        ExportError: a part of it is of a kind that is not exported; it is named.
    """
    kind = type(model).__name__
    _check_predict(model)
    if hasattr(model, "roi_head"):
        if not hasattr(model, "rpn_head"):
            raise ExportError(f"{kind} has no rpn_head: it is given proposals, and only images are exported")
        if getattr(model.roi_head, "with_mask", False):
            _log.warning("%s: masks are left out; boxes, scores and classes are exported", kind)
        if batched:
            raise ExportError(f"{kind} has two stages; only one-stage detectors are exported for batches")
        return _module(_TwoStages(model, size), order)
    if hasattr(model, "bbox_head"):
        return _module(_OneStage(model, size, batched), order)
    raise ExportError(f"{kind} has neither bbox_head nor roi_head; detectors with one of them are exported")


def predicted(model: Any, images: "torch.Tensor") -> list[tuple["torch.Tensor", "torch.Tensor"]]:
    """Return what mmdet itself predicts for preprocessed images [B, 3, H, W], per image dets and labels."""
    torch: Any = require("torch", extra="torch", purpose="running a detector")
    height, width = images.shape[-2:]
    places = {
        "img_shape": (height, width),
        "ori_shape": (height, width),
        "batch_input_shape": (height, width),
    }
    samples = [mmdet_packages().sample_type(metainfo={**places, "scale_factor": (1.0, 1.0)}) for _ in images]
    with torch.no_grad(), quiet():
        found = model.predict(images, samples, rescale=False)
    instances = [item.pred_instances for item in found]
    return [(torch.cat((item.bboxes, item.scores[:, None]), 1), item.labels) for item in instances]


def _module(parts: Any, order: Sequence[str]) -> "torch.nn.Module":
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = parts.model
            self.rows = parts.rows
            self.order = tuple(order)
            self.fixed_sizes = True

        def forward(self, images: Any) -> Any:
            found = dict(zip(_ANSWERS, parts(images), strict=True))
            return tuple(found[name] for name in order)

        def exporting(self) -> Any:
            return exporting()

    found: torch.nn.Module = Detector()
    return found.eval()


def _check_predict(model: Any) -> None:
    """Refuse a detector that makes something else of its heads' predictions."""
    import importlib

    common: Any = importlib.import_module("mmdet.models.detectors")
    known = (common.SingleStageDetector.predict, common.TwoStageDetector.predict)
    if (hasattr(model, "roi_head") or hasattr(model, "bbox_head")) and type(model).predict not in known:
        raise ExportError(
            f"{type(model).__name__} predicts in a way of its own; detectors that predict as mmdet's "
            "SingleStageDetector and TwoStageDetector do are exported"
        )


def _check_head(head: Any, name: str, base: str) -> None:
    """Refuse a head whose predictions are computed in a way of its own."""
    import importlib

    common: Any = importlib.import_module("mmdet.models.dense_heads")
    expected = {"": common.AnchorFreeHead.__mro__, "rpn": common.RPNHead.__mro__}[base]
    for method in ("predict_by_feat", "_predict_by_feat_single", "_bbox_post_process"):
        own = getattr(type(head), method, None)
        if own is not next((vars(item)[method] for item in expected if method in vars(item)), None):
            raise ExportError(
                f"{name} is a {type(head).__name__}, which decodes in a way of its own ({method}); heads "
                "that predict as mmdet's BaseDenseHead does are exported, e.g. FCOSHead, RetinaHead, ATSSHead"
            )
    if getattr(head, "loss_cls", None) is not None and getattr(head.loss_cls, "custom_cls_channels", False):
        raise ExportError(f"{name}: its loss has an activation of its own, which is not exported")


def overlap_of(settings: Any, where: str) -> float:
    """Return the overlap threshold of a suppression's settings.

    Raises:
        ExportError: it is another kind of suppression.
    """
    nms = dict(settings.get("nms") or {})
    kind = nms.pop("type", "nms")
    overlap = nms.pop("iou_threshold", None)
    nms.pop("split_thr", None)  # how it is computed, not what
    if kind != "nms" or overlap is None or any(nms.values()):
        raise ExportError(
            f"{where}: the suppression is {dict(settings.get('nms') or {})}; only type nms, class by class, "
            "is exported"
        )
    return float(overlap)


def _most_of(settings: Any, where: str) -> int:
    """Return how many boxes are kept of an image."""
    most = settings.get("max_per_img")
    if not isinstance(most, int) or most < 1:
        raise ExportError(f"{where}: max_per_img is {most!r}; detectors that keep 1 or more are exported")
    return most


def _sizes(maps: Any) -> list[tuple[int, int]]:
    return [(int(item.shape[-2]), int(item.shape[-1])) for item in maps]


class _OneStage:
    def __init__(self, model: Any, size: tuple[int, int], batched: bool) -> None:
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")
        self.model, self._batched = model, batched
        head, settings = model.bbox_head, model.test_cfg
        _check_head(head, "bbox_head", "")
        self._iou = overlap_of(settings, "test_cfg")
        self._above = float(settings.get("score_thr", 0))
        self._most = _most_of(settings, "test_cfg")
        with torch.no_grad():
            maps = head(model.extract_feat(torch.zeros(1, 3, *size)))
        if len(maps) not in (2, 3):
            raise ExportError(
                f"bbox_head answers with {len(maps)} lists of maps; scores, boxes and factors are 2 or 3"
            )
        self._decode = DenseDecoder(head, _sizes(maps[0]), size, settings, batched=batched)
        self.rows: int | None = min(self._most, self._decode.count * head.num_classes)

    def __call__(self, images: Any) -> Any:
        scores, moves, *factors = self.model.bbox_head(self.model.extract_feat(images))
        boxes, chances, factor, _ = self._decode(scores, moves, factors[0] if factors else ())
        above = self._above
        if factor is not None:  # the threshold is for the score alone
            chances = chances * factor * (chances > above).to(chances)
            above = 0.0
        dets, labels = best_of_classes(boxes, chances, iou=self._iou, above=above, most=self._most)
        return (dets, labels) if self._batched else (dets[0], labels[0])


class _TwoStages:
    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")
        self.model = model
        head, settings = model.rpn_head, model.test_cfg.rpn
        _check_head(head, "rpn_head", "rpn")
        self._iou = overlap_of(settings, "test_cfg.rpn")
        self._most = _most_of(settings, "test_cfg.rpn")
        with torch.no_grad():
            maps = head(model.extract_feat(torch.zeros(1, 3, *size)))
        self._decode = DenseDecoder(head, _sizes(maps[0]), size, settings)
        self.rows: int | None = None
        self._stages = RegionStage(model.roi_head, size, model.test_cfg.rcnn, overlap_of)

    def __call__(self, images: Any) -> Any:
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")
        levels = self.model.extract_feat(images)
        scores, moves = self.model.rpn_head(levels)
        boxes, chances, _, counts = self._decode(scores, moves, ())
        which = torch.cat(
            [torch.full((count,), level, dtype=torch.int64) for level, count in enumerate(counts)]
        )
        # A score of zero marks boxes without area, which mmdet drops; runtimes round scores below 1e-7 to it,
        # and lose the last of the proposals where there are fewer than are kept.
        proposals, _ = best_of_listed(
            boxes[0], chances.reshape(-1), which, iou=self._iou, above=0.0, most=self._most
        )
        return self._stages(levels, proposals[:, :4], best_of_listed)
