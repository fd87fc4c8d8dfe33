"""Small models, images and data sets for the tests of this folder."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from PIL import Image

from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.core.preprocessing import DecodePil, Normalize, ResizePil, ScaleToUnit, Step, ToNchw

FAKES = Path(__file__).resolve().parents[1] / "fakes"


@pytest.fixture(scope="session")
def fake_acl() -> ModuleType:
    """The module with ``FakeAcl``, not installed under the name ``acl``."""
    spec = importlib.util.spec_from_file_location("fake_acl", FAKES / "acl.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def steps() -> tuple[Step, ...]:
    """DeepMAR's preprocessing at a size that is quick and not square (width 5, height 7)."""
    return (
        DecodePil(),
        ResizePil(width=5, height=7),
        ScaleToUnit(),
        Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ToNchw(),
    )


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write a seeded RGB picture."""

    def write(path: Path, *, seed: int = 7, width: int = 11, height: int = 13) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def peta_folder(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Five labelled pictures, listed in an order that is not the sorted one."""
    root = tmp_path / "peta"
    names = ["00030.png", "00010.png", "00050.png", "00020.png", "00040.png"]
    rng = np.random.default_rng(3)
    labels: dict[str, Any] = {}
    for seed, name in enumerate(names):
        write_image(root / "images" / name, seed=seed)
        labels[name] = rng.integers(0, 2, len(PETA_ATTRIBUTES)).tolist()
    (root / "label.json").write_text(json.dumps(labels))
    (root / "image.txt").write_text("".join(f"{name}\n" for name in names))
    return root


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Write ``logits[batch, 4]`` = pooled channels times a fixed matrix; batch is a size or a name."""

    def write(name: str = "model.onnx", *, batch: int | str = "batch") -> Path:
        model = onnx.parser.parse_model(f"""
            <ir_version: 8, opset_import: ["" : 11]>
            small (float[{batch},3,7,5] image) => (float[{batch},4] logits)
            <float[3,4] weight = {{1, -2, 3, -4, 0.5, 6, -7, 8, 9, -1, 0.25, 2}}>
            {{
                pooled = GlobalAveragePool (image)
                flat = Flatten <axis = 1> (pooled)
                logits = MatMul (flat, weight)
            }}
        """)
        path = tmp_path / name
        onnx.save(model, str(path))
        return path

    return write
