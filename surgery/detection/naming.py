"""Name the outputs that hold detections as evaluation code expects them."""

from collections.abc import Mapping

import onnx_ir as ir

from graphopt.surgery.detection.results import DETS, LABELS
from graphopt.surgery.graph_edits import fresh_name
from graphopt.surgery.graph_queries import graphs_of

NAMES = (DETS, LABELS)


def name_outputs(model: ir.Model, results: Mapping[str, ir.Value]) -> None:
    """Call the outputs that hold boxes with scores ``dets``, and their labels ``labels``.

    Nothing is renamed unless both are outputs, or when an input or initializer has one of the names.

    Args:
        model: changed in place; other tensors of these names get new ones.
        results: by kind; see ``Result``.
    """
    if not all(name in results and results[name].is_graph_output() for name in NAMES):
        return
    fixed = {value.name for value in (*model.graph.inputs, *model.graph.initializers.values())}
    mine = {results[name] for name in NAMES}
    others = {value.name for value in model.graph.outputs if value not in mine}
    if (fixed | others) & set(NAMES):
        return
    for graph in graphs_of(model):
        for value in [value for node in graph for value in node.outputs]:
            if value.name in NAMES and value not in mine:
                value.name = fresh_name(model, f"{value.name}_before")
    for value in mine:
        value.name = None
    for name in NAMES:
        results[name].name = name
