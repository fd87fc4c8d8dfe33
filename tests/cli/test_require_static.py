from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx.parser import parse_model

Graphopt = Callable[..., Any]


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    """A model whose batch is open."""
    model = parse_model("""<ir_version: 8, opset_import: ["" : 13]>
        g (float[batch,3] x) => (float[batch,3] y) { s = Shape (x) r = Relu (x) y = Reshape (r, s) }""")
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_an_open_size_is_an_error_that_names_its_reader(graphopt: Graphopt, dynamic: Path) -> None:
    done = graphopt("apply", dynamic, "--preset", "clean", "--require-static")
    assert done.code == 2
    assert "Shape s: input x is [batch, 3]" in done.err
    assert not dynamic.with_suffix(".opt.onnx").exists()


def test_fixed_sizes_pass(graphopt: Graphopt, dynamic: Path) -> None:
    passes = "static_shapes:shapes=2x3,remove_identity"
    done = graphopt("apply", dynamic, "--passes", passes, "--require-static", "-o", dynamic.parent / "o.onnx")
    assert done.code == 0, done.err
    assert [node.op_type for node in onnx.load(dynamic.parent / "o.onnx").graph.node] == ["Relu"]


def test_without_the_pass_it_is_wrong_usage(graphopt: Graphopt, dynamic: Path) -> None:
    done = graphopt("apply", dynamic, "--passes", "remove_pad", "--require-static")
    assert done.code == 2
    assert "add it to the passes" in done.err
