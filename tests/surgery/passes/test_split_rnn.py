from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.surgery.passes.split_rnn import SplitRnn

Rewrite = Callable[..., Any]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, SIZE, HIDDEN = 5, 2, 3, 4

SUITABLE = """<ir_version: 8, opset_import: ["" : 13]>
g (float[3,1,1] x) => (float[3,2,1,1] y)
<float[2,1,1] w = {1,2}, float[2,1,1] r = {0.5,0.25}>
{ y = RNN <direction = "bidirectional", hidden_size = 1> (x, w, r) }"""


def model(op: str, *, states: str = "", extra: str = "", outputs: str = "y, h", lengths: str = "") -> str:
    gates = GATES[op]
    state = f"float[2,{BATCH},{HIDDEN}]"
    found = {"y": f"float[{STEPS},2,{BATCH},{HIDDEN}]", "h": state, "c": state}
    made = ", ".join(f"{found[name]} {name}" for name in outputs.split(", "))
    zeros = np.zeros(2 * BATCH * HIDDEN, np.float32)
    rising = np.arange(2 * BATCH * HIDDEN) / 10
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
    g (float[{STEPS},{BATCH},{SIZE}] x, float[2,{gates * HIDDEN},{SIZE}] w,
       float[2,{gates * HIDDEN},{HIDDEN}] r, float[2,{2 * gates * HIDDEN}] b) => ({made})
    <float[2,{BATCH},{HIDDEN}] zero = {{{",".join(map(str, zeros))}}},
     float[2,{BATCH},{HIDDEN}] rise = {{{",".join(map(str, rising))}}}, int32[{BATCH}] lens = {{5,3}}> {{
        {outputs} = {op} <direction = "bidirectional", hidden_size = {HIDDEN}{extra}>
            (x, w, r, b, {lengths}{states})
    }}"""
    return text


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("states", ["", ", zero", ", rise"])
@pytest.mark.parametrize("lengths", ["", "lens"])
def test_both_directions_give_what_the_layer_gave(
    rewrite: Rewrite, op: str, states: str, lengths: str
) -> None:
    outputs = "y, h, c" if op == "LSTM" else "y, h"
    if op == "LSTM" and states:
        states = states * 2
    text = model(op, states=states, outputs=outputs, lengths=lengths)
    result = rewrite(text, SplitRnn(), weights=("w", "r", "b"))
    layers = [node for node in result.model.graph if node.op_type == op]
    assert [node.attributes["direction"].as_string() for node in layers] == ["forward", "reverse"]
    if "zero" in states:
        assert all(len(node.inputs) <= 5 for node in layers)
    result.assert_same(rtol=1e-6)


def test_activations_are_split_by_direction(rewrite: Rewrite) -> None:
    extra = ', activations = ["Sigmoid", "Tanh", "Relu", "Tanh"], linear_before_reset = 1'
    result = rewrite(model("GRU", extra=extra), SplitRnn(), weights=("w", "r", "b"))
    layers = [node for node in result.model.graph if node.op_type == "GRU"]
    assert [list(node.attributes["activations"].as_strings()) for node in layers] == [
        ["Sigmoid", "Tanh"],
        ["Relu", "Tanh"],
    ]
    result.assert_same(rtol=1e-6)


def test_an_initial_state_computed_at_run_time_is_sliced(rewrite: Rewrite) -> None:
    text = model("GRU", states=", first").replace("=> (", f", float[2,{BATCH},{HIDDEN}] first) => (", 1)
    text = text.replace(f"float[2,{6 * HIDDEN}] b)", f"float[2,{6 * HIDDEN}] b")
    result = rewrite(text, SplitRnn(), weights=("w", "r", "b"))
    assert result.ops.count("Slice") == 2
    result.assert_same(rtol=1e-6)


def test_one_direction_is_no_candidate_and_other_layouts_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 14]> g (float[5,2,3] x) => (float[5,1,2,1] y)
    <float[1,1,3] w = {1,2,3}, float[1,1,1] r = {2}> { y = RNN <hidden_size = 1> (x, w, r) }"""
    assert rewrite(text, SplitRnn()).applied == ()
    text = """<ir_version: 8, opset_import: ["" : 14]>
    g (float[5,2,3] x, float[2,1,3] w) => (float[5,2,2,1] y)
    <float[2,1,1] r = {2,3}> { y = RNN <hidden_size = 1, direction = "bidirectional"%s> (x, w, r) }"""
    assert rewrite(text % "", SplitRnn()).declined == ("w is computed at run time",)
    assert rewrite(text % ", layout = 1", SplitRnn(), compare=False).declined == (
        "it is batch first (layout=1)",
    )
