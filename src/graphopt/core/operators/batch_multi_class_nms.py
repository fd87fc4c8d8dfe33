"""``BatchMultiClassNMS``: Ascend's whole post-processing of a detector, in one operator of fixed sizes.

Inputs: boxes [B, N, q, 4], q being 1 (shared by all classes) or C; scores [B, N, C]; clip_window [B, 4],
optional; num_valid_boxes [B], int32, optional.
Outputs: boxes [B, M, 4]; scores [B, M]; classes [B, M], floats; how many rows count [B], int32. M is
max_total_size; the other rows are zero.
Limits: at most 1000 boxes per class and in all; of each class the best 4080 enter the suppression; boxes and
scores are float16 on Ascend310, 310P, 310B and 910; opsets 8 to 16.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, Caution, ForeignOperator
from graphopt.core.versioned_ops import VersionedOps

_BOXES, _SCORES, _WINDOW, _COUNTS = range(4)
"""Inputs: boxes [B, N, q, 4], scores [B, N, C], clip_window [B, 4], num_valid_boxes [B]."""
_OUTPUTS = 4
"""Boxes [B, M, 4], scores [B, M], classes [B, M], all of the dtype of ``boxes``; how many [B], int32."""
_NO_SCORE = float(np.finfo(np.float32).min)
_NOT_IN_ONNX = ("change_coordinate_frame", "transpose_box")
"""Attributes of the device's operator that the ONNX parser does not read: they are as if left out."""


def _body(call: Call, new: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    """Write the operator as ``NonMaxSuppression``, with what is kept put into a dense table for ``TopK``.

    As the kernels have it: a score counts when it is above the threshold, a box suppresses another when
    their IoU is above it (both strictly); boxes without area are dropped.
    """
    total, per_class = call.integer("max_total_size"), call.integer("max_size_per_class")
    if min(total, per_class) < 1 or any(call.integer(name, 0) for name in _NOT_IN_ONNX):
        raise PreconditionError(f"{call.label}: its attributes {dict(call.attributes)} are not understood")
    table = _Table(call, new, inputs)
    kept = new.op(
        "NonMaxSuppression",
        table.boxes,
        table.scores,
        new.integers([per_class]),
        new.constant(np.array([call.number("iou_threshold")], dtype=np.float32)),
        table.threshold,
    )
    nothing = ir.tensor(np.array([_NO_SCORE], dtype=np.float32))
    empty = new.op("ConstantOfShape", new.op("Shape", table.scores), attributes={"value": nothing})
    dense = new.op("ScatterND", empty, kept, new.op("GatherND", table.scores, kept))
    batch = new.op("Gather", new.op("Shape", inputs[_SCORES]), new.integers([0]))
    spare = new.op(  # so that there are always enough to choose from
        "Expand", _scalar(new, _NO_SCORE), _joined(new, batch, new.integers([total]))
    )
    dense = new.op("Reshape", dense, _joined(new, batch, new.integers([-1])))
    dense = new.op("Concat", dense, spare, attributes={"axis": 1})
    scores, places = new.ops("TopK", dense, new.integers([total]), attributes={"axis": 1}, outputs=2)
    found = new.op("Greater", scores, _scalar(new, _NO_SCORE))
    boxes, classes = table.look_up(new.op("Where", found, places, new.constant(np.array(0, dtype=np.int64))))
    zero = _scalar(new, 0.0)
    floats = [
        new.op("Where", new.unsqueeze(found, [2]), boxes, zero),
        new.op("Where", found, scores, zero),
        new.op("Where", found, new.cast(classes, ir.DataType.FLOAT), zero),
    ]
    count = new.reduce("ReduceSum", new.cast(found, ir.DataType.INT32), [1], keepdims=False)
    return [*(_as_dtype(new, item, call.dtype(_BOXES)) for item in floats), count]


class _Table:
    """Boxes and scores as ``NonMaxSuppression`` takes them, in float32.

    Attributes:
        boxes: [B, N, 4] when classes share the boxes, else [B * C, N, 4].
        scores: [B, C, N], or [B * C, 1, N]; of what does not count, the threshold.
        threshold: [1]; above it a score counts.
    """

    def __init__(self, call: Call, new: VersionedOps, inputs: Sequence[ir.Value | None]) -> None:
        boxes, scores = inputs[_BOXES], inputs[_SCORES]
        if boxes is None or scores is None:
            raise PreconditionError(f"{call.label} lacks its boxes or its scores")
        dtype = call.dtype(_BOXES)
        if dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
            raise PreconditionError(f"{call.label}: boxes are float32 or float16, not {dtype.name}")
        self._new = new
        self._shared = _box_sets(call) == 1
        # The device compares in the dtype of the scores.
        threshold = np.array([call.number("score_threshold")], dtype=dtype.numpy()).astype(np.float32)
        self.threshold = new.constant(threshold, "threshold")
        self._size = new.op("Gather", new.op("Shape", scores), new.integers([1]))
        boxes, scores = (_as_dtype(new, item, ir.DataType.FLOAT, dtype) for item in (boxes, scores))
        if _box_sets(call) is None:  # one set of boxes, or as many as classes: as many in any case now
            boxes = new.op("Expand", boxes, _joined(new, new.op("Shape", scores), new.integers([4])))
        boxes = self._clipped(call, boxes, inputs)
        counts = self._counts(boxes, call, inputs)
        scores = new.op("Where", counts, scores, self.threshold)
        self.scores = new.op("Transpose", scores, attributes={"perm": [0, 2, 1]})
        if self._shared:
            self.boxes = self._rows = new.squeeze(boxes, [2])
        else:
            boxes = new.op("Transpose", boxes, attributes={"perm": [0, 2, 1, 3]})
            self._rows = new.reshape(boxes, [0, -1, 4])
            self.boxes = new.reshape(new.op("Flatten", boxes, attributes={"axis": 2}), [0, -1, 4])
            self.scores = new.unsqueeze(new.op("Flatten", self.scores, attributes={"axis": 2}), [1])

    def look_up(self, places: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return boxes [B, M, 4] and classes [B, M] (int64) at places in the flat [C * N] scores."""
        new = self._new
        classes = new.op("Div", places, self._size)
        rows = new.op("Sub", places, new.op("Mul", classes, self._size)) if self._shared else places
        rows = new.op("Expand", new.unsqueeze(rows, [2]), new.integers([1, 1, 4]))
        return new.op("GatherElements", self._rows, rows, attributes={"axis": 1}), classes

    def _clipped(self, call: Call, boxes: ir.Value, inputs: Sequence[ir.Value | None]) -> ir.Value:
        if not call.has_input(_WINDOW):
            return boxes
        new, window = self._new, inputs[_WINDOW]
        assert window is not None
        window = new.unsqueeze(_as_dtype(new, window, ir.DataType.FLOAT, call.dtype(_WINDOW)), [1, 2])
        first = new.op("Max", _columns(new, boxes, 0, 2), _columns(new, window, 0, 2))
        last = new.op("Min", _columns(new, boxes, 2, 4), _columns(new, window, 2, 4))
        return new.op("Concat", first, last, attributes={"axis": 3})

    def _counts(self, boxes: ir.Value, call: Call, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """Return bool [B, N, q]: has an area, and is one of the valid ones."""
        new = self._new
        wide = new.op("Greater", _columns(new, boxes, 2, 3), _columns(new, boxes, 0, 1))
        tall = new.op("Greater", _columns(new, boxes, 3, 4), _columns(new, boxes, 1, 2))
        counts = new.squeeze(new.op("And", wide, tall), [3])
        if not call.has_input(_COUNTS):
            return counts
        valid = inputs[_COUNTS]
        assert valid is not None
        start, step = (new.constant(np.array(number, dtype=np.int64)) for number in (0, 1))
        order = new.op("Range", start, new.squeeze(self._size, [0]), step)
        valid = new.unsqueeze(new.cast(valid, ir.DataType.INT64), [1])
        return new.op("And", counts, new.unsqueeze(new.op("Less", order, valid), [2]))


def _box_sets(call: Call) -> int | None:
    """Return how many boxes there are for each place, one or as many as classes; None when unknown."""
    boxes = call.sizes(_BOXES)
    sets = boxes[2] if boxes is not None and len(boxes) == 4 else None
    return sets if isinstance(sets, int) else None


def _columns(new: VersionedOps, value: ir.Value, start: int, end: int) -> ir.Value:
    return new.slice(value, axes=[3], starts=[start], ends=[end])


def _joined(new: VersionedOps, *sizes: ir.Value) -> ir.Value:
    return new.op("Concat", *sizes, attributes={"axis": 0})


def _scalar(new: VersionedOps, number: float) -> ir.Value:
    return new.constant(np.array(number, dtype=np.float32))


def _as_dtype(
    new: VersionedOps, value: ir.Value, wanted: ir.DataType, dtype: ir.DataType = ir.DataType.FLOAT
) -> ir.Value:
    return value if dtype is wanted else new.cast(value, wanted)


def _shaped_like(node: ir.Node) -> Sequence[onnx.NodeProto] | None:
    """Return reshapes to the fixed sizes: the batch is that of the inputs."""
    size = node.attributes.get("max_total_size")
    names = [value.name or "" if value is not None else "" for value in node.inputs]
    outputs = [value.name or "" for value in node.outputs]
    if size is None or size.is_ref() or size.type != ir.AttributeType.INT or "" in names[:2]:
        return None
    if len(names) < 2 or len(outputs) > _OUTPUTS:
        return None
    shapes = ([0, size.as_int(), 4], [0, size.as_int()], [0, size.as_int()], [0])
    made: list[onnx.NodeProto] = []
    for index, (output, shape) in enumerate(zip(outputs, shapes, strict=False)):
        if not output:
            continue
        held = f"{output} sizes"
        source = names[_BOXES] if index == 0 else names[_SCORES]
        target = output if index < _OUTPUTS - 1 else f"{output} as float"
        made.append(
            onnx.helper.make_node(
                "Constant", [], [held], value=onnx.numpy_helper.from_array(np.array(shape, dtype=np.int64))
            )
        )
        made.append(onnx.helper.make_node("Reshape", [source, held], [target]))
        if target is not output:
            made.append(onnx.helper.make_node("Cast", [target], [output], to=onnx.TensorProto.INT32))
    return made


_LARGEST = 1000
"""Of both sizes, on the Ascend 950 kernel (README of the operator in ops-cv, 2026); older ones state none."""
_PROPOSALS = 4080
"""So many of a class enter the suppression (the kernel in canndev, mid-2022)."""
_OPSETS = range(8, 17)
"""The parser knows the operator's name in these (ops-cv, 2026; until 15 in mid-2022)."""


def _check(call: Call) -> Iterator[str]:
    for name in ("max_size_per_class", "max_total_size"):
        if not 1 <= call.integer(name) <= _LARGEST:
            yield Caution(f"{name} is {call.integer(name)}, newer kernels take 1 to {_LARGEST}")
    if call.dtype(_BOXES) is ir.DataType.FLOAT:  # lists of dtypes in canndev's configuration, mid-2022
        yield Caution(
            "its boxes are float32, which Ascend310, 310B, 310P and 910 do not take: they take float16",
            code="nms_float32",
        )
    elif call.dtype(_BOXES) is not ir.DataType.FLOAT16:
        yield f"its boxes are {call.dtype(_BOXES).name}, not float16 or float32"
    if call.dtype(_SCORES) is not call.dtype(_BOXES):
        yield "its boxes and its scores are of different dtypes"
    boxes, scores = call.sizes(_BOXES), call.sizes(_SCORES)
    if boxes is not None and len(boxes) == 4:
        if isinstance(boxes[1], int) and boxes[1] > _PROPOSALS:
            yield Caution(
                f"of {boxes[1]} boxes the kernel of 2022 looks at the best {_PROPOSALS} of a class only",
                code="nms_candidates",
            )
        if scores is not None and len(scores) == 3 and boxes[2] not in (1, scores[2]):
            yield f"it has {boxes[2]} boxes for {scores[2]} classes, not 1 or as many as classes"
    if call.opset not in _OPSETS:
        yield f"its name is known to the parser in opsets 8 to 16, the model has {call.opset}"
    for name in _NOT_IN_ONNX:
        if call.integer(name, 0):
            yield f"{name} is not read from ONNX: it is as if left out"


OPERATOR = ForeignOperator(
    op_type="BatchMultiClassNMS",
    home="npu",
    domains=("", "mmdeploy"),
    is_target=True,
    shaped_like=_shaped_like,
    body=_body,
    check=_check,
    attributes={
        "iou_threshold": ir.AttributeType.FLOAT,
        "score_threshold": ir.AttributeType.FLOAT,
        "max_size_per_class": ir.AttributeType.INT,
        "max_total_size": ir.AttributeType.INT,
        "image_size": ir.AttributeType.INTS,
    },
    batched=(0, 1, 2, 3),
    note="class-wise non-maximum suppression with outputs of fixed size, filled up with zeros",
)
