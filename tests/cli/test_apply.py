from collections.abc import Callable
from pathlib import Path
from typing import Any

Graphopt = Callable[..., Any]

MODEL = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => (float[2,3] y)
{ i = Identity (x) y = Relu (i) }"""


def test_many_idle_passes_are_named_in_one_line(
    graphopt: Graphopt, write_model: Callable[[str, str], Path]
) -> None:
    done = graphopt("apply", write_model(MODEL, "m.onnx"), "--preset", "clean")
    assert done.code == 0, done.err
    (idle,) = (line for line in done.out.splitlines() if line.startswith("matched nothing: "))
    assert "fold_constants" in idle
    assert "remove_identity" not in idle
    assert done.out.count("matched nothing") == 1


def test_few_idle_passes_have_a_row_each(graphopt: Graphopt, write_model: Callable[[str, str], Path]) -> None:
    done = graphopt("apply", write_model(MODEL, "m.onnx"), "--passes", "remove_pad,remove_identity")
    assert done.code == 0, done.err
    (row,) = (line for line in done.out.splitlines() if "matched nothing" in line)
    assert row.startswith("remove_pad")
