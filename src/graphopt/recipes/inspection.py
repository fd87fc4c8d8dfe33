"""What a model file holds, as plain data."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import onnx_ir as ir

from graphopt.core import lineage
from graphopt.core.artefacts import Artefact
from graphopt.core.files import sha256_of
from graphopt.core.onnx_files import count_nodes, input_specs, load_model, output_specs
from graphopt.core.tensors import TensorSpec


def inspect_model(path: Path) -> dict[str, Any]:
    """Return inputs, outputs, operators, versions and lineage of an ONNX file.

    Raises:
        InvalidModelError: the file cannot be read.
    """
    model = load_model(path)
    operators = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in model.graph.all_nodes()
    )
    artefact = Artefact.load(path)
    return {
        "path": path,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "nodes": count_nodes(model),
        "producer": " ".join(filter(None, (model.producer_name, model.producer_version))),
        "ir_version": model.ir_version,
        "opsets": dict(model.opset_imports),
        "inputs": list(map(_spec, model.graph.inputs, input_specs(model))),
        "outputs": list(map(_spec, model.graph.outputs, output_specs(model))),
        "operators": dict(operators.most_common()),
        "recipe": artefact.recipe if artefact else lineage.recipe_of(model),
        "lineage": [
            {
                "pass": step.name,
                "options": dict(step.options),
                "version": step.version,
                "plugin": step.plugin,
            }
            for step in lineage.read_lineage(model)
        ],
    }


def _spec(value: ir.Value, spec: TensorSpec) -> dict[str, Any]:
    # A shape of no sizes is a scalar's; a model may also leave the rank open.
    return {**dataclasses.asdict(spec), "shape": spec.shape_text if value.shape is not None else "unknown"}
