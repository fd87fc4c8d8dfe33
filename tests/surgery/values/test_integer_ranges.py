import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import to_proto
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.values.integer_ranges import IntegerRanges

HEAD = """<ir_version: 8, opset_import: ["" : 16]>
    g (int32[2,3] x, bool[2,3] b, float[2,7] f) => (int64[a] out)
    <int64 three = {3}, int64 minus = {-4}, int64[2] some = {-2,5}, int64[1] zero = {0}, int64[1] two = {2},
     int64[2] shape = {3,2}, int64[1] last = {1}> {
    small = Cast <to = 3> (x) i = Cast <to = 7> (small) t = Cast <to = 7> (b) """


def bounds_of(body: str) -> dict[str, tuple[int, int] | None]:
    flat = " flat = Constant <value_ints = [-1]> () w = Cast <to = 7> (v) out = Reshape (w, flat) }"
    model = ir.from_proto(onnx.parser.parse_model(HEAD + body + flat))
    types = infer_types(model)
    ranges = IntegerRanges(model, types)
    return {value.name or "": ranges.of(value) for node in model.graph for value in node.outputs}


def largest(body: str) -> tuple[int, int]:
    """Run the model on extreme inputs and return what ``v`` really reaches."""
    flat = " flat = Constant <value_ints = [-1]> () w = Cast <to = 7> (v) out = Reshape (w, flat) }"
    proto = to_proto(ir.from_proto(onnx.parser.parse_model(HEAD + body + flat)))
    rng = np.random.default_rng(5)
    seen = []
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        for _ in range(40):
            x = rng.choice([-128, -127, -1, 0, 1, 126, 127], (2, 3)).astype(np.int32)
            feeds = {
                "x": x,
                "b": rng.random((2, 3)) < 0.5,
                "f": rng.standard_normal((2, 7)).astype(np.float32),
            }
            seen.append(
                session.run({name: feeds[name] for name in (spec.name for spec in session.inputs)})["out"]
            )
    whole = np.concatenate(seen)
    return int(whole.min()), int(whole.max())


@pytest.mark.parametrize(
    ("body", "interval"),
    [
        ("v = Add (i, t)", (-128, 128)),
        ("v = Sub (t, i)", (-127, 129)),
        ("v = Mul (i, minus)", (-508, 512)),
        ("v = Div (i, minus)", (-31, 32)),
        ("v = Mod (i, three)", (0, 2)),
        ("v = Mod <fmod = 1> (i, three)", (-2, 2)),
        ("v = Mod (t, three)", (0, 1)),
        ("v = Neg (i)", (-127, 128)),
        ("v = Abs (i)", (0, 128)),
        ("v = Max (i, three)", (-128, 127)),
        ("v = Clip (i, minus, three)", (-4, 3)),
        ("v = Clip (i, , three)", (-128, 3)),
        ("v = Where (b, t, minus)", (-4, 1)),
        ("v = Concat <axis = 0> (t, i)", (-128, 127)),
        ("v = ReduceSum (t, last)", (0, 3)),
        ("v = CumSum (t, last)", (0, 3)),
        ("v = ReduceMax <axes = [1]> (i)", (-128, 127)),
        ("v = ArgMax <axis = 1> (f)", (0, 6)),
        ("y, v = TopK (f, two)", (0, 6)),
        ("v = NonZero (f)", (0, 6)),
        ("v = Shape (f)", (2, 7)),
        ("v = Size (f)", (14, 14)),
        ("v = ConstantOfShape <value = int64[1] {9}> (shape)", (9, 9)),
        ("k = Constant <value_int = -7> () v = Range (three, k, minus)", (-5, 3)),
        ("p = Constant <value_ints = [0,1,0,0]> () v = Pad (t, p)", (0, 1)),
        ("a = Transpose (i) c = Unsqueeze (a, zero) d = Squeeze (c, zero) v = Tile (d, shape)", (-128, 127)),
    ],
)  # fmt: skip
def test_bounds_hold_and_are_tight(body: str, interval: tuple[int, int]) -> None:
    assert bounds_of(body)["v"] == interval
    low, high = largest(body)
    assert interval[0] <= low
    assert high <= interval[1]


@pytest.mark.parametrize(
    "body",
    [
        "c = Cast <to = 7> (f) v = Add (c, three)",
        "v = Div (three, i)",
        "v = Mod (three, i)",
        "s = Shape (x) e = Mul (i, i) k = Mul (e, e) l = Mul (k, k) m = Mul (l, l) v = Mul (m, m)",
        """j = Constant <value_ints = [0,0]> () h = Constant <value_ints = [1,2]> () k = Reshape (j, h)
        n = Constant <value_ints = [1]> () v = ScatterND <reduction = "add"> (i, k, n)""",
        """y = ReduceMax <keepdims = 0> (f) q = Cast <to = 9> (y)
        v = If (q) < then_branch = p () => (int64 r) { r = Identity (three) },
                     else_branch = e () => (int64 s) { s = Identity (minus) } >""",
    ],
)  # fmt: skip
def test_what_has_no_bounds(body: str) -> None:
    assert bounds_of(body)["v"] is None


def test_numbers_that_wrap_are_not_followed() -> None:
    body = "a = Add (x, x) m = Cast <to = 7> (a) n = Cast <to = 3> (i) v = Mul (m, three)"
    assert bounds_of(body)["a"] == (-(2**31), 2**31 - 1)
    assert bounds_of(body)["v"] == (-3 * 2**31, 3 * (2**31 - 1))
