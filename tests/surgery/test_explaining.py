"""Why a pass does, or does not, apply at a node: every answer once, and the facts beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
import pytest

from graphopt.core.errors import UsageError
from graphopt.surgery.explaining import Why, candidates_of, explain
from graphopt.surgery.graph_edits import bypass
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import nodes_of
from graphopt.surgery.graphsurgeon_pass import Found, GraphSurgeonPass, Refused
from graphopt.surgery.passes.fuse_batchnorm import FuseBatchnorm
from graphopt.surgery.passes.remove_pad import RemovePad

GRAPH = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[1,3,5,7] x, int64[8] late) => (float[1,2,5,7] y, float[1,2,5,7] z)
<float[2,3,1,1] weight = {1,2,3,4,5,6}, float[2] one = {1,1}, int64[8] zeros = {0,0,0,0,0,0,0,0},
 int64[8] ones = {0,0,0,0,0,0,0,0}>
{
    [Pad_0] a = Pad (x, zeros)
    [Conv_1] b = Conv <group = 1> (a, weight)
    [Norm_2] c = BatchNormalization (b, one, one, one, one)
    [Pad_3] d = Pad (c, late)
    [Relu_4] y = Relu (d)
    z = Sigmoid (c)
}
"""


def load() -> ir.Model:
    return ir.from_onnx_text(GRAPH)


def test_a_site_is_said_with_its_change_and_what_is_there() -> None:
    answer = explain(load, RemovePad(), "Pad_0")
    assert answer.why is Why.APPLIES
    assert answer.applies
    assert answer.reason == "the 8 pads are all zero"
    first, second, third = answer.facts.ports
    assert (first.side, first.tensor, first.dtype, first.shape) == ("input 0", "x", "float", "[1, 3, 5, 7]")
    assert first.other == "an input of the graph"
    assert second.other == "constant [0, 0, 0, 0, 0, 0, 0, 0]"
    assert (third.shape, third.other) == ("[1, 3, 5, 7]", "read by Conv Conv_1")


def test_a_place_left_alone_is_said_with_its_reason() -> None:
    answer = explain(load, RemovePad(), "Pad_3")
    assert answer.why is Why.DECLINED
    assert not answer.applies
    assert answer.reason == "pads are computed at run time"
    assert answer.to_json()["verdict"] == "declined"


@pytest.mark.parametrize(("name", "near", "distance"), [("Relu_4", "Pad_3", 1), ("z", "Pad_3", 2)])
def test_elsewhere_the_nearest_candidate_is_named(name: str, near: str, distance: int) -> None:
    answer = explain(load, RemovePad(), name)
    assert answer.why is Why.NOT_CONSIDERED
    assert answer.nearest is not None
    assert (answer.nearest.node, answer.distance) == (near, distance)


def test_without_any_candidate_none_is_named() -> None:
    def plain() -> ir.Model:
        return ir.from_onnx_text(
            GRAPH.replace("Pad (x, zeros)", "Relu (x)").replace("Pad (c, late)", "Relu (c)")
        )

    answer = explain(plain, RemovePad(), "Relu_4")
    assert (answer.why, answer.nearest, answer.distance) == (Why.NOT_CONSIDERED, None, None)


def test_a_node_that_a_change_nearby_takes_along_is_said_so() -> None:
    answer = explain(load, FuseBatchnorm(), "Conv_1")
    assert answer.why in (Why.TAKEN_ALONG, Why.NOT_CONSIDERED)
    assert answer.nearest is not None
    assert (answer.nearest.node, answer.distance) == ("Norm_2", 1)


@dataclass(frozen=True, kw_only=True)
class _Peel(GraphPass):
    """Remove the last Relu before an output, again and again."""

    name: ClassVar[str] = "peel"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in nodes_of(model, "Relu"):
            if node.inputs[0] is not None and node.inputs[0].is_graph_input():
                yield Site(node=node, what="peeled")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        bypass(model, site.node)


CHAIN = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[3] x) => (float[3] y)
{
    [First] a = Relu (x)
    [Second] b = Relu (a)
    [Last] y = Sigmoid (b)
}
"""


def test_what_its_own_changes_open_up_applies_later() -> None:
    answer = explain(lambda: ir.from_onnx_text(CHAIN), _Peel(), "Second")
    assert answer.why is Why.APPLIES_LATER
    assert answer.reason == "peeled"


@dataclass(frozen=True, kw_only=True)
class _Both(GraphPass):
    """Remove two Relu in a row, anchored at the second."""

    name: ClassVar[str] = "both"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        for node in nodes_of(model, "Relu"):
            upper = node.inputs[0].producer() if node.inputs[0] is not None else None
            if upper is not None and upper.op_type == "Relu":
                yield Site(node=node, what="a pair")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        upper = site.node.inputs[0]
        assert upper is not None
        first = upper.producer()
        assert first is not None
        bypass(model, site.node)
        bypass(model, first)


def test_a_node_that_goes_away_with_another_one_is_taken_along() -> None:
    answer = explain(lambda: ir.from_onnx_text(CHAIN), _Both(), "First")
    assert answer.why is Why.TAKEN_ALONG
    assert answer.applies
    assert answer.reason == "it goes away with the change at Second"


class _Surgeon(GraphSurgeonPass):
    """Look at each Relu in graphsurgeon's words."""

    name: ClassVar[str] = "surgeon"

    def find(self, graph: object) -> Iterator[Found | Refused]:
        for node in graph.nodes:  # type: ignore[attr-defined]
            if node.op == "Relu" and node.inputs[0].inputs:
                yield Found(node=node, what="cut")
            elif node.op == "Relu":
                yield Refused(node=node, why="it reads an input")

    def edit(self, graph: object, node: object) -> None:
        del graph
        output = node.outputs[0]  # type: ignore[attr-defined]
        for reader in list(output.outputs):
            reader.inputs[reader.inputs.index(output)] = node.inputs[0]  # type: ignore[attr-defined]
        node.outputs.clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "why"), [("Second", Why.APPLIES), ("First", Why.DECLINED)])
def test_passes_on_whole_models_answer_too(name: str, why: Why) -> None:
    assert explain(lambda: ir.from_onnx_text(CHAIN), _Surgeon(), name).why is why


class _Unwritten(_Surgeon):
    """Look at each Relu, and not know yet what to do there."""

    name: ClassVar[str] = "unwritten"

    def edit(self, graph: object, node: object) -> None:
        raise NotImplementedError


def test_a_graphsurgeon_pass_answers_before_its_edit_is_written() -> None:
    found = candidates_of(lambda: ir.from_onnx_text(CHAIN), _Unwritten())
    assert {(place.node, place.applies) for place in found} == {("First", False), ("Second", True)}
    assert explain(lambda: ir.from_onnx_text(CHAIN), _Unwritten(), "Second").reason == "cut"


@pytest.mark.parametrize("name", ["Conv_1", "b", "Conv_1:0"])
def test_a_node_is_named_by_itself_or_by_what_it_makes(name: str) -> None:
    answer = explain(load, RemovePad(), name)
    assert answer.facts.name == "Conv_1"
    assert answer.facts.attributes == {"group": "1"}


def test_an_unknown_node_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*Pad_0"):
        explain(load, RemovePad(), "Pad_O")


def test_candidates_are_listed_in_the_order_of_the_graph() -> None:
    found = candidates_of(load, RemovePad())
    assert [(place.node, place.applies) for place in found] == [("Pad_0", True), ("Pad_3", False)]


def test_asking_changes_nothing() -> None:
    asked: list[ir.Model] = []

    def remember() -> ir.Model:
        asked.append(load())
        return asked[-1]

    explain(remember, RemovePad(), "Relu_4")
    assert len(asked[0].graph) == len(load().graph)
