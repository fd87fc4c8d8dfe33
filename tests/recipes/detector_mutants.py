"""Rewritten detectors with one mistake each: a proof that lets one of them pass is none.

Every mistake is one that a rewrite could make, in a single place, and leaves a detector that detects.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from graphopt.core.comparison import FLOAT32_REORDERED
from graphopt.core.detections import Detections
from graphopt.surgery.engine.trials import Candidate
from graphopt.surgery.graph_edits import add_constant, take_over
from graphopt.surgery.graph_queries import nodes_of

TARGET = "npu"
Mutation = Callable[[ir.Model], bool]
"""Makes a mistake in a model; returns whether the model has a place where to make it."""


def nms_dropped(model: ir.Model) -> bool:
    """Let no box of the last suppression suppress another."""
    return _set(_calls(model, "BatchMultiClassNMS")[-1:], "iou_threshold", 1.0)


def nms_threshold_changed(model: ir.Model) -> bool:
    """Raise the threshold of the last suppression by a tenth."""
    last = _calls(model, "BatchMultiClassNMS")[-1:]
    return _set(last, "iou_threshold", 0.1 + sum(node.attributes.get_float("iou_threshold") for node in last))


def proposals_not_suppressed(model: ir.Model) -> bool:
    """Let no proposal of the first stage suppress another."""
    return _set(_calls(model, "BatchMultiClassNMS")[:-1], "iou_threshold", 1.0)


def labels_shifted(model: ir.Model) -> bool:
    """Count the classes from one."""
    old = next((value for value in model.graph.outputs if value.name == "labels"), None)
    producer = old.producer() if old is not None else None
    if old is None or producer is None:
        return False
    assert old.dtype is not None
    one = add_constant(model, producer, np.array(1, old.dtype.numpy()), "one")
    node = ir.node("Add", [old, one])
    node.outputs[0].name = f"{old.name}, counted from one"
    model.graph.insert_after(producer, node)
    place = list(model.graph.outputs).index(old)
    node.outputs[0].type, node.outputs[0].shape = old.type, old.shape
    model.graph.outputs[place] = node.outputs[0]
    node.outputs[0].name, old.name = old.name, node.outputs[0].name
    return True


def offsets_swapped(model: ir.Model) -> bool:
    """Let the last deformable convolution take shifts to the right for shifts down."""
    for node in _calls(model, "DeformableConv2D")[-1:]:
        order = np.arange(_channels(node)).reshape(3, -1)[[1, 0, 2]].reshape(-1)
        _insert(model, node, 2, "Gather", order, {"axis": 1})
        return True
    return False


def mask_zeroed(model: ir.Model) -> bool:
    """Let the last deformable convolution see nothing."""
    for node in _calls(model, "DeformableConv2D")[-1:]:
        keep = np.ones(_channels(node), np.float32).reshape(3, -1)
        keep[2] = 0
        _insert(model, node, 2, "Mul", keep.reshape(1, -1, 1, 1), {})
        return True
    return False


def one_roi_level(model: ir.Model) -> bool:
    """Let all regions be cut out of the finest map."""
    return _set(_calls(model, "RoiExtractor"), "finest_scale", 1 << 20)


def pooling_wrong(model: ir.Model) -> bool:
    """Let the first cell that brings a map to a smaller size take the mean for the maximum."""
    for node in nodes_of(model, "MaxPool"):
        kernel, strides = (list(node.attributes.get_ints(name, [])) for name in ("kernel_shape", "strides"))
        if kernel != strides or max(kernel, default=1) == 1:
            continue
        mean = ir.node("AveragePool", node.inputs)
        for name in {"kernel_shape", "strides", "pads"} & node.attributes.keys():
            mean.attributes[name] = node.attributes[name]
        take_over(mean.outputs[0], node.outputs[0])
        model.graph.insert_after(node, mean)
        model.graph.remove(node, safe=True)
        return True
    return False


MUTATIONS: Mapping[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        nms_dropped,
        nms_threshold_changed,
        proposals_not_suppressed,
        labels_shifted,
        offsets_swapped,
        mask_zeroed,
        one_roi_level,
        pooling_wrong,
    )
}


def mutants(model: ir.Model) -> dict[str, ir.Model]:
    """Return the model with each mistake that it has a place for, by name; it is not changed."""
    found = {}
    for name, mutation in MUTATIONS.items():
        copy = model.clone()
        if mutation(copy):
            found[name] = copy
    return found


def outputs_of(source: ir.Model, result: ir.Model) -> dict[str, str]:
    """Return output of a rewritten detector -> that of its source, told by their dtypes."""
    known = {value.dtype: value.name or "" for value in source.graph.outputs}
    return {value.name or "": known[value.dtype] for value in result.graph.outputs}


def candidate(model: ir.Model, names: Mapping[str, str], what: Detections) -> Candidate:
    """Return a model to be judged beside a source.

    Args:
        model: has outputs ``dets`` and ``labels``.
        names: its outputs -> those of the source.
        what: cuts and tolerance.
    """
    sets = replace(what, dets=names["dets"], labels=names["labels"])
    return Candidate(model=model, names=names, tolerance=FLOAT32_REORDERED, detections=(sets,))


def _calls(model: ir.Model, op_type: str) -> list[ir.Node]:
    return list(nodes_of(model, op_type, domain=TARGET))


def _set(nodes: list[ir.Node], name: str, value: float) -> bool:
    for node in nodes:
        whole = isinstance(value, int)
        node.attributes[name] = ir.AttrInt64(name, int(value)) if whole else ir.AttrFloat32(name, value)
    return bool(nodes)


def _channels(node: ir.Node) -> int:
    """Return 3 * groups * taps of a deformable convolution."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.shape is not None
    height, width = weight.shape.numpy()[2:]
    return 3 * height * width * node.attributes.get_int("deformable_groups", 1)


def _insert(
    model: ir.Model, node: ir.Node, index: int, op_type: str, second: np.ndarray, attributes: dict[str, int]
) -> None:
    new = ir.node(op_type, [node.inputs[index], add_constant(model, node, second, "mistake")], attributes)
    new.outputs[0].name = "made by mistake"
    model.graph.insert_before(node, new)
    node.replace_input_with(index, new.outputs[0])
