"""Which rows and columns of a table of RoIs a value holds."""

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from graphopt.surgery.graph_queries import attribute_int, constant_of, input_of, is_op, opset_of
from graphopt.surgery.semantics.slicing import cuts_of
from graphopt.surgery.shapes.known_types import KnownTypes

_KEEPING_ORDER = ("Squeeze", "Unsqueeze", "Reshape", "Flatten")


@dataclass(frozen=True, kw_only=True)
class RoiView:
    """What a value is made of: ``table[rows][:, columns] - shift``, of no meaning where ``mask`` is 0.

    Attributes:
        table: where the walk back ended; [R, any], or [R].
        rank: 2, or 1 for a table [R].
        rows: indices of the rows taken; None is all of them, in order.
        columns: of the table, in the order in which the value has them.
        shift: subtracted from every element.
        mask: factor [R, 1] of 0 and 1; None when there is none.
        is_rounded: whether a cast to whole numbers lies between, which changes all but indices.
    """

    table: ir.Value
    rank: int
    rows: ir.Value | None = None
    columns: tuple[int, ...]
    shift: float = 0.0
    mask: ir.Value | None = None
    is_rounded: bool = False


def view_of(
    model: ir.Model, types: KnownTypes, value: ir.Value, columns: int, *, through_rows: bool = False
) -> RoiView | str:
    """Walk back from the RoIs ([K, 4], ``columns`` is 4) or batch indices ([K], 1) of a ``RoiAlign``.

    Args:
        model: not changed.
        types: of the model.
        value: where to begin.
        columns: that it has.
        through_rows: whether to go on where some rows are picked out.

    Returns:
        The view, or a clause that says what cannot be followed.
    """
    view = RoiView(table=value, rank=2 if columns > 1 else 1, columns=tuple(range(columns)))
    while True:
        node = view.table.producer()
        step = None if node is None else _step(model, types, node, view)
        if isinstance(step, str):
            return step
        if step is None or (step.rows is not None and not through_rows):
            return view
        view = step


def _step(model: ir.Model, types: KnownTypes, node: ir.Node, view: RoiView) -> RoiView | str | None:
    source = input_of(node, 0)
    if source is None or node.domain:
        return None
    same = node.op_type == "Identity" or (node.op_type == "Concat" and len(node.inputs) == 1)
    if same:
        return replace(view, table=source)
    if node.op_type == "Cast" and len(view.columns) == 1:
        return replace(view, table=source, is_rounded=view.is_rounded or not casts_to_float(node))
    if node.op_type in _KEEPING_ORDER and len(view.columns) == 1:
        return _reordered(model, types, node, source, view)
    if node.op_type == "Slice":
        return _sliced(model, types, node, source, view)
    if node.op_type == "Gather":
        return _gathered(types, node, source, view)
    if node.op_type in ("Sub", "Add"):
        return _shifted(node, view)
    if node.op_type == "Mul":
        return _masked(types, node, view)
    return None


def _reordered(
    model: ir.Model, types: KnownTypes, node: ir.Node, source: ir.Value, view: RoiView
) -> RoiView | None:
    """Follow a column, whose elements keep their order, into a tensor [K, 1] or [K]."""
    shape = types.of(source).shape
    rank = None if shape is None else len(shape)
    # A Squeeze that leaves [K] had [K, 1], whatever is known of it.
    squeezed = node.op_type == "Squeeze" and view.rank == 1 and rank in (None, 2)
    if squeezed or (shape is not None and shape[1:] == (1,)) or _takes_one_column(model, source):
        return replace(view, table=source, rank=2, columns=(0,))
    return replace(view, table=source, rank=1, columns=(0,)) if rank == 1 else None


def _takes_one_column(model: ir.Model, value: ir.Value) -> bool:
    """Whether a value is cut out of a table as a column [K, 1]."""
    node = value.producer()
    if node is None or node.domain:
        return False
    if node.op_type == "Gather":
        picks = constant_of(input_of(node, 1))
        return attribute_int(node, "axis", 0) == 1 and picks is not None and picks.shape == (1,)
    cuts = cuts_of(node, opset_of(model, node), 2) if node.op_type == "Slice" else ""
    return not isinstance(cuts, str) and set(cuts) == {1} and cuts[1].end == cuts[1].start + 1 > 0


def _sliced(
    model: ir.Model, types: KnownTypes, node: ir.Node, source: ir.Value, view: RoiView
) -> RoiView | str | None:
    cuts = cuts_of(node, opset_of(model, node), view.rank)
    if isinstance(cuts, str):
        return None
    if set(cuts) != {1} or view.rank != 2:
        return None
    cut = cuts[1]
    width = _width(types, source)
    if width is None and (cut.start < 0 or cut.step < 1):
        return f"{source.name} is of unknown width, and its columns are counted from the end"
    # Where the width is not known, an axis is long enough for what is read of it.
    taken = cut.indices(width if width is not None else cut.start + cut.step * (1 + max(view.columns)))
    if max(view.columns) >= len(taken):
        return f"{node.outputs[0].name} has {len(taken)} columns, too few"
    return replace(view, table=source, columns=tuple(taken[column] for column in view.columns))


def _gathered(types: KnownTypes, node: ir.Node, source: ir.Value, view: RoiView) -> RoiView | str | None:
    axis, indices = attribute_int(node, "axis", 0), constant_of(input_of(node, 1))
    if axis in (1, -1) and indices is not None:
        picks = indices.ravel().tolist()
        scalar = indices.ndim == 0
        if indices.ndim > 1 or view.rank != (1 if scalar else 2):
            return None
        if min(picks, default=0) < 0:
            width = _width(types, source)
            if width is None:
                return f"{source.name} is of unknown width, and its columns are counted from the end"
            picks = [pick % width for pick in picks]
        if max(view.columns) >= len(picks):
            return f"{node.outputs[0].name} has {len(picks)} columns, too few"
        return replace(view, table=source, rank=2, columns=tuple(picks[column] for column in view.columns))
    if axis == 0 and indices is None:
        return replace(view, table=source, rows=node.inputs[1]) if view.rows is None else None
    return None


def _shifted(node: ir.Node, view: RoiView) -> RoiView | None:
    constant = constant_of(input_of(node, 1))
    source = node.inputs[0]
    if constant is None or source is None or constant.size != 1 or constant.dtype.kind != "f":
        return None
    amount = float(constant.ravel()[0])
    return replace(view, table=source, shift=view.shift + (amount if node.op_type == "Sub" else -amount))


def _masked(types: KnownTypes, node: ir.Node, view: RoiView) -> RoiView | None:
    """Follow a product with a column; whether that holds 0 and 1 is for others to see."""
    for source, mask in (node.inputs, node.inputs[::-1]):
        shape = types.of(mask).shape
        if shape is None or len(shape) != 2 or shape[1] != 1 or constant_of(mask) is not None:
            continue
        if view.mask is None and source is not None:
            return replace(view, table=source, mask=mask)
    return None


def column_of(model: ir.Model, types: KnownTypes, value: ir.Value, column: int) -> tuple[ir.Value, int]:
    """Return the tensor and its column in which a column of ``value`` is first found, walking back."""
    while True:
        node = value.producer()
        if node is None:
            return value, column
        if is_op(node, "Concat"):
            found = _concatenated(types, node, column)
            if found is None:
                return value, column
            value, column = found
            continue
        if not is_op(node, "Identity", "Slice", "Gather"):
            return value, column
        view = RoiView(table=value, rank=2, columns=(column,))
        step = _step(model, types, node, view)
        if not isinstance(step, RoiView) or step.rows is not None:
            return value, column
        value, column = step.table, step.columns[0]


def single_column(model: ir.Model, types: KnownTypes, value: ir.Value) -> tuple[ir.Value, int] | None:
    """Return where the only column that a value [R] or [R, 1] holds is found; None when it is no column."""
    view = view_of(model, types, value, 1)
    if isinstance(view, str) or view.rows is not None or view.shift or view.mask is not None:
        return None
    if view.is_rounded:
        return None
    return column_of(model, types, view.table, view.columns[0]) if view.rank == 2 else (view.table, 0)


def _concatenated(types: KnownTypes, node: ir.Node, column: int) -> tuple[ir.Value, int] | None:
    if len(node.inputs) == 1 and node.inputs[0] is not None:
        return node.inputs[0], column
    if attribute_int(node, "axis", 1) not in (1, -1):
        return None
    for part in node.inputs:
        width = _width(types, part)
        if part is None or width is None:
            return None
        if column < width:
            return part, column
        column -= width
    return None


def _width(types: KnownTypes, value: ir.Value | None) -> int | None:
    shape = types.of(value).shape
    width = shape[1] if shape is not None and len(shape) == 2 else None
    return width if isinstance(width, int) else None


def is_zero(value: ir.Value | None) -> bool:
    """Whether a value is zero wherever it is finite: a constant, or a product with one."""
    while value is not None:
        constant = constant_of(value)
        if constant is not None:
            return not np.any(constant)
        node = value.producer()
        if node is None or node.domain:
            return False
        if node.op_type == "ConstantOfShape":
            fill = node.attributes.get("value")
            return fill is None or not np.any(fill.as_tensor().numpy())
        if node.op_type == "Mul":
            return any(is_zero_constant(item) for item in node.inputs)
        if node.op_type not in ("Identity", "Cast", "Expand", "Tile", *_KEEPING_ORDER):
            return False
        value = input_of(node, 0)
    return False


def is_zero_constant(value: ir.Value | None) -> bool:
    """Whether a value is a constant of zeros."""
    constant = constant_of(value)
    return constant is not None and not np.any(constant)


def whole(value: ir.Value | None) -> int | None:
    """Return the only element of a constant when it is a whole number."""
    array = constant_of(value)
    if array is None or array.size != 1 or float(array.ravel()[0]) != int(array.ravel()[0]):
        return None
    return int(array.ravel()[0])


def casts_to_float(cast: ir.Node) -> bool:
    """Whether a Cast keeps fractions."""
    to = cast.attributes.get("to")
    return to is not None and not to.is_ref() and ir.DataType(to.as_int()).is_floating_point()
