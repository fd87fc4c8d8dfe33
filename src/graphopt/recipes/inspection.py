"""What a model file holds, as plain data."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from graphopt.core import lineage
from graphopt.core.artefacts import Artefact
from graphopt.core.files import sha256_of
from graphopt.core.onnx_files import count_nodes, input_specs, load_model, output_specs


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
        "inputs": [_spec(spec) for spec in input_specs(model)],
        "outputs": [_spec(spec) for spec in output_specs(model)],
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


def _spec(spec: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(spec), "shape": spec.shape_text}
