"""What a suppression chooses from: boxes, scores and classes as they are before any selection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.detection.class_offset import Offset, undo_offset, unwrapped
from graphopt.surgery.detection.facts import Facts, Moved
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.detection.rows import Column, Element, Index, Rows, RowTracker
from graphopt.surgery.detection.score_threshold import Kept, read_threshold

SCORE, LABEL = "score", "label"
SIDES = ("x1", "y1", "x2", "y2")
_MAX_CLASSES = 1 << 12
_ALL = Kept()


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What is chosen from, all sizes known.

    Attributes:
        boxes: holds the elements [batch, count, per_box, 4] in this order, whatever its shape.
        per_box: 1 when the classes share a box, else the number of classes.
        scores: holds the elements [batch, count, classes] in this order, or [batch, classes, count] when
            ``classes_first``, or [batch, count] when ``one_hot`` is given.
        batch: images.
        count: boxes, before classes.
        classes: how many.
        classes_first: see ``scores``.
        one_hot: float32[count, classes]: one where a candidate belongs to the class.
        kept: which candidates count at all.
        by_class: whether the suppression itself is told the classes; then there are no ``roles``.
        are_moved: whether boxes of different classes are kept apart by moving them by the largest coordinate.
        are_positive: whether no box has a negative coordinate, whatever the input.
        box_dtype: of ``boxes``.
        score_dtype: of ``scores``.
        roles: what the elements are before any selection: a side of a box, the score, the label.
    """

    boxes: ir.Value
    per_box: int = 1
    scores: ir.Value
    batch: int = 1
    count: int
    classes: int
    classes_first: bool = False
    one_hot: Array | None = None
    kept: Kept = _ALL
    by_class: bool = False
    are_moved: bool = False
    are_positive: bool = False
    box_dtype: ir.DataType = ir.DataType.FLOAT
    score_dtype: ir.DataType = ir.DataType.FLOAT
    roles: Mapping[Column, str]

    @property
    def may_mix(self) -> bool:
        """Whether boxes of different classes may suppress each other, although these are moved apart."""
        return self.are_moved and self.classes > 1 and not self.are_positive


def read_candidates(nms: ir.Node, facts: Facts, rows: RowTracker) -> Candidates:
    """Work back from a NonMaxSuppression to what it chooses from.

    Raises:
        UnsuitableError: the choice is not the operator's, or sizes are not known.
    """
    boxes, scores = nms.inputs[:2]
    if boxes is None or scores is None:
        raise UnsuitableError("its boxes or scores are left out")
    shape = facts.shape(scores)
    if shape is None:
        raise UnsuitableError(f"the rank of its scores {scores.name} is not known")
    by_class = shape[:2] != (1, 1)
    found = _of_classes(boxes, scores, facts) if by_class else _listed(boxes, scores, facts, rows)
    box_dtype, score_dtype = (
        facts.dtype(value) or ir.DataType.FLOAT for value in (found.boxes, found.scores)
    )
    positive = facts.is_non_negative(found.boxes)
    return replace(found, box_dtype=box_dtype, score_dtype=score_dtype, are_positive=positive)


def _listed(boxes: ir.Value, scores: ir.Value, facts: Facts, rows: RowTracker) -> Candidates:
    """Read a suppression that is told of one class, the classes' boxes being moved apart."""
    offset = undo_offset(boxes, facts)
    scores = unwrapped(scores)
    parts = [offset.boxes, scores, *([] if offset.classes is None else [offset.classes])]
    picks = [pick for part in parts if (pick := rows.of(part)) is not None]
    if picks and (len(picks) < len(parts) or any(pick.root is not picks[0].root for pick in picks)):
        raise UnsuitableError("its boxes, scores and classes do not come from one selection of candidates")
    found = _selected(picks, facts) if picks else _unselected(offset, scores, facts)
    return replace(found, are_moved=offset.classes is not None)


def before_selection(column: Element, rows: RowTracker) -> Column:
    """Return the element that a choice took, as it stood before an earlier choice took it."""
    picked = rows.of(column.source)
    if picked is None:
        return Element(unwrapped(column.source), column.place[-1:], ())
    before: Column = np.squeeze(picked.columns, picked.axis)[column.place]
    return before


def _of_classes(boxes: ir.Value, scores: ir.Value, facts: Facts) -> Candidates:
    """Read a suppression of boxes [B, N, 4] that is given the scores [B, C, N] of several classes."""
    sizes = facts.static(scores)
    if sizes is None or facts.static(boxes) != (sizes[0], sizes[2], len(SIDES)):
        raise UnsuitableError(f"the sizes of its boxes {boxes.name} and scores {scores.name} are not known")
    batch, classes, count = sizes
    wanted = np.arange(int(np.prod(sizes))).reshape(batch, count, classes).transpose(0, 2, 1)
    turned, moved = _source(scores, facts, wanted), _source(boxes, facts, np.arange(batch * count * 4))
    return Candidates(
        boxes=boxes if moved is None else moved.base,
        scores=scores if turned is None else turned.base,
        classes_first=turned is None,
        batch=batch,
        count=count,
        classes=classes,
        by_class=True,
        roles={},
    )


def _unselected(offset: Offset, scores: ir.Value, facts: Facts) -> Candidates:
    """Read a suppression of all candidates, none left out before."""
    sizes, box_sizes = facts.static(scores), facts.static(offset.boxes)
    if sizes is None or box_sizes is None or np.prod(box_sizes) != len(SIDES) * np.prod(sizes):
        raise UnsuitableError(f"the number of its candidates ({scores.name}) is not known")
    label = [] if offset.classes is None else _whole(offset.classes)
    found = _flat(offset.boxes, scores, offset.classes, facts)
    return replace(found, roles=_roles(_whole(offset.boxes, 4), _whole(scores), label))


def _selected(picks: Sequence[Rows], facts: Facts) -> Candidates:
    """Read a suppression of those candidates that a NonZero left over."""
    root, sides, score = picks[0].root, picks[0].listed(), picks[1].only()
    label = picks[2].only() if len(picks) > 2 else None
    if root.op_type != "NonZero" or root.inputs[0] is None:
        raise UnsuitableError(f"its candidates were chosen by another {root.op_type} before")
    if any(pick.limit is not None for pick in picks):
        raise UnsuitableError("only the first of its candidates are looked at, in the order of their places")
    first = sides[0]
    if not isinstance(score, Element) or not isinstance(first, Element):
        raise UnsuitableError("boxes and scores are not picked for each candidate")
    if sides != [Element(first.source, (*first.place[:-1], side), first.by) for side in range(4)]:
        raise UnsuitableError("not the four sides of a box are picked for each candidate, in order")
    kept = read_threshold(root.inputs[0], score.source, facts)
    if len(score.by) == 2:
        found = _on_grid(first, score, label, facts)
    else:
        classes = label.source if isinstance(label, Element) else None
        found = _flat(first.source, score.source, classes, facts)
    if kept.judged is not None:
        total = np.arange(int(np.prod(facts.static(score.source) or (0,))))
        judged = _source(kept.judged, facts, total)
        if judged is None:
            raise UnsuitableError(f"{kept.judged.name}, which keeps candidates, has not one element for each")
        kept = replace(kept, judged=judged.base)
    return replace(found, kept=kept, roles=_roles(sides, [score], [] if label is None else [label]))


def _on_grid(side: Element, score: Element, label: Column | None, facts: Facts) -> Candidates:
    """Read candidates chosen from scores [N, C]: the row tells the box, the column the class."""
    sizes = facts.static(score.source)
    if sizes is None or len(sizes) != 2 or facts.static(side.source) != (sizes[0], len(SIDES)):
        raise UnsuitableError(f"the sizes of the scores {score.source.name} and their boxes are not known")
    if score.by != ((0, 0), (1, 1)) or side.by != ((0, 0),) or (label != Index(1) and sizes[1] > 1):
        raise UnsuitableError("boxes and classes are not told by the place of a score")
    return Candidates(boxes=side.source, scores=score.source, count=sizes[0], classes=sizes[1], roles={})


def _flat(boxes: ir.Value, scores: ir.Value, labels: ir.Value | None, facts: Facts) -> Candidates:
    """Read candidates listed one by one: boxes [K, 4], scores [K], classes [K]."""
    total = int(np.prod(facts.static(scores) or (0,)))
    if not total or facts.static(boxes) is None:
        raise UnsuitableError(f"the number of its candidates ({scores.name}) is not known")
    numbers = None if labels is None else facts.array(labels)
    if labels is not None and numbers is None:
        raise UnsuitableError(f"the classes of its candidates ({labels.name}) are computed at run time")
    numbers = np.zeros(total, np.int64) if numbers is None else numbers.ravel()
    if numbers.size != total:
        raise UnsuitableError(f"it has {numbers.size} classes for {total} candidates")
    classes = int(numbers.max()) + 1
    count = total // classes
    shared = (np.arange(total) // classes)[:, None] * 4 + np.arange(4)
    own = np.arange(total * 4)
    if total % classes or not np.array_equal(numbers, np.tile(np.arange(classes), count)):
        return _one_by_one(boxes, scores, numbers)
    found, score = _source(boxes, facts, shared, own), _source(scores, facts, np.arange(total))
    if found is None or score is None:
        raise UnsuitableError(f"the order of its boxes {boxes.name} is not that of its scores")
    return Candidates(
        boxes=found.base,
        per_box=1 if np.prod(found.shape) == count * len(SIDES) else classes,
        scores=score.base,
        count=count,
        classes=classes,
        roles={},
    )


def _one_by_one(boxes: ir.Value, scores: ir.Value, numbers: Array) -> Candidates:
    """Read candidates that belong to one class each, such as the proposals of the levels of a pyramid."""
    classes = int(numbers.max()) + 1
    if numbers.min() < 0 or classes > _MAX_CLASSES or not np.array_equal(numbers, numbers.astype(np.int64)):
        raise UnsuitableError("the classes of its candidates are no small numbers from 0")
    one_hot = (numbers[:, None] == np.arange(classes)).astype(np.float32)
    return Candidates(
        boxes=boxes, scores=scores, count=numbers.size, classes=classes, one_hot=one_hot, roles={}
    )


def _source(value: ir.Value, facts: Facts, *wanted: Array) -> Moved | None:
    """Return the farthest tensor of which ``value`` holds the elements in one of the wanted orders."""
    for found in facts.sources(value):
        for order in wanted:
            is_all = np.prod(found.shape) == order.max() + 1
            if is_all and np.array_equal(found.places, order.ravel()):
                return found
    return None


def _whole(value: ir.Value, count: int = 0) -> list[Column]:
    """Return the elements of a tensor from which nothing was selected before."""
    places = [(place,) for place in range(count)] if count else [()]
    return [Element(unwrapped(value), place, ()) for place in places]


def _roles(sides: Sequence[Column], scores: Sequence[Column], labels: Sequence[Column]) -> dict[Column, str]:
    return {
        **dict(zip(sides, SIDES, strict=True)),
        **dict.fromkeys(scores, SCORE),
        **dict.fromkeys(labels, LABEL),
    }
