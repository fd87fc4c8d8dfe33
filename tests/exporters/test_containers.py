"""The containers of checkpoints: archives and streams that lie, and files of another kind.

All files are put together by hand, so these tests need no torch.
"""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import CheckpointError
from graphopt.exporters.checkpoint import read_checkpoint

MAGIC = 0x1950A86A20F9469CFC6C
DATA = bytes(range(16))
VALUES = np.frombuffer(DATA, np.float32).reshape(2, 2)

# {"w": a tensor of shape 2, 2 on storage "0"}
BODY = (
    b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n"
    b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    b"K\x00(K\x02K\x02t(K\x02K\x01t\x89NtRs."
)


def header(*, little_endian: bool = True, protocol: int = 1001) -> bytes:
    items = (MAGIC, protocol, {"little_endian": little_endian})
    return b"".join(pickle.dumps(item, 2) for item in items)


def stream(*, keys: tuple[str, ...] = ("0",), numel: int = 4, data: bytes = DATA) -> bytes:
    return header() + BODY + pickle.dumps(list(keys), 2) + struct.pack("<q", numel) + data


def _archive(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return buffer.getvalue()


def _overlapping() -> bytes:
    """Two names for one entry, in an archive that thus declares more than it has."""
    content = _archive([("archive/data.pkl", BODY), ("archive/data/0", DATA * 200), ("archive/data/1", b"")])
    start = content.index(b"PK\x01\x02")
    records = content[start:].split(b"PK\x01\x02")[1:]
    second, third = records[1], records[2]
    # The empty entry takes the other's size, checksum and place.
    forged = third[:12] + second[12:24] + third[24:38] + second[38:42] + third[42:]
    return content[:start] + b"".join(b"PK\x01\x02" + record for record in (records[0], second, forged))


ARCHIVES = {
    "deflated": (
        _archive([("archive/data.pkl", BODY), ("archive/data/0", DATA)], zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "overlapping": (_overlapping(), "declares"),
    "no data": (_archive([("archive/data.pkl", BODY)]), "storage 0 is missing"),
    "short data": (_archive([("archive/data.pkl", BODY), ("archive/data/0", DATA[:7])]), "the file has 7"),
    "no pickle": (_archive([("archive/data/0", DATA)]), "not of torch.save"),
    "two pickles": (_archive([("a/data.pkl", BODY), ("b/data.pkl", BODY)]), "not of torch.save"),
    "climbing": (_archive([("../data.pkl", BODY), ("../data/0", DATA)]), ""),
    "big-endian": (
        _archive([("a/data.pkl", BODY), ("a/data/0", DATA), ("a/byteorder", b"big")]),
        "big-endian machine",
    ),
    "program": (_archive([("a/data.pkl", BODY), ("a/constants.pkl", b"")]), "TorchScript program"),
}


@pytest.mark.parametrize("label", sorted(set(ARCHIVES) - {"climbing"}))
def test_archives_that_lie_are_refused(tmp_path: Path, label: str) -> None:
    content, reason = ARCHIVES[label]
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path / "c.pth").tensors()


def test_names_that_climb_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (folder / "c.pth").write_bytes(ARCHIVES["climbing"][0])
    np.testing.assert_array_equal(read_checkpoint(folder / "c.pth").state_dict["w"], VALUES)
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    content = _archive([("a/data.pkl", BODY), ("a/data/0", DATA), ("a/data/0", DATA)])
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="two entries of one name"):
        read_checkpoint(tmp_path / "c.pth")


def test_an_honest_archive_and_an_honest_stream_are_read(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    for content in (
        _archive([("x/data.pkl", BODY), ("x/data/0", DATA), ("x/byteorder", b"little")]),
        stream(),
    ):
        path.write_bytes(content)
        np.testing.assert_array_equal(read_checkpoint(path).state_dict["w"], VALUES)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (stream(numel=3), "another size than its pickle says"),
        (stream(numel=-1), "another size than its pickle says"),
        (stream(data=DATA[:15]), "ends within storage 0"),
        (stream(keys=("1",)), "not supported"),
        (stream(keys=()), "storage 0 is missing"),
        (header(little_endian=False) + BODY, "big-endian"),
        (header(protocol=1002) + BODY, "unknown version"),
    ],
)
def test_streams_that_lie_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path / "c.pth").tensors()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"just some text, renamed\n", "not written by torch.save"),
        (b"<!DOCTYPE html><html>login please</html>", "not written by torch.save"),
        (b"PK\x03\x04 and then nothing", "archive is damaged"),
        (pickle.dumps({"w": 1}, 2), "not one of torch.save"),
        (pickle.dumps(MAGIC, 2), "damaged"),
        (b"x" * 257 + b"ustar\x0000" + b"x" * 500, "tar format"),
    ],
)
def test_files_of_another_kind_are_refused_with_advice(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path / "c.pth")


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing\.pth: No such file"):
        read_checkpoint(tmp_path / "missing.pth")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(tmp_path / "pipe")
