"""Inputs to compare models with when the user gives none: seeded, structured, never plain noise.

Noise averages out in a deep network and hides differences; blobs, edges and texture at several
scales do not.
"""

import numpy as np

from graphopt.core.errors import UsageError
from graphopt.core.tensors import Array, TensorSpec

DYNAMIC_SIZE = 2
"""Stands for each unknown size, so that a batch baked in as 1 shows."""


def structured_feeds(inputs: tuple[TensorSpec, ...], *, seed: int) -> dict[str, Array]:
    """Return one array per input.

    Floats of rank 3 or more get a structured picture (last two axes H, W; mean 0, variance 1),
    other floats standard normal values, integers small non-negative values, booleans both.

    Raises:
        UsageError: an input has a dtype that cannot be made up (strings, sequences).
    """
    return {spec.name: _array(spec, np.random.default_rng([seed, i])) for i, spec in enumerate(inputs)}


def _array(spec: TensorSpec, rng: np.random.Generator) -> Array:
    shape = tuple(dim if isinstance(dim, int) else DYNAMIC_SIZE for dim in spec.shape)
    if spec.dtype in ("float32", "float64", "float16"):
        values = _picture(shape, rng) if len(shape) >= 3 else rng.standard_normal(shape)
        return values.astype(spec.dtype)
    if spec.dtype == "bool":
        return rng.random(shape) < 0.5
    if spec.dtype.startswith(("int", "uint")):
        return rng.integers(0, 8, shape).astype(spec.dtype)
    raise UsageError(f"no sample can be made for input {spec.name} of dtype {spec.dtype}; give --data")


def _picture(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    height, width = shape[-2:]
    planes = int(np.prod(shape[:-2]))
    total = 0.3 * rng.standard_normal((planes, height, width))
    for cell in (4, 16, 64, 160):
        grid = rng.standard_normal((planes, height // cell + 1, width // cell + 1))
        total += grid.repeat(cell, axis=1).repeat(cell, axis=2)[:, :height, :width]
    spread = float(total.std())
    return ((total - total.mean()) / (spread if spread > 0 else 1.0)).reshape(shape)
