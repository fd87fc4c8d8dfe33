"""Models with nodes that onnxruntime cannot run: what lies between them is compared, and said to be all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery import RewriteError, Status, parse_steps, rewrite_file
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

Write = Callable[[str, str], Path]
HEAD = (
    '<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]> g (float[2,3] x) => (float[2,3] y, float[2,3] z)'
)
BODY = """{
    [id] a = Identity (x)
    [before] b = Mul (a, two)
    [magic] m = vendor.Magic <level = 3> (b, w)
    [after] c = Mul (m, three)
    [second] n = vendor.Magic <level = 4> (c, w)
    [last] y = Exp (n)
    [aside] z = Neg (a)
}"""
WEIGHTS = "<float two = {2}, float three = {3}, float[3] w = {1, 2, 3}"
SHAPED = f"{HEAD} {WEIGHTS}, float[2,3] m, float[2,3] n> {BODY}"
"""The shapes of what the vendor's nodes make are declared."""
UNSHAPED = f"{HEAD} {WEIGHTS}> {BODY}"


@dataclass(frozen=True, kw_only=True)
class Change(GraphPass):
    """Multiply a constant factor, or change an attribute."""

    name: ClassVar[str] = "change"
    node: str

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.name == self.node and "changed" not in node.metadata_props:
                yield Site(node=node, what="changed")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        node = site.node
        node.metadata_props["changed"] = "yes"
        if "level" in node.attributes:
            node.attributes["level"] = ir.AttrInt64("level", 9)
            return
        tensor = ir.tensor(np.float32(2.5), name="other")
        value = ir.Value(
            name="other", const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape([])
        )
        model.graph.register_initializer(value)
        node.replace_input_with(1, value)


def _reason(source: Path, output: Path, *steps: Any) -> tuple[Status, str]:
    with pytest.raises(RewriteError) as caught:
        rewrite_file(source, output, list(steps))
    assert not output.exists()
    verification = caught.value.report.verification
    return verification.status, f"{verification.guilty}: {verification.reason}"


def test_all_between_foreign_nodes_is_compared_and_the_share_is_said(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    source = write_text(SHAPED, "s.onnx")
    status, reason = _reason(source, tmp_path / "o.onnx", planted.DropIdentity())
    assert status is Status.UNPROVEN
    assert "5 of 7 nodes are proven, the models cut at 2 vendor::Magic" in reason
    report = rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()], allow_unproven=True)
    labels = [item.name for item in report.verification.comparisons]
    assert labels == ["y", "z", "input 0 of Magic magic", "input 0 of Magic second"]
    assert all(item.passed for item in report.verification.comparisons)


@pytest.mark.parametrize(
    ("node", "where"),
    [
        ("before", "input 0 of Magic magic differs"),
        ("after", "input 0 of Magic second differs"),
    ],
)
def test_what_is_wrong_between_foreign_nodes_is_wrong(
    write_text: Write, tmp_path: Path, planted: Any, node: str, where: str
) -> None:
    source = write_text(SHAPED, "s.onnx")
    status, reason = _reason(source, tmp_path / "o.onnx", planted.DropIdentity(), Change(node=node))
    assert status is Status.FAILED
    assert reason.startswith(f"change: {where}")


def test_a_changed_constant_of_a_foreign_node_is_wrong(write_text: Write, tmp_path: Path) -> None:
    source = write_text(SHAPED.replace("level = 3", "grade = 3"), "s.onnx")
    status, reason = _reason(source, tmp_path / "o.onnx", Change(node="magic"))
    assert (status, reason.split(",")[0]) == (
        Status.FAILED, "change: input 1 of Magic magic: shape differs")  # fmt: skip


def test_a_changed_attribute_of_a_foreign_node_is_not_judged_and_that_is_said(
    write_text: Write, tmp_path: Path
) -> None:
    source = write_text(SHAPED, "s.onnx")
    status, reason = _reason(source, tmp_path / "o.onnx", Change(node="magic"))
    assert status is Status.UNPROVEN
    assert "nor what Magic magic became" in reason


def test_what_follows_from_a_tensor_of_unknown_shape_is_left_out_and_named(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    source = write_text(UNSHAPED, "s.onnx")
    status, reason = _reason(source, tmp_path / "o.onnx", planted.DropIdentity())
    assert status is Status.UNPROVEN
    assert "3 of 7 nodes are proven" in reason
    assert "nor what follows from m, whose shape the model does not declare" in reason
    assert _reason(source, tmp_path / "o.onnx", Change(node="before"))[0] is Status.FAILED


def test_a_body_makes_a_foreign_operator_runnable(write_text: Write, tmp_path: Path, planted: Any) -> None:
    body = """
    <domain: "vendor", opset_import: ["" : 13]> Magic <level> (p, q) => (r) { r = Add (p, q) }"""
    source = write_text(UNSHAPED + body, "s.onnx")
    report = rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()])
    assert (report.verification.status, report.verification.reason) == (Status.PROVEN, "")


def test_a_body_with_a_foreign_operator_inside_is_foreign(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    body = """
    <domain: "vendor", opset_import: ["" : 13, "vendor" : 1]>
    Magic <level> (p, q) => (r) { r = vendor.Deeper (p, q) }"""
    status, reason = _reason(write_text(SHAPED + body, "s.onnx"), tmp_path / "o.onnx", planted.DropIdentity())
    assert status is Status.UNPROVEN
    assert "5 of 7 nodes are proven" in reason


def test_a_branch_with_a_foreign_operator_is_cut_out_as_a_whole(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]> g (float[2,3] x, bool c) => (float[2,3] y) '
        "<float[2,3] m> { [id] a = Identity (x)  b = Exp (a) m = If (c) <"
        "then_branch = t () => (float[2,3] p) { p = vendor.Magic (b) }, "
        "else_branch = e () => (float[2,3] q) { q = Neg (b) }> y = Abs (m) }",
        "s.onnx",
    )
    status, reason = _reason(source, tmp_path / "o.onnx", planted.DropIdentity())
    assert status is Status.UNPROVEN
    assert "3 of 6 nodes are proven, the models cut at 1 If" in reason


def test_an_operator_without_a_kernel_is_cut_out_too(write_text: Write, tmp_path: Path, planted: Any) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (double[1,5,2,3] x) => (double[1,5,2,3] y) '
        "<double[1,5,2,3] m> { [id] a = Identity (x) b = Abs (a) m = LRN <size = 3> (b) y = Neg (m) }",
        "s.onnx",
    )
    status, reason = _reason(source, tmp_path / "o.onnx", planted.DropIdentity())
    assert status is Status.UNPROVEN
    assert "3 of 4 nodes are proven, the models cut at 1 LRN" in reason


def test_a_model_of_nothing_but_foreign_nodes_is_unproven(write_text: Write, tmp_path: Path) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]> g (float[2,3] x) => (float[2,3] y) '
        "<float w = {2}> { [magic] y = vendor.Magic <level = 3> (x, w) }",
        "s.onnx",
    )
    assert _reason(source, tmp_path / "o.onnx", Change(node="magic"))[0] is Status.UNPROVEN


@pytest.mark.shared
@pytest.mark.slow
def test_faster_rcnn_is_proven_as_a_whole_through_the_body_of_its_deformable_convolution(
    filled: Callable[[str], Path], tmp_path: Path
) -> None:
    steps = parse_steps("static_shapes,fold_constants,remove_identity")
    report = rewrite_file(filled("faster_rcnn_dcn"), tmp_path / "o.onnx", steps)
    assert report.verification.status is Status.PROVEN
    assert report.verification.reason == ""
