"""What the estimate of half precision rounds: every tensor, bit for bit as numpy does, and nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError
from graphopt.core.onnx_files import from_proto, input_specs, load_model, to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.recipes.half_estimate import half_precision_copy
from graphopt.validate import half_precision
from graphopt.validate.half_exact import keeps_halves


def floats(numbers: Any) -> Any:
    return np.asarray(numbers, np.float32)


RNG = np.random.default_rng(3)
IMAGE: Any = (RNG.standard_normal((1, 2, 6, 5)) * 3).astype(np.float32)
WEIGHTS: dict[str, Any] = {
    "w": RNG.standard_normal((4, 2, 3, 3)).astype(np.float32),
    "b": RNG.standard_normal(4).astype(np.float32),
    "c": floats([[[[0.1]], [[-0.7]]]]),
    "far": np.full((1, 3, 6, 5), 1 / 3, np.float32),
    "k": np.array([2], np.int64),
    "edges": np.array([0, 0, 1, 1, 0, 0, 1, 0], np.int64),
    "i": np.array([1, 0, 1], np.int64),
    "low": np.float32(-1.0001),
    "scales": floats([1, 1, 2, 1.7]),
    "roi": floats([]),
}

BODIES = {
    "convolution": "a = Conv (x, w, b) y = Sigmoid (a)",
    "chosen elements": """a = Mul (x, c) r = Relu (a) t = Transpose <perm = [0, 2, 3, 1]> (r)
        y = Gather <axis = 3> (t, i)""",
    "one constant of two readers": "a = Mul (x, c) e = Sub (a, c) y = Concat <axis = 1> (a, e, far)",
    "bounds": "a = Clip (x, low) y = Mul (a, a)",
    "fill": "a = Pad (x, edges, low) y = Mul (a, a)",
    "pooling": """a = MaxPool <kernel_shape = [2, 2]> (x) m = AveragePool <kernel_shape = [2, 2]> (x)
        y = Add (a, m)""",
    "nearest": "a = Resize <mode = 'nearest'> (x, roi, scales) y = Mul (a, c)",
    "linear": "y = Resize <mode = 'linear'> (x, roi, scales)",
    "to integers and back": "h = Mul (x, c) a = Cast <to = 7> (h) e = Cast <to = 1> (a) y = Add (e, c)",
    "best": "v, p = TopK <axis = 2> (x, k) q = Cast <to = 1> (p) y = Div (v, q)",
    "reduction": "a = ReduceMean <axes = [2]> (x) m = ReduceMax <axes = [2]> (x) y = Sub (a, m)",
    "normalisation": "a = Softmax <axis = 1> (x) z = Sqrt (a) y = Log (z)",
    "signs": "a = Abs (x) e = Floor (x) n = Neg (e) y = Max (a, n, c)",
}
BROKEN = "a = Exp (x) y = Tanh (a)"


def model_of(
    body: str, *, weights: Mapping[str, Any] = WEIGHTS, opset: int = 11, inputs: str = "float[1,2,6,5] x"
) -> ir.Model:
    words = set(re.findall(r"\w+", body)) - set(re.findall(r"\w+", inputs))
    header = f'<ir_version: 8, opset_import: ["" : {opset}, "npu" : 1]> g ({inputs}) => (float[] y)'
    proto = onnx.parser.parse_model(f"{header} {{ {body} }}".replace("'", '"'))
    for name in sorted(words & set(weights)):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(weights[name]), name))
    return from_proto(proto)


def run(model: ir.Model, *, optimize: bool = False, **feeds: Any) -> Any:
    with attached(model):
        content = to_proto(model).SerializeToString()
    with OnnxRuntimeSession(content, optimize=optimize) as session:
        return session.run(feeds)["y"]


def half(array: Any) -> Any:
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32) if array.dtype == np.float32 else array


def node_by_node(model: ir.Model, *, float_only: tuple[str, ...] = ("scales",), **feeds: Any) -> Any:
    """Run each node on its own, in float32, and round what goes in and what comes out with numpy."""
    values = {name: half(array) for name, array in feeds.items()}
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        array = value.const_value.numpy()
        values[name] = array if name in float_only else half(array)
    proto = to_proto(model)
    for node in proto.graph.node:
        read = {name: values[name] for name in dict.fromkeys(node.input) if name}
        types = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in read.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
        single = onnx.helper.make_model(
            onnx.helper.make_graph([node], "one", types, outputs),
            ir_version=8,
            opset_imports=proto.opset_import,
        )
        with OnnxRuntimeSession(onnx.shape_inference.infer_shapes(single).SerializeToString()) as session:
            values.update({name: half(array) for name, array in session.run(read).items()})
    return values["y"]


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_it_is_each_node_alone_between_roundings_bit_for_bit(name: str, optimize: bool) -> None:
    model = model_of(BODIES[name])
    wanted = node_by_node(model, x=IMAGE)
    got = run(half_precision_copy(model), optimize=optimize, x=IMAGE)
    assert got.dtype == np.float32
    if optimize:  # onnxruntime may sum in another order, and then rounds to the neighbour
        np.testing.assert_allclose(got, wanted, rtol=2**-9, atol=1e-6)
        np.testing.assert_array_equal(got, half(got))
    else:
        np.testing.assert_array_equal(got, wanted)
    if name != "to integers and back":
        assert np.any(got != run(model, x=IMAGE)), "float32 gives the same: the case shows nothing"


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_graph_is_its_nodes_alone_between_roundings(filled_deepmar: Path) -> None:
    model = load_model(filled_deepmar)
    for value in model.graph.outputs:
        value.name = "y"
    (image,) = model.graph.inputs
    picture: dict[str, Any] = dict(structured_feeds(input_specs(model), seed=3))
    wanted = node_by_node(model, **picture)
    got = run(half_precision_copy(model), **picture)
    np.testing.assert_array_equal(got, wanted)
    exact = run(model, **picture)
    moved = np.abs(got - exact).max() / np.abs(exact).max()
    assert 1e-5 < moved < 5e-3, f"half precision moved {image.name} by {moved}"


def test_a_missing_rounding_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(BROKEN)
    wanted = node_by_node(model, x=IMAGE)
    np.testing.assert_array_equal(run(half_precision_copy(model), x=IMAGE), wanted)
    monkeypatch.setattr(half_precision, "keeps_halves", lambda node, types: node.op_type != "Tanh")
    assert np.any(run(half_precision_copy(model), x=IMAGE) != wanted)


def test_an_unrounded_weight_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(BODIES["convolution"])
    monkeypatch.setattr(half_precision, "_rounded", lambda array: array)
    assert np.any(run(half_precision_copy(model), x=IMAGE) != node_by_node(model, x=IMAGE))


def test_rounding_is_to_nearest_even_with_subnormals_and_infinities() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    numbers = halves[np.isfinite(halves)]
    ties = (np.sort(numbers)[1:] + np.sort(numbers)[:-1]) / 2
    beside = [np.nextafter(ties, np.float32(end)) for end in (0, 9e9)]
    large = floats([65519.996, 65520, -65520, 3e38, np.inf, -np.inf])
    small = floats([2**-25, 2**-25 * 1.001, 2**-24, -(2**-26)])
    x = np.concatenate([numbers, ties, *beside, large, small])
    model = model_of("y = Identity (x)", inputs=f"float[{x.size}] x")
    got = run(half_precision_copy(model), x=x)
    np.testing.assert_array_equal(got.view(np.uint32), half(x).view(np.uint32))
    np.testing.assert_array_equal(got[-10:-6], [65504, np.inf, -np.inf, np.inf])
    np.testing.assert_array_equal(got[-4:], [0, 2**-24, 2**-24, 0])


def test_weights_that_overflow_become_infinite_and_small_ones_subnormal() -> None:
    weights = {**WEIGHTS, "c": floats([[[[1e6]], [[3e-7]]]])}
    x = floats(np.full((1, 2, 6, 5), 2.0))
    got = run(half_precision_copy(model_of("y = Mul (x, c)", weights=weights)), x=x)
    assert np.isinf(got[0, 0]).all()
    np.testing.assert_array_equal(got[0, 1], np.full((6, 5), half(np.float32(2) * half(floats([3e-7])))))


def test_sums_are_not_rounded_on_their_way() -> None:
    x = np.full((1, 2, 6, 5), 0.5, np.float32)
    x[0, 0, 0, 0] = 2048  # in float16, 2048 + 0.5 is 2048 again and again
    got = run(half_precision_copy(model_of("y = ReduceSum <axes = [1, 2, 3]> (x)")), x=x)
    assert got.item() == 2078  # 2077.5, rounded once
    y = run(half_precision_copy(model_of("a = Mul (x, x) y = ReduceSum <axes = [1,2,3]> (a)")), x=x)
    assert np.isinf(y).all()  # the square itself is written to a tensor


def test_an_overflow_inside_a_node_that_ends_small_is_none() -> None:
    x = floats(np.full((1, 2, 6, 5), 300.0))
    got = run(half_precision_copy(model_of("y = ReduceL2 <axes = [2, 3]> (x)")), x=x)
    np.testing.assert_array_equal(got, half(floats(np.full((1, 2, 1, 1), 300 * np.sqrt(30)))))


def test_the_difference_of_two_infinities_is_nan_as_it_is_in_float16() -> None:
    x = floats(np.full((1, 2, 6, 5), 300.0))
    model = model_of("a = Mul (x, x) e = Add (a, c) y = Sub (e, a)")
    with np.errstate(over="ignore", invalid="ignore"):
        square = half(x) * half(x)
        wanted = half(half(half(square) + half(WEIGHTS["c"])) - half(square))
    assert np.isnan(wanted).all()
    np.testing.assert_array_equal(run(half_precision_copy(model), x=x), wanted)


def test_sizes_and_anchors_are_computed_as_a_compiler_folds_them() -> None:
    body = (
        "s = Shape (x) f = Cast <to = 1> (s) big = Mul (f, large) z = Div (big, large) n = Cast <to = 7> (z) "
        "e = Expand (third, n) y = Add (x, e)"
    )
    weights = {**WEIGHTS, "large": np.float32(70001.0), "third": np.float32(1 / 3)}
    model = model_of(body, weights=weights)
    got = run(half_precision_copy(model), x=IMAGE)  # the sizes in float16 would be infinite
    np.testing.assert_array_equal(got, half(half(IMAGE) + half(floats([1 / 3]))))


def test_what_stands_in_branches_is_rounded_too() -> None:
    body = """flag = Constant <value = bool {1}> () e = Exp (x)
        y = If (flag) <
            then_branch = then () => (float[] inner) { m = Mul (e, c) inner = Tanh (m) },
            else_branch = other () => (float[] plain) { plain = Identity (c) }
        >"""
    model = model_of(body)
    with np.errstate(over="ignore"):
        square = half(half(np.exp(half(IMAGE))) * half(WEIGHTS["c"]))
    got = run(half_precision_copy(model), x=IMAGE)
    np.testing.assert_array_equal(got, half(got))
    np.testing.assert_allclose(got, np.tanh(square), rtol=2**-9)


def test_constant_results_of_branches_are_rounded() -> None:
    body = """s = ReduceSum <keepdims = 0> (x) flag = Greater (s, huge)
        y = If (flag) <
            then_branch = then () => (float[] inner) { inner = Identity (x) },
            else_branch = other () => (float[] plain) { plain = Identity (c) }
        >"""
    got = run(half_precision_copy(model_of(body, weights={**WEIGHTS, "huge": np.float32(1e30)})), x=IMAGE)
    np.testing.assert_array_equal(got, half(WEIGHTS["c"]))


def test_states_of_a_loop_are_rounded_each_time() -> None:
    body = """count = Constant <value = int64 {5}> () on = Constant <value = bool {1}> ()
        y = Loop (count, on, x) <
            body = each (int64 i, bool go, float[] state) => (bool more, float[] next)
            { more = Identity (go) next = Mul (state, c) }
        >"""
    wanted = half(IMAGE)
    for _ in range(5):
        wanted = half(wanted * half(WEIGHTS["c"]))
    np.testing.assert_array_equal(run(half_precision_copy(model_of(body)), x=IMAGE), wanted)


def test_functions_of_the_user_are_rounded_inside() -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "own" : 1]>
        g (float[1,2,6,5] x) => (float[1,2,6,5] y) { y = own.Swish (x) }
        <domain: "own", opset_import: ["" : 13]> Swish (a) => (b) { s = Sigmoid (a) b = Mul (a, s) }"""
    model = from_proto(onnx.parser.parse_model(text))
    inlined = model_of("s = Sigmoid (x) y = Mul (x, s)", opset=13)
    np.testing.assert_array_equal(run(half_precision_copy(model), x=IMAGE), node_by_node(inlined, x=IMAGE))


def test_integers_and_names_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("a = Mul (x, c) p = ArgMax <axis = 2> (a) q = Cast <to = 1> (p) y = Add (q, a)")
    copy = half_precision_copy(model)
    names = {value.name for node in copy.graph for value in node.outputs}
    assert {"a", "p", "q", "y"} <= names
    assert [(value.name, value.dtype) for value in copy.graph.inputs] == [("x", ir.DataType.FLOAT)]
    assert [value.name for value in copy.graph.outputs] == ["y"]
    arg_max = next(node for node in copy.graph if node.op_type == "ArgMax")
    assert [use.node.op_type for use in arg_max.outputs[0].uses()] == ["Cast"]
    assert [node.op_type for node in model.graph] == ["Mul", "ArgMax", "Cast", "Add"]


DCN = """y = npu.DeformableConv2D <strides = [1, 1], pads = [1, 1], dilations = [1, 1], groups = 1,
    deformable_groups = 1, modulated = 1> (x, w, o)"""


def test_the_body_of_a_target_operator_is_rounded_at_its_ends_only() -> None:
    inputs = "float[1,2,6,5] x, float[1,27,6,5] o"
    model = model_of(DCN, inputs=inputs)
    offsets = np.random.default_rng(5).uniform(-1, 1, (1, 27, 6, 5)).astype(np.float32)
    exact = run(
        model_of(DCN, inputs=inputs, weights={**WEIGHTS, "w": half(WEIGHTS["w"])}),
        x=half(IMAGE),
        o=half(offsets),
    )
    np.testing.assert_array_equal(run(half_precision_copy(model), x=IMAGE, o=offsets), half(exact))


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("y = Clip <min = 0.1> (x)", False),
        ("y = Pad <pads = [0,0,0,0,0,0,0,1], value = 0.1> (x)", False),
        ("y = Upsample <mode = 'linear'> (x, scales)", False),
        ("y = MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (x)", False),
        ("y = MaxPool <kernel_shape = [2, 2]> (x)", True),
        ("y = Upsample (x, scales)", True),
        ("y = ScatterElements <reduction = 'add'> (x, i, x)", False),
        ("y = ScatterElements (x, i, x)", True),
        ("y = npu.Relu (x)", False),
        ("a = Cast <to = 7> (x) y = Cast <to = 1> (a)", False),
        ("a = Cast <to = 10> (x) y = Cast <to = 1> (a)", True),
    ],
)
def test_which_nodes_need_no_rounding(text: str, exact: bool) -> None:
    model = model_of(text, opset=10 if "scales" in text else 9 if "Clip" in text else 16)
    types: dict[ir.Value, Any] = {node.outputs[0]: node.outputs[0].dtype for node in model.graph}
    types |= {
        node.outputs[0]: ir.DataType(node.attributes["to"].as_int())
        for node in model.graph
        if node.op_type == "Cast"
    }
    assert keeps_halves(model.graph[-1], types) is exact


BOXES: Any = floats([[[10.03, 10, 400.3, 300], [500.26, 20, 900.6, 700.7], [11, 10, 401, 301]]])
SCORES: Any = floats([[[0.9, 0.3], [0.30003, 0.8], [0.7, 0.2]]])
NMS = """boxes = Mul (b, one) wide = Unsqueeze <axes = [2]> (boxes)
    found, best, classes, count = npu.BatchMultiClassNMS <max_size_per_class = 3, max_total_size = 4,
        iou_threshold = 0.5, score_threshold = 0.3> (wide, s)
    y = Mul (found, third)"""
ENDS = "float[1,3,4] b, float[1,3,2] s"
FACTORS: dict[str, Any] = {**WEIGHTS, "one": np.float32(1 + 2**-14), "third": np.float32(1 / 3)}


def test_at_the_suppression_only_its_boxes_and_scores_are_rounded() -> None:
    model = model_of(NMS, inputs=ENDS, weights=FACTORS)
    got = run(half_precision_copy(model, "fp16-nms"), b=BOXES, s=SCORES)
    kept = half((BOXES * FACTORS["one"])[0, [0, 1]])
    np.testing.assert_array_equal(got[0, :2], (kept * FACTORS["third"])[[0, 1]])
    assert np.any(got != half(got))  # what follows is float32


def test_the_standard_suppression_reads_rounded_boxes_and_scores_beside_others() -> None:
    body = "y = NonMaxSuppression (b, t, k, iou, low) e = ReduceSum (b)"
    weights = {**WEIGHTS, "iou": floats([0.5]), "low": floats([0.3000001])}
    model = model_of(body, inputs="float[1,3,4] b, float[1,2,3] t", weights=weights)
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.INT64)
    copy = half_precision_copy(model, "fp16-nms")
    node, others = copy.graph[-2], copy.graph[-1]
    makers = [value.producer() if value else None for value in node.inputs]
    assert [maker.op_type if maker else None for maker in makers] == ["Cast", "Cast", None, None, None]
    assert others.inputs[0] is copy.graph.inputs[0]
    scores = np.ascontiguousarray(SCORES.transpose(0, 2, 1))
    wanted = run(model, b=half(BOXES), t=half(scores))
    np.testing.assert_array_equal(run(copy, b=BOXES, t=scores), wanted)
    assert len(run(model, b=BOXES, t=scores)) != len(wanted)  # 0.30003 rounds below the threshold


def test_a_model_without_suppression_has_nothing_to_round_there() -> None:
    with pytest.raises(PreconditionError, match="has none of BatchMultiClassNMS, NonMaxSuppression"):
        half_precision_copy(model_of("y = Mul (x, c)"), "fp16-nms")
