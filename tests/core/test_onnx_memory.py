"""Loading and saving cost memory for the structure of a model, not for its weights."""

import filecmp
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

Linear = Callable[..., onnx.ModelProto]

_MEASURE = """
import resource, sys
from pathlib import Path
from graphopt.core.onnx_files import load_model, save_model
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
save_model(load_model(Path(sys.argv[1])), Path(sys.argv[2]), force=True)
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_weights(tmp_path: Path, linear: Linear) -> None:
    if sys.platform != "linux":
        pytest.skip("ru_maxrss has other units elsewhere")
    onnx.save(linear(elements=12 << 20), tmp_path / "in.onnx")  # 48 MB
    argv = [sys.executable, "-c", _MEASURE, str(tmp_path / "in.onnx"), str(tmp_path / "out.onnx")]
    grown_kb = int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    assert filecmp.cmp(tmp_path / "out.onnx", tmp_path / "in.onnx", shallow=False)
    assert grown_kb < 8 << 10
