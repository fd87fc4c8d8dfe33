"""Inputs to compare models with when the user gives none: seeded, structured, never plain noise.

Noise averages out in a deep network and hides differences; blobs, edges and texture at several
scales do not.
"""

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import UsageError
from graphopt.core.tensors import Array, TensorSpec

DYNAMIC_SIZE = 2
"""Stands for each unknown size, so that a batch baked in as 1 shows."""


_INTEGERS = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))


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
        values = _picture(shape, rng) if len(shape) >= 3 and 0 not in shape else rng.standard_normal(shape)
        return np.asarray(values, dtype=spec.dtype)
    if spec.dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if spec.dtype in _INTEGERS:
        return np.asarray(rng.integers(0, 8, shape), dtype=spec.dtype)
    raise UsageError(f"no sample can be made for input {spec.name} of dtype {spec.dtype}; give --data")


def _picture(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    height, width = shape[-2:]
    planes = int(np.prod(shape[:-2]))
    total = 0.3 * rng.standard_normal((planes, height, width))
    for cell in (4, 16, 64, 160):
        grid = rng.standard_normal((planes, height // cell + 1, width // cell + 1))
        total += grid.repeat(cell, axis=1).repeat(cell, axis=2)[:, :height, :width]
    spread = float(total.std())
    scaled: NDArray[np.float64] = (total - total.mean()) / (spread if spread > 0 else 1.0)
    return scaled.reshape(shape)
