"""A demo checkpoint of any detector of mmdet: seeded weights, last layers fitted in closed form."""

import importlib
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.core.optional import require
from graphopt.exporters.demo_dense_head import DenseHeadFit
from graphopt.exporters.demo_detector_weights import seed_detector
from graphopt.exporters.demo_priors import Labels
from graphopt.exporters.demo_region_head import RegionFit, Regions

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger(__name__)

_PURPOSE = "making a demo checkpoint"
_MULTIPLE = 128
"""Pyramids need sides that all strides divide."""
_WHOLE = 320
"""Sides up to this many pixels are not cut."""
_VISIBLE = 0.5
"""Of a box cut off by a window, to be labelled there."""
_CALIBRATED, _PIXELS = 3, 600_000
"""Windows by which signals are scaled: so many, or more until they have so many pixels."""
_HELD_OUT = 5
"""Windows by which detections are counted, which are not fitted."""
_LEAST = 10
_PER_IMAGE = 70
"""Detections wanted of a whole image: more than 20 of each, fewer than the 100 that are kept."""
_TOP = 0.9
"""Score of what the fit is most sure of."""
_SURE = 4
"""How many of a window are that sure."""
_RPN_SCALE = 10.0
"""Logit of a sure proposal above that of none; only their order matters."""
_STEPS = 9
"""Halvings of the range of cuts."""

Sample = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""A preprocessed image [3, H, W], its boxes [n, 4] of x1, y1, x2, y2 in its pixels, and their classes [n]."""


def make_detector_checkpoint(
    model: Any, samples: Iterable[Sample], *, seed: int
) -> dict[str, "torch.Tensor"]:
    """Give a detector seeded weights and fitted last layers, in place.

    Large images are cut to a window of about half their sides, at a place drawn by ``seed``: what is to be
    learnt is local, and whole images take minutes.

    Args:
        model: of mmdet 3.x, in eval mode, with a dense head or with two stages.
        samples: at least 8, all of one size; read once.
        seed: of weights, windows and places.

    Returns:
        The module's state dict, as public checkpoints hold it.

    Raises:
        UsageError: too few samples with objects, or a head that is not known here.
        MissingBackendError: torch or mmdet is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    rng = np.random.default_rng(seed)
    windows, share = [], 1.0
    for image, boxes, classes in samples:
        window, share = _window(image, boxes, classes, rng)
        if len(window[1].classes):
            windows.append(window)
    if len(windows) < _LEAST:
        raise UsageError(f"{len(windows)} images with objects are too few for a demo; give {_LEAST} or more")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mmdet's, about torch.meshgrid
        fitted, held = windows[:-_HELD_OUT], windows[-_HELD_OUT:]
        first = fitted[: max(_CALIBRATED, _PIXELS // windows[0][0][0].numel())]
        seed_detector(model, torch.stack([image for image, _ in first]), seed=seed)
        fit = _fit_two_stages if hasattr(model, "roi_head") else _fit_one_stage
        fit(model, fitted, held, share, seed)
    _LOGGER.info("fitted a %s to %d windows of drawn scenes", type(model).__name__, len(fitted))
    state: dict[str, torch.Tensor] = model.state_dict()
    return state


Window = tuple["torch.Tensor", Labels]


def _window(
    image: NDArray[np.float32],
    boxes: NDArray[np.float32],
    classes: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Window, float]:
    """Return a window of an image with what it shows, and its share of the image."""
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    sides = image.shape[1:]
    height, width = (
        side if side <= _WHOLE else min(side, math.ceil(side / 2 / _MULTIPLE) * _MULTIPLE) for side in sides
    )
    top, left = int(rng.integers(0, sides[0] - height + 1)), int(rng.integers(0, sides[1] - width + 1))
    cut = np.clip(boxes - [left, top, left, top], 0, [width, height, width, height])
    areas = [np.prod(np.maximum(item[:, 2:] - item[:, :2], 0), axis=1) for item in (cut, boxes)]
    seen = areas[0] >= np.maximum(_VISIBLE * areas[1], 1)
    part = np.ascontiguousarray(image[:, top : top + height, left : left + width])
    labels = Labels(
        boxes=torch.from_numpy(cut[seen].astype(np.float32)), classes=torch.from_numpy(classes[seen])
    )
    return (torch.from_numpy(part), labels), height * width / (sides[0] * sides[1])


def _fit_one_stage(model: Any, fitted: list[Window], held: list[Window], share: float, seed: int) -> None:
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    head = model.bbox_head
    fit = DenseHeadFit(head, seed=seed)
    for image, labels in fitted:
        fit.add(model.extract_feat(image[None]), labels)
    fit.solve()
    maps = [head(model.extract_feat(image[None])) for image, _ in held]
    qualities = torch.cat([scores.flatten() for item in maps for scores in item[0]])

    def count(scale: float, shift: float) -> float:
        found = [
            head.predict_by_feat(
                [scores * scale + shift for scores in item[0]],
                *item[1:],
                batch_img_metas=[_meta(held[0][0])],
                rescale=False,
            )[0]
            for item in maps
        ]
        return sum(len(one.bboxes) for one in found) / len(found)

    fit.set_logits(*_logits(count, qualities, _PER_IMAGE * share, float(model.test_cfg.get("score_thr", 0))))


def _fit_two_stages(model: Any, fitted: list[Window], held: list[Window], share: float, seed: int) -> None:
    torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
    multiclass_nms: Any = importlib.import_module("mmdet.models.layers").multiclass_nms
    head, settings = model.rpn_head, model.test_cfg.rcnn
    dense = DenseHeadFit(head, seed=seed)
    levels = [model.extract_feat(image[None]) for image, _ in fitted + held]
    for item, (_, labels) in zip(levels, fitted, strict=False):
        dense.add(item, labels)
    dense.solve()
    dense.set_logits(_RPN_SCALE, -_RPN_SCALE / 2)

    def proposals(item: Any) -> Any:
        found = head.predict_by_feat(
            *head(item), batch_img_metas=[_meta(fitted[0][0])], cfg=model.test_cfg.rpn, rescale=False
        )
        return found[0].bboxes

    regions = RegionFit(model.roi_head, seed=seed)
    regions.fit(
        [
            Regions(levels=item, boxes=proposals(item), labels=labels)
            for item, (_, labels) in zip(levels, fitted, strict=False)
        ]
    )
    most = max(1, round(share * model.test_cfg.rpn.max_per_img))  # a window's part of an image's proposals
    answers = [regions.answers(item, proposals(item)[:most]) for item in levels[len(fitted) :]]
    margins = torch.cat([scores[:, :-1].max(1)[0] - scores[:, -1] for scores, _ in answers])

    def count(scale: float, shift: float) -> float:
        total = 0
        for scores, boxes in answers:
            logits = scores * scale
            logits[:, :-1] += shift
            chances = logits.softmax(1)
            found = multiclass_nms(boxes, chances, settings.score_thr, settings.nms, settings.max_per_img)
            total += len(found[0])
        return total / len(answers)

    regions.set_logits(*_logits(count, margins, _PER_IMAGE * share, float(settings.score_thr)))


def _logits(
    count: Callable[[float, float], float], qualities: "torch.Tensor", wanted: float, threshold: float
) -> tuple[float, float]:
    """Return scale and shift by which a window has about so many detections, the best of them near ``_TOP``.

    Args:
        count: detections of a window, by scale and shift.
        qualities: of all windows, float32 [n].
        wanted: detections of a window.
        threshold: of the score; what lies below is no detection.
    """
    least = math.log(max(threshold, 1e-3) / (1 - max(threshold, 1e-3)))
    top = float(qualities.topk(min(len(qualities), _SURE * _HELD_OUT))[0][-1])
    low, high = float(qualities.min()), top

    def line(cut: float) -> tuple[float, float]:
        scale = (math.log(_TOP / (1 - _TOP)) - least) / max(top - cut, 1e-6)
        return scale, least - scale * cut

    for _ in range(_STEPS):
        middle = (low + high) / 2
        if count(*line(middle)) > wanted:
            low = middle
        else:
            high = middle
    return line(high)


def _meta(image: "torch.Tensor") -> dict[str, Any]:
    size = tuple(image.shape[-2:])
    return {"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}
