"""Where the nodes and the model came from: metadata keys, and how they are read and written.

Nodes carry the pass that made them and the raw nodes they stand for, so that a comparison still
lines up after surgery; the model carries its recipe, its parent and the passes it went through.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

NODE_PASS = "graphopt.pass"
"""On a node: the pass that made it."""
NODE_ORIGIN = "graphopt.origin"
"""On a node: JSON list of the names of the raw nodes it stands for."""
MODEL_RECIPE = "graphopt.recipe"
MODEL_LINEAGE = "graphopt.lineage"
"""On the model: JSON list of steps, the oldest first."""
MODEL_PARENT = "graphopt.parent_sha256"
"""On the model: sha256 of the file it was made from."""

KEYS = frozenset({NODE_PASS, NODE_ORIGIN, MODEL_RECIPE, MODEL_LINEAGE, MODEL_PARENT})


@dataclass(frozen=True, kw_only=True)
class LineageStep:
    """One pass that a model went through.

    Attributes:
        name: of the pass.
        options: as plain data.
        version: of the graphopt that ran it.
        plugin: sha256 of the user's file that defines it; empty for a pass of graphopt.
    """

    name: str
    options: Mapping[str, Any]
    version: str
    plugin: str = ""


def node_label(node: ir.Node) -> str:
    """Return the node's name, or that of its first named output: ONNX lets node names be empty."""
    return node.name or next((value.name for value in node.outputs if value.name), "")


def origins_of(node: ir.Node) -> tuple[str, ...]:
    """Return the raw nodes a node stands for: those it inherited, else itself."""
    return inherited_origins(node.metadata_props) or (node_label(node),)


def inherited_origins(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the raw nodes that a node's metadata names; empty for a raw node."""
    text = metadata.get(NODE_ORIGIN, "")
    return tuple(_json_list(text)) if text else ()


def stamp_node(node: ir.Node, pass_name: str, origins: Iterable[str]) -> None:
    """Write which pass made a node and which raw nodes it stands for."""
    node.metadata_props[NODE_PASS] = pass_name
    node.metadata_props[NODE_ORIGIN] = json.dumps(list(dict.fromkeys(origins)), ensure_ascii=False)


def read_lineage(model: ir.Model) -> tuple[LineageStep, ...]:
    """Return the passes a model went through; foreign or damaged entries are left out."""
    entries = _json_list(model.metadata_props.get(MODEL_LINEAGE, ""))
    return tuple(
        LineageStep(
            name=item["pass"],
            options=item.get("options") or {},
            version=str(item.get("graphopt", "")),
            plugin=str(item.get("plugin", "")),
        )
        for item in entries
        if isinstance(item, dict) and isinstance(item.get("pass"), str)
    )


def recipe_of(model: ir.Model) -> str:
    """Return the name of the recipe a model was made with; empty when it has none."""
    return model.metadata_props.get(MODEL_RECIPE, "")


def stamp_model(model: ir.Model, *, recipe: str, parent_sha256: str, steps: Iterable[LineageStep]) -> None:
    """Write the recipe (an empty one keeps the old), the parent, and append to the lineage."""
    if recipe:
        model.metadata_props[MODEL_RECIPE] = recipe
    model.metadata_props[MODEL_PARENT] = parent_sha256
    content = [
        {"pass": step.name, "options": dict(step.options), "graphopt": step.version}
        | ({"plugin": step.plugin} if step.plugin else {})
        for step in (*read_lineage(model), *steps)
    ]
    model.metadata_props[MODEL_LINEAGE] = json.dumps(content, ensure_ascii=False)


def _json_list(text: str) -> list[Any]:
    # The file may come from anywhere: what is not ours is no lineage, and no error either.
    try:
        content = json.loads(text) if text else []
    except (json.JSONDecodeError, RecursionError):
        return []
    return content if isinstance(content, list) else []
