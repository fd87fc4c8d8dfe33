"""A source that is known to err in rare cases is mended before results are compared with it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery import RewriteError, Status, Verify, rewrite_file
from graphopt.surgery.graph_pass import Declined, Effect, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.versioned_builder import VersionedBuilder

MODEL = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,6,6] x) => (float[1,3,6,6] y)
    <float two = {2}> { [scale] a = Mul (x, two) [relu] b = Relu (a) [tanh] y = Tanh (b) }"""
"""The network is said to take the absolute value; its exporter only had Relu."""


@dataclass(frozen=True, kw_only=True)
class UseAbs(GraphPass):
    """Put Abs in the place of Relu."""

    name: ClassVar[str] = "use_abs"
    effect: ClassVar[Effect] = Effect.TARGET_ONLY
    mends: bool = True

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in nodes_of(model, "Relu"):
            yield Site(node=node, what="Abs")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        new = VersionedBuilder(model, site.node)
        new.replace(new.op("Abs", site.node.inputs[0], like=site.node.outputs[0]))

    def mend_reference(self, model: ir.Model) -> Mapping[str, str]:
        counters = {}
        for node in list(nodes_of(model, "Relu")) if self.mends else []:
            new = VersionedBuilder(model, node)
            zero = new.op("Sub", node.inputs[0], node.inputs[0])
            negative = new.cast(new.op("Less", node.inputs[0], zero), ir.DataType.INT64)
            count = new.reshape(new.reduce("ReduceSum", negative, [0, 1, 2, 3]), [1])
            new.replace(new.op("Abs", node.inputs[0], like=node.outputs[0]))
            counters[count.name or ""] = "elements are negative"
        return counters


@pytest.fixture
def source(write_text: Callable[[str, str], Path]) -> Path:
    return write_text(MODEL, "source.onnx")


@pytest.mark.parametrize("verify", [Verify.FINAL, Verify.EACH])
def test_the_result_is_compared_with_the_mended_source_and_the_cases_are_counted(
    source: Path, tmp_path: Path, verify: Verify
) -> None:
    report = rewrite_file(source, tmp_path / "out.onnx", [UseAbs()], verify=verify)
    assert report.verification.status is Status.PROVEN
    count, _, clause = report.verification.reason.partition(" ")
    assert int(count) > 0
    assert clause == "elements are negative"
    assert [node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node] == ["Mul", "Abs", "Tanh"]


def test_without_mending_such_a_pass_is_wrong(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RewriteError, match="use_abs is wrong: output y differs"):
        rewrite_file(source, tmp_path / "out.onnx", [UseAbs(mends=False)])


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("verify", [Verify.FINAL, Verify.EACH])
def test_another_pass_that_is_wrong_is_named_before_and_after_it(
    source: Path, tmp_path: Path, planted: Any, verify: Verify, order: int
) -> None:
    steps = [UseAbs(), planted.ChangeConstant()][:: 1 if order else -1]
    with pytest.raises(RewriteError, match="change_constant is wrong: output y differs"):
        rewrite_file(source, tmp_path / "out.onnx", steps, verify=verify)


def test_a_model_that_needs_no_mending_gets_no_note(
    write_text: Callable[[str, str], Path], tmp_path: Path, planted: Any
) -> None:
    source = write_text(MODEL.replace("Relu (a)", "Identity (a)").replace("[relu]", "[same]"), "no_relu.onnx")
    report = rewrite_file(source, tmp_path / "out.onnx", [UseAbs(), planted.DropIdentity()])
    assert (report.verification.status, report.verification.reason) == (Status.PROVEN, "")
