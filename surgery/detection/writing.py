"""Write ``BatchMultiClassNMS`` with what it reads and what is made of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.core.versioned_ops import Attribute
from graphopt.surgery.detection.flat_boxes import StandIns
from graphopt.surgery.detection.results import BOXES, DETS, LABELS, SCORES, Result
from graphopt.surgery.detection.suppression import Suppression
from graphopt.surgery.versioned_builder import VersionedBuilder

OPERATOR, DOMAIN = "BatchMultiClassNMS", "npu"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How the operator is used.

    Attributes:
        half: whether it reads and writes float16.
        per_class_boxes: whether each class gets its own copy of shared boxes.
        drop_flat: whether proposals without area give their places to others.
        max_candidates: only so many boxes, those of the highest scores, are looked at; 0 looks at all.
    """

    half: bool = False
    per_class_boxes: bool = False
    max_candidates: int = 0
    drop_flat: bool = False


class SuppressionWriter:
    """Writes the operator in front of a NonMaxSuppression.

    Args:
        model: that holds the suppression.
        found: what to write.
        choices: how.
    """

    def __init__(self, model: ir.Model, found: Suppression, choices: Choices) -> None:
        self._build = VersionedBuilder(model, found.nms)
        self._found = found
        self._choices = choices
        self._dtype = ir.DataType.FLOAT16 if choices.half else ir.DataType.FLOAT
        self._stand_ins: StandIns | None = None

    def write(self) -> dict[Result, ir.Value]:
        """Return what takes the place of each result; the old nodes stay."""
        boxes, scores = self._inputs()
        total, batch = self._found.total, self._found.candidates.batch
        answer = self._build.ops(
            OPERATOR,
            boxes,
            scores,
            attributes={
                "iou_threshold": float(self._found.iou),
                "score_threshold": float(self._found.above),
                "max_size_per_class": self._found.per_class,
                "max_total_size": total,
            },
            outputs=4,
            domain=DOMAIN,
        )
        kinds = (self._dtype, self._dtype, self._dtype, ir.DataType.INT32)
        for value, dtype, shape in zip(
            answer, kinds, ((batch, total, 4), *((batch, total),) * 2, (batch,)), strict=True
        ):
            value.type, value.shape = ir.TensorType(dtype), ir.Shape(list(shape))
        chosen, best, classes = (self._cast(value, ir.DataType.FLOAT) for value in answer[:3])
        is_real = None
        if self._stand_ins is not None:
            chosen, is_real = self._stand_ins.leave(chosen, classes)
        parts = {BOXES: chosen, SCORES: best, LABELS: classes}
        copied = self._copied(best, is_real) if self._found.is_inner else None
        return {result: self._result(result, parts, copied) for result in self._found.results}

    def _inputs(self) -> tuple[ir.Value, ir.Value]:
        """Return boxes [B, N, q, 4] and scores [B, N, C]."""
        found, count, sets = (
            self._found.candidates,
            self._found.candidates.count,
            self._found.candidates.per_box,
        )
        boxes = self._build.reshape(found.boxes, (found.batch, count, sets, 4))
        boxes.type = ir.TensorType(found.box_dtype)
        scores = self._scores()
        if 0 < self._choices.max_candidates < count:
            boxes, scores = self._best(boxes, scores)
            count = self._choices.max_candidates
        if self._choices.per_class_boxes and sets < found.classes:
            sets = found.classes
            boxes = self._op("Tile", boxes, self._build.integers((1, 1, sets, 1), "repeats"))
        if self._found.keeps_flat and not self._choices.drop_flat:
            read = self._cast(boxes, self._dtype)  # rounding makes more boxes flat
            self._stand_ins = StandIns(self._build, self._cast(read, ir.DataType.FLOAT), count, sets)
            boxes = self._stand_ins.enter()
        boxes, scores = self._cast(boxes, self._dtype), self._cast(scores, self._dtype)
        boxes.shape = ir.Shape([found.batch, count, sets, 4])
        scores.shape = ir.Shape([found.batch, count, found.classes])
        return boxes, scores

    def _scores(self) -> ir.Value:
        """Return the scores [B, N, C]."""
        found = self._found.candidates
        last = found.classes if found.one_hot is None else 1
        sizes = (found.batch, last, found.count) if found.classes_first else (found.batch, found.count, last)
        scores = self._build.reshape(found.scores, sizes)
        scores.type = ir.TensorType(found.score_dtype)
        scores = self._cast(scores, ir.DataType.FLOAT)
        if found.classes_first:
            scores = self._op("Transpose", scores, attributes={"perm": (0, 2, 1)})
        if found.kept.judged is not None:
            judged = self._build.reshape(found.kept.judged, (found.batch, found.count, last))
            threshold = self._build.constant(np.array(found.kept.above, np.float32), "threshold")
            counts = self._cast(self._build.op("Greater", judged, threshold), ir.DataType.FLOAT)
            scores = self._op("Mul", scores, counts)
        if found.one_hot is not None:
            scores = self._op("Mul", scores, self._build.constant(found.one_hot[None], "classes"))
        return scores

    def _best(self, boxes: ir.Value, scores: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Keep the boxes whose best class scores highest."""
        found, build = self._found.candidates, self._build
        count = self._choices.max_candidates
        best = build.reduce("ReduceMax", scores, [2], keepdims=False)
        _, places = build.ops("TopK", best, build.integers((count,), "count"), outputs=2)
        places.type = ir.TensorType(ir.DataType.INT64)
        if found.batch > 1:
            starts = np.arange(found.batch, dtype=np.int64)[:, None] * found.count
            places = self._op("Add", places, build.constant(starts, "starts"))
        flat = build.reshape(places, (found.batch * count,))
        picked = []
        for value, sizes in ((boxes, (found.per_box, 4)), (scores, (found.classes,))):
            listed = build.reshape(value, (found.batch * found.count, *sizes))
            chosen = self._op("Gather", listed, flat, attributes={"axis": 0})
            picked.append(build.reshape(chosen, (found.batch, count, *sizes)))
        return picked[0], picked[1]

    def _result(
        self, result: Result, parts: Mapping[str, ir.Value], copied: tuple[ir.Value, ir.Value] | None
    ) -> ir.Value:
        build, total, batch = self._build, self._found.total, self._found.candidates.batch
        if result.kind == DETS:
            column = build.reshape(parts[SCORES], (batch, total, 1))
            value = self._op("Concat", parts[BOXES], column, attributes={"axis": 2})
        else:
            value = parts[result.kind]
        value = build.reshape(value, (*result.front, total, *result.sizes))
        if copied is not None:
            valid, best = copied
            valid = build.reshape(valid, (total, *(1,) * len(result.sizes)))
            copy = self._op("Gather", value, best, attributes={"axis": 0})
            value = self._op("Where", valid, value, copy, like=value)
        value = self._cast(value, result.dtype)
        value.shape = ir.Shape([*result.front, total, *result.sizes])
        return value

    def _copied(self, scores: ir.Value, is_real: ir.Value | None) -> tuple[ir.Value, ir.Value]:
        """Return which rows there are, and the best one, of which the missing ones become copies.

        Whatever follows finds nothing new in copies: they give copies of detections, which the next
        suppression removes. Rows of zeros would be boxes too, and a second stage may find something in
        their corner. A flat box is no row to copy: nothing suppresses what becomes of it.
        """
        build, total = self._build, self._found.total
        valid = build.op("Greater", scores, build.constant(np.array(0, np.float32), "zero"))
        if is_real is None:
            return valid, build.integers((0,), "best")
        choice = build.op("And", valid, build.reshape(is_real, (1, total)))
        flags = build.op("Cast", choice, attributes={"to": ir.DataType.FLOAT.value})
        best = build.op("ArgMax", flags, attributes={"axis": 1, "keepdims": 0})
        return valid, best

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if value.dtype == dtype:
            return value
        made = self._build.op("Cast", value, attributes={"to": dtype.value})
        made.type = ir.TensorType(dtype)
        return made

    def _op(
        self,
        op_type: str,
        *inputs: ir.Value,
        attributes: Mapping[str, Attribute] | None = None,
        like: ir.Value | None = None,
    ) -> ir.Value:
        made = self._build.op(op_type, *inputs, attributes=attributes)
        made.type = (inputs[0] if like is None else like).type
        return made
