import onnx_ir as ir
import pytest

from graphopt.surgery.values.value_signs import MAX_STEPS, is_non_negative


def last(body: str, opset: int = 13) -> tuple[ir.Model, ir.Value]:
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[1,2,3,4] x) => (float[a,b,c,d] y)
        <float zero = {{0}}, float six = {{6}}, float[2] mixed = {{-1,1}}> {{ {body} }}""")
    return model, model.graph.outputs[0]


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu (x)",
        "r = Relu (x) m = MaxPool <kernel_shape = [2,2]> (r) y = Identity (m)",
        "a = Sigmoid (x) b = Exp (x) c = Mul (a, b) y = Concat <axis = 1> (c, a)",
        "y = Clip (x, zero, six)",
        "r = Abs (x) y = Add (r, six)",
        "y = Max (x, zero)",
        "r = Relu (x) y = Cast <to = 11> (r)",
        "s = Less (x, zero) y = Where (s, zero, x)",
        "s = Less (x, six) r = Relu (x) y = Where (s, r, six)",
    ],
)
def test_proven(body: str) -> None:
    assert is_non_negative(*last(body))


LINKS = [f"r{i} = Identity ({f'r{i - 1}' if i else 'r'})" for i in range(MAX_STEPS)]
LONG = f"r = Relu (x) {' '.join(LINKS)} y = Identity (r{MAX_STEPS - 1})"


@pytest.mark.parametrize(
    "body",
    [
        "y = Identity (x)",
        "r = Relu (x) y = Cast <to = 6> (r)",
        "r = Relu (x) n = Neg (x) y = Max (n, x)",
        "s = Less (x, zero) y = Where (s, x, zero)",
        "s = Less (x, mixed) r = Neg (x) y = Where (s, zero, r)",
        "r = Relu (x) y = Neg (r)",
        "r = Relu (x) y = Add (r, x)",
        "r = Relu (x) y = Mul (r, mixed)",
        "y = Clip (x, , six)",
        "y = ThresholdedRelu <alpha = -1.0> (x)",
        LONG,
    ],
)  # fmt: skip
def test_not_proven(body: str) -> None:
    assert not is_non_negative(*last(body))


def test_bounds_that_were_attributes() -> None:
    assert is_non_negative(*last("y = Clip <min = 0.0> (x)", opset=9))
    assert not is_non_negative(*last("y = Clip <max = 6.0> (x)", opset=9))
