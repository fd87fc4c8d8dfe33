"""Reductions, arg max, top of a soft maximum."""

from collections.abc import Iterator

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_AXES_INPUT_SINCE = {"ReduceSum": 13}
_AXES_INPUT_OTHERS = 18
_DOCUMENTED = ("ReduceMax", "ReduceMean", "ReduceSum")


def axes_are_written(place: Place) -> Iterator[Finding]:
    """Without axes a reduction does not run over all of them."""
    as_input = place.opset >= _AXES_INPUT_SINCE.get(place.op, _AXES_INPUT_OTHERS)
    if place.integer("noop_with_empty_axes", 0):
        yield unsupported("reduce_noop", "noop_with_empty_axes 1", "OPS")
        return
    if as_input and place.is_computed(1):
        yield restricted(
            "computed_size", "its axes are computed in the graph; they should be constant", "DOC"
        )
        return
    written = (place.tensor(1) is not None and place.array(1) is not None) if as_input else place.has("axes")
    axes = place.array(1) if as_input else place.integers("axes")
    if written and axes is not None and len(axes) > 0:
        return
    why = "no axes are written, which is not read as all of them"
    if place.op in _DOCUMENTED:
        yield unsupported("reduce_all", why, "DOC")
    else:
        yield restricted("reduce_all", f"{why} by its sister operators", "DOC")


def first_index_wins(place: Place) -> Iterator[Finding]:
    """Of equal elements the first one is found."""
    if place.integer("select_last_index", 0):
        yield unsupported("select_last_index", "select_last_index 1", "OPS C22")


RULES: Rules = {
    "ReduceMax": (axes_are_written,),
    "ReduceMean": (axes_are_written,),
    "ReduceMin": (axes_are_written,),
    "ReduceProd": (axes_are_written,),
    "ReduceSum": (axes_are_written,),
    "ReduceL1": (axes_are_written,),
    "ReduceL2": (axes_are_written,),
    "ArgMax": (first_index_wins,),
    "ArgMin": (first_index_wins,),
}
