"""Undo the trick that makes one suppression class-wise: each class's boxes moved away from the others'."""

from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.reasons import UnsuitableError
from graphopt.surgery.graph_queries import input_of, is_op

_PASSING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, kw_only=True)
class Offset:
    """What a suppression's boxes are made of.

    Attributes:
        boxes: as they were before they were moved.
        classes: one number for each box; None when they were not moved.
    """

    boxes: ir.Value
    classes: ir.Value | None


def undo_offset(boxes: ir.Value, facts: Facts) -> Offset:
    """Find the boxes and classes of ``boxes + classes * (largest coordinate + 1)``.

    Args:
        boxes: what the suppression reads.
        facts: of the model.

    Raises:
        UnsuitableError: something else was added to the boxes.
    """
    moved = unwrapped(boxes)
    node = moved.producer()
    if not is_op(node, "Add") or node is None:
        return Offset(boxes=boxes, classes=None)
    first, second = node.inputs
    for own, other in ((first, second), (second, first)):
        if own is None or other is None:
            continue
        product = unwrapped(other).producer()
        if product is None or not is_op(product, "Mul"):
            continue
        for classes, step in (product.inputs, product.inputs[::-1]):
            if classes is None or step is None:
                continue
            taken_from = _exceeded(step, facts)
            if taken_from is not None and unwrapped(taken_from) is unwrapped(own):
                return Offset(boxes=own, classes=classes)
    raise UnsuitableError(
        f"what is added to the boxes ({moved.name}) is not known to keep the boxes of different classes apart"
    )


def unwrapped(value: ir.Value) -> ir.Value:
    """Return the tensor behind casts and added or dropped axes."""
    while True:
        node = value.producer()
        before = input_of(node, 0) if node is not None and is_op(node, *_PASSING) else None
        if node is None or before is None or (is_op(node, "Cast") and rounds(node, before.dtype)):
            return value
        value = before


def rounds(cast: ir.Node, dtype: ir.DataType | None) -> bool:
    """Whether a cast may round its elements to whole numbers: it leads from floats to anything else.

    Args:
        cast: the node.
        dtype: of what it reads; None when that is not known.
    """
    to = cast.attributes.get("to")
    if to is None or to.is_ref() or not ir.DataType(to.as_int()).is_floating_point():
        return dtype is None or dtype.is_floating_point()
    return False


def offset_node(nms: ir.Node, facts: Facts) -> ir.Node | None:
    """Return the node that takes the largest coordinate, where a suppression's classes are moved apart."""
    boxes = nms.inputs[0] if nms.inputs else None
    node = None if boxes is None else unwrapped(boxes).producer()
    if node is None or not is_op(node, "Add"):
        return None
    for product in [unwrapped(value).producer() for value in node.inputs if value is not None]:
        for step in product.inputs if is_op(product, "Mul") and product is not None else ():
            found = None if step is None else _largest(step, facts)
            if found is not None:
                return found
    return None


def _exceeded(step: ir.Value, facts: Facts) -> ir.Value | None:
    """Return the tensor whose largest element a step is not smaller than."""
    node = _largest(step, facts)
    return None if node is None else node.inputs[0]


def _largest(step: ir.Value, facts: Facts) -> ir.Node | None:
    """Return the node that takes the largest of all elements, to which a step adds no less than zero."""
    node = unwrapped(step).producer()
    if node is not None and is_op(node, "Add"):
        for largest, margin in (node.inputs, node.inputs[::-1]):
            added = facts.number(margin)
            if added is not None and added >= 0 and largest is not None:
                node = unwrapped(largest).producer()
                break
    if node is None or not is_op(node, "ReduceMax"):
        return None
    axes = node.attributes.get("axes")
    shape = facts.shape(node.inputs[0]) if node.inputs[0] is not None else None
    is_whole = axes is None and input_of(node, 1) is None
    if not is_whole and (axes is None or shape is None or len(set(axes.as_ints())) != len(shape)):
        return None
    return node
