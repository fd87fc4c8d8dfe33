import onnx_ir as ir
import pytest

from graphopt.surgery.semantics.windows import (
    Window,
    pad_mode_of,
    pad_value_of,
    pads_of,
    set_window,
    window_of,
)


def conv(attributes: str) -> ir.Node:
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,2,9,11] x) => (float[a,b,c,d] y) {{
            k = Constant <value = float[1,2,3,5] {{{",".join(["1"] * 30)}}}> ()
            y = Conv {attributes} (x, k)
        }}"""
    return ir.from_onnx_text(text).graph.node(1)


def test_defaults_and_the_kernel_of_the_weight() -> None:
    window = window_of(conv(""))
    assert window == Window(kernel=(3, 5), strides=(1, 1), dilations=(1, 1), begins=(0, 0), ends=(0, 0))
    assert not window.is_padded


@pytest.mark.parametrize(
    ("attributes", "begins", "ends"),
    [
        ("pads = [1,2,3,4]", (1, 2), (3, 4)),
        ('auto_pad = "VALID"', (0, 0), (0, 0)),
        ('auto_pad = "SAME_UPPER", strides = [2,2]', (1, 2), (1, 2)),
        ('auto_pad = "SAME_LOWER", dilations = [2,1], strides = [1,4]', (2, 1), (2, 1)),
        ('auto_pad = "SAME_UPPER", strides = [5,3]', (0, 1), (0, 2)),
    ],
)
def test_padding_is_worked_out(attributes: str, begins: tuple[int, ...], ends: tuple[int, ...]) -> None:
    window = window_of(conv(f"<{attributes}>"), (9, 11))
    assert isinstance(window, Window)
    assert (window.begins, window.ends) == (begins, ends)


def test_sizes_that_are_not_known_are_asked_for() -> None:
    reason = window_of(conv('<auto_pad = "SAME_UPPER">'), (9, "width"))
    assert (
        reason == "its auto_pad is SAME_UPPER and the size of its input is not known; run static_shapes first"
    )


def test_reach_output_and_fit() -> None:
    window = window_of(conv("<dilations = [2,1], strides = [2,3], pads = [1,0,0,0]>"))
    assert isinstance(window, Window)
    assert window.reach == (5, 5)
    assert [window.output(0, 9), window.output(1, 11)] == [3, 3]
    assert window.fits((4, 5))
    assert window.fits((4, "width"))
    assert not window.fits((3, 5))


def test_a_window_is_written_into_a_node_and_read_back() -> None:
    node = conv('<auto_pad = "SAME_UPPER">')
    window = Window(kernel=(3, 5), strides=(2, 1), dilations=(1, 3), begins=(1, 0), ends=(0, 4))
    set_window(node, window)
    assert "auto_pad" not in node.attributes
    assert window_of(node) == window


@pytest.mark.parametrize(
    ("call", "opset", "pads", "value"),
    [
        ("Pad <pads = [0,1,0,2], value = 3.0> (x)", 9, [0, 1, 0, 2], 3.0),
        ("Pad (x, p)", 13, [0, 1, 0, 2], 0.0),
        ("Pad (x, p, v)", 13, [0, 1, 0, 2], 7.0),
        ("Pad (x, s, v, a)", 18, [0, 1, 0, 2], 7.0),
        ("Pad (x, q)", 13, None, 0.0),
    ],
)
def test_pads_and_value_of_every_opset(call: str, opset: int, pads: list[int] | None, value: float) -> None:
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[3,4] x, int64[4] q) => (float[a,b] y)
        <int64[4] p = {{0,1,0,2}}, int64[2] s = {{1,2}}, int64[1] a = {{-1}}, float v = {{7}}> {{
            y = {call}
        }}""")
    node = model.graph.node(0)
    assert pads_of(model, node, 2) == pads
    assert pad_value_of(model, node) == value
    assert pad_mode_of(node) == "constant"
