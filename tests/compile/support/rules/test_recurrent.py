from collections.abc import Callable

import pytest

BAD, SLOW = "unsupported", "restricted"
ONE = "float[7,1,5] x, float[1,12,5] w, float[1,12,3] r"
TWO = "float[7,1,5] x, float[2,12,5] w, float[2,12,3] r"


@pytest.mark.parametrize(
    ("attributes", "inputs", "expected"),
    [
        ("", ONE, []),
        ('activations=["Sigmoid","Tanh","Tanh"]', ONE, []),
        ('activations=["Sigmoid","Relu","Tanh"]', ONE, [f"{BAD} rnn_ignored"]),
        ("clip=3.0", ONE, [f"{BAD} rnn_ignored"]),
        ("input_forget=1", ONE, [f"{BAD} rnn_ignored"]),
        ('direction="reverse"', ONE, []),
        ('direction="bidirectional"', TWO, [f"{SLOW} rnn_bidirectional"]),
    ],
)
def test_lstm(codes: Callable[..., list[str]], attributes: str, inputs: str, expected: list[str]) -> None:
    body = f"y = LSTM<hidden_size=3{', ' if attributes else ''}{attributes}>(x, w, r)"
    assert codes(body, inputs=inputs) == expected


def test_layout_is_ignored(codes: Callable[..., list[str]]) -> None:
    assert codes("y = LSTM<hidden_size=3, layout=1>(x, w, r)", inputs=ONE, opset=14) == [f"{BAD} rnn_ignored"]


def test_peepholes(codes: Callable[..., list[str]]) -> None:
    body = "y = LSTM<hidden_size=3>(x, w, r, , , , , p)"
    assert codes(body, inputs=f"{ONE}, float[1,9] p") == [f"{SLOW} rnn_peepholes"]


def test_the_reset_gate_of_gru_is_to_be_compared(codes: Callable[..., list[str]]) -> None:
    inputs = "float[7,1,5] x, float[1,9,5] w, float[1,9,3] r"
    assert codes("y = GRU<hidden_size=3>(x, w, r)", inputs=inputs) == [f"{SLOW} gru_reset"]
    body = 'y = GRU<hidden_size=3, activations=["Tanh","Tanh"]>(x, w, r)'
    assert codes(body, inputs=inputs) == [f"{SLOW} gru_reset", f"{BAD} rnn_ignored"]
