"""Fixtures for all tests, and one import path for every module."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# With the root on sys.path, `surgery` and `graphopt.surgery` would be two copies of every class.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real graphs and labels beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "raw").is_dir():
        pytest.skip("the real graphs of ../shared are not here")
    return folder


@pytest.fixture(scope="session")
def filled_deepmar(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The torch 1.6 DeepMAR graph with its weights refilled by seeded noise (94 MB)."""
    import subprocess

    target = tmp_path_factory.mktemp("filled") / "deepmar.onnx"
    tool = shared_dir / "tools" / "weights.py"
    source = shared_dir / "raw" / "deepmar_bs1.onnx"
    subprocess.run([sys.executable, str(tool), "fill", str(source), str(target)], check=True)
    return target
