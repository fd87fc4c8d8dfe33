"""The pass ``normalize_resize``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from graphopt.core.tensors import Array
from graphopt.surgery.graph_edits import add_constant, remove_unread
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import constant_tensor, input_of, nodes_of, opset_of
from graphopt.surgery.semantics.resize_sizes import (
    TO_SIZE_ONLY,
    ResizeAttributes,
    constant_scales,
    constant_sizes,
    is_given,
    leading_scales,
    resize_attributes,
    resized,
    scales_between,
)
from graphopt.surgery.shapes.known_sizes import KnownSizes
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types


@dataclass(frozen=True, kw_only=True, eq=False)
class _Spelling(Site):
    """New inputs by index, and the new coordinate mode where it changes."""

    inputs: Mapping[int, Array | None]
    coordinates: str | None


@dataclass(frozen=True, kw_only=True)
class NormalizeResize(GraphPass):
    """Spell each ``Resize`` in the one way that targets parse, without changing what it computes.

    Why: parsers want a roi input even where it is empty, constant scales for all axes, no ``axes``,
    and know few coordinate modes.
    Before: ``Resize(x, , , sizes=[1,8,40,60], half_pixel)``; the sizes may be computed where only the batch
    is open.
    After: ``Resize(x, roi=[], scales=[1,1,2,2], pytorch_half_pixel)``: scales where the shapes are
    known and float32 gives the same sizes, ``pytorch_half_pixel`` and ``half_pixel`` interchanged where
    no output axis has size one.
    Seen in: fcos, pooled_scene_net, upsampling_decoder.
    Known as: resize-normalise (9), dynamic-resize-to-scales (11).

    Attributes:
        give: what tells the new size; ``as_is`` leaves it.
        coordinates: the spelling of half-pixel coordinates; ``as_is`` leaves it.
    """

    name: ClassVar[str] = "normalize_resize"
    give: Literal["scales", "sizes", "as_is"] = "scales"
    coordinates: Literal["pytorch_half_pixel", "half_pixel", "as_is"] = "pytorch_half_pixel"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every ``Resize`` that is spelled otherwise; see ``GraphPass.sites``."""
        found = list(nodes_of(model, "Resize", "Upsample"))
        types = infer_types(model) if found else {}
        sizes = KnownSizes(model)
        for node in found:
            opset = opset_of(model, node)
            if opset < 11:
                why = f"opset {opset} has no other spelling; convert the model to 11 or later first"
                yield Declined(node=node, why=why)
                continue
            attributes = resize_attributes(node)
            if isinstance(attributes, str):
                yield Declined(node=node, why=attributes)
                continue
            yield from self._judge(node, attributes, types, sizes)

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Give the node its new inputs and mode."""
        if not isinstance(site, _Spelling) or site.node.graph is None:
            return
        node, stem = site.node, site.node.outputs[0].name or "resize"
        old = [value for value in node.inputs if value is not None]
        inputs = [*node.inputs, None, None, None][:4]
        for index, array in site.inputs.items():
            role = ("x", "roi", "scales", "sizes")[index]
            inputs[index] = None if array is None else add_constant(model, node, array, f"{stem}.{role}")
        if inputs[2] is None and opset_of(model, node) < 13:  # was not optional then, but could be empty
            inputs[2] = add_constant(model, node, np.zeros(0, dtype=np.float32), f"{stem}.scales")
        while inputs[-1] is None:
            inputs.pop()
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        if site.inputs.keys() & {2, 3}:
            node.attributes.pop("axes", None)
        if site.coordinates is not None:
            name = "coordinate_transformation_mode"
            node.attributes[name] = ir.AttrString(name, site.coordinates)
        remove_unread(model, [value for value in old if value not in inputs])

    def _judge(
        self,
        node: ir.Node,
        attributes: ResizeAttributes,
        types: Mapping[ir.Value, Inferred],
        sizes: KnownSizes,
    ) -> Iterator[Site | Declined]:
        inputs: dict[int, Array | None] = {}
        said: list[str] = []
        source = node.inputs[0]
        known = types.get(source) if source is not None else None
        if input_of(node, 1) is None and attributes.coordinates != "tf_crop_and_resize":
            inputs[1] = np.zeros(0, dtype=np.float32)
            said.append("an empty roi")
        size = self._size(node, attributes, known, sizes)
        if isinstance(size, str):
            yield Declined(node=node, why=size)
        elif size:
            inputs.update(size)
            said.append(f"constant {'scales' if size.get(2) is not None else 'sizes'}")
        coordinates = self._coordinates(node, attributes, types)
        if coordinates is not None:
            said.append(coordinates)
        if said:
            yield _Spelling(node=node, what=", ".join(said), inputs=inputs, coordinates=coordinates)

    def _size(
        self, node: ir.Node, attributes: ResizeAttributes, known: Inferred | None, sizes: KnownSizes
    ) -> dict[int, Array | None] | str:
        """Return new inputs for the size, none when it is told as wanted, or why it cannot be."""
        has_axes = node.attributes.get("axes") is not None
        told_by = "scales" if is_given(input_of(node, 2)) else "sizes"
        if self.give == "as_is" or (told_by == self.give and not has_axes):
            return {}
        if constant_tensor(input_of(node, 2 if told_by == "scales" else 3)) is None:
            open_batch = _scales_of_open(node, attributes, sizes) if told_by != self.give else None
            return open_batch or f"its {told_by} are computed at run time; run static_shapes first"
        if known is None or known.shape is None:
            return "the rank of its input is not known"
        scales = constant_scales(node, len(known.shape))
        if scales is not None and self.give == "scales":
            return {2: np.array(scales, dtype=np.float32), 3: None}
        if known.static is None:
            return f"its input has shape {known.text}; run static_shapes first"
        if attributes.coordinates == "tf_crop_and_resize":
            return "tf_crop_and_resize scales what it cuts out"
        return _converted(node, attributes, known, scales, to=self.give)

    def _coordinates(
        self, node: ir.Node, attributes: ResizeAttributes, types: Mapping[ir.Value, Inferred]
    ) -> str | None:
        both = ("half_pixel", "pytorch_half_pixel")
        if self.coordinates == "as_is" or attributes.coordinates == self.coordinates:
            return None
        if attributes.coordinates not in both:
            return None
        after = types.get(node.outputs[0])
        before = types.get(node.inputs[0]) if node.inputs[0] is not None else None
        if after is None or after.shape is None or before is None or before.shape is None:
            return None
        changed = [
            new for old, new in zip(before.shape, after.shape, strict=True) if old != new or new is None
        ]
        # The two differ only where the output has size one: there pytorch looks at place 0.
        same = all(isinstance(size, int) and size > 1 for size in changed)
        return self.coordinates if same else None


def _scales_of_open(
    node: ir.Node, attributes: ResizeAttributes, sizes: KnownSizes
) -> dict[int, Array | None] | None:
    """Return scales for computed sizes of which only the batch, which stays, is not known."""
    before, after = sizes.shape(node.inputs[0]), sizes.shape(node.outputs[0])
    if before is None or after is None or attributes.coordinates == "tf_crop_and_resize":
        return None
    scales: list[float] = []
    for old, new in zip(before, after, strict=True):
        if isinstance(old, int) and isinstance(new, int) and old > 0:
            leading = leading_scales((old,), [new], attributes)
            if leading is None:
                return None
            scales += leading
        elif old is not None and old == new:
            scales.append(1.0)
        else:
            return None
    return {2: np.array(scales, dtype=np.float32), 3: None}


def _converted(
    node: ir.Node, attributes: ResizeAttributes, known: Inferred, scales: list[float] | None, *, to: str
) -> dict[int, Array | None] | str:
    before = known.static or ()
    sizes = resized(before, scales) if scales is not None else constant_sizes(node, known)
    if sizes is None or 0 in before:
        return f"its sizes do not fit the shape {known.text}"
    derived = scales_between(before, sizes)
    if scales is not None and scales != derived and attributes.coordinates not in TO_SIZE_ONLY:
        return f"its scales {scales} are not the quotients of the sizes, which are {derived}"
    if to == "sizes":
        return {2: None, 3: np.array(sizes, dtype=np.int64)}
    leading = leading_scales(before, sizes, attributes)
    if leading is None:
        return f"no float32 scale leads from {list(before)} to {sizes}"
    return {2: np.array(leading, dtype=np.float32), 3: None}
