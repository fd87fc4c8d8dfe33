"""Draw a changed region, before and after, as inline SVG."""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from textwrap import wrap

import onnx_ir as ir

from graphopt.recipes.layered_layout import lay_out
from graphopt.surgery.differences.alignment import Alignment
from graphopt.surgery.differences.content import tensor_text
from graphopt.surgery.differences.node_changes import attribute_texts
from graphopt.surgery.differences.regions import Region
from graphopt.surgery.differences.side import Side, is_constant, operator
from graphopt.surgery.graph_queries import constant_tensor, is_op
from graphopt.surgery.shapes.shape_inference import Inferred

Types = Mapping[ir.Value, Inferred]

MOST_NODES = 80
"""More than this is no picture any more; the page lists them instead."""
_CONTEXT = 14
_LINES = 4
_CHARACTERS = 34
_LINE = 14.0
_CHARACTER = 7.0
_PAD = 10.0
_SMALLEST = 0.6  # of its size; then it is scrolled
_GREY = "#8a94a3"
_CONSTANT = re.compile(r"reads \S+ \((.+)\)$")


@dataclass(frozen=True)
class _Box:
    title: str
    lines: tuple[str, ...]
    kind: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """A region as two SVG elements; empty texts when it is too large."""

    before: str
    after: str
    hidden: int


def draw_region(
    region: Region, alignment: Alignment, types: tuple[Types, Types], colours: Mapping[str, str]
) -> Pictures:
    """Return the pictures of a region with its unchanged surroundings, one hop wide.

    Args:
        region: what to draw.
        alignment: finds the surroundings.
        types: dtypes and shapes of both models.
        colours: pass -> colour; "" is the colour of changes by nobody known.
    """
    old, new, hidden = _surroundings(region, alignment)
    if len(old) + len(new) > 2 * MOST_NODES:
        return Pictures(before="", after="", hidden=hidden)
    changed = {node: pair.changes for pair in region.changed for node in (pair.before, pair.after)}
    rewired = {pair.after: pair.rewired for pair in (*region.rewired, *region.changed)}
    kinds: dict[ir.Node, str] = dict.fromkeys(region.removed, "removed")
    kinds.update(dict.fromkeys(region.added, "added"))
    kinds.update(dict.fromkeys(changed, "changed"))
    by_pass = dict(region.makers)
    by_pass.update((pair.before, region.makers.get(pair.after, "")) for pair in region.changed)

    def box(node: ir.Node, side: Side, known: Types) -> _Box:
        kind = kinds.get(node, "rewired" if node in rewired else "context")
        is_surrounding = kind in ("context", "rewired")
        colour = _GREY if is_surrounding else colours.get(by_pass.get(node, ""), _GREY)
        notes = () if side is alignment.before else (*changed.get(node, ()), *rewired.get(node, ()))
        return _Box(operator(node), _lines(node, notes, known, brief=is_surrounding), kind, colour)

    return Pictures(
        before=_picture(old, alignment.before, lambda node: box(node, alignment.before, types[0])),
        after=_picture(new, alignment.after, lambda node: box(node, alignment.after, types[1])),
        hidden=hidden,
    )


def _surroundings(region: Region, alignment: Alignment) -> tuple[list[ir.Node], list[ir.Node], int]:
    """Return the nodes to draw of both sides, in order, and how many neighbours were left out."""
    before, after = alignment.before, alignment.after
    old_core = [*region.removed, *(pair.before for pair in region.changed)]
    new_core = [*region.added, *(pair.after for pair in region.changed)]
    old = dict.fromkeys([*old_core, *(pair.before for pair in region.rewired[:_CONTEXT])])
    new = dict.fromkeys([*new_core, *(pair.after for pair in region.rewired[:_CONTEXT])])
    near_old = dict.fromkeys(node for item in old_core for node in _near(before, item) if node not in old)
    near_new = dict.fromkeys(node for item in new_core for node in _near(after, item) if node not in new)
    for node in near_new:
        if node in alignment.back and alignment.back[node] not in old:
            near_old.setdefault(alignment.back[node])
    shown = list(near_old)[:_CONTEXT]
    hidden = len(near_old) - len(shown) + max(0, len(region.rewired) - _CONTEXT)
    old.update(dict.fromkeys(shown))
    new.update(dict.fromkeys(alignment.nodes[node] for node in old if node in alignment.nodes))
    return _drawn(old, before), _drawn(new, after), hidden


def _near(side: Side, node: ir.Node) -> Iterable[ir.Node]:
    yield from side.sources(node)
    yield from side.readers(node)


def _drawn(nodes: Mapping[ir.Node, None], side: Side) -> list[ir.Node]:
    """Return nodes in graph order; constants are written into their readers, if there are any."""
    boxes = [node for node in side.nodes if node in nodes and not is_op(node, "Constant")]
    return boxes or [node for node in side.nodes if node in nodes]


def _lines(node: ir.Node, notes: tuple[str, ...], types: Types, *, brief: bool) -> tuple[str, ...]:
    # That a node reads another one is seen; a constant in the place of a node is not.
    news = [note.partition(", was ")[0] for note in notes]
    told = [_CONSTANT.sub(r"= \1", note) for note in news if " of " not in note]
    lines = [f"! {line}" for note in told for line in wrap(note, _CHARACTERS)]
    if not brief:
        lines += [f"{name} {text}" for name, text in attribute_texts(node).items()]
        for index, value in enumerate(node.inputs):
            tensor = constant_tensor(value)
            if tensor is not None:
                lines.append(f"in {index}: {tensor_text(tensor)}")
    shown = lines[:_LINES] + ([f"… {len(lines) - _LINES} more"] if len(lines) > _LINES else [])
    found = types.get(node.outputs[0]) if node.outputs else None
    shape = found.text.strip("[]").replace(", ", "x") if found is not None else "?"
    return (*shown, f"→ {shape or 'scalar'}")


def _picture(nodes: list[ir.Node], side: Side, make_box: Callable[[ir.Node], _Box]) -> str:
    boxes: dict[Hashable, _Box] = {}
    edges: list[tuple[Hashable, Hashable]] = []
    drawn = set(nodes)
    for node in nodes:
        for value in node.inputs:
            if value is not None and value.producer() is None and value.is_graph_input():
                boxes.setdefault(value, _Box(_clip(value.name or ""), (), "end", _GREY))
    for node in nodes:
        boxes[node] = make_box(node)
        for _, value in side.slots[node]:
            source = None if value is None or is_constant(value) else value.producer() or value
            if (source in drawn or source in boxes) and source is not node and (source, node) not in edges:
                edges.append((source, node))
    for node in nodes:
        for value in node.outputs:
            if value.is_graph_output() and value.graph is side.graph:
                boxes[value] = _Box(_clip(value.name or ""), (), "end", _GREY)
                edges.append((node, value))
    edges = [(one, other) for one, other in edges if one in boxes and other in boxes]
    return _svg(boxes, edges) if boxes else ""


def _svg(boxes: dict[Hashable, _Box], edges: list[tuple[Hashable, Hashable]]) -> str:
    sizes = {key: _size(box) for key, box in boxes.items()}
    layout = lay_out(sizes, edges)
    width, height = layout.width + 2 * _PAD, layout.height + 2 * _PAD
    parts = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img">'
    ]
    parts += [
        f'<path class="edge" d="{_curve(points)}" marker-end="url(#arrow)"/>' for points in layout.edges
    ]
    for key, box in boxes.items():
        parts.append(_draw_box(box, layout.boxes[key], sizes[key]))
    parts.append("</svg>")
    return "".join(parts)


def _size(box: _Box) -> tuple[float, float]:
    characters = max(len(box.title) * 1.12 + 3.5, *(len(_clip(line)) for line in box.lines), 8)
    return characters * _CHARACTER + 2 * _PAD, (len(box.lines) + 1) * _LINE + (6 if box.lines else 8) + 4


def _draw_box(box: _Box, centre: tuple[float, float], size: tuple[float, float]) -> str:
    x, y = centre[0] - size[0] / 2 + _PAD, centre[1] - size[1] / 2 + _PAD
    radius = 11 if box.kind == "end" else 5
    sign = {"removed": "&#8722;", "added": "+", "changed": "~"}.get(box.kind, "")
    tip = escape("\n".join((box.title, *box.lines)))
    parts = [
        f'<g class="box {box.kind}" style="--c:{box.colour}"><title>{tip}</title>',
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" rx="{radius}"/>',
        f'<text class="title" x="{x + _PAD:.1f}" y="{y + _LINE + 2:.1f}">{escape(box.title)}</text>',
    ]
    if sign:
        right = x + size[0] - _PAD
        parts.append(f'<text class="sign" x="{right:.1f}" y="{y + _LINE + 2:.1f}">{sign}</text>')
    for index, line in enumerate(box.lines):
        name = "note" if line.startswith("! ") else "shape" if line.startswith("→") else "line"
        text = escape(_clip(line.removeprefix("! ")))
        parts.append(
            f'<text class="{name}" x="{x + _PAD:.1f}" y="{y + _LINE * (index + 2) + 4:.1f}">{text}</text>'
        )
    return "".join(parts) + "</g>"


def _curve(points: list[tuple[float, float]]) -> str:
    shifted = [(x + _PAD, y + _PAD) for x, y in points]
    path = f"M{shifted[0][0]:.1f},{shifted[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(shifted):
        middle = (y0 + y1) / 2
        path += f" C{x0:.1f},{middle:.1f} {x1:.1f},{middle:.1f} {x1:.1f},{y1:.1f}"
    return path


def _clip(text: str) -> str:
    text = text.removeprefix("! ")
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"
