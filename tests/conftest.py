"""Fixtures for all tests, and one import path for every module."""

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# With the root on sys.path, `surgery` and `graphopt.surgery` would be two copies of every class.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--expect-skips", type=int, default=None, help="Fail unless exactly so many tests are skipped."
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the number of skipped tests, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.write_line(f"skipped tests: {len(skipped)}")
    for report in skipped:
        terminalreporter.write_line(f"  {report.nodeid}: {report.longrepr[-1]}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail when tests are skipped that were not before: a skip must not hide a missing package."""
    wanted = session.config.getoption("--expect-skips")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if wanted is None or reporter is None or hasattr(session.config, "workerinput"):
        return
    found = len(reporter.stats.get("skipped", []))
    if found != wanted:
        reporter.write_line(f"{found} tests were skipped, {wanted} expected", red=True)
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real graphs and labels beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "raw").is_dir():
        pytest.skip("the real graphs of ../shared are not here")
    return folder


@pytest.fixture(scope="session")
def filled(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that refills a raw graph of ../shared (``"fcos"``) with seeded noise, each once."""
    folder = tmp_path_factory.mktemp("filled")

    @functools.cache
    def fill(name: str) -> Path:
        source, target = shared_dir / "raw" / f"{name}.onnx", folder / f"{name}.onnx"
        tool = shared_dir / "tools" / "weights.py"
        subprocess.run([sys.executable, str(tool), "fill", str(source), str(target)], check=True)
        return target

    return fill


@pytest.fixture(scope="session")
def filled_deepmar(filled: Callable[[str], Path]) -> Path:
    """The torch 1.6 DeepMAR graph with its weights refilled (94 MB)."""
    return filled("deepmar_bs1")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the recipe ``small``, which verbs now find like a shipped one."""
    return _fake_recipe(monkeypatch, "small")


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the recipe ``colours``, as ``small``."""
    pytest.importorskip("cv2")
    return _fake_recipe(monkeypatch, "colours")


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the recipe ``boxes``, as ``small``."""
    pytest.importorskip("cv2")
    pytest.importorskip("pycocotools")
    return _fake_recipe(monkeypatch, "boxes")


@pytest.fixture
def narrow_refinenet(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the recipe ``narrow_refinenet``, as ``small``."""
    pytest.importorskip("torch")
    pytest.importorskip("cv2")
    return _fake_recipe(monkeypatch, "narrow_refinenet")


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The module ``fakes/tiny_detectors.py``: configurations of small detectors of all kinds."""
    pytest.importorskip("torch")
    pytest.importorskip("mmdet")
    path = ROOT / "tests" / "fakes" / "tiny_detectors.py"
    spec = importlib.util.spec_from_file_location("tiny_detectors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fake_recipe(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    from graphopt.recipes import models

    monkeypatch.setattr(models, "__path__", [*models.__path__, str(ROOT / "tests" / "fakes" / "recipes")])
    return importlib.import_module(f"graphopt.recipes.models.{name}")
