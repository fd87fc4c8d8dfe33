"""Gathers, scatters, slices, selections."""

from collections.abc import Iterator

import numpy as np

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_MOST_BOXES = 700


def indices_count_from_the_front(place: Place) -> Iterator[Finding]:
    """Negative indices are not taken."""
    found = place.array(1)
    if found is not None and found.dtype.kind == "i" and found.size and int(found.min()) < 0:
        yield unsupported(
            "negative_index", f"index {int(found.min())}: negative ones are not taken", "DOC MZ"
        )


def no_batch_axes(place: Place) -> Iterator[Finding]:
    """GatherND without batch axes."""
    if place.integer("batch_dims", 0):
        yield unsupported(
            "batch_dims", f"batch_dims {place.integer('batch_dims', 0)}; only 0 is taken", "OPS"
        )


def scatter_adds_at_most(place: Place) -> Iterator[Finding]:
    """ScatterND does not multiply."""
    if place.text("reduction", "none") == "mul":
        yield unsupported("scatter_reduction", "reduction mul", "OPS")


def slices_are_plain(place: Place) -> Iterator[Finding]:
    """Documents want two axes at least, and step 1 on the last one."""
    rank = place.rank()
    if place.opset >= 10 and any(place.is_computed(index) for index in (1, 2, 3, 4)):
        yield restricted("computed_size", "its size is computed in the graph; it should be constant", "DOC")
    if rank == 1:
        yield restricted("slice_vector", "its data has one axis; documents want two", "DOC")
    if rank is None or place.opset < 10:
        return
    steps = place.array(4)
    if steps is None:
        return
    axes = place.array(3)
    named = [int(axis) % rank for axis in axes] if axes is not None else list(range(steps.size))
    for axis, step in zip(named, steps.ravel().tolist(), strict=False):
        if axis == rank - 1 and step != 1:
            yield restricted("slice_step", f"step {step} on the last axis; documents want 1", "DOC MZ")


def parts_are_even(place: Place) -> Iterator[Finding]:
    """Split of opset 18: equal parts; one part only is no split."""
    parts = place.integer("num_outputs", 0)
    shape = place.shape(0)
    if parts and shape is not None and not place.value(1):
        size = shape[place.integer("axis", 0)]
        if isinstance(size, int) and size % parts:
            yield unsupported("uneven_split", f"{size} elements in {parts} parts: the last is smaller", "OPS")
    if len(place.node.outputs) == 1:
        yield restricted("single_split", "it has one output; some releases refuse that", "MZ")


def top_is_constant(place: Place) -> Iterator[Finding]:
    """The number of elements of a TopK is a constant."""
    if place.opset >= 10 and place.is_computed(1):
        yield restricted("topk_computed", "K is computed in the graph", "GE")


def indices_stay_narrow(place: Place) -> Iterator[Finding]:
    """The device makes the indices of a TopK as int32."""
    if not place.has_output(1):
        return
    readers = [user for user, _ in place.node.outputs[1].uses()]
    narrow = [user for user in readers if user.op_type == "Cast" and not user.domain]
    if len(narrow) < len(readers) or place.node.outputs[1].is_graph_output():
        yield restricted("topk_int64", "its indices are read as int64; the om makes int32", "MSIT")


def sizes_depend_on_data(place: Place) -> Iterator[Finding]:
    """Outputs whose size is known only after the run make the model dynamic."""
    del place
    why = "its output has as many rows as the data decide: the model becomes dynamic, and profiles refuse it"
    yield restricted("data_dependent", why, "GE DOC")


def suppression_is_bounded(place: Place) -> Iterator[Finding]:
    """Limits and thresholds of a suppression are constants, and few boxes are kept."""
    if any(place.is_computed(index) for index in (2, 3, 4)):
        yield restricted("nms_computed", "a limit or threshold is computed; it should be constant", "DOC")
    most = place.array(2)
    if most is not None and most.size and int(most.ravel()[0]) > _MOST_BOXES:
        yield restricted(
            "nms_boxes", f"more than {_MOST_BOXES} boxes per class may be kept: memory may not suffice", "DOC"
        )


def only_values_are_real(place: Place) -> Iterator[Finding]:
    """Unique fills its first output only."""
    if any(place.has_output(index) for index in (1, 2, 3)):
        yield unsupported(
            "unique_indices", "more than its first output is read; the others stay empty", "OPS"
        )


def one_hot_axis(place: Place) -> Iterator[Finding]:
    """OneHot puts its axis anywhere but counts from the end only to -1."""
    if place.integer("axis", -1) < -1:
        yield unsupported("one_hot_axis", f"axis {place.integer('axis', -1)}; -1 or more is taken", "OPS")


def triangle_is_on_the_diagonal(place: Place) -> Iterator[Finding]:
    """Trilu begins at the main diagonal."""
    offset = place.array(1)
    if offset is not None and np.any(offset != 0):
        yield unsupported("trilu_k", f"k is {int(offset.ravel()[0])}; documents name 0 only", "DOC")


_INDICES = (indices_count_from_the_front,)

RULES: Rules = {
    "Gather": _INDICES,
    "GatherElements": (),
    "GatherND": (no_batch_axes,),
    "ScatterND": (*_INDICES, scatter_adds_at_most),
    "Slice": (slices_are_plain,),
    "Split": (parts_are_even,),
    "TopK": (top_is_constant, indices_stay_narrow),
    "NonZero": (sizes_depend_on_data,),
    "Compress": (sizes_depend_on_data,),
    "Unique": (sizes_depend_on_data, only_values_are_real),
    "NonMaxSuppression": (sizes_depend_on_data, suppression_is_bounded),
    "OneHot": (one_hot_axis,),
    "Trilu": (triangle_is_on_the_diagonal,),
}
