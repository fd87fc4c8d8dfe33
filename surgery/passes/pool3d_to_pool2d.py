"""The pass ``pool3d_to_pool2d``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_ir as ir

from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import attribute_int, nodes_of
from graphopt.surgery.semantics.windows import Window, window_of
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types
from graphopt.surgery.versioned_builder import VersionedBuilder

_KEPT = ("count_include_pad", "p")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Volume(Site):
    """A pool of volumes: channels, depth, height, width before and after, and its window."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    window: Window


@dataclass(frozen=True, kw_only=True)
class Pool3dToPool2d(GraphPass):
    """Write pools of volumes as pools of pictures: over height and width first, then over depth.

    Why: targets have fast 2-D pools, and slow 3-D ones or none; most 3-D pools of video networks leave
    the time axis alone anyway.
    Before: ``x[N,C,D,H,W] -> MaxPool(1,2,2)``.
    After: ``Reshape [N,C*D,H,W] -> MaxPool(2,2) -> Reshape``; a pool over depth too gets a second one
    on ``[N,C,D,H'*W']``. Averages need whole windows for that.
    Seen in: video_net.
    Known as: pool-rewrite (32).
    """

    name: ClassVar[str] = "pool3d_to_pool2d"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every pool of a tensor of rank 5; see ``GraphPass.sites``."""
        found = list(nodes_of(model, "MaxPool", "AveragePool", "LpPool"))
        types = infer_types(model) if found else {}
        for node in found:
            known = types.get(node.inputs[0]) if node.inputs[0] is not None else None
            if known is None or known.shape is None or len(known.shape) != 5:
                continue
            place = _judge(node, known, types)
            yield Declined(node=node, why=place) if isinstance(place, str) else place

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Write one or two pools of rank 4."""
        node, value = site.node, site.node.inputs[0]
        if not isinstance(site, _Volume) or node.graph is None or value is None:
            return
        new = VersionedBuilder(model, node)
        channels, depth, height, width = site.before
        _, _, new_height, new_width = site.after
        if _acts(site.window, (1, 2)) or not _acts(site.window, (0,)):
            value = new.reshape(value, [0, channels * depth, height, width])
            value = _pool(new, node, value, _part(site.window, (1, 2)))
        if _acts(site.window, (0,)):
            value = new.reshape(value, [0, channels, depth, new_height * new_width])
            value = _pool(new, node, value, _with_unit(_part(site.window, (0,))))
        new.replace(new.reshape(value, [0, *site.after]))


def _judge(node: ir.Node, known: Inferred, types: Mapping[ir.Value, Inferred]) -> _Volume | str:
    result = types.get(node.outputs[0])
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "it also gives indices"
    before = _inner_sizes(known)
    after = None if result is None else _inner_sizes(result)
    window = window_of(node, None if known.shape is None else known.shape[2:])
    if isinstance(window, str):
        return window
    if window.ceil_mode and window.is_padded:
        # ONNX's shape inference counts windows that start in the padding, onnxruntime does not.
        return "it pads and rounds its size up, for which runtimes disagree on the size"
    if before is None or after is None:
        return "its sizes are not known; run static_shapes first"
    if 0 in (*before, *after):
        return "it is empty"
    if _acts(window, (0,)) and _acts(window, (1, 2)) and node.op_type != "MaxPool":
        if node.op_type == "LpPool":
            return "it pools over depth and over height or width, and norms do not fall into parts"
        counted = attribute_int(node, "count_include_pad", 0)
        if window.ceil_mode or (window.is_padded and not counted):
            return "its windows are not all of one size, so means of means are something else"
    what = f"kernel {list(window.kernel)} on {'x'.join(map(str, before[1:]))}"
    return _Volume(node=node, what=what, before=before, after=after, window=window)


def _inner_sizes(known: Inferred) -> tuple[int, ...] | None:
    """Return the shape without the batch when it is known."""
    sizes = None if known.shape is None else known.shape[1:]
    if sizes is None or not all(isinstance(size, int) for size in sizes):
        return None
    return tuple(size for size in sizes if isinstance(size, int))


def _acts(window: Window, axes: tuple[int, ...]) -> bool:
    """Whether the window does anything along these axes."""
    return any(
        window.kernel[axis] > 1 or window.strides[axis] > 1 or window.begins[axis] or window.ends[axis]
        for axis in axes
    )


def _part(window: Window, axes: tuple[int, ...]) -> Window:
    return replace(
        window,
        kernel=tuple(window.kernel[axis] for axis in axes),
        strides=tuple(window.strides[axis] for axis in axes),
        dilations=tuple(window.dilations[axis] for axis in axes),
        begins=tuple(window.begins[axis] for axis in axes),
        ends=tuple(window.ends[axis] for axis in axes),
    )


def _with_unit(window: Window) -> Window:
    """Add an axis along which nothing happens."""
    return replace(
        window,
        kernel=(*window.kernel, 1),
        strides=(*window.strides, 1),
        dilations=(*window.dilations, 1),
        begins=(*window.begins, 0),
        ends=(*window.ends, 0),
    )


def _pool(new: VersionedBuilder, node: ir.Node, value: ir.Value, window: Window) -> ir.Value:
    kept = {name: node.attributes[name].value for name in _KEPT if name in node.attributes}
    made = new.op(node.op_type, value, attributes={**window.attributes(node.op_type), **kept})
    made.type = value.type
    return made
