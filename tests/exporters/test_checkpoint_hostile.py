"""Checkpoints made by an adversary: nothing runs, nothing is imported, nothing large is allocated.

All files are put together by hand, so these tests need no torch.
"""

import importlib
import itertools
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import CheckpointError
from graphopt.exporters import pickle_machine
from graphopt.exporters.checkpoint import read_checkpoint

MAGIC = 0x1950A86A20F9469CFC6C
MEMORY = 64 << 20


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x0c" + value.to_bytes(12, "little", signed=True)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def mapping(**items: bytes) -> bytes:
    return b"}" + b"".join(text(key) + value + b"s" for key, value in items.items())


def whole(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def tensor(
    shape: list[int], strides: list[int], *, numel: int = 4, offset: int = 0, view: bytes = b""
) -> bytes:
    parts = [text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(numel)]
    storage = group(*parts, *([view] if view else [])) + b"Q"
    sizes = [group(*map(number, values)) for values in (shape, strides)]
    hooks = name("collections", "OrderedDict") + b")R"
    return (
        name("torch._utils", "_rebuild_tensor_v2")
        + group(storage, number(offset), *sizes, b"\x89", hooks)
        + b"R"
    )


def write_zip(path: Path, body: bytes, *, data: bytes = bytes(range(16))) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", "3\n")
    return path


def write_stream(path: Path, body: bytes, *, data: bytes = bytes(range(16)), numel: int = 4) -> Path:
    header = [pickle.dumps(item, 2) for item in (MAGIC, 1001, {"little_endian": True})]
    keys = pickle.dumps(["0"], 2)
    path.write_bytes(b"".join([*header, body, keys, struct.pack("<q", numel), data]))
    return path


GOOD = tensor([2, 2], [2, 1])
VALUES = np.frombuffer(bytes(range(16)), np.float32).reshape(2, 2)


@pytest.mark.parametrize("write", [write_zip, write_stream])
def test_a_file_put_together_by_hand_is_read(tmp_path: Path, write: Callable[[Path, bytes], Path]) -> None:
    path = write(tmp_path / "c.pth", whole(mapping(state_dict=mapping(w=GOOD))))
    np.testing.assert_array_equal(read_checkpoint(path).state_dict["w"], VALUES)


def test_a_view_of_a_storage_in_the_oldest_streams_is_read(tmp_path: Path) -> None:
    view = group(text("1"), number(1), number(2))
    part = tensor([2], [1], view=view)
    path = write_stream(tmp_path / "c.pth", whole(mapping(w=part, all=GOOD)))
    np.testing.assert_array_equal(read_checkpoint(path).state_dict["w"], VALUES.ravel()[1:3])
    beyond = write_stream(tmp_path / "d.pth", whole(mapping(w=tensor([3], [1], view=view))))
    with pytest.raises(CheckpointError, match="reaches element 3 of storage 0, which ends at 3"):
        read_checkpoint(beyond)


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function = function
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


def payloads(canary: Path) -> dict[str, bytes]:
    """Bodies of pickles, without header and end, that would make ``canary`` when run."""
    touch = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w')"
    system = name("os", "system")
    calls = {
        "os.system": Call(os.system, touch),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "subprocess": Call(subprocess.check_call, ["touch", str(canary)]),
        "open": Call(open, str(canary), "w"),
        "import": Call(importlib.import_module, "canary_module"),
    }
    bodies = {
        f"{label}, protocol {protocol}": pickle.dumps(call, protocol)[:-1]
        for label, call in calls.items()
        for protocol in range(6)
    }
    bodies |= {
        "GLOBAL posix": name("posix", "system") + group(text(touch)) + b"R",
        "GLOBAL nt names": name("os\\", "system") + group(text(touch)) + b"R",
        "STACK_GLOBAL": text("os") + text("system") + b"\x93" + group(text(touch)) + b"R",
        "STACK_GLOBAL dotted": text("graphopt.core.files")
        + text("os.system")
        + b"\x93"
        + group(text(touch))
        + b"R",
        "GLOBAL dotted": name("collections", "OrderedDict.__class__") + group(text(touch)) + b"R",
        "INST": b"(" + text(touch) + b"ios\nsystem\n",
        "getattr chain": name("builtins", "getattr")
        + group(name("shutil", "os"), text("system"))
        + b"R"
        + group(text(touch))
        + b"R",
        "OBJ": b"(" + system + text(touch) + b"o",
        "NEWOBJ": system + group(text(touch)) + b"\x81",
        "NEWOBJ_EX": system + group(text(touch)) + b"}\x92",
        "BUILD": name("canary_module", "Thing") + b")\x81" + mapping(command=text(touch)) + b"b",
        "BUILD slots": b"}" + b"N" + mapping(__class__=system) + b"\x86b",
        "BUILD a tensor": GOOD + mapping(__setstate__=system) + b"b",
        "reconstructor": name("copyreg", "_reconstructor")
        + group(system, name("builtins", "object"), b"N")
        + b"R",
        "from type": name("torch._tensor", "_rebuild_from_type_v2")
        + group(system, b"N", group(text(touch)), b"N")
        + b"R",
        "parameter": name("torch._utils", "_rebuild_parameter")
        + group(system + group(text(touch)) + b"R", b"\x88", b"N")
        + b"R",
        "torch.load": name("torch", "load") + group(text(str(canary))) + b"R",
        "load_from_bytes": name("torch.storage", "_load_from_bytes") + group(text("x")) + b"R",
        "persistent id": group(text("storage"), system, text("0"), text("cpu"), number(4)) + b"Q",
        "persistent module": group(text("module"), system, text("f.py"), text(code)) + b"Q",
        "module name": name("canary_module", "anything"),
        "import then tensor": name("canary_module", "x") + b"0" + GOOD,
    }
    return bodies


LABELS = sorted(payloads(Path("canary")))


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that nothing may make; a module on the path makes it when it is imported."""
    place = tmp_path / "canary"
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "canary_module.py").write_text(f"open({str(place)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(folder))
    return place


@pytest.mark.parametrize("label", LABELS)
def test_nothing_in_a_pickle_is_run(tmp_path: Path, canary: Path, label: str) -> None:
    payload = payloads(canary)[label]
    payload = payload[2:] if payload.startswith(b"\x80") else payload  # the header is not repeated
    bodies = {
        "root": payload,
        "meta": mapping(state_dict=mapping(w=GOOD), extra=payload),
        "weights": mapping(state_dict=mapping(w=GOOD, bad=payload)),
        "key": b"}" + payload + b"Ns" + text("w") + GOOD + b"s",
    }
    loaded = set(sys.modules)
    for (place, body), write in itertools.product(bodies.items(), (write_zip, write_stream)):
        path = write(tmp_path / "c.pth", whole(body))
        try:
            checkpoint = read_checkpoint(path)
            found = checkpoint.tensors()
        except CheckpointError as error:
            # Refusing is always right; where the payload is beside the weights, so is reading them.
            assert "cannot read checkpoint" in str(error)  # noqa: PT017
        else:
            assert place in ("meta", "weights", "key")
            np.testing.assert_array_equal(found["w"], VALUES)
    assert not canary.exists()
    assert "canary_module" not in set(sys.modules) - loaded


@pytest.mark.parametrize(
    "label",
    [
        "STACK_GLOBAL",
        "INST",
        "OBJ",
        "GLOBAL posix",
        "getattr chain",
        "os.system, protocol 0",
        "open, protocol 5",
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_canary_would_be_made_by_a_real_unpickler(canary: Path, label: str) -> None:
    pickle.loads(payloads(canary)[label] + b".")
    assert canary.exists()


def bombs() -> dict[str, bytes]:
    doubling = b"]" + b"".join(b"q%c(h%ch%cl" % (i, i, i) for i in range(60))
    collisions = b"}(" + b"".join(number(k * ((1 << 61) - 1)) + b"N" for k in range(7, 7 + 8_000)) + b"u"
    nested = b")" + b"\x85" * 30_000
    from_type = name("torch._tensor", "_rebuild_from_type_v2")
    deep = group(b"N")
    for _ in range(2000):
        deep = group(from_type, b"N", deep, b"N")
    huge = 1 << 61
    return {
        "memo index": b"Nr\xff\xff\xff\xff0" + mapping(w=GOOD),
        "memo index, text": b"Np999999999999\n0" + mapping(w=GOOD),
        "bytes of a terabyte": b"\x8e" + struct.pack("<Q", 1 << 40) + b"x",
        "text of 4 GB": b"X\xff\xff\xff\xffx",
        "bytearray": b"\x96" + struct.pack("<Q", 1 << 62) + b"x",
        "long of 2 GB": b"\x8b\xff\xff\xff\x7fx",
        "storage of 2^61": mapping(w=tensor([huge], [1], numel=huge)),
        "storage beyond its data": mapping(w=tensor([5], [1], numel=5)),
        "tensor beyond its storage": mapping(w=tensor([5], [1])),
        "stride beyond its storage": mapping(w=tensor([2, 2], [3, 1])),
        "offset beyond its storage": mapping(w=tensor([2], [1], offset=3)),
        "negative offset": mapping(w=tensor([2], [1], offset=-1)),
        "negative stride": mapping(w=tensor([2], [-1], offset=3)),
        "negative size": mapping(w=tensor([-2, -2], [1, 1])),
        "stride 0": mapping(w=tensor([huge], [0])),
        "stride 0, many times": mapping(**{f"w{i}": tensor([200_000], [0]) for i in range(100)}),
        "rank": mapping(w=tensor([1] * 60, [1] * 60)),
        "sizes that are no numbers": mapping(
            w=GOOD.replace(group(number(2), number(2)), group(b"N", text("x")))
        ),
        "nested key": mapping(w=GOOD, x=b"}" + nested + b"Ns"),
        "nested meta": mapping(w=GOOD, x=nested),
        "doubling": mapping(w=GOOD, x=doubling),
        "doubling as a key": mapping(w=GOOD, x=b"}" + doubling + b"Ns"),
        "colliding keys": mapping(w=GOOD, x=collisions),
        "nested rebuild": mapping(w=GOOD, x=from_type + deep + b"R"),
        "large integer": mapping(w=GOOD, x=b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000),
        "decimal": mapping(w=GOOD, x=b"L" + b"9" * 60_000 + b"L\n"),
        "storage key": mapping(
            w=group(
                text("storage"),
                name("torch", "FloatStorage"),
                b"\x8b" + struct.pack("<i", 9999) + b"\x7f" * 9999,
            )
            + b"Q"
        ),
        "extension": mapping(w=b"\x82\x01"),
        "underflow": b"R",
        "unopened group": b"t",
        "nothing": b"",
        "no end": b"]" * 10,
        "numpy of another size": mapping(
            w=name("numpy.core.multiarray", "_reconstruct")
            + group(b"N")
            + b"R"
            + group(
                number(1),
                group(number(huge)),
                name("numpy", "dtype") + group(text("f8")) + b"R",
                b"\x89",
                text("x" * 8),
            )
            + b"b"
        ),
    }


@pytest.mark.parametrize("write", [write_zip, write_stream])
@pytest.mark.parametrize("label", sorted(bombs()))
def test_bombs_cost_neither_memory_nor_time(
    tmp_path: Path, write: Callable[[Path, bytes], Path], label: str
) -> None:
    path = write(tmp_path / "c.pth", whole(bombs()[label]))
    tracemalloc.start()
    try:
        checkpoint = read_checkpoint(path)
        found = checkpoint.tensors()
        np.testing.assert_array_equal(found["w"], VALUES)
    except CheckpointError as error:
        assert len(str(error)) < 1000  # noqa: PT017  (either way is fine)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY


REFUSED = {
    "bytes of a terabyte": "bytes8|only",
    "storage of 2^61": "its tensors would take 9223372036854775808 bytes, the file has",
    "storage beyond its data": "storage 0",
    "tensor beyond its storage": "reaches element 4 of storage 0, which ends at 4",
    "stride beyond its storage": "reaches element 4 of storage 0",
    "offset beyond its storage": "reaches element 4 of storage 0",
    "negative offset": "make no sense",
    "negative stride": "make no sense",
    "negative size": "make no sense",
    "stride 0": "its tensors would take",
    "stride 0, many times": "its tensors would take",
    "rank": "make no sense",
    "extension": "EXT1, which no checkpoint needs",
    "numpy of another size": "numpy array",
}


@pytest.mark.parametrize("label", sorted(REFUSED))
def test_bombs_are_refused_with_the_reason(tmp_path: Path, label: str) -> None:
    path = write_zip(tmp_path / "c.pth", whole(bombs()[label]))
    with pytest.raises(CheckpointError, match=REFUSED[label]):
        read_checkpoint(path).tensors()


def test_a_pickle_with_too_many_operations_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "c.pth", whole(mapping(w=GOOD)))
    monkeypatch.setattr(pickle_machine, "MAX_OPERATIONS", 20)
    with pytest.raises(CheckpointError, match="more than 20 operations"):
        read_checkpoint(path)


def test_meta_data_is_plain_and_cut_off(tmp_path: Path) -> None:
    items = mapping(
        epoch=number(7),
        config=text("c" * 100_000),
        thing=name("mmcv.utils.config", "ConfigDict") + b")R",
        large=b"\x8b" + struct.pack("<i", 9) + b"\x7f" * 9,
        w=GOOD,
    )
    meta = read_checkpoint(write_zip(tmp_path / "c.pth", whole(items))).meta
    assert meta["epoch"] == 7
    assert len(meta["config"]) == 1 << 16
    assert meta["thing"] == "<mmcv.utils.config.ConfigDict>"
    assert meta["large"] == "..."
    assert "w" not in meta
