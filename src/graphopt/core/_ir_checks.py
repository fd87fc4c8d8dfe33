"""Refuse what onnx-ir takes in with a warning, or not at all: loose ends and names that are no text."""

from collections.abc import Iterator

import onnx_ir as ir

from graphopt.core.errors import InvalidModelError


def check_model(model: ir.Model, where: str) -> None:
    """Raise ``InvalidModelError`` unless the model computes something, from what it has.

    Args:
        model: as onnx-ir made it from a file.
        where: names the model in messages.
    """
    if not model.graph.outputs:
        raise InvalidModelError(f"{where} has no output: there is nothing to compute; export it again")
    if len(model.graph) == 0:
        raise InvalidModelError(f"{where} has no node: there is nothing to rewrite or run; export it again")
    for text in model.opset_imports:
        _check_text(text, where)
    for function in model.functions.values():
        for text in (*function.identifier(), *function.opset_imports, *function.attributes):
            _check_text(text, where)
    for graph in _graphs(model):
        for value in (*graph.inputs, *graph.outputs):
            _check_text(value.name, where)
            if not _has_origin(value):
                raise InvalidModelError(
                    f"{where}: nothing computes the output {value.name!r}; export it again"
                )
        for node in graph:
            _check_node(node, where)


def _check_node(node: ir.Node, where: str) -> None:
    for text in (node.name, node.op_type, node.domain, *node.attributes):
        _check_text(text, where)
    for value in node.outputs:
        _check_text(value.name, where)
    for read in node.inputs:
        if read is not None and not _has_origin(read):
            raise InvalidModelError(
                f"{where}: nothing computes {read.name!r}, which node {node.name!r} ({node.op_type}) reads; "
                "export it again"
            )


def _check_text(text: object, where: str) -> None:
    # protobuf hands out the bytes of a name that is not UTF-8.
    if isinstance(text, bytes):
        raise InvalidModelError(f"{where} has the name {text!r}, which is no UTF-8 text; it is damaged")


def _graphs(model: ir.Model) -> Iterator[ir.Graph]:
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield graph
        yield from graph.subgraphs()


def _has_origin(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()
