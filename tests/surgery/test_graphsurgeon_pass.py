"""Passes written on an onnx-graphsurgeon graph run in the same pipeline."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError
from graphopt.core.lineage import NODE_PASS, origins_of
from graphopt.core.onnx_files import load_model
from graphopt.surgery import GraphSurgeonPass, PassStep, RewriteError, Status, parse_steps, rewrite_file
from graphopt.surgery.graphsurgeon_pass import Found, Refused

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


@dataclass(frozen=True, kw_only=True)
class _NegNeg(GraphSurgeonPass):
    """Replace two Neg nodes by one Identity with a new name."""

    name: ClassVar[str] = "neg_neg"
    to: str = "Identity"

    def find(self, graph: Any) -> Iterator[Found | Refused]:
        for node in graph.nodes:
            if node.op == "Neg" and node.inputs[0].inputs and node.inputs[0].inputs[0].op == "Neg":
                yield Found(node=node, what=f"two Neg -> {self.to}")

    def edit(self, graph: Any, node: Any) -> None:
        upper = node.inputs[0].inputs[0]
        result = node.outputs[0]
        source = upper.inputs[0]
        node.outputs.clear()
        graph.layer(op=self.to, name="made", inputs=[source], outputs=[result])


NEGATED = """
<ir_version: 8, opset_import: ["" : 13]> g (float[4] x) => (float[4] y) {
    [keep] a = Exp (x)  [n1] b = Neg (a)  [n2] c = Neg (b)  [end] y = Tanh (c)
}
"""


def test_lineage_survives_the_conversion(write_ir: Callable[..., Path], tmp_path: Path) -> None:
    model = ir.from_onnx_text(NEGATED)
    model.graph[0].metadata_props["mine"] = "kept"
    model.graph[0].doc_string = "a note"
    model.graph[0].outputs[0].metadata_props["unit"] = "mm"
    model.metadata_props["author"] = "me"
    source = write_ir(model, "n.onnx")
    report = rewrite_file(source, tmp_path / "o.onnx", [_NegNeg()])
    assert report.verification.status is Status.PROVEN
    result = load_model(tmp_path / "o.onnx")
    nodes = {node.name: node for node in result.graph}
    assert nodes["keep"].metadata_props == {"mine": "kept"}
    assert nodes["keep"].outputs[0].metadata_props["unit"] == "mm"
    assert nodes["made"].metadata_props[NODE_PASS] == "neg_neg"
    assert origins_of(nodes["made"]) == ("n1", "n2")
    assert result.metadata_props["author"] == "me"


def test_a_wrong_graphsurgeon_pass_is_named(write_text: Write, tmp_path: Path) -> None:
    source = write_text(NEGATED, "n.onnx")
    with pytest.raises(RewriteError, match="neg_neg is wrong: output y differs"):
        rewrite_file(source, tmp_path / "o.onnx", [PassStep("remove_pad"), _NegNeg(to="Sin")])


def test_an_edit_that_changes_nothing_is_reported(write_text: Write, tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class _Idle(_NegNeg):
        def edit(self, graph: Any, node: Any) -> None:
            return

    with pytest.raises(RewriteError, match="neg_neg still finds 1 places after 100 sweeps, the first at n2"):
        rewrite_file(write_text(NEGATED, "n.onnx"), tmp_path / "o.onnx", [_Idle()])


def test_what_graphsurgeon_would_drop_is_refused(write_ir: Callable[..., Path]) -> None:
    model = ir.from_onnx_text(NEGATED)
    kind = ir.TypeAndShape(ir.TensorType(ir.DataType.FLOAT), ir.Shape([1]))
    model.graph[0].attributes["kind"] = ir.Attr("kind", ir.AttributeType.TYPE_PROTO, kind)
    with pytest.raises(PreconditionError, match="attribute kind of type TYPE_PROTO"):
        _NegNeg().run(model)


def test_a_quantization_annotation_is_refused_too(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(NEGATED)
    annotation = proto.graph.quantization_annotation.add(tensor_name="a")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    onnx.save(proto, tmp_path / "q.onnx")
    with pytest.raises(PreconditionError, match="a has a quantization annotation"):
        _NegNeg().run(load_model(tmp_path / "q.onnx"))


def test_nothing_is_printed(write_text: Write, capfd: pytest.CaptureFixture[str]) -> None:
    text = NEGATED.replace("[n1]", "[n2]").replace("[end]", "[keep]")
    rewrite_file(write_text(text, "twins.onnx"), None, [_NegNeg()])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
