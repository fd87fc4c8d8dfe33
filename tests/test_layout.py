"""The five folders at the top are the package: in a checkout by links, in a wheel as they are."""

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import graphopt

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("surgery", "exporters", "compile", "validate", "runtime")
INSTALLED = "site-packages" in Path(graphopt.__file__).parts


@pytest.mark.skipif(INSTALLED, reason="an installed wheel has no top-level folders")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_the_top_level_folder(part: str) -> None:
    module = importlib.import_module(f"graphopt.{part}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / part / "__init__.py"


@pytest.mark.skipif(INSTALLED, reason="an installed wheel has no top-level folders")
@pytest.mark.parametrize("part", PARTS)
def test_the_links_are_links(part: str) -> None:
    link = ROOT / "src" / "graphopt" / part
    assert link.is_symlink(), f"{link} is a copy: a second version of every class"
    assert link.readlink() == Path("..") / ".." / part


@pytest.mark.slow
def test_the_wheel_holds_every_module(tmp_path: Path) -> None:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = set()
    for folder, prefix in [
        (ROOT / "src" / "graphopt", "graphopt"),
        *((ROOT / p, f"graphopt/{p}") for p in PARTS),
    ]:
        for place, folders, files in os.walk(folder):
            folders[:] = [
                name for name in folders if name != "__pycache__" and not (Path(place) / name).is_symlink()
            ]
            relative = Path(place).relative_to(folder).as_posix()
            stem = prefix if relative == "." else f"{prefix}/{relative}"
            expected |= {f"{stem}/{name}" for name in files if not name.endswith(".pyc")}
    assert packed == expected
