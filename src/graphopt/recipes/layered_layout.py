"""Place the boxes of a small directed graph in layers, sources on top.

The usual steps: longest-path layers, a chain of points for every edge that spans several of them, a few
sweeps that order each layer by the mean place of its neighbours, and a few more that pull every box
towards them without overlap.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_SWEEPS = 8
_GAP_X = 22.0
_GAP_Y = 38.0
_POINT_WIDTH = 6.0


@dataclass
class Placed:
    """A box or a bend of an edge; x and y are its centre, in pixels."""

    width: float
    height: float
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    above: list["Placed"] = field(default_factory=list)
    below: list["Placed"] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything is.

    Attributes:
        boxes: key -> centre (x, y).
        edges: per edge given, its points from source to target.
        width: of the whole.
        height: of the whole.
    """

    boxes: dict[Hashable, tuple[float, float]]
    edges: list[list[tuple[float, float]]]
    width: float
    height: float


def lay_out(sizes: dict[Hashable, tuple[float, float]], edges: Sequence[tuple[Hashable, Hashable]]) -> Layout:
    """Place boxes.

    Args:
        sizes: width and height per box, in an order that follows the edges.
        edges: from, to; both in ``sizes``; there are no cycles.
    """
    boxes = {key: Placed(width, height) for key, (width, height) in sizes.items()}
    _assign_layers(boxes, edges)
    chains = [_chain(boxes[one], boxes[other]) for one, other in edges]
    layers = _layers(boxes, chains)
    _order(layers)
    _place(layers)
    points = [[(item.x, item.y) for item in chain] for chain in chains]
    for chain, line in zip(chains, points, strict=True):
        line[0] = (chain[0].x, chain[0].y + chain[0].height / 2)
        line[-1] = (chain[-1].x, chain[-1].y - chain[-1].height / 2)
    right = max((item.x + item.width / 2 for item in boxes.values()), default=0.0)
    bottom = max((item.y + item.height / 2 for item in boxes.values()), default=0.0)
    return Layout(
        boxes={key: (item.x, item.y) for key, item in boxes.items()},
        edges=points,
        width=right,
        height=bottom,
    )


def _assign_layers(boxes: dict[Hashable, Placed], edges: Sequence[tuple[Hashable, Hashable]]) -> None:
    targets: dict[Hashable, list[Hashable]] = {key: [] for key in boxes}
    has_source = set()
    for one, other in edges:
        targets[one].append(other)
        has_source.add(other)
    for key in boxes:  # in an order that follows the edges
        for other in targets[key]:
            boxes[other].layer = max(boxes[other].layer, boxes[key].layer + 1)
    for key in boxes:  # what has no source stands right above its first reader
        if key not in has_source and targets[key]:
            boxes[key].layer = min(boxes[other].layer for other in targets[key]) - 1


def _chain(one: Placed, other: Placed) -> list[Placed]:
    bends = [Placed(_POINT_WIDTH, 0.0, layer) for layer in range(one.layer + 1, other.layer)]
    chain = [one, *bends, other]
    for upper, lower in pairwise(chain):
        upper.below.append(lower)
        lower.above.append(upper)
    return chain


def _layers(boxes: dict[Hashable, Placed], chains: list[list[Placed]]) -> list[list[Placed]]:
    count = max((item.layer for item in boxes.values()), default=-1) + 1
    layers: list[list[Placed]] = [[] for _ in range(count)]
    for item in [*boxes.values(), *(bend for chain in chains for bend in chain[1:-1])]:
        layers[item.layer].append(item)
    return layers


def _order(layers: list[list[Placed]]) -> None:
    for layer in layers:
        _number(layer)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            layer.sort(key=lambda item: _mean(item.above if down else item.below, item.x))
            _number(layer)


def _number(layer: list[Placed]) -> None:
    for index, item in enumerate(layer):
        item.x = float(index) - len(layer) / 2


def _place(layers: list[list[Placed]]) -> None:
    y = 0.0
    for layer in layers:
        height = max(item.height for item in layer) if layer else 0.0
        for item in layer:
            item.y = y + height / 2
        y += height + _GAP_Y
        _spread(layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = [_mean(item.above if down else item.below, item.x) for item in layer]
            _spread(layer, wanted)
    left = min((item.x - item.width / 2 for layer in layers for item in layer), default=0.0)
    for layer in layers:
        for item in layer:
            item.x -= left


def _spread(layer: list[Placed], wanted: list[float]) -> None:
    """Put each box as near as possible to where it wants to be, in order and without overlap.

    Boxes that would overlap become one block, which goes where its members want to be on average.
    """
    blocks: list[tuple[float, float, int]] = []  # sum of wanted starts, width, members
    offsets: list[float] = []
    for item, x in zip(layer, wanted, strict=True):
        width = item.width + _GAP_X
        total, size, count = x - width / 2, width, 1
        offsets.append(0.0)
        while blocks and blocks[-1][0] / blocks[-1][2] + blocks[-1][1] > total / count:
            before = blocks.pop()
            total, size, count = (
                before[0] + total - count * before[1],
                before[1] + size,
                before[2] + count,
            )
        blocks.append((total, size, count))
    index = 0
    for total, _, count in blocks:
        x = total / count
        for item in layer[index : index + count]:
            item.x = x + (item.width + _GAP_X) / 2
            x += item.width + _GAP_X
        index += count


def _mean(items: list[Placed], otherwise: float) -> float:
    return sum(item.x for item in items) / len(items) if items else otherwise
