from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.graph_queries import static_shape
from graphopt.surgery.passes.set_batch import SetBatch

Build = Callable[..., ir.Model]

UNRELATED = """
    <ir_version: 8, opset_import: ["" : 13]>
    g (float[1,4] x) => (float[1,4] y) { a = Exp (x) y = Tanh (a) }
"""
REQUIRED = {"size": 1}
NO_SUITABLE = "it changes the shapes of inputs and outputs"
OPTIONS = {"deepmar_bs1": {"size": 3}}


def graph(
    body: str, *, inputs: str = "float[1,3,4,6] x", output: str = "float[1,p] y", opset: int = 13
) -> str:
    return f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({output}) {body}'


@pytest.fixture
def check(model_of: Build, run_model: Any) -> Callable[..., ir.Model]:
    """A function that sets the batch and compares with the model before, sample by sample."""

    def check(text: str, size: int, weights: tuple[str, ...] = (), **options: Any) -> ir.Model:
        model, report = run_pass(model_of(text, weights), SetBatch(size=size, **options))
        assert report.modified
        rng = np.random.default_rng(11)
        feeds = {
            value.name: rng.standard_normal(static_shape(value)).astype(np.float32)
            for value in model.graph.inputs
        }
        together = run_model(model, feeds)
        original = model_of(text, weights)
        step = (static_shape(original.graph.inputs[0]) or (1,))[0]
        for start in range(0, size - step + 1, step):
            piece = {name: array[start : start + step] for name, array in feeds.items()}
            for name, expected in run_model(model_of(text, weights), piece).items():
                got = together[name][start : start + step]
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        for value in model.graph.outputs:
            assert value.shape is not None
            assert value.shape[0] == size
        _, again = run_pass(model, SetBatch(size=size, **options))
        assert not again.modified
        return model

    return check


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("{ a = Relu (x) y = GlobalAveragePool (a) }", "float[1,3,1,1] y"),
        ("<int64[2] s = {1, -1}> { y = Reshape (x, s) }", "float[1,72] y"),
        ("<int64[2] s = {1, 72}> { y = Reshape (x, s) }", "float[1,72] y"),
        ("<int64[2] s = {-1, 72}> { y = Reshape (x, s) }", "float[1,72] y"),
        ("<int64[2] s = {0, -1}> { y = Reshape (x, s) }", "float[1,72] y"),
        (
            """<int64[2] s = {-1, 6}, int64[2] t = {1, 72}> {
                a = Reshape (x, s) b = Softmax (a) y = Reshape (b, t) }""",
            "float[1,72] y",
        ),
        # An attention block: heads out, product, heads in.
        (
            """<int64[4] s = {1, 12, 2, 3}, int64[3] t = {1, 12, 6}> {
                r = Reshape (x, s)
                q = Transpose <perm = [0, 2, 1, 3]> (r) k = Transpose <perm = [0, 2, 3, 1]> (r)
                m = MatMul (q, k) p = Softmax <axis = -1> (m) v = MatMul (p, q)
                w = Transpose <perm = [0, 2, 1, 3]> (v) y = Reshape (w, t)
            }""",
            "float[1,12,6] y",
        ),
        (
            """<float[0] e = {}, int64[4] s = {1, 3, 8, 12}> {
                y = Resize <coordinate_transformation_mode = "asymmetric", mode = "nearest"> (x, e, e, s)
            }""",
            "float[1,3,8,12] y",
        ),
        (
            "<int64[4] s = {1, 3, 4, 6}> { a = ReduceMean <axes = [3]> (x) y = Expand (a, s) }",
            "float[1,3,4,6] y",
        ),
        ("{ s = Shape (x) a = Relu (x) y = Reshape (a, s) }", "float[1,3,4,6] y"),
        (
            """<int64 zero = {0}, int64[1] m = {-1}, int64[1] ax = {0}> {
                s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, ax) c = Concat <axis = 0> (u, m)
                y = Reshape (x, c) }""",
            "float[1,72] y",
        ),
        (
            """<float[1,1,1,6] token = {1,2,3,4,5,6}, int64 zero = {0}, int64[1] ax = {0},
                int64[3] rest = {1,4,6}> {
                s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, ax) c = Concat <axis = 0> (u, rest)
                t = Expand (token, c) y = Concat <axis = 1> (t, x) }""",
            "float[1,4,4,6] y",
        ),
        ("<int64[1] ax = {0}> { a = Unsqueeze (x, ax) b = Neg (a) y = Squeeze (b, ax) }", "float[1,3,4,6] y"),
        (
            "{ a = Transpose <perm = [3, 2, 1, 0]> (x) b = Flatten <axis = 3> (a) y = Transpose (b) }",
            "float[1,72] y",
        ),
        (
            "<int64 i = {1}> { a = Gather <axis = 1> (x, i) y = ArgMax <axis = 2, keepdims = 0> (a) }",
            "int64[1,4] y",
        ),
        ("<int64[1] k = {2}> { y, i = TopK <axis = 3> (x, k) }", "float[1,3,4,2] y"),
        # What is the same for all samples, and has the batch of one baked in.
        (
            """<float[1,1,1,2] w = {1, 2}, int64[4] t = {1, 1, 4, 3}> {
                v = Tile (w, t) y = Concat <axis = 1> (x, v) }""",
            "float[1,4,4,6] y",
        ),
        (
            """<float[1,1,1,6] w = {1, 2, 3, 4, 5, 6}, int64[4] s = {1, 2, 4, 6}> {
                v = Expand (w, s) y = Concat <axis = 1> (v, x, v) }""",
            "float[1,7,4,6] y",
        ),
        (
            """<int64[4] s = {1, 2, 4, 6}> {
                v = ConstantOfShape <value = float[1] {0.5}> (s) y = Concat <axis = 1> (x, v) }""",
            "float[1,5,4,6] y",
        ),
        (
            "<float[1,2,2,2] g = {0.1, 0.2, -0.5, 0.4, 0.9, -0.9, 0, 0.3}> { y = GridSample (x, g) }",
            "float[1,3,2,2] y",
        ),
        (
            """{ i = Constant <value = int64[1,1,1,6] {2, 1, 0, 0, 1, 2}> ()
                y = GatherElements <axis = 1> (x, i) }""",
            "float[1,1,1,6] y",
        ),
        ('{ y = Einsum <equation = "abcd->abdc"> (x) }', "float[1,3,6,4] y"),
        (
            '<float[1,6] w = {1, 2, 3, 4, 5, 6}> { y = Einsum <equation = "abcd,ad->abc"> (x, w) }',
            "float[1,3,4] y",
        ),
        ("{ y = Trilu (x) }", "float[1,3,4,6] y"),
        (
            """<float s = {0.1}, uint8 z = {7}> {
                q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }""",
            "float[1,3,4,6] y",
        ),
        ("<float[1,1,4] w = {1, 2, 3, 4}> { y = MatMul (w, x) }", "float[1,3,1,6] y"),
    ],
)
@pytest.mark.parametrize("size", [4, 5])
def test_each_sample_is_treated_as_before(check: Any, body: str, output: str, size: int) -> None:
    check(graph(body, output=output, opset=16 if "GridSample" in body or "Trilu" in body else 13), size)


DEFORMED = """{
    o = Conv (x, k) m = Conv (x, r)
    y = DeformConv <pads = [1,1,1,1]> (x, w, o, b, m) }"""
MODULATED = """{
    o = Conv (x, k) m = Conv (x, r)
    y = mmcv.MMCVModulatedDeformConv2d <stride: ints = [1,1], padding: ints = [1,1], dilation: ints = [1,1]>
        (x, o, m, w, b) }"""
PLAIN = """{
    o = Conv (x, k)
    y = mmcv.MMCVDeformConv2d <stride: ints = [1,1], padding: ints = [1,1], dilation: ints = [1,1]> (x, o, w)
}"""
TARGETS = """{
    o = Conv (x, t)
    y = npu.DeformableConv2D <strides: ints = [1,1], pads: ints = [1,1]> (x, w, o) }"""


@pytest.mark.parametrize("body", [DEFORMED, MODULATED, PLAIN, TARGETS])
def test_each_sample_keeps_its_own_offsets_in_a_deformable_convolution(check: Any, body: str) -> None:
    weights = "float[18,3,1,1] k, float[9,3,1,1] r, float[27,3,1,1] t, float[5,3,3,3] w, float[5] b"
    text = graph(body, inputs=f"float[1,3,4,6] x, {weights}", output="float[1,5,4,6] y", opset=19)
    text = text.replace('"" : 19', '"" : 19, "mmcv" : 1, "npu" : 1')
    check(text, 4, ("k", "r", "t", "w", "b"))


def test_a_detectors_suppression_works_image_by_image(check: Any) -> None:
    body = """<int64[2] z = {2, 2}, int64[3] s = {1, 18, 4}> {
        a = Abs (x) f = Reshape (a, s) b = Unsqueeze (f, one)
        y, p, q, r = npu.BatchMultiClassNMS <iou_threshold: float = 0.5, score_threshold: float = 0.1,
            max_size_per_class: int = 9, max_total_size: int = 9> (b, f) }"""
    text = graph(body, output="float[1,9,4] y").replace("int64[2] z = {2, 2}", "int64[1] one = {2}")
    check(text.replace('"" : 13', '"" : 13, "npu" : 1'), 3)


def test_a_classifier_with_weights(check: Any) -> None:
    text = graph(
        """<int64[2] s = {1, 30}> {
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b) r = Relu (c)
            f = Reshape (r, s) d = Gemm (f, k, e) y = Softmax (d)
        }""",
        inputs="float[1,3,4,6] x, float[5,3,3,3] w, float[5] b, float[30,7] k, float[7] e",
    )
    model = check(text, 8, ("w", "b", "k", "e"))
    assert "s" not in model.graph.initializers


def test_a_batch_of_two_can_become_six_or_one(check: Any) -> None:
    body = "<int64[2] s = {2, -1}> { a = Relu (x) y = Reshape (a, s) }"
    check(graph(body, inputs="float[2,3,4,6] x", output="float[2,72] y"), 6)


def test_a_symbolic_batch_becomes_a_number(check: Any) -> None:
    text = graph("{ a = Relu (x) y = Flatten (a) }", inputs="float[N,3,4,6] x", output="float[N,72] y")
    model = check(text, 3)
    assert list(model.graph.inputs[0].shape or ()) == [3, 3, 4, 6]


def test_inputs_can_be_named(check: Any, model_of: Build) -> None:
    text = graph("{ y = Mul (x, scale) }", inputs="float[1,3] x, float[3] scale", output="float[1,3] y")
    with pytest.raises(PreconditionError, match="do not agree on a batch"):
        run_pass(model_of(text), SetBatch(size=4))
    model, _ = run_pass(model_of(text), SetBatch(size=4, inputs=("x",)))
    assert list(model.graph.outputs[0].shape or ()) == [4, 3]


def test_a_constant_that_others_read_too_is_not_changed(model_of: Build, run_model: Any) -> None:
    body = """<int64[2] s = {1, 72}> {
        a = Reshape (x, s) t = Cast <to = 1> (s) u = ReduceSum <keepdims = 0> (t) y = Add (a, u) }"""
    model, _ = run_pass(model_of(graph(body)), SetBatch(size=4))
    assert model.graph.initializers["s"].const_value is not None
    assert model.graph.initializers["s"].const_value.numpy().tolist() == [1, 72]
    assert run_model(model)["y"].shape == (4, 72)


@pytest.mark.parametrize(
    ("body", "output", "reason"),
    [
        (
            "<int64[3] s = {3, 4, 6}> { a = Reshape (x, s) y = Softmax <axis = 0> (a) }",
            "float[3,4,6] y",
            "Softmax y",
        ),
        (
            "<int64[1] ax = {0}> { y = Squeeze (x, ax) }",
            "float[3,4,6] y",
            "Squeeze y .* removes the batch axis",
        ),
        ("{ y = Squeeze (x) }", "float[3,4,6] y", "no axes are given"),
        ("{ y = ReduceMean (x) }", "float[1,1,1,1] y", "reduces over all axes, the batch included"),
        ("<int64 i = {0}> { y = Gather (x, i) }", "float[3,4,6] y", "Gather y .* along the batch axis 0"),
        ("{ y = Softmax <axis = 0> (x) }", "float[1,3,4,6] y", "Softmax y .* along the batch axis"),
        ("{ y = Concat <axis = 0> (x, x) }", "float[2,3,4,6] y", "Concat y .* along the batch axis"),
        ('{ y = Einsum <equation = "abcd->bcd"> (x) }', "float[3,4,6] y", "sums over the batch"),
        ('{ y = Einsum <equation = "abcd"> (x) }', "float[1,3,4,6] y", "equation abcd is not written out"),
        (
            '{ y = Einsum <equation = "abcd,bacd->abcd"> (x, x) }',
            "float[1,3,4,6] y",
            "different letters",
        ),
        ("{ y = Det (x) }", "float[1,3] y", "nothing is known of how Det"),
        (
            "{ s = Shape (x) n = Cast <to = 1> (s) z = ReduceProd <keepdims = 0> (n) y = Mul (x, z) }",
            "float[1,3,4,6] y",
            "depends on the size of the batch",
        ),
        (
            "<int64[2] s = {12, 6}> { a = Reshape (x, s) b = Transpose (a) y = MatMul (b, a) }",
            "float[6,6] y",
            "MatMul y .* sums over the batch axis",
        ),
        ("{ a = ReduceMean <axes = [0], keepdims = 0> (x) y = Relu (a) }", "float[3,4,6] y", "ReduceMean a"),
        (
            "{ y = Transpose <perm = [1, 0, 2, 3]> (x) }",
            "float[3,1,4,6] y",
            "output y does not have the batch",
        ),
        ("<float[1,2] w = {1,2}> { y = Exp (w) }", "float[1,2] y", "output y does not have the batch"),
        ("{ n = NonZero (x) y = Transpose (n) }", "int64[k,4] y", "NonZero n"),
    ],
)
def test_a_node_that_mixes_samples_is_named(model_of: Build, body: str, output: str, reason: str) -> None:
    model = model_of(graph(body, output=output))
    before = str(model)
    with pytest.raises(PreconditionError, match=reason):
        run_pass(model, SetBatch(size=4))
    assert str(model) == before


def test_samples_that_are_torn_apart_are_refused(model_of: Build) -> None:
    text = graph("<int64[2] s = {4, 3}> { y = Reshape (x, s) }", inputs="float[3,4] x", output="float[4,3] y")
    with pytest.raises(PreconditionError, match="tears the samples of a batch apart"):
        run_pass(model_of(text), SetBatch(size=6))


def test_a_constant_of_the_old_batch_is_refused(model_of: Build) -> None:
    text = graph(
        "<float[2,3] w = {1,2,3,4,5,6}> { y = Add (x, w) }", inputs="float[2,3] x", output="float[2,3] y"
    )
    with pytest.raises(PreconditionError, match="w has a fixed size of 2 along the batch"):
        run_pass(model_of(text), SetBatch(size=4))


def test_equal_copies_of_the_old_batch_are_not(check: Any) -> None:
    text = graph(
        "<float[2,3] w = {1,2,3,1,2,3}> { a = Add (x, w) y = Concat <axis = 1> (w, a) }",
        inputs="float[2,3] x",
        output="float[2,6] y",
    )
    check(text, 6)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_initial_states_of_recurrent_layers_follow(check: Any, kind: str) -> None:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    cell = ", c" if kind == "LSTM" else ""
    text = graph(
        f"""<int64[3] s = {{1, 1, 2}}, float[1,1,2] c = {{0.5, -0.5}}> {{
            t = Transpose <perm = [1, 0, 2]> (x) h = ConstantOfShape <value = float[1] {{0.25}}> (s)
            a, b = {kind} <hidden_size = 2> (t, w, r, , , h{cell})
            d = Transpose <perm = [1, 0, 2]> (b) e = Transpose <perm = [2, 0, 1, 3]> (a)
            f = Flatten (e) g = Flatten (d) y = Concat <axis = 1> (f, g) }}""",
        inputs=f"float[1,5,3] x, float[1,{2 * gates},3] w, float[1,{2 * gates},2] r",
        output="float[1,12] y",
    )
    check(text, 4, ("w", "r"))


def test_a_large_constant_is_repeated_by_a_node(model_of: Build, run_model: Any) -> None:
    text = graph(
        "{ y = Concat <axis = 1> (x, w) }", inputs="float[1,2,400] x, float[1,700,400] w",
        output="float[1,702,400] y",
    )  # fmt: skip
    model, _ = run_pass(model_of(text, ("w",)), SetBatch(size=3))
    assert [node.op_type for node in model.graph] == ["Tile", "Concat"]
    answer = run_model(model)["y"]
    np.testing.assert_array_equal(answer[0, 2:], answer[2, 2:])


_KINDS = ["unary", "reshape", "transpose", "concat", "reduce", "expand", "matmul", "follow", "softmax"]


def _random_body(rng: np.random.Generator) -> tuple[str, tuple[int, ...]]:
    """Return nodes that make y from x, float[1,2,3,4], and the shape of y; every shape holds the batch."""
    shape: tuple[int, ...] = (1, 2, 3, 4)
    name, lines = "x", []
    for step in range(int(rng.integers(2, 7))):
        made = f"v{step}"
        kind = rng.choice(_KINDS)
        rest = shape[1:]
        if kind == "unary":
            lines.append(f"{made} = {rng.choice(['Relu', 'Tanh', 'Neg', 'Sigmoid'])} ({name})")
        elif kind == "softmax":
            lines.append(f"{made} = Softmax <axis = -1> ({name})")
        elif kind == "reshape":
            total = int(np.prod(rest))
            first = next(n for n in (3, 2, 1) if total % n == 0)
            shape = (1, first, total // first)
            sizes = [1, first, total // first] if rng.random() < 0.6 else [1, first, -1]
            lines.append(f"r{step} = Constant <value_ints = {sizes}> ()  {made} = Reshape ({name}, r{step})")
        elif kind == "transpose":
            order = [0, *(1 + int(axis) for axis in rng.permutation(len(rest)))]
            shape = tuple(shape[axis] for axis in order)
            lines.append(f"{made} = Transpose <perm = {order}> ({name})")
        elif kind == "concat":
            axis, extra = int(rng.integers(1, len(shape))), int(rng.integers(1, 3))
            sizes = [*shape[:axis], extra, *shape[axis + 1 :]]
            shape = (*shape[:axis], shape[axis] + extra, *shape[axis + 1 :])
            lines.append(
                f"r{step} = Constant <value_ints = {sizes}> ()"
                f"  c{step} = ConstantOfShape <value = float[1] {{0.5}}> (r{step})"
                f"  {made} = Concat <axis = {axis}> ({name}, c{step})"
            )
        elif kind == "reduce" and len(shape) > 2:
            axis = int(rng.integers(1, len(shape)))
            shape = (*shape[:axis], *shape[axis + 1 :])
            lines.append(f"{made} = ReduceMean <axes = [{axis}], keepdims = 0> ({name})")
        elif kind == "expand":
            sizes = [1, 2, *rest]
            lines.append(
                f"a{step} = Constant <value_ints = [1]> ()  u{step} = Unsqueeze ({name}, a{step})"
                f"  r{step} = Constant <value_ints = {sizes}> ()  {made} = Expand (u{step}, r{step})"
            )
            shape = (1, 2, *rest)
        elif kind == "matmul" and len(shape) > 2:
            sizes = [1] * (len(shape) - 2) + [shape[-1], 3]
            lines.append(
                f"r{step} = Constant <value_ints = {sizes}> ()"
                f"  c{step} = ConstantOfShape <value = float[1] {{0.3}}> (r{step})"
                f"  {made} = MatMul ({name}, c{step})"
            )
            shape = (*shape[:-1], 3)
        else:
            lines.append(
                f"s{step} = Shape ({name})  z{step} = Constant <value_ints = [0]> ()"
                f"  n{step} = Gather (s{step}, z{step})  m{step} = Constant <value_ints = [-1]> ()"
                f"  c{step} = Concat <axis = 0> (n{step}, m{step})  {made} = Reshape ({name}, c{step})"
            )
            shape = (1, int(np.prod(rest)))
        name = made
    lines.append(f"y = Identity ({name})")
    return "{ " + "  ".join(lines) + " }", shape


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_treat_each_sample_as_before(check: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    body, shape = _random_body(rng)
    sizes = ",".join(str(size) for size in shape)
    check(graph(body, inputs="float[1,2,3,4] x", output=f"float[{sizes}] y"), int(rng.integers(2, 6)))


def test_a_batch_that_reaches_a_subgraph_is_refused(model_of: Build) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,3] x) => (float[1,3] y) <bool flag = {1}> {
            y = If (flag) <
                then_branch = t () => (float[1,3] p) { p = Neg (x) },
                else_branch = e () => (float[1,3] q) { q = Exp (x) }
            >
        }"""
    with pytest.raises(PreconditionError, match="If y does not allow another batch"):
        run_pass(model_of(text), SetBatch(size=2))


def test_wrong_options(model_of: Build) -> None:
    with pytest.raises(UsageError, match="size must be at least 1"):
        SetBatch(size=0)
    with pytest.raises(UsageError, match="no input 'z'"):
        run_pass(model_of(graph("{ y = Flatten (x) }")), SetBatch(size=2, inputs=("z",)))
