"""Native libraries hide why a file was not written: a limit on file sizes stands for a full disk."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

CODE = """
import resource, sys
from pathlib import Path
from graphopt.compile import find_target
from graphopt.core.errors import GraphoptError, MissingBackendError
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    find_target(sys.argv[1])().compile(Path(sys.argv[2]), Path(sys.argv[3]), force=True)
except MissingBackendError:
    print("missing")
except GraphoptError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("target", "name"),
    [("onnxruntime", "out.onnx"), pytest.param("openvino", "out.xml", marks=pytest.mark.openvino)],
)
def test_full_disk_is_not_blamed_on_the_model(
    target: str, name: str, model_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = model_file("""
        <ir_version: 8, opset_import: ["" : 11]>
        big (float[1,9000] x) => (float[1,9000] y) { y = Mul(x, w) }
    """)
    model = onnx.load(path)
    values = np.arange(9000, dtype=np.float32) + np.float32(0.1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))
    onnx.save(model, path)
    (tmp_path / name).write_text("old")
    argv = [sys.executable, "-c", CODE, target, str(path), str(tmp_path / name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.stdout.strip() == "missing":
        pytest.skip("openvino is not installed")
    assert done.stdout.startswith("OutputError the result could not be written"), done.stderr
    assert "free some space" in done.stdout
    assert (tmp_path / name).read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == [name, "tiny.onnx"]
