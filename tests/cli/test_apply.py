from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--preset", "fcos"], ["fcos is a recipe, not a preset", "--recipe fcos"]),
        (["--preset", "detectr"], ["unknown preset 'detectr'", "did you mean detector?"]),
        (["--preset", ""], ["unknown preset ''", "known: clean, detector"]),
        (
            ["--passes", "replace_nms:boundary=fp16,max_candidates=4080"],
            ["'max_candidates=4080' is no pass", "replace_nms:max_candidates=4080"],
        ),
        (["--passes", "replace_nms:boundry=fp16"], ["no option 'boundry'; did you mean boundary?"]),
        (["--passes", "replace_nms", "--as", "detection:boxes,scores"], ["no role 'boxes'", "[n, 5]"]),
    ],
)
def test_mistyped_choices_say_what_to_type(
    graphopt: Graphopt, write_model: Callable[[str, str], Path], arguments: list[str], parts: list[str]
) -> None:
    done = graphopt("apply", write_model(MODEL, "m.onnx"), *arguments)
    assert done.code == 2
    assert [part for part in parts if part not in done.err] == []


def test_a_recipe_on_a_graph_of_another_model_is_told_as_such(
    graphopt: Graphopt, write_model: Callable[[str, str], Path]
) -> None:
    done = graphopt("apply", write_model(MODEL, "m.onnx"), "--recipe", "faster_rcnn_dcn")
    assert done.code == 1
    assert "0 matched" in done.err
    assert "the recipe faster_rcnn_dcn promises this of its own model" in done.err
    assert "m.onnx" in done.err
