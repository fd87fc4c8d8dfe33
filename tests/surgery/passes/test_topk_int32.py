from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.topk_int32 import TopkInt32

SUITABLE = """
    k = Constant <value = int64[1] {{2}}> () a, i = TopK ({x}, k) g = GatherElements <axis = 1> ({x}, i)
    m = ReduceMax <axes = [0, 1]> (g) y = Add (m, {x})
"""
PREPARE = "static_shapes,fold_constants"

Rewrite = Callable[..., Any]


def graph(body: str, outputs: str, shape: str = "2,7") -> str:
    return f"""<ir_version: 8, opset_import: ["" : 13]> g (float[{shape}] x) => ({outputs})
        <int64[1] k = {{3}}, int64[1] one = {{1}}, float[8,5] table> {{ v, i = TopK (x, k) {body} }}"""


def table(text: str) -> str:
    numbers = ",".join(str(n) for n in range(40))
    return text.replace("float[8,5] table", f"float[8,5] table = {{{numbers}}}")


def dtypes(result: Any) -> dict[str, str]:
    """Return node -> dtype of its second input's producer, a Cast or not."""
    return {
        node.outputs[0].name: producer.op_type if (producer := node.inputs[1].producer()) else "initializer"
        for node in result.model.graph
        if len(node.inputs) > 1
    }


def test_gathers_read_the_indices_as_int32(rewrite: Rewrite) -> None:
    body = "y = Gather (table, i) z = GatherElements <axis = 1> (x, i)"
    result = rewrite(table(graph(body, "float[2,3,5] y, float[2,3] z")), TopkInt32())
    assert result.ops == ["TopK", "Cast", "Gather", "GatherElements"]
    assert dtypes(result)["y"] == dtypes(result)["z"] == "Cast"
    assert result.applied == ("i is at most 6",)
    result.assert_same()


def test_nodes_that_only_pass_them_on_follow(rewrite: Rewrite) -> None:
    body = "a = Unsqueeze (i, one) b = Squeeze (a, one) y = Gather (table, b)"
    result = rewrite(table(graph(body, "float[2,3,5] y")), TopkInt32())
    assert result.ops == ["TopK", "Cast", "Unsqueeze", "Squeeze", "Gather"]
    result.assert_same()


def test_who_wants_int64_keeps_it(rewrite: Rewrite) -> None:
    body = "y = Gather (table, i) a = Unsqueeze (i, one) z = Neg (a)"
    result = rewrite(table(graph(body, "float[2,3,5] y, int64[2,1,3] z")), TopkInt32())
    assert result.ops.count("Cast") == 1
    assert next(n for n in result.model.graph if n.op_type == "Unsqueeze").inputs[0].name == "i"
    result.assert_same()


def test_indices_that_are_a_graph_output_stay_one(rewrite: Rewrite) -> None:
    result = rewrite(table(graph("y = Gather (table, i)", "float[2,3,5] y, int64[2,3] i")), TopkInt32())
    assert result.ops == ["TopK", "Cast", "Gather"]
    result.assert_same()


@pytest.mark.parametrize(
    ("body", "shape", "why"),
    [
        ("y = Neg (i)", "2,7", "no reader of i takes int32"),
        ("y = Gather (table, i)", "2,n", "nothing bounds i: the axis has an unknown size"),
    ],
)
def test_reasons_to_decline(rewrite: Rewrite, body: str, shape: str, why: str) -> None:
    output = "int64[2,3] y" if "Neg" in body else "float[2,3,5] y"
    result = rewrite(table(graph(body, output, shape)), TopkInt32(), compare="Neg" in body)
    assert not result.applied
    assert result.declined == (why,)
    result.assert_same()


def test_unread_indices_and_those_cast_already_are_no_sites(rewrite: Rewrite) -> None:
    text = graph("c = Cast <to = 6> (i) y = Neg (c)", "int32[2,3] y").replace(", float[8,5] table", "")
    result = rewrite(text, TopkInt32())
    assert not result.applied
    assert not result.declined
    unread = graph("y = Neg (v)", "float[2,3] y").replace(", float[8,5] table", "")
    assert not rewrite(unread, TopkInt32()).declined
