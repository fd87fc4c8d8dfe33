"""The differences of two models as text."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.cli.render import print_line, print_table
from graphopt.core.words import counted

if TYPE_CHECKING:
    from graphopt.surgery.differences.describe import Group
    from graphopt.surgery.differences.model_diff import GraphDiff, ModelDiff

_LINES = 12
_NAMES = 8
_WEIGHTS = 10


def show_diff(diff: "ModelDiff", before: Path, after: Path, *, limit: int) -> None:
    """Print the verdict, the tables, and the first ``limit`` groups of regions (0 for all)."""
    main = diff.main
    counts = [len(main.alignment.before.nodes), len(main.alignment.after.nodes)]
    print_line(f"{before}: {counted(counts[0], 'node')}; {after}: {counted(counts[1], 'node')}")
    print_line(_verdict(diff))
    if diff.steps:
        print_line(f"passes between them: {', '.join(step.name for step in diff.steps)}")
    print_line("")
    for graph in diff.graphs:
        if graph.operators:
            rows = [
                [item.operator, item.before, item.after, item.removed, item.added, item.changed]
                for item in graph.operators
            ]
            heads = ["operator", ">before", ">after", ">removed", ">added", ">changed"]
            print_table("" if graph is main else graph.name, heads, rows)
    for text in diff.interface:
        print_line(f"! {text}")
    _show_weights(diff)
    for text in diff.notes:
        print_line(f"note: {text}")
    for graph in diff.graphs:
        _show_regions(graph, "" if graph is main else f"{graph.name}: ", limit)


def _verdict(diff: "ModelDiff") -> str:
    if diff.equal:
        known = ", as far as the weights are in the files" if diff.stripped else ""
        return f"equal: the same operators, wiring, weights, inputs and outputs{known}"
    regions = [region for graph in diff.graphs for region in graph.regions]
    removed = sum(len(region.removed) for region in regions)
    added = sum(len(region.added) for region in regions)
    changed = sum(len(region.changed) for region in regions)
    where = counted(len(regions), "region")
    nodes = f"{counted(removed, 'node')} removed, {added} added, {changed} changed in {where}"
    interface = f"{counted(len(diff.interface), 'difference')} of inputs, outputs, opsets or functions"
    parts = [nodes if regions else "the nodes are the same", interface if diff.interface else ""]
    return f"DIFFERENT: {', '.join(filter(None, parts))}"


def _show_weights(diff: "ModelDiff") -> None:
    if not diff.weights:
        return
    counts = Counter(item.kind for item in diff.weights)
    print_line(f"weights: {', '.join(f'{count} {kind}' for kind, count in counts.items())}")
    changed = [item for item in diff.weights if item.kind == "changed"]
    for item in changed[:_WEIGHTS]:
        print_line(f"  {item.name}: {item.text}")
    if len(changed) > _WEIGHTS:
        print_line(f"  ... and {len(changed) - _WEIGHTS} more changed; --json lists all")


def _show_regions(graph: "GraphDiff", where: str, limit: int) -> None:
    from graphopt.surgery.differences.describe import grouped

    groups = grouped(graph)
    shown = groups[:limit] if limit else groups
    for group in shown:
        _show_group(group, where)
    if len(groups) > len(shown):
        rest = sum(len(group.regions) for group in groups[len(shown) :])
        more = counted(rest, "more region")
        print_line(f"\n... and {more}; --limit 0 shows all, --html FILE draws them")


def _show_group(group: "Group", where: str) -> None:
    from graphopt.surgery.differences.describe import node_line, region_name
    from graphopt.surgery.graph_queries import label

    region = group.first
    times = f", {len(group.regions)} times" if len(group.regions) > 1 else ""
    print_line(f"\n{where}{' + '.join(region.passes) or 'changed'}: at {region_name(region)}{times}")
    lines = [f"  - {node_line(node)}" for node in region.removed]
    lines += [f"  + {node_line(node)}" for node in region.added]
    for pair in region.changed:
        lines += [f"  ~ {label(pair.after)}: {text}" for text in (*pair.changes, *pair.rewired)]
    for pair in region.rewired:
        lines += [f"    {label(pair.after)}: {text}" for text in pair.rewired]
    for line in lines[:_LINES]:
        print_line(line)
    if len(lines) > _LINES:
        print_line(f"    ... {counted(len(lines) - _LINES, 'more line')}")
    others = [region_name(other) for other in group.regions[1:]]
    if others:
        more = f", ... {len(others) - _NAMES} more" if len(others) > _NAMES else ""
        print_line(f"    likewise at {', '.join(others[:_NAMES])}{more}")
