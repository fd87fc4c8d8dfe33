"""The contract tests notice passes that are wrong on purpose."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import VerificationError
from graphopt.surgery.graph_edits import take_over
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import graph_of, nodes_of

TEXT = """<ir_version: 8, opset_import: ["" : 13]> g (float[1,4] x) => (float[1,4] z)
    { a = Exp (x) b = Neg (a) z = Sin (b) }"""


@pytest.fixture(scope="module")
def contract() -> Any:
    path = Path(__file__).parent / "test_pass_contract.py"
    spec = importlib.util.spec_from_file_location("contract_by_path", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(node: ir.Node, op_type: str, source: ir.Value | None, name: str) -> ir.Value:
    """Write a node of one input in front of another."""
    new = ir.node(op_type, [source], name=f"{name}_node")
    new.outputs[0].name = name
    new.outputs[0].type, new.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
    graph_of(node).insert_before(node, new)
    return new.outputs[0]


@dataclass(frozen=True, kw_only=True)
class _Planted(GraphPass):
    """A pass that rewrites Exp followed by Neg, once."""

    name: ClassVar[str] = "planted"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in nodes_of(model, "Neg"):
            upper = node.inputs[0].producer() if node.inputs[0] is not None else None
            if not node.name and upper is not None and upper.op_type == "Exp":
                yield Site(node=node, what="changed")

    def replace(self, node: ir.Node, new: ir.Value) -> None:
        old = node.outputs[0]
        take_over(new, old)
        graph_of(node).remove(node, safe=True)


@dataclass(frozen=True, kw_only=True)
class OtherNumbers(_Planted):
    """Compute something else."""

    def rewrite(self, model: ir.Model, site: Site) -> None:
        self.replace(site.node, put(site.node, "Abs", site.node.inputs[0], "other"))


@dataclass(frozen=True, kw_only=True)
class OldNameNewNumbers(_Planted):
    """Give an old name to another tensor; the outputs stay right."""

    def rewrite(self, model: ir.Model, site: Site) -> None:
        inner = site.node.inputs[0]
        assert inner is not None
        name, inner.name = inner.name or "", "plain"
        self.replace(
            site.node,
            put(site.node, "Neg", put(site.node, "Neg", put(site.node, "Neg", inner, name), "t"), "u"),
        )


@dataclass(frozen=True, kw_only=True)
class ForgetMetadata(_Planted):
    """Lose what other nodes said about themselves."""

    def rewrite(self, model: ir.Model, site: Site) -> None:
        self.replace(site.node, put(site.node, "Neg", put(site.node, "Abs", site.node.inputs[0], "v"), "w"))
        for node in model.graph.all_nodes():
            node.metadata_props.pop("seen", None)


@dataclass(frozen=True, kw_only=True)
class OnlyOneReader(_Planted):
    """Believe that nobody else reads the inner tensor."""

    def rewrite(self, model: ir.Model, site: Site) -> None:
        inner = site.node.inputs[0]
        upper = inner.producer() if inner is not None else None
        assert inner is not None
        assert upper is not None
        minus = put(upper, "Neg", put(upper, "Exp", upper.inputs[0], "e"), "m")
        self.replace(site.node, minus)
        inner.replace_all_uses_with(minus, replace_graph_outputs=True)
        graph_of(upper).remove(upper, safe=True)


def case(item: GraphPass) -> Any:
    return SimpleNamespace(
        make=lambda: item, inner_change="", variant=lambda place: onnx.parser.parse_model(TEXT)
    )


def fires(contract: Any, item: GraphPass) -> None:
    contract.test_a_pass_fires_once_keeps_what_is_not_its_own_and_the_numbers(case(item), "main")


def test_other_numbers_are_noticed(contract: Any) -> None:
    with pytest.raises(AssertionError, match=r"values differ|VALUES"):
        fires(contract, OtherNumbers())


def test_an_old_name_for_another_tensor_is_noticed(contract: Any) -> None:
    planted = case(OldNameNewNumbers())
    with pytest.raises(AssertionError, match=r"values differ|VALUES"):
        contract.test_a_tensor_that_keeps_its_name_keeps_its_numbers(planted)


def test_lost_metadata_is_noticed(contract: Any) -> None:
    with pytest.raises(AssertionError, match="Exp"):
        fires(contract, ForgetMetadata())


@pytest.mark.parametrize("check", ["may_be_graph_outputs", "and_constants_may_be_read_by_others"])
def test_a_forgotten_reader_is_noticed(contract: Any, check: str) -> None:
    run: Callable[..., None] = getattr(contract, f"test_inner_tensors_{check}")
    with pytest.raises((AssertionError, VerificationError)):
        run(case(OnlyOneReader()), "main")
    contract.test_a_tensor_that_keeps_its_name_keeps_its_numbers(case(OnlyOneReader()))
