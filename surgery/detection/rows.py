"""Follow what is picked at run time: tensors whose rows are those of candidates that a node chose.

``NonZero`` and ``NonMaxSuppression`` answer with indices, one row for each choice; gathers, slices and
joins carry other tensors' elements into such rows. How many rows there are is open, what stands in
each of their columns is not.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.surgery.detection.class_offset import rounds
from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.graph_queries import attribute_int, input_of, ints_of, is_op, opset_of
from graphopt.surgery.semantics.slicing import FAR, cuts_of

_MAX_COLUMNS = 4096


@dataclass(frozen=True)
class Index:
    """The place of the chosen candidate along one axis of what was chosen from."""

    axis: int


@dataclass(frozen=True)
class Element:
    """An element of another tensor that belongs to the chosen candidate.

    Attributes:
        source: the tensor.
        place: where the element stands, without the axes that the choice tells.
        by: axes of ``source``, each with the axis of the choice that tells the place along it.
    """

    source: ir.Value
    place: tuple[int, ...]
    by: tuple[tuple[int, int], ...]


Column = Index | Element


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """A tensor with one row for each candidate that a node chose.

    Attributes:
        root: the node that chose.
        axis: along which the rows are; each other axis has a known size.
        columns: what stands in each row; its own size along ``axis`` is one.
        limit: no more rows than these, the first ones; None is all.
    """

    root: ir.Node
    axis: int
    columns: np.ndarray[Any, Any]
    limit: int | None = None

    def only(self) -> Column | None:
        """Return the column when there is just one."""
        return self.columns.ravel()[0] if self.columns.size == 1 else None

    def listed(self) -> list[Column]:
        """Return the columns in order."""
        return list(self.columns.ravel())


class RowTracker:
    """Tells which tensors of a model are rows of choices.

    Args:
        model: must not change while this is used.
        facts: sizes and constants of the same model.
    """

    _followers: ClassVar[Mapping[str, str]] = {
        "Cast": "_cast",
        "Concat": "_concat",
        "Gather": "_gather",
        "GatherND": "_gather_nd",
        "Identity": "_same",
        "Reshape": "_reshape",
        "Slice": "_slice",
        "Squeeze": "_squeeze",
        "Transpose": "_transpose",
        "Unsqueeze": "_unsqueeze",
    }

    def __init__(self, model: ir.Model, facts: Facts) -> None:
        self._model = model
        self._facts = facts
        self._known: dict[ir.Value, Rows | None] = {}

    def of(self, value: ir.Value | None) -> Rows | None:
        """Return the rows that a tensor is; None for any other tensor."""
        if value is None:
            return None
        pending = [value]
        while pending:  # no recursion: chains may be long
            item = pending[-1]
            node = item.producer()
            if item in self._known or node is None or not self._may_pick(node):
                self._known.setdefault(item, None)
                pending.pop()
                continue
            waiting = [v for v in node.inputs if v is not None and v not in self._known]
            waiting = [] if node.op_type in ("NonZero", "NonMaxSuppression") else waiting
            if waiting:
                pending.extend(waiting)
                continue
            self._known[item] = self._made_by(node)
            pending.pop()
        return self._known[value]

    def _may_pick(self, node: ir.Node) -> bool:
        return is_op(node, "NonZero", "NonMaxSuppression", *self._followers)

    def _made_by(self, node: ir.Node) -> Rows | None:
        if node.op_type == "NonZero":
            rank = self._rank(node.inputs[0])
            return None if rank is None else Rows(root=node, axis=1, columns=_indices(rank)[:, None])
        if node.op_type == "NonMaxSuppression":
            return Rows(root=node, axis=0, columns=_indices(3)[None, :])
        follow: Callable[[ir.Node], Rows | None] = getattr(self, self._followers[node.op_type])
        return follow(node)

    def _rank(self, value: ir.Value | None) -> int | None:
        shape = None if value is None else self._facts.shape(value)
        return None if shape is None else len(shape)

    def _first(self, node: ir.Node) -> Rows | None:
        return self._known.get(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None

    def _same(self, node: ir.Node) -> Rows | None:
        return self._first(node)

    def _cast(self, node: ir.Node) -> Rows | None:
        rows = self._first(node)
        columns = () if rows is None else rows.columns.ravel()
        return None if any(self._is_rounded(node, column) for column in columns) else rows

    def _is_rounded(self, cast: ir.Node, column: Column) -> bool:
        """Whether a cast may change the elements of a column."""
        if not isinstance(column, Element) or not rounds(cast, self._facts.dtype(column.source)):
            return False
        if (picked := self.of(column.source)) is not None:  # chosen before, of what is known better there
            return any(self._is_rounded(cast, before) for before in picked.columns.ravel())
        numbers = self._facts.array(column.source)
        return numbers is None or not np.array_equal(numbers, np.round(numbers))

    def _transpose(self, node: ir.Node) -> Rows | None:
        rows = self._first(node)
        if rows is None:
            return None
        perm = node.attributes.get("perm")
        order = list(perm.as_ints()) if perm is not None else list(range(rows.columns.ndim))[::-1]
        return replace(rows, axis=order.index(rows.axis), columns=rows.columns.transpose(order))

    def _axes(self, node: ir.Node) -> list[int] | None:
        attribute = node.attributes.get("axes")
        return list(attribute.as_ints()) if attribute is not None else ints_of(input_of(node, 1))

    def _unsqueeze(self, node: ir.Node) -> Rows | None:
        rows, axes = self._first(node), self._axes(node)
        if rows is None or axes is None:
            return None
        rank = rows.columns.ndim + len(axes)
        new = sorted(axis % rank for axis in axes)
        old = [axis for axis in range(rank) if axis not in new]
        return replace(rows, axis=old[rows.axis], columns=np.expand_dims(rows.columns, tuple(new)))

    def _squeeze(self, node: ir.Node) -> Rows | None:
        rows, axes = self._first(node), self._axes(node)
        if rows is None or axes is None:
            return None
        gone = sorted(axis % rows.columns.ndim for axis in axes)
        if rows.axis in gone or any(rows.columns.shape[axis] != 1 for axis in gone):
            return None
        axis = rows.axis - sum(other < rows.axis for other in gone)
        return replace(rows, axis=axis, columns=np.squeeze(rows.columns, tuple(gone)))

    def _reshape(self, node: ir.Node) -> Rows | None:
        """Follow reshapes that keep each row together, the rows being told by -1."""
        rows, sizes = self._first(node), self._facts.array(input_of(node, 1))
        if rows is None or sizes is None or any(size != 1 for size in rows.columns.shape[: rows.axis]):
            return None
        new = [int(size) for size in sizes.ravel()]
        axis = new.index(-1) if -1 in new else None
        if axis is None or 0 in new or any(size != 1 for size in new[:axis]):
            return None
        new[axis] = 1
        if int(np.prod(new)) != rows.columns.size:
            return None
        return replace(rows, axis=axis, columns=rows.columns.reshape(new))

    def _slice(self, node: ir.Node) -> Rows | None:
        rows = self._first(node)
        if rows is None:
            return None
        cuts = cuts_of(node, opset_of(self._model, node), rows.columns.ndim)
        if isinstance(cuts, str):
            return None
        columns, limit = rows.columns, rows.limit
        for axis, cut in cuts.items():
            if axis != rows.axis:
                columns = columns.take(list(cut.indices(columns.shape[axis])), axis)
            elif cut.start != 0 or cut.step != 1 or cut.end < 0:
                return None
            elif cut.end < FAR:
                limit = cut.end if limit is None else min(limit, cut.end)
        return replace(rows, columns=columns, limit=limit)

    def _gather(self, node: ir.Node) -> Rows | None:
        axis = attribute_int(node, "axis", 0)
        data, rows = node.inputs[0], self._first(node)
        index = self._known.get(node.inputs[1]) if node.inputs[1] is not None else None
        if index is not None:
            return None if data is None else self._picked(data, index, axis)
        constant = self._facts.array(node.inputs[1])
        if rows is None or constant is None or axis % rows.columns.ndim == rows.axis:
            return None
        axis %= rows.columns.ndim
        columns = rows.columns.take(constant.astype(np.int64), axis)
        moved = rows.axis if rows.axis < axis else rows.axis + constant.ndim - 1
        return replace(rows, axis=moved, columns=columns)

    def _picked(self, data: ir.Value, index: Rows, axis: int) -> Rows | None:
        """Return what a Gather at the places of the choice takes out of ``data``."""
        column, shape = index.only(), self._row_shape(data, axis)
        if not isinstance(column, Index) or shape is None:
            return None
        axis %= len(shape)
        rest = shape[:axis] + shape[axis + 1 :]
        places = _elements(data, rest, ((axis, column.axis),))
        if places is None:
            return None
        columns = places.reshape(shape[:axis] + index.columns.shape + shape[axis + 1 :])
        return replace(index, axis=axis + index.axis, columns=columns)

    def _gather_nd(self, node: ir.Node) -> Rows | None:
        data, index = node.inputs[0], self._known.get(node.inputs[1]) if node.inputs[1] is not None else None
        if data is None or index is None or attribute_int(node, "batch_dims", 0) != 0:
            return None
        if index.axis == index.columns.ndim - 1 or index.columns[..., :].size != index.columns.shape[-1]:
            return None
        tells = [column.axis if isinstance(column, Index) else None for column in index.listed()]
        shape = self._facts.shape(data)
        if shape is None or None in tells or any(size is None for size in shape[len(tells) :]):
            return None
        rest = tuple(size for size in shape[len(tells) :] if size is not None)
        by = tuple((axis, tell) for axis, tell in enumerate(tells) if tell is not None)
        places = _elements(data, rest, by)
        if places is None:
            return None
        return replace(index, columns=places.reshape(index.columns.shape[:-1] + rest))

    def _row_shape(self, data: ir.Value, axis: int) -> tuple[int, ...] | None:
        """Return the shape of ``data``; its size along ``axis``, which may be open, does not count."""
        rows = self._known.get(data)
        shape = rows.columns.shape if rows is not None else self._facts.shape(data)
        if not shape:
            return None
        sizes = [1 if place == axis % len(shape) else size for place, size in enumerate(shape)]
        known = tuple(size for size in sizes if size is not None)
        return known if len(known) == len(shape) else None

    def _concat(self, node: ir.Node) -> Rows | None:
        parts = [self._known.get(value) if value is not None else None for value in node.inputs]
        first = parts[0]
        if first is None:
            return None
        axis = attribute_int(node, "axis", 0) % first.columns.ndim
        for part in parts:
            if part is None or part.root is not first.root or part.limit != first.limit:
                return None
            if part.axis != first.axis or (axis == first.axis and len(parts) > 1):
                return None
        return replace(first, columns=np.concatenate([part.columns for part in parts if part], axis))


def _indices(count: int) -> np.ndarray[Any, Any]:
    return _objects([Index(axis) for axis in range(count)])


def _elements(
    source: ir.Value, shape: tuple[int, ...], by: tuple[tuple[int, int], ...]
) -> np.ndarray[Any, Any] | None:
    if int(np.prod(shape)) > _MAX_COLUMNS:
        return None
    return _objects(
        [Element(source, place, by) for place in itertools.product(*(range(size) for size in shape))]
    )


def _objects(items: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array
