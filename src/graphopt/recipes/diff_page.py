"""The differences of two models as one self-contained page with pictures."""

from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import onnx_ir as ir

from graphopt.core.errors import PreconditionError
from graphopt.core.files import check_output, write_text
from graphopt.core.optional import require
from graphopt.recipes.region_picture import MOST_NODES, Types, draw_region
from graphopt.surgery.differences.describe import Group, grouped, node_line, region_name
from graphopt.surgery.differences.model_diff import GraphDiff, ModelDiff
from graphopt.surgery.differences.regions import Region
from graphopt.surgery.differences.side import operator
from graphopt.surgery.graph_queries import label
from graphopt.surgery.shapes.shape_inference import infer_types

_COLOURS = ("#2f6fde", "#d9641e", "#2b8a4b", "#8a4fc8", "#c2356b", "#0f8f9c", "#a67c00", "#5b6bbf", "#b0413e")
_UNKNOWN = "#56606e"
_OPEN = 6
_PICTURES = 80
_WEIGHTS = 200


def check_page(path: Path, *, force: bool, inputs: tuple[Path, ...]) -> None:
    """Refuse early what ``write_page`` could not write.

    Raises:
        MissingBackendError: jinja2 is not installed.
        OutputError: the page exists without ``force``, or cannot be written.
    """
    require("jinja2", extra="report", purpose=f"writing {path}")
    check_output(path, force=force, inputs=inputs)


def write_page(diff: ModelDiff, before: Path, after: Path, path: Path, *, force: bool) -> None:
    """Write the page: summary, tables, and a picture of every kind of region before and after.

    Args:
        diff: of the two.
        before: file of the first model, for the headline.
        after: file of the second.
        path: of the page; it needs no other file and no network.
        force: replace an existing one.

    Raises:
        MissingBackendError: jinja2 is not installed.
        OutputError: it cannot be written.
    """
    jinja2 = require("jinja2", extra="report", purpose=f"writing {path}")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("graphopt.recipes").joinpath("diff.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(source).render(page=_page(diff, before, after))
    write_text(path, page, force=force)


def _page(diff: ModelDiff, before: Path, after: Path) -> dict[str, Any]:
    regions = [region for graph in diff.graphs for region in graph.regions]
    colours = _colours(diff, regions)
    types = _types(diff.before), _types(diff.after)
    groups = [
        _group(number, group, graph, types, colours)
        for number, (graph, group) in enumerate(
            ((graph, group) for graph in diff.graphs for group in grouped(graph)), start=1
        )
    ]
    return {
        "before": before.name if before.name != after.name else str(before),
        "after": after.name if before.name != after.name else str(after),
        "equal": diff.equal,
        "stripped": diff.stripped,
        "verdict": _verdict(diff, regions),
        "facts": _facts(diff, regions),
        "legend": _legend(diff, regions, colours),
        "operators": [
            {"graph": "" if graph is diff.main else graph.name, **vars(item)}
            for graph in diff.graphs
            for item in graph.operators
        ],
        "most": max((max(i.before, i.after) for graph in diff.graphs for i in graph.operators), default=1),
        "interface": diff.interface,
        "notes": diff.notes,
        "weight_counts": Counter(item.kind for item in diff.weights),
        "weights": diff.weights[:_WEIGHTS],
        "weights_hidden": max(0, len(diff.weights) - _WEIGHTS),
        "groups": groups,
    }


def _types(model: ir.Model) -> Types:
    try:
        return infer_types(model)
    except PreconditionError:
        return {}


def _verdict(diff: ModelDiff, regions: list[Region]) -> str:
    kinds = {name for region in regions for name in region.passes}
    whole = f"{len(regions)} regions changed" if regions else "the nodes are the same"
    by_whom = f" by {len(kinds)} passes" if len(kinds) > 1 else f" by {kinds.pop()}" if kinds else ""
    others = f"; {len(diff.interface)} differences of inputs, outputs, opsets or functions"
    return f"Different: {whole}{by_whom}{others if diff.interface else ''}."


def _facts(diff: ModelDiff, regions: list[Region]) -> list[dict[str, str]]:
    nodes = [len(diff.main.alignment.before.nodes), len(diff.main.alignment.after.nodes)]
    return [
        {"value": f"{nodes[0]} → {nodes[1]}", "what": "nodes"},
        {"value": str(sum(len(region.removed) for region in regions)), "what": "removed"},
        {"value": str(sum(len(region.added) for region in regions)), "what": "added"},
        {"value": str(sum(len(region.changed) for region in regions)), "what": "changed in place"},
        {"value": str(diff.main.same), "what": "untouched"},
        {"value": str(len(regions)), "what": "regions"},
    ]


def _colours(diff: ModelDiff, regions: list[Region]) -> dict[str, str]:
    names = dict.fromkeys([step.name for step in diff.steps])
    names.update(dict.fromkeys(name for region in regions for name in region.passes))
    return {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)} | {"": _UNKNOWN}


def _legend(diff: ModelDiff, regions: list[Region], colours: Mapping[str, str]) -> list[dict[str, Any]]:
    counts = Counter(name for region in regions for name in region.makers.values())
    options = {step.name: dict(step.options) for step in diff.steps}
    return [
        {
            "name": name or "not known",
            "colour": colour,
            "nodes": counts[name],
            "regions": sum(name in region.makers.values() for region in regions),
            "options": ", ".join(f"{key}={value}" for key, value in options.get(name, {}).items() if value),
        }
        for name, colour in colours.items()
        if name or counts[""]
    ]


def _group(
    number: int, group: Group, graph: GraphDiff, types: tuple[Types, Types], colours: Mapping[str, str]
) -> dict[str, Any]:
    region = group.first
    pictures = draw_region(region, graph.alignment, types, colours) if number <= _PICTURES else None
    why = f"more than {MOST_NODES} nodes are listed, not drawn" if number <= _PICTURES else "not drawn"
    return {
        "number": number,
        "graph": "" if graph.name == "main graph" else graph.name,
        "passes": [{"name": name, "colour": colours[name]} for name in region.passes],
        "at": region_name(region),
        "times": len(group.regions),
        "nodes": group.size,
        "summary": _operators(region),
        "before": pictures.before if pictures else "",
        "after": pictures.after if pictures else "",
        "hidden": pictures.hidden if pictures else 0,
        "why": "" if pictures and (pictures.before or pictures.after) else why,
        "lines": _lines(region),
        "others": [{"at": region_name(other), "lines": _lines(other)} for other in group.regions[1:]],
        "open": number <= _OPEN,
    }


def _operators(region: Region) -> list[dict[str, str]]:
    found = []
    for sign, kind, nodes in (
        ("-", "removed", region.removed),
        ("+", "added", region.added),
        ("~", "changed", [pair.after for pair in region.changed]),
    ):
        for name, count in Counter(map(operator, nodes)).most_common():
            found.append({"kind": kind, "text": f"{sign}{name}{f' x{count}' if count > 1 else ''}"})
    return found


def _lines(region: Region) -> list[dict[str, str]]:
    lines = [{"kind": "removed", "text": f"- {node_line(node)}"} for node in region.removed]
    lines += [{"kind": "added", "text": f"+ {node_line(node)}"} for node in region.added]
    for pair in region.changed:
        text = "; ".join((*pair.changes, *pair.rewired))
        lines.append({"kind": "changed", "text": f"~ {label(pair.after)}: {text}"})
    for pair in region.rewired:
        lines.append({"kind": "rewired", "text": f"  {label(pair.after)}: {'; '.join(pair.rewired)}"})
    return lines
