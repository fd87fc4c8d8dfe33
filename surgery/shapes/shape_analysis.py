"""Shapes and the tensors computed from them, for given input shapes."""

from collections.abc import Mapping

import onnx_ir as ir

from graphopt.surgery.folding.constant_folding import ConstantFolder
from graphopt.surgery.shapes.shape_inference import Inferred, ShapeInference
from graphopt.surgery.shapes.shape_values import SizePropagation


def analyse_shapes(
    model: ir.Model, *, inputs: Mapping[str, tuple[int | str | None, ...]], max_bytes: int = 1 << 20
) -> tuple[dict[ir.Value, Inferred], ConstantFolder]:
    """Infer shapes and compute what depends on them, in turn, until nothing new is learnt.

    Args:
        model: is not changed.
        inputs: shapes in place of the declared ones, by input name.
        max_bytes: see ``ConstantFolder``.

    Returns:
        What is known about each value of the main graph and its subgraphs, and the folder that
        holds the computed tensors.

    Raises:
        PreconditionError: a node contradicts the shapes of its inputs.
    """
    inference = ShapeInference(model, inputs=inputs)
    folder = ConstantFolder(model=model, max_bytes=max_bytes, everywhere=False)
    while True:
        types = inference.run()
        before = set(folder.known)
        folder.learn(SizePropagation(model, types, folder.known).found)
        folder.fold()
        new = {value: tensor for value, tensor in folder.known.items() if value not in before}
        if not new or all(found.static is not None for found in types.values()):
            return types, folder
        inference.make_known(new)
