"""Where the batch axis goes in each operator, and what would mix the samples of a batch.

A rule is asked only when the batch reaches the node. It returns the axis of the batch in the node's
outputs, or raises ``Mixed`` with the reason why the node does not treat samples one by one. What has
no rule is refused: a wrong result must be impossible.
"""

from collections.abc import Callable, Collection, Mapping

from graphopt.core.operators import at_home
from graphopt.surgery.batching.batch_size_rules import expand, flatten, pad, reshape, resize, slice_, tile
from graphopt.surgery.batching.batched_node import BatchedNode, Mixed, batch_of_first_input, stay_apart
from graphopt.surgery.graph_queries import attribute_int

Rule = Callable[[BatchedNode], int | tuple[int, ...]]
"""Returns one axis for all outputs, or one for each."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _names(
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Div Dropout Elu Equal Erf Exp "
    "Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual "
    "Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin "
    "Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor"
)
SPATIAL = _names(
    "AveragePool BatchNormalization Conv ConvTranspose DeformConv DepthToSpace GlobalAveragePool "
    "GlobalLpPool GlobalMaxPool GridSample GroupNormalization InstanceNormalization LRN LpPool MaxPool "
    "SpaceToDepth"
)
SAMPLEWISE_INPUTS = {"DeformConv": (0, 2, 4), "GridSample": (0, 1)}
REDUCING = _names(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare"
)


def elementwise(view: BatchedNode) -> int:
    """Broadcasting operators: the batch must lie on the same axis in every input that has it."""
    rank = len(view.output_shape())
    places = {}
    for index, value in enumerate(view.node.inputs):
        axis = view.axis(index) if value is not None else None
        if axis is not None:
            places[index] = axis + rank - len(view.shape(index))
    target = next(iter(places.values()))
    if len(set(places.values())) > 1:
        raise Mixed("the batch lies on different axes of its inputs")
    sizes = {view.shape(index)[place - rank] for index, place in places.items()}
    if len(sizes) > 1:
        raise Mixed("its inputs hold the batch in different sizes")
    for index, value in enumerate(view.node.inputs):
        if value is None or index in places:
            continue
        shape = view.shape(index)
        own = target - (rank - len(shape))
        if own >= 0 and shape[own] != 1:
            view.repeat(index, own)
    return target


def spatial(view: BatchedNode) -> int:
    """Operators on N, C, ...: the batch is axis 0; weights do not have it."""
    _on_first_axis(view, SAMPLEWISE_INPUTS.get(view.node.op_type, (0,)))
    if attribute_int(view.node, "training_mode", 0):
        raise Mixed("it is in training mode: it uses the statistics of the batch")
    if view.node.op_type == "MaxPool" and any(value.uses() for value in view.node.outputs[1:]):
        raise Mixed("its indices count through the whole batch")
    return 0


def foreign(view: BatchedNode) -> int:
    """Operators that are not ONNX's own: their entry tells which inputs have one sample per image."""
    operator = at_home(view.node)
    if operator is None or not operator.batched:
        raise Mixed(f"nothing is known of how {view.node.domain}.{view.node.op_type} treats a batch")
    _on_first_axis(view, operator.batched)
    return 0


def _on_first_axis(view: BatchedNode, inputs: Collection[int]) -> None:
    """Make sure that these inputs, and no others, hold the batch on axis 0."""
    for index, value in enumerate(view.node.inputs):
        if value is None:
            continue
        axis = view.axis(index)
        if axis is None and index in inputs:
            view.repeat(index, 0)
        if axis is not None and (axis != 0 or index not in inputs):
            raise Mixed(f"the batch reaches it on axis {axis} of input {index}")


def _along_axis(default: int) -> Rule:
    def rule(view: BatchedNode) -> int:
        return stay_apart(view, attribute_int(view.node, "axis", default), batch_of_first_input(view))

    return rule


def softmax(view: BatchedNode) -> int:
    """Before opset 13 all axes from ``axis`` on are one."""
    batch = batch_of_first_input(view)
    if view.opset >= 13:
        return stay_apart(view, attribute_int(view.node, "axis", -1), batch)
    if attribute_int(view.node, "axis", 1) % len(view.shape(0)) <= batch:
        raise Mixed(f"it works along the batch axis {batch}")
    return batch


def normalize(view: BatchedNode) -> int:
    """Layer normalisation: from ``axis`` on."""
    batch = batch_of_first_input(view)
    if attribute_int(view.node, "axis", -1) % len(view.shape(0)) <= batch:
        raise Mixed(f"it works along the batch axis {batch}")
    return batch


def reduce(view: BatchedNode) -> int:
    """Reductions: over other axes than the batch."""
    batch, rank = batch_of_first_input(view), len(view.shape(0))
    by_input = view.opset >= (13 if view.node.op_type == "ReduceSum" else 18)
    axes = view.ints(1 if by_input else -1, "axes")
    if not axes:
        if axes is None and attribute_int(view.node, "noop_with_empty_axes", 0):
            return batch
        raise Mixed("it reduces over all axes, the batch included")
    kept = [axis % rank for axis in axes]
    if batch in kept:
        raise Mixed(f"it reduces over the batch axis {batch}")
    return batch if attribute_int(view.node, "keepdims", 1) else batch - sum(axis < batch for axis in kept)


def arg_reduce(view: BatchedNode) -> int:
    """ArgMax and ArgMin: along another axis than the batch."""
    batch, axis = batch_of_first_input(view), attribute_int(view.node, "axis", 0) % len(view.shape(0))
    stay_apart(view, axis, batch)
    return batch if attribute_int(view.node, "keepdims", 1) or axis > batch else batch - 1


def transpose(view: BatchedNode) -> int:
    """The batch moves with its axis."""
    rank = len(view.shape(0))
    perm = view.node.attributes.get("perm")
    order = list(range(rank))[::-1] if perm is None else [int(axis) for axis in perm.as_ints()]
    return order.index(batch_of_first_input(view))


def concat(view: BatchedNode) -> int:
    """Joins along another axis; what is the same for all samples is repeated for each."""
    axes = [view.axis(index) for index in range(len(view.node.inputs))]
    batch = next(axis for axis in axes if axis is not None)
    if {axis for axis in axes if axis is not None} != {batch}:
        raise Mixed("the batch lies on different axes of its inputs")
    stay_apart(view, attribute_int(view.node, "axis", 1), batch)
    for index, axis in enumerate(axes):
        if axis is None:
            view.repeat(index, batch)
    return batch


def gather(view: BatchedNode) -> int:
    """Picks along another axis than the batch, or looks up a table for each sample."""
    axis = attribute_int(view.node, "axis", 0) % len(view.shape(0))
    batch, index_axis, index_rank = view.axis(0), view.axis(1), len(view.shape(1))
    if batch is not None and index_axis is not None:
        raise Mixed("both the data and the indices have the batch")
    if batch is None:
        return axis + (index_axis or 0)
    stay_apart(view, axis, batch)
    return batch if batch < axis else batch + index_rank - 1


def gather_elements(view: BatchedNode) -> int:
    """Data, indices and updates have the batch on the same axis."""
    count = len(view.node.inputs)
    found = {index: view.axis(index) for index in range(count)}
    axes = {axis for axis in found.values() if axis is not None}
    if len(axes) != 1:
        raise Mixed("its inputs do not hold the batch alike")
    (batch,) = axes
    stay_apart(view, attribute_int(view.node, "axis", 0), batch)
    for index in (index for index, axis in found.items() if axis is None):
        view.repeat(index, batch)
    if len({view.shape(index)[batch] for index in range(count)}) > 1:
        raise Mixed("its inputs hold the batch in different sizes")
    return batch


def topk(view: BatchedNode) -> int:
    """Sorts along another axis than the batch."""
    batch = batch_of_first_input(view)
    if view.opset >= 10:
        view.ints(1)
    return stay_apart(view, attribute_int(view.node, "axis", -1), batch)


def unsqueeze(view: BatchedNode) -> int:
    """New axes in front push the batch back."""
    batch, rank = batch_of_first_input(view), len(view.output_shape())
    axes = view.ints(1 if view.opset >= 13 else -1, "axes") or []
    left = [axis for axis in range(rank) if axis not in {axis % rank for axis in axes}]
    return left[batch]


def squeeze(view: BatchedNode) -> int:
    """Other axes than the batch vanish."""
    batch, rank = batch_of_first_input(view), len(view.shape(0))
    axes = view.ints(1 if view.opset >= 13 else -1, "axes")
    if axes is None:
        raise Mixed("it removes every axis of size 1 (no axes are given), which the batch may be")
    gone = {axis % rank for axis in axes}
    if batch in gone:
        raise Mixed("it removes the batch axis")
    return batch - sum(axis < batch for axis in gone)


def gemm(view: BatchedNode) -> int:
    """Rows of the first matrix are samples."""
    if view.axis(0) is None or view.axis(1) is not None or view.axis(2) is not None:
        raise Mixed("the batch reaches an input other than its first")
    rows = 1 if attribute_int(view.node, "transA", 0) else 0
    if view.axis(0) != rows:
        raise Mixed("it sums over the batch axis")
    if len(view.node.inputs) > 2 and view.node.inputs[2] is not None:
        shape = view.shape(2)
        if len(shape) == 2 and shape[0] != 1:
            raise Mixed("its bias has a fixed batch")
    return 0


def matmul(view: BatchedNode) -> int:
    """The batch is a stacking axis of both, or the rows of the first."""
    ranks = [len(view.shape(index)) for index in (0, 1)]
    rank = max(ranks)
    if min(ranks) < 2:
        raise Mixed("a product with a vector is not handled")
    axes = [view.axis(index) for index in (0, 1)]
    places = [None if axis is None else axis - own + rank for axis, own in zip(axes, ranks, strict=True)]
    if places[0] == rank - 2 and places[1] is None:
        return rank - 2
    if places[1] == rank - 1 and places[0] is None:
        return rank - 1
    target = places[0] if places[0] is not None else places[1]
    if target is None or target >= rank - 2:
        raise Mixed("it sums over the batch axis")
    for index, place in enumerate(places):
        own = target - (rank - ranks[index])
        if place is None and own >= 0 and view.shape(index)[own] != 1:
            view.repeat(index, own)
        if place is not None and place != target:
            raise Mixed("the batch lies on different axes of its inputs")
    if None not in places and view.shape(0)[target - rank] != view.shape(1)[target - rank]:
        raise Mixed("its inputs hold the batch in different sizes")
    return target


def cumsum(view: BatchedNode) -> int:
    """Sums along another axis than the batch."""
    axis = view.ints(1)
    if not axis:
        raise Mixed("its axis is left out")
    return stay_apart(view, axis[0], batch_of_first_input(view))


def recurrent(view: BatchedNode) -> tuple[int, ...]:
    """RNN, GRU, LSTM: sequences lie along axis 0, samples along axis 1 (``layout`` 0); states too."""
    if attribute_int(view.node, "layout", 0):
        raise Mixed("its layout is 1")
    places = {0: 1, 4: 0, 5: 1, 6: 1}  # sequences, their lengths, the initial states
    for index, value in enumerate(view.node.inputs):
        axis = view.axis(index) if value is not None else None
        if axis is not None and axis != places.get(index):
            raise Mixed(f"the batch reaches it on axis {axis} of input {index}")
        if value is not None and axis is None and index in places:
            view.repeat(index, places[index])
    return (2, 1, 1)


def einsum(view: BatchedNode) -> int:
    """The batch is one letter, the same in every operand that has it, and is not summed away."""
    text = view.node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, result = text.partition("->")
    operands = left.split(",")
    if not arrow or "." in text:
        raise Mixed(f"its equation {text} is not written out")
    letters = {}
    for index, letter_row in enumerate(operands):
        axis = view.axis(index)
        if axis is not None:
            letters[index] = letter_row[axis]
    if len(set(letters.values())) != 1:
        raise Mixed(f"the batch is different letters in {text}")
    batch = next(iter(letters.values()))
    if batch not in result:
        raise Mixed(f"it sums over the batch in {text}")
    for index, letter_row in enumerate(operands):
        if letter_row.count(batch) > 1:
            raise Mixed(f"it takes a diagonal of the batch in {text}")
        if index not in letters and batch in letter_row:
            view.repeat(index, letter_row.index(batch))
    return result.index(batch)


def trilu(view: BatchedNode) -> int:
    """The matrices are the last two axes."""
    batch = batch_of_first_input(view)
    if batch >= len(view.shape(0)) - 2:
        raise Mixed("its matrices have the batch as rows or columns")
    return batch


def quantize(view: BatchedNode) -> int:
    """Scales belong to the whole tensor or to another axis than the batch."""
    batch = batch_of_first_input(view)
    if len(view.shape(1)) == 0 or view.shape(1) == (1,):
        return batch
    return stay_apart(view, attribute_int(view.node, "axis", 1), batch)


PARAMETERS: Mapping[str, frozenset[int]] = {
    "ConstantOfShape": frozenset((0,)),
    "Pad": frozenset((1, 3)),
    "Resize": frozenset((1, 2, 3)),
    "Slice": frozenset((1, 2, 3, 4)),
    "Upsample": frozenset((1,)),
    **dict.fromkeys(_names("CumSum Expand Reshape Split Squeeze Tile TopK Trilu Unsqueeze"), frozenset((1,))),
    **dict.fromkeys(REDUCING, frozenset((1,))),
}
"""Inputs that say how, not what: a size of the batch may reach them."""

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(SPATIAL, spatial),
    **dict.fromkeys(REDUCING, reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_reduce),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), softmax),
    **dict.fromkeys(("Resize", "Upsample"), resize),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), recurrent),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), quantize),
    **dict.fromkeys(("GatherElements", "ScatterElements"), gather_elements),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), normalize),
    "Concat": concat,
    "CumSum": cumsum,
    "Einsum": einsum,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "LpNormalization": _along_axis(-1),
    "MatMul": matmul,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": _along_axis(0),
    "Squeeze": squeeze,
    "Tile": tile,
    "TopK": topk,
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
}
