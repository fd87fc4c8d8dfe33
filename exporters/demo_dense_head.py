"""Fit the last layers of a dense head (FCOS, RetinaNet, ATSS, RPN) to labelled images."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from graphopt.core.errors import UsageError
from graphopt.core.optional import require
from graphopt.exporters.demo_priors import Labels, assigned, centerness, sides
from graphopt.exporters.demo_ridge import RidgeFit, SmoothLayer

if TYPE_CHECKING:
    import torch

_PURPOSE = "making a demo checkpoint"
_SCORES = ("conv_cls", "retina_cls", "atss_cls", "rpn_cls")
_BOXES = ("conv_reg", "retina_reg", "atss_reg", "rpn_reg")
_FACTORS = ("conv_centerness", "atss_centerness")
_PLACES = 2500
"""Of a level with an object, and as many without one, at most."""
_EMPTY_SHARE = 4.0
"""Weight of all places without an object, where those with one weigh 1."""
_FEW = 0.02
"""Weight of a level that shows no object, as a share of its places."""
_SCORE_RIDGE, _BOX_RIDGE = 0.1, 1.0
"""With a tenth, boxes of unseen images are worse: a prior is seldom the best one of an object."""
_SURE = 0.3
"""Quality from which a prior says something about its object's box."""
_REACH = 2.5
"""Strides from a point to the sides of a usual box of its level."""


class DenseHeadFit:
    """Collects rows of one head, then sets its last layers.

    Args:
        head: of mmdet 3.x; its inner weights are final.
        seed: of the choice of places.

    Raises:
        UsageError: the head has no last layers that are known here.
    """

    def __init__(self, head: Any, *, seed: int) -> None:
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        self._head = head
        self._anchors = int(head.num_base_priors)
        self._scores = SmoothLayer(_layer(head, _SCORES))
        self._boxes = SmoothLayer(_layer(head, _BOXES))
        factor = _layer(head, _FACTORS, optional=True)
        self._factor = None if factor is None else SmoothLayer(factor)
        self._classes = self._scores.outputs // self._anchors
        self._generator = torch.Generator().manual_seed(seed)
        self._score_fit = RidgeFit(self._scores.inputs, self._scores.outputs)
        self._box_fits = [RidgeFit(self._boxes.inputs, 4) for _ in range(self._anchors)]
        self._factor_fit = RidgeFit(self._boxes.inputs, 1)
        self._reaches = [math.log(_REACH * float(min(item))) for item in head.prior_generator.strides]
        self._by_exponent = hasattr(head, "regress_ranges") and not getattr(head, "norm_on_bbox", False)
        with torch.no_grad():
            for item, reach in zip(getattr(head, "scales", ()), self._reaches, strict=False):
                item.scale.fill_(reach if self._by_exponent else 1.0)

    def add(self, levels: Sequence["torch.Tensor"], labels: Labels) -> None:
        """Add one image.

        Args:
            levels: the pyramid, float32 [1, C, Hi, Wi] each.
            labels: what it shows, at least one object.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        layers = [self._scores, self._boxes, *([] if self._factor is None else [self._factor])]
        with torch.no_grad(), ExitStack() as stack:
            seen = [layer.recorded(stack) for layer in layers]
            self._head(levels)
        priors = self._head.prior_generator.grid_priors([tuple(x.shape[-2:]) for x in seen[0]], device="cpu")
        for level, (quality, owner) in enumerate(assigned(self._head, priors, labels.boxes)):
            places, weights = self._chosen(quality)
            every = places[:, None] * self._anchors + torch.arange(self._anchors)
            known, mine = quality[every], owner[every]
            rows = [layer.rows(maps[level], places) for layer, maps in zip(layers, seen, strict=True)]
            self._score_fit.add(rows[0], self._qualities(known, labels.classes[mine]), weights)
            for anchor, fit in enumerate(self._box_fits):
                sure = known[:, anchor] >= _SURE
                if not bool(sure.any()):
                    continue
                here, boxes = priors[level][every[sure, anchor]], labels.boxes[mine[sure, anchor]]
                weight = known[sure, anchor]
                fit.add(rows[1][sure], self._moves(level, here, boxes), weight)
                if self._factor is not None:
                    points = here if here.shape[1] == 2 else (here[:, :2] + here[:, 2:]) / 2
                    central = torch.logit(centerness(points, boxes).clamp(0.05, 0.95))
                    self._factor_fit.add(rows[2][sure], central[:, None], torch.ones(len(points)))

    def solve(self) -> None:
        """Set the layers; scores are qualities from 0 to 1 until ``set_logits``.

        Raises:
            UsageError: there was no object.
        """
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        self._scores.set(*self._score_fit.solve(_SCORE_RIDGE))
        unused = torch.zeros(4, self._boxes.inputs), torch.zeros(4)
        parts = [fit.solve(_BOX_RIDGE) if fit.rows else unused for fit in self._box_fits]
        self._boxes.set(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))
        if self._factor is not None:
            self._factor.set(*self._factor_fit.solve(_BOX_RIDGE))

    def set_logits(self, scale: float, shift: float) -> None:
        """Let the scores be logits: ``scale * quality + shift``."""
        self._scores.transform(scale, shift)

    def _chosen(self, quality: Any) -> tuple[Any, Any]:
        """Return the places of a level that are fitted, and their weights."""
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        best = quality.reshape(-1, self._anchors).max(1)[0]
        full, empty = (best > 0).nonzero()[:, 0], (best == 0).nonzero()[:, 0]
        weight = len(full) + _FEW * len(empty)
        places, weights = [], []
        for part, factor in ((full, 1.0), (empty, _EMPTY_SHARE)):
            some = part[torch.randperm(len(part), generator=self._generator)[:_PLACES]]
            places.append(some)
            weights.append(torch.full((len(some),), factor * weight / max(1, len(some))))
        return torch.cat(places), torch.cat(weights)

    def _qualities(self, known: Any, classes: Any) -> Any:
        torch: Any = require("torch", extra="torch", purpose=_PURPOSE)
        target = torch.zeros(*known.shape, self._classes)
        place = classes if self._classes > 1 else torch.zeros_like(classes)
        return target.scatter_(2, place[..., None], known[..., None]).flatten(1)

    def _moves(self, level: int, priors: Any, boxes: Any) -> Any:
        """Return what the layer should answer for some priors."""
        if priors.shape[1] == 4:
            return self._head.bbox_coder.encode(priors, boxes)
        far = sides(priors, boxes).clamp(min=1)
        if self._by_exponent:
            return far.log() / self._reaches[level]
        return far / float(min(self._head.prior_generator.strides[level]))


def _layer(head: Any, names: Sequence[str], *, optional: bool = False) -> Any:
    found = next((getattr(head, name) for name in names if hasattr(head, name)), None)
    if found is None and not optional:
        raise UsageError(
            f"there is no demo for a {type(head).__name__}: it has none of the layers {', '.join(names)}; "
            "give a checkpoint"
        )
    return found
