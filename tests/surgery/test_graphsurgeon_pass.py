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
from graphopt.surgery import GraphSurgeonPass, PassStep, RewriteError, Status, rewrite_file
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.graphsurgeon_pass import Found, Refused
from graphopt.surgery.passes.drop_dropout import DropDropout

Write = Callable[[str, str], Path]


def _ops(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


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


def test_a_model_without_the_operators_looked_for_is_not_converted(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: ir.Model) -> None:
        raise AssertionError("its weights are read")

    monkeypatch.setattr("graphopt.surgery.graphsurgeon_pass.to_proto", refuse)
    _, report = run_pass(load_model(chain), DropDropout())
    assert not report.modified
