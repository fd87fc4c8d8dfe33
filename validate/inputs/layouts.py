"""Read one input as a device tool was given it: raw bytes have neither dtype nor shape."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.core.errors import DatasetError

CHANNELS = 3
DTYPES = {4: "float32", 2: "float16", 1: "uint8", 8: "float64"}
"""By bytes per value, what a raw file of that size holds."""
LAYOUTS = {"NCHW": "CHW", "NHWC": "HWC", "NCWH": "CWH", "NWHC": "WHC"}
"""Axes of one sample by the name of the layout, the usual one first."""


def read_input(path: Path, canvas: tuple[int, int]) -> NDArray[np.generic] | None:
    """Return the values of a ``.bin`` or ``.npy`` file, flat, or None when they are not 3 x H x W numbers.

    Args:
        path: the file.
        canvas: height and width of the network's input.

    Raises:
        DatasetError: the file cannot be read, or is an ``.npy`` file of something else than numbers.
    """
    count = CHANNELS * canvas[0] * canvas[1]
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as stream:
                array: NDArray[np.generic] = np.load(stream, allow_pickle=False)
            if array.dtype.kind not in "fiu":
                raise DatasetError(f"{path} holds {array.dtype}, not numbers")
            return array.reshape(-1) if array.size == count else None
        size = path.stat().st_size
        dtype = DTYPES.get(size // count) if size and size % count == 0 else None
        return np.fromfile(path, dtype) if dtype else None
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; was it moved while it was compared?") from error
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read as an input: {error}") from error


def arranged(flat: NDArray[np.generic], layout: str, canvas: tuple[int, int]) -> NDArray[np.generic]:
    """Return a view [H, W, C] of flat values that are written in a layout."""
    sizes = {"C": CHANNELS, "H": canvas[0], "W": canvas[1]}
    written = LAYOUTS[layout]
    shaped = flat.reshape([sizes[axis] for axis in written])
    return shaped.transpose([written.index(axis) for axis in "HWC"])
