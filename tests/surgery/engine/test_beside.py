"""Models side by side in one graph."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import load_model, to_proto
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.engine.beside import join, why_not_joined

Write = Callable[[str, str], Path]
HEAD = '<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x) => '
SOURCE = f"""{HEAD}(float[2,3] y, float[2,3] z) <float two = {{2}}, float[3] w = {{1, 2, 3}}> {{
    a = Mul (x, two)  b = Identity (a)  c = Add (b, w)  y = Exp (c)  z = Neg (a) }}"""


def _run(model: ir.Model, feeds: dict[str, Array]) -> dict[str, Array]:
    with OnnxRuntimeSession(to_proto(model).SerializeToString()) as session:
        return session.run(feeds)


FEED: dict[str, Array] = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) / 7}


def test_equal_models_share_everything(write_text: Write) -> None:
    path = write_text(SOURCE, "s.onnx")
    joined = join(load_model(path), [load_model(path), load_model(path)])
    assert joined.shared == (5, 5)
    assert joined.outputs == ({"y": "y", "z": "z"},) * 2
    assert len(joined.model.graph) == 5


def test_only_what_differs_is_added_and_each_answers_for_itself(write_text: Write) -> None:
    source = write_text(SOURCE, "s.onnx")
    others = [
        SOURCE.replace("b = Identity (a)  c = Add (b, w)", "c = Add (a, w)"),
        SOURCE.replace("{1, 2, 3}", "{1, 2, 4}"),
        SOURCE.replace("y = Exp (c)", "y = Tanh (c)"),
    ]
    models = [load_model(write_text(text, f"{i}.onnx")) for i, text in enumerate(others)]
    alone = [_run(model.clone(), FEED) for model in (load_model(source), *models)]
    joined = join(load_model(source), models)
    assert joined.shared == (4, 3, 4)
    answers = _run(joined.model, FEED)
    for expected, names in zip(alone[1:], joined.outputs, strict=True):
        for name, held in names.items():
            np.testing.assert_array_equal(answers[held], expected[name])
    np.testing.assert_array_equal(answers["y"], alone[0]["y"])


def test_equal_weights_are_shared_whatever_they_are_called_and_wherever_they_lie(write_text: Write) -> None:
    big = ", ".join(str(i) for i in range(3000))
    text = f"{HEAD}(float[2,1000] y) <float[3,1000] w = {{{big}}}> {{ y = MatMul (x, w) }}"
    source = load_model(write_text(text, "s.onnx"))
    renamed = load_model(write_text(text.replace("w =", "v =").replace(", w)", ", v)"), "r.onnx"))
    other = load_model(write_text(text.replace("2999}", "1}"), "o.onnx"))
    joined = join(source, [renamed, other])
    assert joined.shared == (1, 0)
    assert sorted(joined.model.graph.initializers) == ["w", "w of 1"]


def test_nodes_with_graphs_inside_are_kept_apart_and_still_right(write_text: Write) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, bool c) => (float[2,3] y)
    <float two = {2}> { a = Mul (x, two) b = If (c) <
        then_branch = t () => (float[2,3] p) { p = Add (a, two) },
        else_branch = e () => (float[2,3] q) { q = Sub (a, two) }> y = Neg (b) }"""
    path = write_text(text, "s.onnx")
    joined = join(load_model(path), [load_model(path)])
    assert joined.shared == (1,)
    feeds: dict[str, Array] = {**FEED, "c": np.array(False)}
    answers = _run(joined.model, feeds)
    np.testing.assert_array_equal(answers[joined.outputs[0]["y"]], answers["y"])


def test_an_input_or_weight_that_is_an_output_gets_a_node(write_text: Write) -> None:
    text = f"{HEAD}(float[2,3] y, float[2,3] z) {{ y = Identity (x) z = Identity (x) }}"
    path = write_text(text, "s.onnx")
    joined = join(load_model(path), [load_model(path)])
    answers = _run(joined.model, FEED)
    for name in ("y", "z"):
        np.testing.assert_array_equal(answers[joined.outputs[0][name]], FEED["x"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SOURCE.replace(": 13]", ": 14]"), "different versions of the standard operators"),
        (SOURCE.replace("float[2,3] x)", "float[2,3] x, float q)"), "the source has no input q"),
        (SOURCE, None),
    ],
)
def test_why_models_are_not_joined(write_text: Write, text: str, reason: str | None) -> None:
    found = why_not_joined(load_model(write_text(SOURCE, "s.onnx")), load_model(write_text(text, "o.onnx")))
    assert found is None if reason is None else reason in (found or "")


def test_functions_of_one_name_and_other_bodies_are_not_joined(write_text: Write) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (float[2,3] x) => (float[2,3] y)
    { y = me.f (x) } <domain: "me", opset_import: ["" : 13]> f (v) => (w) { w = Exp (v) }"""
    mine = load_model(write_text(text, "s.onnx"))
    assert why_not_joined(mine, load_model(write_text(text, "o.onnx"))) is None
    other = load_model(write_text(text.replace("Exp", "Abs"), "p.onnx"))
    assert why_not_joined(mine, other) == "the function f differs"
