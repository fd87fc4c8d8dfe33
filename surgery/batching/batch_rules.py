"""Where the batch axis goes in each operator, and what would mix the samples of a batch.

A rule is asked only when the batch reaches the node. It returns the axis of the batch in the node's
outputs, or raises ``Mixed`` with the reason why the node does not treat samples one by one. What has
no rule is refused: a wrong result must be impossible.
"""

from collections.abc import Callable, Mapping

from graphopt.surgery.batching.batch_size_rules import expand, flatten, pad, reshape, resize, slice_, tile
from graphopt.surgery.batching.batched_node import BatchedNode, Mixed, batch_of_first_input, stay_apart
from graphopt.surgery.graph_queries import attribute_int

Rule = Callable[[BatchedNode], int]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _names(
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Div Dropout Elu Equal Erf Exp "
    "Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual "
    "Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin "
    "Sinh Softplus Softsign Sqrt Sub Sum Tan Tanh ThresholdedRelu Where Xor"
)
SPATIAL = _names(
    "AveragePool BatchNormalization Conv ConvTranspose DeformConv DepthToSpace GlobalAveragePool "
    "GlobalLpPool GlobalMaxPool GridSample GroupNormalization InstanceNormalization LRN LpPool MaxPool "
    "SpaceToDepth"
)
SAMPLEWISE_INPUTS = {"DeformConv": (0, 1, 4), "GridSample": (0, 1)}
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
            raise Mixed(f"{value.name} has a fixed size of {shape[own]} along the batch")
    return target


def spatial(view: BatchedNode) -> int:
    """Operators on N, C, ...: the batch is axis 0; weights do not have it."""
    allowed = SAMPLEWISE_INPUTS.get(view.node.op_type, (0,))
    for index, value in enumerate(view.node.inputs):
        if value is None:
            continue
        axis = view.axis(index)
        if axis is None and index in allowed and index > 0:
            raise Mixed(f"{value.name} has a fixed batch")
        if axis is not None and (axis != 0 or index not in allowed):
            raise Mixed(f"the batch reaches it on axis {axis} of input {index}")
    if view.axis(0) is None:
        raise Mixed("its first input has a fixed batch")
    if attribute_int(view.node, "training_mode", 0):
        raise Mixed("it is in training mode: it uses the statistics of the batch")
    if view.node.op_type == "MaxPool" and any(value.uses() for value in view.node.outputs[1:]):
        raise Mixed("its indices count through the whole batch")
    return 0


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
    """All inputs have the batch, and are joined along another axis."""
    axes = {view.axis(index) for index in range(len(view.node.inputs))}
    batch = view.axis(0)
    if batch is None or axes != {batch}:
        raise Mixed("it joins tensors with the batch and tensors of a fixed batch")
    return stay_apart(view, attribute_int(view.node, "axis", 1), batch)


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
    """Data and indices have the batch on the same axis."""
    batch = view.axis(0)
    if batch is None or view.axis(1) != batch or view.shape(0)[batch] != view.shape(1)[batch]:
        raise Mixed("data and indices do not hold the batch alike")
    return stay_apart(view, attribute_int(view.node, "axis", 0), batch)


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
            raise Mixed(f"{view.node.inputs[index].name} has a fixed batch")  # type: ignore[union-attr] # MatMul has both
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


PARAMETERS: Mapping[str, frozenset[int]] = {
    "ConstantOfShape": frozenset((0,)),
    "Pad": frozenset((1, 3)),
    "Resize": frozenset((1, 2, 3)),
    "Slice": frozenset((1, 2, 3, 4)),
    "Upsample": frozenset((1,)),
    **dict.fromkeys(_names("CumSum Expand Reshape Split Squeeze Tile TopK Unsqueeze"), frozenset((1,))),
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
    "Concat": concat,
    "CumSum": cumsum,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "GatherElements": gather_elements,
    "Gemm": gemm,
    "LayerNormalization": normalize,
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
    "Unsqueeze": unsqueeze,
}
