"""Models to rewrite and passes that are right or wrong on purpose."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core import child
from graphopt.core.onnx_files import write_model
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

CHAIN = """
<ir_version: 8, opset_import: ["" : 13], producer_name: "pytorch", producer_version: "1.6">
chain (float[1,3,6,6] x) => (float[1,3,6,6] y, float[1,3,6,6] z)
<float[3,3,1,1] weight = {0.5,0.1,0.2,0.3,0.4,0.1,0.2,0.6,0.7}, float two = {2}>
{
    [first] a = Identity (x)
    [conv] b = Conv (a, weight)
    [second] c = Identity (b)
    [scale] d = Mul (c, two)
    [third] e = Identity (d)
    [relu] y = Relu (e)
    [fourth] f = Identity (e)
    [sigmoid] z = Sigmoid (f)
}
"""


def _bypass(node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    assert node.inputs[0] is not None
    node.outputs[0].replace_all_uses_with(node.inputs[0])
    graph.remove(node, safe=True)


@dataclass(frozen=True, kw_only=True)
class DropIdentity(GraphPass):
    """Remove one Identity, or all when no node is named."""

    name: ClassVar[str] = "drop_identity"
    node: str = ""

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for graph in all_graphs(model):
            for node in graph:
                if node.op_type != "Identity" or self.node not in ("", node.name):
                    continue
                if node.outputs[0].is_graph_output():
                    yield Declined(node=node, why="it makes an output")
                else:
                    yield Site(node=node, what="removed")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        _bypass(site.node)


@dataclass(frozen=True, kw_only=True)
class ChangeConstant(GraphPass):
    """Replace the constant factor of the Mul; wrong unless it is two."""

    name: ClassVar[str] = "change_constant"
    value: float = 2.02

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in model.graph:
            if node.op_type == "Mul" and node.inputs[1] is not None:
                constant = node.inputs[1].const_value
                assert constant is not None
                if float(constant.numpy()) == 2.0:
                    yield Site(node=node, what=f"2 -> {self.value}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        tensor = ir.tensor(np.array(self.value, dtype=np.float32), name="other_factor")
        value = ir.Value(name="other_factor", const_value=tensor, type=ir.TensorType(ir.DataType.FLOAT))
        value.shape = ir.Shape([])
        model.graph.initializers["other_factor"] = value
        site.node.replace_input_with(1, value)


@dataclass(frozen=True, kw_only=True)
class LoseOutput(GraphPass):
    """Drop the last output without saying so."""

    name: ClassVar[str] = "lose_output"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        if len(model.graph.outputs) > 1:
            producer = model.graph.outputs[-1].producer()
            assert producer is not None
            yield Site(node=producer, what="output dropped")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        model.graph.outputs.pop()


@pytest.fixture(autouse=True)
def _children_in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save a second per rewrite: children are tested in core, and here with the real graphs."""

    def call(function: Callable[..., Any], /, *args: Any, **limits: Any) -> Any:
        return function(*args)

    @contextlib.contextmanager
    def started(*modules: str) -> Iterator[None]:
        yield None

    if request.node.get_closest_marker("shared") is None:
        monkeypatch.setattr(child, "call", call)
        monkeypatch.setattr(child, "started", started)


@pytest.fixture
def chain(tmp_path: Path, write_text: Callable[[str, str], Path]) -> Path:
    """Four Identity nodes, a Conv, a Mul by two, two outputs; "made by pytorch 1.6"."""
    return write_text(CHAIN, "chain.onnx")


@pytest.fixture
def write_text(tmp_path: Path) -> Callable[[str, str], Path]:
    """A function that writes a model given as ONNX text."""

    def write(text: str, name: str) -> Path:
        path = tmp_path / name
        onnx.save(onnx.parser.parse_model(text), path)
        return path

    return write


@pytest.fixture
def write_ir(tmp_path: Path) -> Callable[[ir.Model, str], Path]:
    """A function that writes a model in memory."""

    def write(model: ir.Model, name: str) -> Path:
        write_model(model, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def planted() -> Any:
    """The passes above and what they are made of."""
    return SimpleNamespace(
        DropIdentity=DropIdentity,
        ChangeConstant=ChangeConstant,
        LoseOutput=LoseOutput,
        bypass=_bypass,
        chain_text=CHAIN,
    )
