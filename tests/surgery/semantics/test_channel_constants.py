import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery.semantics.channel_constants import channel_affine, per_channel


@pytest.mark.parametrize(
    ("shape", "rank", "found"),
    [((), 4, True), ((1,), 4, True), ((3, 1, 1), 4, True), ((1, 3, 1, 1), 4, True), ((3,), 2, True),
     ((3,), 4, False), ((2, 1, 1), 4, False), ((2, 3, 1, 1), 4, False), ((1, 1, 3, 1, 1), 4, False)],
)  # fmt: skip
def test_what_broadcasts_as_one_number_per_channel(shape: tuple[int, ...], rank: int, found: bool) -> None:
    array = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float32).reshape(shape)
    numbers = per_channel(array, 3, rank)
    assert (numbers is not None) == found
    if numbers is not None:
        assert numbers.tolist() == ([1, 2, 3] if array.size == 3 else [1, 1, 1])


def test_integers_are_not_scales() -> None:
    assert per_channel(np.array([1, 2, 3]), 3, 2) is None


@pytest.mark.parametrize("call", ["Add (x, c)", "Sub (x, c)", "Sub (c, x)", "Mul (c, x)", "Div (x, c)"])
def test_factor_and_shift_do_what_the_node_does(call: str) -> None:
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,3] x) => (float[2,3] y) <float[3] c = {{2,-4,0.5}}> {{ y = {call} }}""")
    found = channel_affine(model.graph.node(0), model.graph.inputs[0], 3, 2)
    assert not isinstance(found, str)
    x, c = np.array([3.0, 5.0, 7.0]), np.array([2.0, -4.0, 0.5])
    operation = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[call[:3]]
    expected = operation(c, x) if "(c, x)" in call else operation(x, c)
    np.testing.assert_allclose(x * found[0] + found[1], expected)
