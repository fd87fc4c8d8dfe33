"""Shapes and the tensors computed from them, for given input shapes."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.folding.constant_folding import ConstantFolder
from graphopt.surgery.shapes.shape_inference import Inferred, ShapeInference
from graphopt.surgery.shapes.shape_values import SizePropagation


@dataclass(frozen=True, kw_only=True)
class ShapeAnalysis:
    """What is known of a model for given input shapes.

    Attributes:
        types: of each value of the main graph and its subgraphs.
        folder: holds the computed tensors.
        reshapes: those to sizes that depend on open ones -> constants that say the same for all.
    """

    types: dict[ir.Value, Inferred]
    folder: ConstantFolder
    reshapes: dict[ir.Node, tuple[int, ...]]


def analyse_sizes(
    model: ir.Model,
    *,
    inputs: Mapping[str, tuple[int | str | None, ...]],
    max_bytes: int = 1 << 20,
    everywhere: bool = False,
) -> ShapeAnalysis:
    """Infer shapes and compute what depends on them, in turn, until nothing new is learnt.

    Args:
        model: is not changed.
        inputs: shapes in place of the declared ones, by input name.
        max_bytes: see ``ConstantFolder``.
        everywhere: compute also what depends on constants alone.

    Returns:
        What is known.

    Raises:
        PreconditionError: a node contradicts the shapes of its inputs.
    """
    inference = ShapeInference(model, inputs=inputs)
    folder = ConstantFolder(model=model, max_bytes=max_bytes, everywhere=everywhere)
    while True:
        types = inference.run()
        before = set(folder.known)
        sizes = SizePropagation(model, types, folder.known)
        folder.learn(sizes.found)
        folder.fold()
        new = {value: tensor for value, tensor in folder.known.items() if value not in before}
        if not new or all(found.static is not None for found in types.values()):
            return ShapeAnalysis(types=types, folder=folder, reshapes=sizes.reshapes)
        inference.make_known(new)


def analyse_shapes(
    model: ir.Model, *, inputs: Mapping[str, tuple[int | str | None, ...]], max_bytes: int = 1 << 20
) -> tuple[dict[ir.Value, Inferred], ConstantFolder]:
    """Return types and folder of ``analyse_sizes``."""
    found = analyse_sizes(model, inputs=inputs, max_bytes=max_bytes)
    return found.types, found.folder
