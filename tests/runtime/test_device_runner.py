"""The runner as the device box starts it: a script in a bundle, on this Python and on an old one."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import Step
from graphopt.core.tensors import TensorSpec
from graphopt.runtime import device_runner
from graphopt.runtime.bundle import BundleModel, GoldenSample, write_bundle
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.device_runner import RunnerError
from graphopt.runtime.performance import read_performance
from graphopt.runtime.predictions import predict
from graphopt.runtime.prepare import prepare
from graphopt.runtime.results_folder import read_results
from graphopt.runtime.sessions import open_session

FAKES = Path(__file__).resolve().parents[1] / "fakes"
SOURCE = Path(str(device_runner.__file__))
TOLERANCE = Tolerance(atol=1e-5, rtol=1e-4, why="float32 sums in another order")
OM_INPUTS = [["image", [2, 3, 7, 5], "float32"]]
OM_OUTPUTS: list[Any] = [["count", [2], "float32", 2.0], ["logits", [2, 4], "float32", 0.25]]


class _Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., _Done]:
    """Run in this process: the same code without the seconds that a new one takes."""

    def run(bundle: Path, *options: str) -> _Done:
        code = device_runner.main(["--bundle", str(bundle), *options])
        captured = capsys.readouterr()
        return _Done(code, captured.out, captured.err)

    return run


def _assert_close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def _script(bundle: Path, *options: str, python: str = sys.executable, **environment: str) -> Any:
    return subprocess.run(
        [python, str(bundle / "device_runner.py"), *options],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=bundle.parent,
        env={**os.environ, "PYTHONPATH": str(FAKES), **environment},
    )


@pytest.fixture
def onnx_bundle(
    peta_folder: Path, steps: tuple[Step, ...], write_model: Callable[..., Path], tmp_path: Path
) -> Path:
    """Batch 2, five images: the last batch is partial; golden rows from another session."""
    model = write_model(batch=2)
    image = np.random.default_rng(0).standard_normal((2, 3, 7, 5)).astype(np.float32)
    with open_session(model, optimize=False) as session:
        golden: list[GoldenSample] = [({"image": image}, session.run({"image": image}))]
        inputs, outputs = session.inputs, session.outputs
    write_bundle(
        tmp_path / "bundle",
        name="small",
        models=[BundleModel(backend="onnxruntime", name="small.onnx", path=model, tolerance=TOLERANCE)],
        inputs=inputs,
        outputs=outputs,
        batch=2,
        golden=golden,
        steps=steps,
        prepared=prepare(PetaDataset(peta_folder), steps, tmp_path / "prepared", width=5, height=7),
    )
    return tmp_path / "bundle"


@pytest.fixture
def acl_bundle(fake_acl: ModuleType, peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path) -> Path:
    """A fake ``.om`` whose outputs come in another order than the bundle's."""
    om = tmp_path / "small.om"
    om.write_text(fake_acl.model_text(OM_INPUTS, OM_OUTPUTS))
    image = np.random.default_rng(0).integers(-4, 5, (2, 3, 7, 5)).astype(np.float32)
    results: dict[str, Any] = {
        name: fake_acl.expected_output([image], dims, dtype, scale) for name, dims, dtype, scale in OM_OUTPUTS
    }
    write_bundle(
        tmp_path / "bundle",
        name="small",
        models=[BundleModel(backend="acl", name="small.om", path=om, tolerance=TOLERANCE)],
        inputs=[TensorSpec(name="image", shape=("batch", 3, 7, 5), dtype="float32")],
        outputs=[
            TensorSpec(name="logits", shape=("batch", 4), dtype="float32", role="attributes"),
            TensorSpec(name="count", shape=("batch",), dtype="float32"),
        ],
        batch=2,
        golden=[({"image": image}, results)],
        steps=steps,
        prepared=prepare(PetaDataset(peta_folder), steps, tmp_path / "prepared", width=5, height=7),
    )
    return tmp_path / "bundle"


def test_the_file_is_python_3_7_and_needs_only_numpy() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 7))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy"}


def test_results_equal_those_of_this_machine(
    onnx_bundle: Path, peta_folder: Path, steps: tuple[Step, ...]
) -> None:
    done = _script(onnx_bundle)
    assert done.returncode == 0, done.stderr
    assert "ok   logits: 2 samples" in done.stdout
    assert "5 samples into" in done.stdout
    dataset = PetaDataset(peta_folder)
    stems = [Path(name).stem for name in dataset.names]
    with open_session(onnx_bundle / "small.onnx") as session:
        wanted = predict(session, dataset, steps)
        got = read_results(onnx_bundle, session.outputs, stems, batch=2)
    _assert_close(got.outputs["logits"], wanted.outputs["logits"])
    files = sorted(path.name for path in (onnx_bundle / "results").iterdir())
    assert files == sorted([f"{stem}_0.bin" for stem in stems] + ["index.json"])
    index = json.loads((onnx_bundle / "results" / "index.json").read_text())
    assert index["model"] == "small.onnx"
    assert index["outputs"] == [{"name": "logits", "dtype": "float32", "shape": [4]}]
    (timing,) = read_performance(onnx_bundle / "results")
    assert (timing.tool, timing.batch, timing.pure) == ("ais_bench", 2, False)
    assert timing.throughput > 0


def test_check_alone_writes_nothing(call: Callable[..., _Done], onnx_bundle: Path) -> None:
    done = call(onnx_bundle, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok   logits" in done.stdout
    assert not (onnx_bundle / "results").exists()


def test_limit_and_output(call: Callable[..., _Done], onnx_bundle: Path, tmp_path: Path) -> None:
    done = call(onnx_bundle, "--limit", "3", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*_0.bin"))) == 3
    assert (tmp_path / "out_summary.json").is_file()
    assert call(onnx_bundle, "--limit", "0").returncode == 2


def test_older_results_are_replaced_only_by_force(call: Callable[..., _Done], onnx_bundle: Path) -> None:
    assert call(onnx_bundle).returncode == 0
    done = call(onnx_bundle, "--limit", "1")
    assert (done.returncode, "--force" in done.stderr) == (2, True)
    assert len(list((onnx_bundle / "results").glob("*.bin"))) == 5
    assert call(onnx_bundle, "--limit", "1", "--force").returncode == 0
    assert len(list((onnx_bundle / "results").glob("*.bin"))) == 1


def _edit_golden(bundle: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(bundle / "golden.npz") as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    change(arrays)
    np.savez(bundle / "golden.npz", **arrays)


def _scale(arrays: dict[str, np.ndarray]) -> None:
    arrays["output_0"] = arrays["output_0"] * np.float32(1.01)


def _nan(arrays: dict[str, np.ndarray]) -> None:
    arrays["output_0"][0, 0] = np.nan


def _swap(arrays: dict[str, np.ndarray]) -> None:
    arrays["input_0"] = arrays["input_0"][:, ::-1]


def _shape(arrays: dict[str, np.ndarray]) -> None:
    arrays["output_0"] = arrays["output_0"][:, :3]


@pytest.mark.parametrize("change", [_scale, _nan, _swap, _shape])
def test_golden_outputs_that_differ_stop_everything(
    call: Callable[..., _Done], onnx_bundle: Path, change: Callable[[dict[str, np.ndarray]], None]
) -> None:
    _edit_golden(onnx_bundle, change)
    done = call(onnx_bundle)
    assert done.returncode == 1, done.stderr
    assert "FAIL logits" in done.stdout
    assert not (onnx_bundle / "results").exists()


def _edit_bundle(bundle: Path, **changes: Any) -> None:
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_bad_bundles_are_named(call: Callable[..., _Done], onnx_bundle: Path) -> None:
    model = onnx_bundle / "small.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    done = call(onnx_bundle)
    assert (done.returncode, "small.onnx is damaged" in done.stderr) == (2, True)
    model.unlink()
    done = call(onnx_bundle)
    assert (done.returncode, "is not here; compile it first" in done.stderr) == (2, True)
    model.write_bytes(whole)
    (onnx_bundle / "golden.npz").write_bytes(b"PK\x03\x04")
    done = call(onnx_bundle)
    assert (done.returncode, "golden.npz cannot be read" in done.stderr) == (2, True)
    _edit_bundle(onnx_bundle, golden="../golden.npz")
    done = call(onnx_bundle)
    assert (done.returncode, "outside of the bundle" in done.stderr) == (2, True)
    _edit_bundle(onnx_bundle, bundle_version=99)
    done = call(onnx_bundle)
    assert (done.returncode, "version 99" in done.stderr) == (2, True)
    (onnx_bundle / "bundle.json").write_text("{")
    assert call(onnx_bundle).returncode == 2
    (onnx_bundle / "bundle.json").unlink()
    done = call(onnx_bundle)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_bad_inputs_leave_no_results(call: Callable[..., _Done], onnx_bundle: Path) -> None:
    path = onnx_bundle / "inputs" / "input_bin" / "00040.bin"
    path.unlink()  # a link to the prepared file, which stays
    done = call(onnx_bundle)
    assert (done.returncode, "1 prepared inputs are missing" in done.stderr) == (2, True)
    path.write_bytes(b"\0" * 419)
    done = call(onnx_bundle)
    assert (done.returncode, "00040.bin has 419 bytes, one sample of image takes 420" in done.stderr) == (
        2,
        True,
    )
    assert sorted(item.name for item in onnx_bundle.iterdir() if "results" in item.name) == []


def test_a_model_of_another_batch_is_refused(
    call: Callable[..., _Done], onnx_bundle: Path, write_model: Callable[..., Path]
) -> None:
    shutil.copy(write_model("other.onnx", batch=3), onnx_bundle / "small.onnx")
    content = json.loads((onnx_bundle / "bundle.json").read_text())
    content["models"][0]["sha256"] = ""
    (onnx_bundle / "bundle.json").write_text(json.dumps(content))
    done = call(onnx_bundle)
    assert (done.returncode, "is this the model of this batch size?" in done.stderr) == (2, True)


def test_without_the_backend_the_exit_code_says_so(acl_bundle: Path) -> None:
    done = _script(acl_bundle, "--backend", "acl", PYTHONPATH="")
    assert (done.returncode, "set_env.sh" in done.stderr) == (3, True)
    done = _script(acl_bundle, "--backend", "onnxruntime")
    assert (done.returncode, "no model for the backend onnxruntime" in done.stderr) == (2, True)


def test_acl_outputs_are_bound_by_name_and_nothing_leaks(
    fake_acl: ModuleType, acl_bundle: Path, peta_folder: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    done = _script(acl_bundle, FAKE_ACL_REPORT=str(report))
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["leaks"] == {}
    dataset = PetaDataset(peta_folder)
    specs = [TensorSpec(name=n, shape=("batch", *d[1:]), dtype=t) for n, d, t, _ in OM_OUTPUTS]
    got = read_results(acl_bundle, specs, [Path(name).stem for name in dataset.names], batch=2)
    for row, name in enumerate(dataset.names):
        raw = acl_bundle / "inputs" / "input_bin" / f"{Path(name).stem}.bin"
        fed = np.fromfile(raw, np.float32).reshape(1, 3, 7, 5)
        for output, dims, dtype, scale in OM_OUTPUTS:
            wanted = fake_acl.expected_output([fed], [1, *dims[1:]], dtype, scale)[0]
            _assert_close(got.outputs[output][row], wanted)


def test_a_failing_device_is_reported_and_leaves_no_results(acl_bundle: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert _script(acl_bundle, FAKE_ACL_REPORT=str(report)).returncode == 0
    calls = json.loads(report.read_text())["calls"]
    shutil.rmtree(acl_bundle / "results")
    # Opening, the golden check, a run of the data set, and the very last call.
    for number in (1, 9, calls // 2, calls - 20, calls):
        done = _script(acl_bundle, FAKE_ACL_REPORT=str(report), FAKE_ACL_FAIL_AT=str(number))
        assert done.returncode == 4, (number, done.stdout, done.stderr)
        assert "error: acl." in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(acl_bundle.glob("*.partial"))
        shutil.rmtree(acl_bundle / "results", ignore_errors=True)


def test_outputs_with_changed_names_are_bound_by_shape_if_unique() -> None:
    spec = {"name": "a", "shape": [2, 4], "dtype": "float32"}
    other = {"name": "b", "shape": [2, 5], "dtype": "float32"}
    found: list[device_runner.Tensor] = [("x", [2, 5], "float16"), ("y", [2, 4], "float32")]
    assert device_runner._bind(found, [spec, other], "output") == [1, 0]
    with pytest.raises(RunnerError, match="fits several"):
        device_runner._bind([("x", [2, 4], "float32"), ("y", [2, 4], "float32")], [spec, other], "output")
    with pytest.raises(RunnerError, match="fits none"):
        device_runner._bind([("x", [2, 9], "float32"), ("y", [2, 5], "float32")], [spec, other], "output")
    with pytest.raises(RunnerError, match="the model has 1 outputs"):
        device_runner._bind([("a", [2, 4], "float32")], [spec, other], "output")


def test_comparison_fails_on_what_it_must() -> None:
    bounds = {"atol": 1e-6, "rtol": 1e-3, "peak": 0.0}
    a = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    assert device_runner.compare(a, a.copy(), bounds) == (0.0, 0.0, "")
    assert device_runner.compare(a, a * 1.01, bounds)[2]
    assert device_runner.compare(a, a[:, ::-1], bounds)[2]
    assert device_runner.compare(a, a[:2], bounds)[2]
    broken = a.copy()
    broken[1, 1] = np.nan
    assert "NaN" in device_runner.compare(a, broken, bounds)[2]
    assert "NaN" in device_runner.compare(broken, broken, bounds)[2]
    counts = np.arange(5)
    assert device_runner.compare(counts, counts + (counts == 3), bounds)[2] == "1 elements differ"
    assert device_runner.compare(a[:0], a[:0], bounds)[2]


def _old_pythons() -> list[str]:
    """Interpreters of 3.7 or 3.8: GRAPHOPT_OLD_PYTHON, else what the PATH and pyenv offer."""
    if named := os.environ.get("GRAPHOPT_OLD_PYTHON"):
        return [named]
    found = [shutil.which(name) for name in ("python3.7", "python3.8")]
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if Path(folder).name == "shims":
            found += [str(path) for path in Path(folder).parent.glob("versions/3.[78].*/bin/python")]
    return [path for path in found if path]


def _old_python_with(module: str) -> str:
    code = f"import sys, numpy, {module}; sys.exit(not (3, 7) <= sys.version_info[:2] <= (3, 8))"
    for python in _old_pythons():
        if subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0:
            return python
    pytest.skip(f"no Python 3.7 or 3.8 with numpy and {module} here; name one in GRAPHOPT_OLD_PYTHON")


def test_runs_on_an_old_python_with_acl(acl_bundle: Path, tmp_path: Path) -> None:
    python, report = _old_python_with("json"), tmp_path / "report.json"
    done = _script(acl_bundle, python=python, FAKE_ACL_REPORT=str(report))
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["leaks"] == {}
    assert len(list((acl_bundle / "results").glob("*.bin"))) == 10


def test_runs_on_an_old_python_with_onnxruntime(onnx_bundle: Path) -> None:
    done = _script(onnx_bundle, python=_old_python_with("onnxruntime"))
    assert done.returncode == 0, done.stderr
    assert "ok   logits: 2 samples" in done.stdout
    assert len(list((onnx_bundle / "results").glob("*.bin"))) == 5


def test_an_interrupt_leaves_no_results(
    call: Callable[..., _Done], onnx_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(device_runner, "_show_progress", interrupted)
    done = call(onnx_bundle)
    assert (done.returncode, "interrupted" in done.stderr) == (130, True)
    assert [path for path in onnx_bundle.iterdir() if "results" in path.name] == []


def _masks(seed: int = 3) -> Any:
    return np.random.default_rng(seed).standard_normal((2, 5, 7, 3)).astype(np.float32)


class _Model:
    """Stands for a bound model that says what it is told."""

    def __init__(self, says: Any) -> None:
        self._says = says

    def rows(self, arrays: Any, count: int) -> Any:
        return [[row] for row in self._says[:count]]


@pytest.mark.parametrize(
    ("role", "agreement", "change", "passes"),
    [
        ("masks", 0.99, lambda logits: logits * np.float32(1.3), True),  # another size, the same classes
        ("masks", None, lambda logits: logits * np.float32(1.3), False),
        ("", 0.99, lambda logits: logits * np.float32(1.3), False),
        ("masks", 0.99, lambda logits: logits[:, ::-1], False),  # other classes
        ("masks", 0.99, lambda logits: logits * np.float32(np.nan), False),
        ("masks", None, lambda logits: logits, True),
    ],
)
def test_masks_may_leave_the_bound_where_they_keep_their_classes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    role: str,
    agreement: float | None,
    change: Callable[[Any], Any],
    passes: bool,
) -> None:
    image = np.zeros((2, 3), np.float32)
    write_bundle(
        tmp_path / "bundle",
        name="small",
        models=[BundleModel(backend="acl", name="m.om", path=None, tolerance=TOLERANCE, agreement=agreement)],
        inputs=[TensorSpec(name="image", shape=("b", 3), dtype="float32")],
        outputs=[TensorSpec(name="output", shape=("b", 5, 7, 3), dtype="float32", role=role)],
        batch=2,
        golden=[({"image": image}, {"output": _masks()})],
        steps=(),
    )
    bundle = device_runner.Bundle(str(tmp_path / "bundle"))
    model: Any = _Model(change(_masks()))
    assert device_runner.check_golden(model, bundle, bundle.tolerance["acl"]) is passes
    said = capsys.readouterr().out
    assert said.startswith("ok  " if passes else "FAIL")
    if passes and agreement is not None:
        assert "100.000% of the pixels keep their class" in said


DETS = np.array(
    [[10, 10, 50, 60, 0.9], [200, 20, 260, 90, 0.8], [12, 11, 50, 61, 0.8], [0, 0, 0, 0, 0]], np.float32
)
LABELS = np.array([3, 3, 7, 0], np.int64)


def _swapped(dets: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return dets[[0, 2, 1, 3]], labels[[0, 2, 1, 3]]


def _moved(dets: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    dets = dets.copy()
    dets[1, :4] += 30
    return dets, labels


def _missing(dets: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([dets[:2], dets[3:], dets[3:]]), np.concatenate(
        [labels[:2], labels[3:], labels[3:]]
    )


def _other_class(dets: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return dets, np.where(labels == 7, 8, labels)


@pytest.mark.parametrize(
    ("change", "agreement", "passes"),
    [
        (_swapped, None, True),
        (_moved, None, False),
        (_missing, None, False),
        (_other_class, None, False),
        (_other_class, 0.6, True),
        (_other_class, 0.7, False),
    ],
)
def test_detections_are_compared_in_the_order_of_the_golden_ones(
    tmp_path: Path, change: Callable[..., Any], agreement: float | None, passes: bool, capsys: Any
) -> None:
    image = TensorSpec(name="image", shape=("batch", 3, 7, 5), dtype="float32")
    outputs = (
        TensorSpec(name="labels", shape=("batch", 4), dtype="int64", role="labels"),
        TensorSpec(name="dets", shape=("batch", 4, 5), dtype="float32", role="dets"),
    )
    write_bundle(
        tmp_path / "b",
        name="boxes",
        models=[
            BundleModel(
                backend="acl",
                name="m.om",
                path=None,
                tolerance=Tolerance(atol=1e-3, rtol=0, why="t"),
                agreement=agreement,
            )
        ],
        inputs=[image],
        outputs=outputs,
        batch=1,
        golden=[
            ({"image": np.zeros((1, 3, 7, 5), np.float32)}, {"labels": LABELS[None], "dets": DETS[None]})
        ],
        steps=(),
    )
    bundle = device_runner.Bundle(str(tmp_path / "b"))
    dets, labels = change(DETS, LABELS)
    rows = [[labels, dets]]
    model: Any = SimpleNamespace(rows=lambda arrays, count: rows)
    assert device_runner.check_golden(model, bundle, bundle.tolerance["acl"]) is passes
    said = capsys.readouterr().out
    assert ("of the detections agree" in said) is (change is not _swapped)


def test_what_has_no_partner_keeps_its_place() -> None:
    other = np.array([[500, 500, 510, 510, 0.95], *DETS[[1, 0]], [0, 0, 0, 0, 0]], np.float32)
    order = device_runner.pair_detections(DETS, LABELS, other, np.array([3, 3, 3, 0]))
    assert order == [2, 1, 0, 3]
