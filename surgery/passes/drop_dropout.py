"""Inference-time Dropout nodes; written on an onnx-graphsurgeon graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt.surgery.graphsurgeon_pass import Found, GraphSurgeonPass, Refused

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

_FIRST_WITHOUT_IS_TEST = 7
_FIRST_WITH_TRAINING_MODE = 12


@dataclass(frozen=True, kw_only=True)
class DropDropout(GraphSurgeonPass):
    """Remove ``Dropout`` nodes that do nothing at inference time.

    Why: exports made in training mode, or by exporters that keep the node, carry them to the device.
    Before: ``x -> Dropout -> y``.
    After: ``x -> y``.
    Seen in: dropout_head.
    """

    name: ClassVar[str] = "drop_dropout"
    operators: ClassVar[tuple[str, ...]] = ("Dropout",)

    def find(self, graph: "gs.Graph") -> Iterator[Found | Refused]:
        """Yield every Dropout; those that drop, or whose mask is read, are refused."""
        for node in graph.nodes:
            if node.op != "Dropout" or node.domain not in (None, "", "ai.onnx"):
                continue
            reason = _why_not(graph, node)
            if reason:
                yield Refused(node=node, why=reason)
            else:
                yield Found(node=node, what=f"{node.outputs[0].name} is {node.inputs[0].name}")

    def edit(self, graph: "gs.Graph", node: "gs.Node") -> None:
        """Connect producer and consumers; an output of the graph keeps its name."""
        data, result = node.inputs[0], node.outputs[0]
        node.inputs.clear()
        node.outputs.clear()
        if _is_output(graph, result):
            producer = data.inputs[0]
            _replace(data, result)
            producer.outputs = [result if tensor is data else tensor for tensor in producer.outputs]
        else:
            _replace(result, data)


def _why_not(graph: "gs.Graph", node: "gs.Node") -> str:
    if len(node.outputs) > 1 and (node.outputs[1].outputs or _is_output(graph, node.outputs[1])):
        return "its mask is read"
    if _trains(graph, node):
        return "it may run in training mode"
    data, result = node.inputs[0], node.outputs[0]
    if _is_output(graph, result):
        if not data.inputs or not any(node is data.inputs[0] for node in graph.nodes):
            return "it connects an output with something that no node of this graph makes"
        if _is_output(graph, data):
            return "its input and its result are both outputs of the graph"
    return ""


def _trains(graph: "gs.Graph", node: "gs.Node") -> bool:
    if graph.opset < _FIRST_WITHOUT_IS_TEST:
        return not node.attrs.get("is_test", 0)
    if graph.opset < _FIRST_WITH_TRAINING_MODE or len(node.inputs) < 3 or node.inputs[2].is_empty():
        return False
    mode = node.inputs[2]
    if mode.inputs and mode.inputs[0].op == "Constant":
        mode = mode.inputs[0].attrs.get("value", mode)
    return not hasattr(mode, "values") or bool(mode.values.any())


def _is_output(graph: "gs.Graph", tensor: "gs.Tensor") -> bool:
    return any(tensor is output for output in graph.outputs)


def _replace(old: "gs.Tensor", new: "gs.Tensor") -> None:
    for consumer in list(old.outputs):
        consumer.inputs = [new if tensor is old else tensor for tensor in consumer.inputs]
