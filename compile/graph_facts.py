"""What the targets need to know of a graph, read once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.operators import at_home
from graphopt.core.tensors import TensorSpec


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """The main graph of an ONNX file.

    Attributes:
        inputs: without initializers, in graph order.
        outputs: in graph order.
        nodes: node name -> its output tensor names; unnamed nodes are left out.
        duplicates: node names that occur twice, or equal an input's name.
        op_types: operator types, with their domain unless it is the default one.
        functions: model-local functions as ``domain::name``.
        calls: operators that are not ONNX's own and that we know, as ``domain::name``.
        opsets: version by domain; the default domain is ``""``.
        ir_version: of the file.
        size_bytes: of the file, or of all weights when these lie outside it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes: Mapping[str, tuple[str, ...]]
    duplicates: tuple[str, ...]
    op_types: frozenset[str]
    functions: tuple[str, ...]
    opsets: Mapping[str, int]
    ir_version: int
    size_bytes: int
    calls: tuple[str, ...] = ()

    @property
    def tensors(self) -> frozenset[str]:
        """Names of all tensors that nodes make."""
        return frozenset(name for outputs in self.nodes.values() for name in outputs)


def read_facts(path: Path) -> GraphFacts:
    """Read the facts of an ONNX file.

    Raises:
        InvalidModelError: the file is missing, damaged, or unsafe.
    """
    return facts_of(load_model(path), size_bytes=path.stat().st_size)


def facts_of(model: ir.Model, *, size_bytes: int = 0) -> GraphFacts:
    """Return the facts of a model in memory.

    Args:
        model: not modified.
        size_bytes: of the file; weights in other files come to more and count then.
    """
    graph = model.graph
    inputs = input_specs(model)
    names = Counter([node.name for node in graph if node.name] + [spec.name for spec in inputs])
    weights = sum(
        value.const_value.nbytes for value in graph.initializers.values() if value.const_value is not None
    )
    calls = {f"{node.domain}::{node.op_type}" for node in graph.all_nodes() if at_home(node) is not None}
    return GraphFacts(
        inputs=inputs,
        outputs=output_specs(model),
        nodes={node.name: tuple(out.name or "" for out in node.outputs) for node in graph if node.name},
        duplicates=tuple(sorted(name for name, count in names.items() if count > 1)),
        op_types=frozenset(
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in graph.all_nodes()
        ),
        functions=tuple(f"{domain}::{name}" for domain, name, _ in model.functions),
        opsets=dict(graph.opset_imports),
        ir_version=model.ir_version,
        size_bytes=max(size_bytes, weights),
        calls=tuple(sorted(calls)),
    )
