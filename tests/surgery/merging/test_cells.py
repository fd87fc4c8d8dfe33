"""Which additions are merge cells."""

import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery.merging.cells import find_cells, is_pool_without_overlap
from graphopt.surgery.shapes.known_sizes import KnownSizes


def model_of(body: str, *, x: str = "1,3,8,12", opset: int = 13) -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[{x}] x, float[1,3,4,6] s) => (float[a,b,c,d] y)
        <float[0] o = {{}}, float[4] f = {{1,1,2,2}}, float[1,3,1,1] k = {{1,2,3}}> {{ {body} }}"""
    return ir.from_proto(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("u = Resize (s, o, f) y = Add (x, u)", ["sum"]),
        ("u = Resize (s, o, f) y = Sum (u, x)", ["sum"]),
        ("p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x) y = Add (p, s)", ["sum"]),
        ("m = GlobalAveragePool (x) g = Sigmoid (m) p = Mul (g, x) y = Add (p, x)", ["attention"]),
        (
            """u = Resize (s, o, f) m = ReduceMean <axes = [2,3]> (x) g = Sigmoid (m) p = Mul (u, g)
            a = Add (x, p) v = Resize (s, o, f) y = Add (a, v)""",
            ["attention", "sum"],
        ),
        ("y = Add (x, x)", []),
        ("u = Resize (s, o, f) y = Add (u, k)", []),
        ("u = Resize (s, o, f) y = Sum (u, x, x)", []),
        ("m = GlobalAveragePool (x) g = Tanh (m) p = Mul (g, x) y = Add (p, x)", []),
        ("m = ReduceMean <axes = [2,3], keepdims = 0> (x) n = Sigmoid (m) y = Add (x, x)", []),
    ],
)
def test_what_is_a_cell(body: str, kinds: list[str]) -> None:
    model = model_of(body)
    assert [cell.kind for cell in find_cells(model, KnownSizes(model))] == kinds


def test_the_pooled_map_of_attention_comes_first() -> None:
    model = model_of(
        "u = Resize (s, o, f) m = GlobalAveragePool (x) g = Sigmoid (m) p = Mul (g, u) y = Add (p, x)"
    )
    (cell,) = find_cells(model, KnownSizes(model))
    assert [value.name for value in cell.maps] == ["x", "u"]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("MaxPool <kernel_shape = [2,2], strides = [2,2]>", True),
        ("MaxPool <kernel_shape = [1,2], strides = [1,2]>", True),
        ("MaxPool <kernel_shape = [1,1], strides = [1,1]>", False),
        ("MaxPool <kernel_shape = [3,3], strides = [2,2]>", False),
        ("MaxPool <kernel_shape = [2,2]>", False),
        ("AveragePool <kernel_shape = [2,2], strides = [2,2]>", False),
    ],
)
def test_pools_without_overlap(pool: str, expected: bool) -> None:
    assert is_pool_without_overlap(model_of(f"y = {pool} (x)").graph[0]) is expected
