"""Bad input and bad luck: a clear message, the right exit code, no partial output, input untouched."""

import errno
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from graphopt import cli


def weighty_model(path: Path, *, megabytes: int, external: str = "") -> Path:
    """A Pad that pads nothing, and a MatMul with a large weight."""
    rows = megabytes * 250
    weight = np.random.default_rng(7).standard_normal((rows, 1000), dtype=np.float32)
    tensor = numpy_helper.from_array(weight, "weight")
    pads = numpy_helper.from_array(np.zeros(4, np.int64), "pads")
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "pads"], ["padded"], name="Pad_0"),
            helper.make_node("MatMul", ["padded", "weight"], ["y"], name="MatMul_1"),
        ],
        "weighty",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 1000])],
        [tensor, pads],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    if external:
        onnx.save(model, path, save_as_external_data=True, location=external, size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def apply(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "graphopt", "apply", *map(str, arguments), "--passes", "remove_pad"]
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return weighty_model(tmp_path / "m.onnx", megabytes=1)


def missing(folder: Path) -> Path:
    return folder / "nowhere.onnx"


def a_folder(folder: Path) -> Path:
    (folder / "folder.onnx").mkdir()
    return folder / "folder.onnx"


def empty(folder: Path) -> Path:
    (folder / "empty.onnx").touch()
    return folder / "empty.onnx"


def text(folder: Path) -> Path:
    (folder / "text.onnx").write_text("This is a README, renamed.\n" * 20)
    return folder / "text.onnx"


def truncated(folder: Path) -> Path:
    whole = weighty_model(folder / "whole.onnx", megabytes=1).read_bytes()
    (folder / "whole.onnx").unlink()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) * 2 // 3])
    return folder / "truncated.onnx"


def data_missing(folder: Path) -> Path:
    path = weighty_model(folder / "split.onnx", megabytes=1, external="split.data")
    (folder / "split.data").unlink()
    return path


def data_outside(folder: Path) -> Path:
    inner = folder / "inner"
    inner.mkdir()
    path = weighty_model(inner / "split.onnx", megabytes=1, external="split.data")
    (inner / "split.data").rename(folder / "secret.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret.data"
    onnx.save(model, path)
    return path


def another_protobuf(folder: Path) -> Path:
    (folder / "tensor.onnx").write_bytes(numpy_helper.from_array(np.ones(3), "t").SerializeToString())
    return folder / "tensor.onnx"


KINDS: dict[Callable[[Path], Path], str] = {
    missing: "does not exist",
    a_folder: "folder",
    empty: "empty",
    text: "text file",
    truncated: "truncated",
    data_missing: "split.data",
    data_outside: "secret.data",
    another_protobuf: "ONNX",
}
VERBS = {
    "inspect": ["MODEL"],
    "validate": ["MODEL", "openvino:MODEL"],
    "compile": ["MODEL", "--target", "onnxruntime"],
    "support": ["MODEL", "--soc", "310P3"],
    "run": ["MODEL", "x.png", "--recipe", "deepmar"],
    "bench": ["MODEL"],
    "bundle": ["MODEL", "--recipe", "deepmar"],
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_an_unusable_model_is_refused_with_the_reason(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = apply(path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert path.name in done.stderr
    assert KINDS[make] in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("make", [truncated, data_outside], ids=lambda make: make.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_an_unusable_model(
    make: Callable[[Path], Path], verb: str, tmp_path: Path
) -> None:
    path = make(tmp_path)
    Image.new("RGB", (9, 7)).save(tmp_path / "x.png")
    before = sorted(tmp_path.rglob("*"))
    arguments = [word.replace("MODEL", str(path)) for word in VERBS[verb]]
    argv = [sys.executable, "-m", "graphopt", verb, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert path.name in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_no_verb_was_forgotten_in_errors_without_arguments() -> None:
    others = ("apply", "evaluate", "prepare", "pipeline")
    for verb in (*VERBS, *others):
        argv = [sys.executable, "-m", "graphopt", verb]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, verb
        assert "Traceback" not in done.stderr


def test_the_output_must_not_be_the_input(model: Path) -> None:
    before = digest(model)
    done = apply(model, "-o", model, "--force")
    assert done.returncode == 2
    assert "is the input" in done.stderr
    link = model.with_name("link.onnx")
    link.symlink_to(model)
    done = apply(model, "-o", link, "--force")
    assert done.returncode == 2
    assert digest(model) == before


def test_an_output_in_no_folder_is_refused_before_any_work(model: Path) -> None:
    done = apply(model, "-o", model.parent / "no" / "out.onnx")
    assert done.returncode == 2
    assert "does not exist" in done.stderr


def test_an_output_that_is_a_folder_is_refused(model: Path) -> None:
    done = apply(model, "-o", model.parent)
    assert done.returncode == 2
    assert "is a folder" in done.stderr


def test_an_unwritable_folder_is_said(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Root may write anywhere, so the answer of the system is put in its mouth.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    monkeypatch.setattr(sys, "argv", ["graphopt", "apply", str(model), "--passes", "remove_pad"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "no permission to write" in capfd.readouterr().err
    assert [path.name for path in model.parent.iterdir()] == ["m.onnx"]


def test_a_full_disk_is_said_and_leaves_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = digest(model)
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(sys, "argv", ["graphopt", "apply", str(model), "--passes", "remove_pad"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "disk is full" in capfd.readouterr().err
    assert [path.name for path in model.parent.iterdir()] == ["m.onnx"]
    assert digest(model) == before


def test_a_write_that_stops_half_way_leaves_nothing(model: Path) -> None:
    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    argv = [sys.executable, "-m", "graphopt", "apply", str(model), "--passes", "remove_pad"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, preexec_fn=small_files_only)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in model.parent.iterdir()] == ["m.onnx"]


@pytest.mark.slow
def test_kill_9_at_20_random_moments_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    source = weighty_model(tmp_path / "m.onnx", megabytes=40)
    untouched = digest(source)
    output = tmp_path / "out.onnx"
    start = time.monotonic()
    assert apply(source, "-o", output).returncode == 0
    lasts = time.monotonic() - start
    new = digest(output)
    old = hashlib.sha256(b"the old file").hexdigest()
    moments = random.Random(7)
    seen = set()
    for _ in range(20):
        output.write_bytes(b"the old file")
        argv = [sys.executable, "-m", "graphopt", "apply", str(source), "-o", str(output), "--force"]
        process = subprocess.Popen(
            [*argv, "--passes", "remove_pad"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(moments.uniform(0.2, 1.05) * lasts)
        process.kill()
        process.wait(timeout=60)
        found = digest(output)
        assert found in (old, new)
        seen.add(found)
        assert digest(source) == untouched
    assert apply(source, "-o", output, "--force").returncode == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"m.onnx", "out.onnx", "out.onnx.json"}, "temporaries of dead processes stay"


@pytest.mark.parametrize("verb", ["apply", "compile"])
def test_this_folder_is_no_model(verb: str, tmp_path: Path) -> None:
    options = {"apply": ["--passes", "remove_pad"], "compile": ["--target", "openvino"]}[verb]
    argv = [sys.executable, "-m", "graphopt", verb, ".", *options]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert ". is a folder" in done.stderr


def test_inputs_that_hold_nan_are_refused(model: Path) -> None:
    np.savez(model.with_name("nan.npz"), x=np.full((3, 250), np.nan, np.float32))
    done = apply(model, "--data", model.with_name("nan.npz"))
    assert done.returncode == 2
    assert "NaN" in done.stderr


def test_a_chip_that_is_none_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "graphopt", "pipeline", "deepmar", "--demo", "--soc", "31", "-o", "run"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert "'31' is a family" in done.stderr
    assert list(tmp_path.iterdir()) == []
