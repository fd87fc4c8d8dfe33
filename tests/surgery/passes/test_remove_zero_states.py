from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.remove_zero_states import RemoveZeroStates

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 8, opset_import: ["" : 13]>
g (float[3,2,1] x) => (float[3,1,2,1] y)
<float[1,1,1] w = {1}, float[1,1,1] r = {0.5}, float[1,2,1] zero = {0,0}>
{ y = RNN <hidden_size = 1> (x, w, r, , , zero) }"""

LAYER = """<ir_version: 8, opset_import: ["" : 13]>
g (float[5,batch,3] x, float[1,16,3] w, float[1,16,4] r) => (float[5,1,batch,4] y)
<int64[1] at = {1}, int64[1] one = {1}, int64[1] four = {4}, int64[1] pair = {2}, int64[1] zero = {0},
 float[1,1,4] rise = {0.1,0.2,0.3,0.4}> {
    shape = Shape (x) batch = Gather (shape, at) BODY
}"""


def layer(body: str) -> str:
    return LAYER.replace("BODY", body)


@pytest.mark.parametrize(
    "state",
    [
        "sizes = Concat <axis = 0> (one, batch, four) s = ConstantOfShape (sizes)",
        (
            "sizes = Concat <axis = 0> (one, batch, four) z = Constant <value = float[1] {0}> ()"
            " s = Expand (z, sizes)"
        ),
        (
            "sizes = Concat <axis = 0> (pair, batch, four) z = ConstantOfShape (sizes)"
            " s = Slice (z, zero, one, zero)"
        ),
    ],
)
def test_states_of_zeros_go_with_the_shapes_they_were_computed_from(rewrite: Rewrite, state: str) -> None:
    text = layer(f"{state} y = LSTM <hidden_size = 4> (x, w, r, , , s, s)")
    result = rewrite(text, RemoveZeroStates(), weights=("w", "r"))
    assert result.ops == ["LSTM"]
    assert len(result.model.graph[0].inputs) == 3
    result.assert_same()


def test_one_of_two_states_may_stay(rewrite: Rewrite) -> None:
    text = layer(
        """sizes = Concat <axis = 0> (one, batch, four) s = ConstantOfShape (sizes) c = Expand (rise, sizes)
        y = LSTM <hidden_size = 4> (x, w, r, , , s, c)"""
    )
    result = rewrite(text, RemoveZeroStates(), weights=("w", "r"))
    assert [value and value.name for value in result.model.graph[-1].inputs][3:] == [None, None, None, "c"]
    result.assert_same()


@pytest.mark.parametrize(
    "state",
    [
        "s = Expand (rise, sizes)",
        "s = ConstantOfShape <value = float[1] {1}> (sizes)",
        "z = ConstantOfShape (sizes) s = Exp (z)",
        "m = ReduceMean <axes = [0], keepdims = 1> (x) f = ReduceMean <axes = [2]> (m) s = Expand (f, sizes)",
    ],
)
def test_other_states_are_declined(rewrite: Rewrite, state: str) -> None:
    text = layer(
        f"sizes = Concat <axis = 0> (one, batch, four) {state} y = LSTM <hidden_size = 4> (x, w, r, , , s, s)"
    )
    result = rewrite(text, RemoveZeroStates(), weights=("w", "r"))
    assert not result.applied
    assert result.declined == ("its initial state may be another one than zeros",)


def test_a_layer_without_states_is_no_site(rewrite: Rewrite) -> None:
    result = rewrite(layer("y = LSTM <hidden_size = 4> (x, w, r)"), RemoveZeroStates(), weights=("w", "r"))
    assert not result.applied
    assert not result.declined
