"""Arrays in an ``.npz`` file, written row by row and mapped when they are large.

The file is what ``numpy.savez`` writes, and ``numpy.load`` reads it.
"""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from graphopt.core.mapped import IN_MEMORY, blocks, map_array
from graphopt.core.tensors import Array

_LOCAL_HEADER = 30
"""Bytes of a zip entry's own header before its name."""


def write_npz(stream: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write arrays with little memory, also when they are mapped from other files.

    Args:
        stream: a seekable file.
        arrays: by name; scalars are not allowed.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header: Any = {
                    "descr": np.lib.format.dtype_to_descr(array.dtype),
                    "fortran_order": False,
                    "shape": array.shape,
                }
                np.lib.format.write_array_header_2_0(member, header)
                for _, (rows,) in blocks([array]):
                    member.write(rows.tobytes())


def read_npz(path: Path, *, in_memory: int = IN_MEMORY) -> dict[str, Array]:
    """Read all arrays of a file; those of more than ``in_memory`` bytes are mapped, read-only.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else than plain arrays, or is cut short.
        zipfile.BadZipFile: it is no zip file, or damaged.
    """
    arrays = {}
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            large = entry.file_size > in_memory and entry.compress_type == zipfile.ZIP_STORED
            with archive.open(entry) as member:
                if large:
                    array = _mapped(stream, entry, member)
                else:
                    array = np.lib.format.read_array(member, allow_pickle=False)
            arrays[entry.filename.removesuffix(".npy")] = array
    return arrays


def _mapped(stream: BinaryIO, entry: zipfile.ZipInfo, member: Any) -> Array:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(member)
    before = member.tell()
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.hasobject or fortran_order or before + size != entry.file_size:
        raise ValueError(f"{entry.filename} is not a plain array in C order")
    place = stream.tell()
    stream.seek(entry.header_offset + _LOCAL_HEADER - 4)
    name, extra = struct.unpack("<HH", stream.read(4))
    stream.seek(place)
    start = entry.header_offset + _LOCAL_HEADER + name + extra + before
    return map_array(stream.fileno(), dtype=dtype, shape=shape, offset=start)
