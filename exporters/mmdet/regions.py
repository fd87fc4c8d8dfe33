"""The second stage of a detector, and the further ones of a cascade."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from graphopt.core.errors import ExportError
from graphopt.core.optional import require
from graphopt.exporters.mmdet.decoding import decoder_of
from graphopt.exporters.mmdet.mmcv_ops import untraced

if TYPE_CHECKING:
    import torch

_HEADS = ("StandardRoIHead", "CascadeRoIHead", "DynamicRoIHead")


class RegionStage:
    """Judge proposals by what is pooled from the pyramid, as ``roi_head.predict`` of mmdet does.

    Args:
        head: a ``StandardRoIHead`` or ``CascadeRoIHead``, with or without masks, which are left out.
        size: of the image.
        settings: its test configuration.
        overlap_of: reads the overlap threshold of the suppression.

    Raises:
        ExportError: a part is of a kind that is not exported.
    """

    def __init__(
        self, head: Any, size: tuple[int, int], settings: Any, overlap_of: Callable[[Any, str], float]
    ) -> None:
        kind = type(head).__name__
        if kind not in _HEADS:
            raise ExportError(f"roi_head is a {kind}; {', '.join(_HEADS)} are exported")
        several = kind == "CascadeRoIHead"
        self._head = head
        self._heads = list(head.bbox_head) if several else [head.bbox_head]
        self._poolings = list(head.bbox_roi_extractor) if several else [head.bbox_roi_extractor]
        for part in self._heads:
            _check_box_head(part)
        for pooling in self._poolings:
            _check_pooling(pooling)
        if getattr(head, "with_shared_head", False):
            raise ExportError("roi_head has a shared head, which is not exported")
        self._decoders = [decoder_of(part.bbox_coder, size) for part in self._heads]
        self._iou = overlap_of(settings, "test_cfg.rcnn")
        self._above = float(settings.score_thr)
        self._most = int(settings.max_per_img)
        if self._most < 1:
            raise ExportError(f"test_cfg.rcnn: max_per_img is {self._most}; 1 or more are exported")

    def __call__(
        self,
        levels: Sequence["torch.Tensor"],
        proposals: "torch.Tensor",
        suppress: Callable[..., tuple["torch.Tensor", "torch.Tensor"]],
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Return ``dets`` [n, 5] and ``labels`` [n].

        Args:
            levels: the pyramid, float [1, C, Hi, Wi] each.
            proposals: float [R, 4].
            suppress: ``best_of_listed``.
        """
        torch: Any = require("torch", extra="torch", purpose="exporting a detector")
        boxes, logits = proposals, []
        for index, (part, pooling, decode) in enumerate(
            zip(self._heads, self._poolings, self._decoders, strict=True)
        ):
            scores, moves = part(pooled(pooling, levels[: pooling.num_inputs], boxes))
            logits.append(scores)
            kinds = 1 if part.reg_class_agnostic else part.num_classes
            moves = moves.reshape(-1, kinds, 4)
            if index + 1 < len(self._heads):
                if kinds > 1:
                    best = scores[:, :-1].argmax(1)
                    moves = moves.gather(1, best[:, None, None].expand(-1, 1, 4))
                boxes = decode(boxes, moves.reshape(-1, 4))
        chances = (sum(logits) / float(len(logits))).softmax(-1)[:, :-1]
        found = self._decoders[-1](boxes[:, None], moves)
        classes = int(chances.shape[1])
        every = found.expand(-1, classes, 4).reshape(-1, 4)
        labels = torch.arange(classes).view(1, -1).expand_as(chances).reshape(-1)
        result: tuple[torch.Tensor, torch.Tensor] = suppress(
            every, chances.reshape(-1), labels, iou=self._iou, above=self._above, most=self._most
        )
        return result


def pooled(pooling: Any, levels: Sequence["torch.Tensor"], boxes: "torch.Tensor") -> "torch.Tensor":
    """Pool each box from the level that fits its size, also where a level has none.

    mmdet's own leaves out levels without boxes, which an export would then leave out for all images.

    Args:
        pooling: a ``SingleRoIExtractor``.
        levels: float [1, C, Hi, Wi] each.
        boxes: float [R, 4].

    Returns:
        float [R, C, height, width].
    """
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")
    rois = torch.cat((boxes.new_zeros(boxes.shape[0], 1), boxes), 1)
    if len(levels) == 1:
        only: torch.Tensor = pooling.roi_layers[0](levels[0], rois)
        return only
    which = pooling.map_roi_levels(rois, len(levels))
    result: torch.Tensor = levels[0].new_zeros(
        rois.shape[0], pooling.out_channels, *pooling.roi_layers[0].output_size
    )
    for index, (features, layer) in enumerate(zip(levels, pooling.roi_layers, strict=True)):
        rows = (which == index).nonzero().squeeze(1)
        result = _placed()(result, rows, layer(features, rois[rows]))
    return result


@cache
def _placed() -> Callable[..., "torch.Tensor"]:
    """Return what writes rows into a tensor by their numbers, as an autograd function.

    Assignment to an index is not traced for any number of rows: torch drops the first axis of what is
    assigned where the traced image has one row.
    """
    torch: Any = require("torch", extra="torch", purpose="exporting a detector")

    class Placed(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, data: Any, rows: Any, values: Any) -> Any:
            return untraced(torch.index_copy)(data, 0, rows, values)

        @staticmethod
        def symbolic(g: Any, data: Any, rows: Any, values: Any) -> Any:
            found = g.op("ScatterND", data, g.op("Unsqueeze", rows, axes_i=[1]), values)
            sizes = values.type().sizes()
            found.setType(data.type().with_sizes(None if sizes is None else [None, *sizes[1:]]))
            return found

    made: Callable[..., torch.Tensor] = Placed.apply
    return made


def _check_box_head(head: Any) -> None:
    import importlib

    common: Any = importlib.import_module("mmdet.models.roi_heads.bbox_heads").BBoxHead
    for method in ("predict_by_feat", "_predict_by_feat_single", "regress_by_class"):
        if getattr(type(head), method, None) is not getattr(common, method):
            raise ExportError(
                f"bbox_head is a {type(head).__name__}, which decodes in a way of its own ({method})"
            )
    if getattr(head, "custom_activation", False) or not (head.with_cls and head.with_reg):
        raise ExportError("bbox_head has an activation of its own or lacks a branch, which is not exported")


def _check_pooling(pooling: Any) -> None:
    if type(pooling).__name__ != "SingleRoIExtractor":
        raise ExportError(f"regions are pooled by a {type(pooling).__name__}; SingleRoIExtractor is exported")
    for layer in pooling.roi_layers:
        if type(layer).__name__ != "RoIAlign":
            raise ExportError(f"regions are pooled by {type(layer).__name__}; RoIAlign is exported")
