"""The two files ``torch.save`` writes: a zip archive (since 1.6) and, before, a stream of pickles.

Both give the same: the object that the pickle describes, and the bytes of a storage when asked.
Nothing is extracted, and no length of the file's choice is believed before the file's own size.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from graphopt.core.errors import CheckpointError
from graphopt.exporters.pickle_machine import PickleMachine, Stub
from graphopt.exporters.tensor_records import StorageRecord, storage_record
from graphopt.exporters.vocabulary import KNOWN

STREAM_MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of the stream format."""

STREAM_PROTOCOL = 1001
TAR_MARK, TAR_MARK_AT = b"ustar", 257
MAX_ZIP_ENTRIES = 200_000
MAX_PICKLE_BYTES = 1 << 28

# What zipfile raises on an archive that is damaged or made by an adversary.
_BAD_ZIP = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Contents:
    """An opened checkpoint.

    Attributes:
        format: ``zip`` or ``stream``.
        root: what was saved: plain data, records and stubs.
        block: returns the bytes of a storage; the file must still be open.
    """

    format: str
    root: object
    block: Callable[[StorageRecord], bytearray]


def open_contents(stream: BinaryIO, size: int) -> Contents:
    """Read a checkpoint's structure from its open file.

    Args:
        stream: the file, at its start.
        size: of the file in bytes.

    Raises:
        CheckpointError: no checkpoint, damaged, or beyond a budget. The message lacks the path.
    """
    start = stream.read(4)
    stream.seek(0)
    if not start:
        raise CheckpointError("it is empty; download or save it again")
    if start.startswith(b"PK"):
        return _open_zip(stream, size)
    if start[0] == 0x80:  # every binary pickle starts so
        return _open_stream(stream, size)
    if stream.read(TAR_MARK_AT + len(TAR_MARK)).endswith(TAR_MARK):
        raise CheckpointError(
            "it is in the tar format of torch before 0.2; load and save it with a newer torch"
        )
    raise CheckpointError("it was not written by torch.save; give the file of weights itself")


def _open_zip(stream: BinaryIO, size: int) -> Contents:
    with _zip_errors():
        archive = zipfile.ZipFile(stream)
        entries = _checked_entries(archive, size)
        prefix = _prefix(entries)
        _check_byte_order(
            archive.read(f"{prefix}/byteorder") if f"{prefix}/byteorder" in entries else b"little"
        )
        pickle = archive.read(f"{prefix}/data.pkl")
    root = PickleMachine(KNOWN, storage_record).run(io.BytesIO(pickle), len(pickle))

    def block(storage: StorageRecord) -> bytearray:
        entry = entries.get(f"{prefix}/data/{storage.key}")
        if entry is None:
            raise CheckpointError(f"the data of storage {storage.key} is missing; the file is incomplete")
        if entry.file_size < storage.nbytes:
            raise CheckpointError(
                f"storage {storage.key} should have {storage.nbytes} bytes, the file has {entry.file_size}"
            )
        with _zip_errors():
            return bytearray(archive.read(entry))

    return Contents("zip", root, block)


def _checked_entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_ZIP_ENTRIES:
        raise CheckpointError(f"its archive has {len(infos)} entries, more than {MAX_ZIP_ENTRIES}")
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise CheckpointError("its archive has two entries of one name; save it again")
    if any(name.endswith("/constants.pkl") for name in entries):
        raise CheckpointError("it is a TorchScript program; give the checkpoint that torch.save wrote")
    # torch never compresses. Without compression, more declared bytes than the file has means
    # that entries overlap or lie.
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise CheckpointError("its archive is compressed, which torch.save never does; save it again")
    declared = sum(info.file_size for info in infos)
    if declared > size:
        raise CheckpointError(f"its archive declares {declared} bytes in a file of {size}")
    return entries


def _prefix(entries: dict[str, zipfile.ZipInfo]) -> str:
    found = [match[1] for name in entries if (match := re.fullmatch(r"([^/]*)/data\.pkl", name))]
    if len(found) != 1:
        raise CheckpointError("it is a zip archive, but not of torch.save (one data.pkl expected)")
    if entries[f"{found[0]}/data.pkl"].file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(f"its pickle is larger than {MAX_PICKLE_BYTES >> 20} MiB")
    return found[0]


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except _BAD_ZIP as error:
        raise CheckpointError(
            f"its archive is damaged ({str(error)[:120]}); download or save it again"
        ) from error


def _check_byte_order(mark: bytes) -> None:
    if mark != b"little":
        raise CheckpointError("it was saved on a big-endian machine; save it on a little-endian one")


def _open_stream(stream: BinaryIO, size: int) -> Contents:
    def header() -> object:
        return PickleMachine({}, lambda _: Stub("a storage")).run(stream, size)

    if header() != STREAM_MAGIC:
        raise CheckpointError("it is a pickle, but not one of torch.save; save the weights with torch.save")
    if header() != STREAM_PROTOCOL:
        raise CheckpointError("it has an unknown version of torch's stream format")
    system = header()
    if isinstance(system, dict) and system.get("little_endian") is False:
        _check_byte_order(b"big")
    storages: dict[str, StorageRecord] = {}

    def persistent(identity: object) -> object:
        record = storage_record(identity)
        if isinstance(record, StorageRecord):
            first = storages.setdefault(record.key, record)
            if (first.element, first.block) != (record.element, record.block):
                raise CheckpointError(f"storage {record.key} is declared twice, differently")
        return record

    root = PickleMachine(KNOWN, persistent).run(stream, size)
    places = _stream_places(stream, size, header(), storages)

    def block(storage: StorageRecord) -> bytearray:
        if storage.key not in places:
            raise CheckpointError(f"the data of storage {storage.key} is missing; the file is incomplete")
        stream.seek(places[storage.key])
        content = bytearray(storage.nbytes)
        if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise CheckpointError(f"the data of storage {storage.key} is cut off; download or save it again")
        return content

    return Contents("stream", root, block)


def _stream_places(
    stream: BinaryIO, size: int, keys: object, storages: dict[str, StorageRecord]
) -> dict[str, int]:
    """Return where each storage's bytes start: after a count of elements, one after the other."""
    places: dict[str, int] = {}
    for key in keys if isinstance(keys, list) else ():
        storage = storages.get(str(key)) if isinstance(key, (str, int)) else None
        if storage is None:
            # Its type, and so its length, stays unknown: what follows cannot be found.
            raise CheckpointError("it holds a storage of a type that is not supported (quantised?)")
        count = stream.read(8)
        if len(count) < 8 or stream.tell() + storage.nbytes > size:
            raise CheckpointError(f"it ends within storage {storage.key}; download or save it again")
        if struct.unpack("<q", count)[0] != storage.block:
            raise CheckpointError(f"storage {storage.key} has another size than its pickle says")
        places[storage.key] = stream.tell()
        stream.seek(storage.nbytes, io.SEEK_CUR)
    return places
