"""Dropout at inference time; the pass is written on an onnx-graphsurgeon graph."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from graphopt.surgery import Status, parse_steps, rewrite_file

SUITABLE = "y = Dropout ({x})"

Write = Callable[[str, str], Path]
DROPOUT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[2,3] x, bool train) => (float[2,3] y, float[2,3] z)
<float ratio = {{0.5}}, bool no = {{0}}, bool yes = {{1}}> {{
    [exp] a = Exp (x)
    [drop] b{mask} = Dropout ({inputs})
    [relu] y = Relu (b)
    [last] c = Neg (a)
    [drop_end] z = Dropout (c)
}}
"""


def _ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("inputs", ["a", "a, ratio", "a, ratio, no", "a, , no"])
def test_dropout_goes_and_output_names_stay(write_text: Write, tmp_path: Path, inputs: str) -> None:
    source = write_text(DROPOUT.format(inputs=inputs, mask=""), "d.onnx")
    report = rewrite_file(source, tmp_path / "o.onnx", parse_steps("drop_dropout:expect=2"))
    assert sorted(_ops(tmp_path / "o.onnx")) == ["Exp", "Neg", "Relu"]
    assert report.verification.status is Status.PROVEN
    assert report.verification.max_abs == 0.0
    assert [change.node for change in report.passes[0].applied] == ["drop", "drop_end"]


@pytest.mark.parametrize(
    ("inputs", "mask", "why"),
    [
        ("a, ratio, yes", "", "it may run in training mode"),
        ("a, ratio, train", "", "it may run in training mode"),
    ],
)
def test_dropout_that_drops_is_declined(
    write_text: Write, tmp_path: Path, inputs: str, mask: str, why: str
) -> None:
    source = write_text(DROPOUT.format(inputs=inputs, mask=mask), "d.onnx")
    report = rewrite_file(source, None, parse_steps("drop_dropout"))
    assert [(item.node, item.why) for item in report.passes[0].declined] == [("drop", why)]
    assert [change.node for change in report.passes[0].applied] == ["drop_end"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("[exp] a = Exp (x) [drop] y, m = Dropout (a) w = Cast <to = 1> (m)", "its mask is read"),
        ("[drop] y = Dropout (x) w = Exp (x)", "it connects an output with something"),
        ("[exp] w = Exp (x) [drop] y = Dropout (w)", "its input and its result are both outputs"),
    ],
)
def test_dropout_that_cannot_go_is_declined(write_text: Write, body: str, why: str) -> None:
    source = write_text(
        f'<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y, float[2] w) {{ {body} }}',
        "d.onnx",
    )
    (report,) = rewrite_file(source, None, parse_steps("drop_dropout")).passes
    assert not report.modified
    assert report.declined[0].why.startswith(why)


def test_old_opsets_say_training_in_an_attribute(write_text: Write) -> None:
    text = (
        '<ir_version: 3, opset_import: ["" : 6]> g (float[2] x) => (float[2] y) {{'
        " a = Exp (x) b = Dropout <is_test = {0}> (a) y = Exp (b) }}"
    )
    for flag, count in ((0, 0), (1, 1)):
        source = write_text(text.format(flag), f"{flag}.onnx")
        assert len(rewrite_file(source, None, parse_steps("drop_dropout")).passes[0].applied) == count


def test_dropout_in_subgraphs_and_functions_goes_too(write_text: Write, tmp_path: Path) -> None:
    source = write_text(
        """
        <ir_version: 8, opset_import: ["" : 13, "own" : 1]>
        g (bool flag, float[2] x) => (float[2] y) {
            h = own.twice (x)
            k = Dropout (h)
            y = If (flag) <
                then_branch = a () => (float[2] p) { q = Dropout (k)  p = Neg (q) },
                else_branch = b () => (float[2] r) { r = Exp (k) }
            >
        }
        <domain: "own", opset_import: ["" : 13]> twice (i) => (o) { j = Dropout (i)  o = Add (j, j) }
        """,
        "n.onnx",
    )
    report = rewrite_file(source, tmp_path / "o.onnx", parse_steps("drop_dropout:expect=3"))
    assert "Dropout" not in str(onnx.load(tmp_path / "o.onnx"))
    assert report.verification.status is Status.PROVEN
