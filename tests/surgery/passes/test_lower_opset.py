# ruff: noqa: E501, ISC004 - tables of model texts
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.onnx_files import to_proto
from graphopt.surgery import PassStep, Status, rewrite_file
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.lower_opset import LowerOpset

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 9, opset_import: ["" : 18]> g (float[1,4] x) => (float[1,4] y) { y = Mish (x) }"""
UNRELATED = """<ir_version: 6, opset_import: ["" : 11]> g (float[1,4] x) => (float[1,4] y) { y = Exp (x) }"""


def _text(opset: int, body: str, ends: str) -> str:
    return f'<ir_version: 9, opset_import: ["" : {opset}]> g {ends} {{ {body} }}'


X = "(float[2,3,4,6] x) => "
PLAIN = f"{X}(float[2,3,4,6] y)"

CASES = {
    "squeeze": (13, "s = Constant <value_ints = [0, -1]> () u = Unsqueeze (x, s) y = Squeeze (u, s)", PLAIN),
    "squeeze all": (21, "y = Squeeze (x)", "(float[1,5] x) => (float[5] y)"),
    "reduce sum": (13, "a = Constant <value_ints = [1, -1]> () y = ReduceSum <keepdims = 0> (x, a)",
                   f"{X}(float[2,4] y)"),
    "reduce all": (18, "y = ReduceMean <keepdims = 0> (x)", f"{X}(float y)"),
    "reduce max": (18, "a = Constant <value_ints = [2]> () y = ReduceMax (x, a)", f"{X}(float[2,3,1,6] y)"),
    "reduce l2": (18, "a = Constant <value_ints = [3]> () y = ReduceL2 (x, a)", f"{X}(float[2,3,4,1] y)"),
    "reduce nothing": (18, "y = ReduceMean <noop_with_empty_axes = 1> (x)", PLAIN),
    "reduce bool": (20, "a = Constant <value_ints = [1]> () b = IsNaN (x) y = ReduceMax (b, a)",
                    f"{X}(bool[2,1,4,6] y)"),
    "split sizes": (13, "s = Constant <value_ints = [1, 2]> () z, y = Split <axis = 1> (x, s)",
                    f"{X}(float[2,1,4,6] z, float[2,2,4,6] y)"),
    "split evenly": (13, "z, y = Split <axis = 2> (x)", f"{X}(float[2,3,2,6] z, float[2,3,2,6] y)"),
    "split unevenly": (18, "z, y = Split <axis = 1, num_outputs = 2> (x)",
                       f"{X}(float[2,2,4,6] z, float[2,1,4,6] y)"),
    "pad": (18, "p = Constant <value_ints = [1, 0, 2, 1]> () c = Constant <value_float = 0.5> () "
            "a = Constant <value_ints = [-1, 1]> () y = Pad (x, p, c, a)", f"{X}(float[2,4,4,9] y)"),
    "pad reflect": (19, "p = Constant <value_ints = [0,0,1,2,0,0,1,0]> () y = Pad <mode = \"reflect\"> (x, p)",
                    f"{X}(float[2,3,6,8] y)"),
    "clip": (13, "l = Constant <value_float = -0.5> () y = Clip (x, l)", PLAIN),
    "clip int32": (13, "y = Clip (x, l, h)", "(int32[9] x) => (int32[9] y) <int32 l = {2}, int32 h = {5}>"),
    "clip int64": (12, "y = Clip (x, , h)", "(int64[9] x) => (int64[9] y) <int64 h = {5}>"),
    "clip int8": (13, "y = Clip (x, l)", "(int8[9] x) => (int8[9] y) <int8 l = {3}>"),
    "max int64": (13, "y = Max (x, z, x)", "(int64[9] x, int64[3,1] z) => (int64[3,9] y)"),
    "min int8": (13, "y = Min (x, z)", "(int8[9] x, int8[9] z) => (int8[9] y)"),
    "max float": (13, "y = Max (x, z)", "(float[9] x, float[3,1] z) => (float[3,9] y)"),
    "greater or equal": (16, "y = GreaterOrEqual (x, x)", f"{X}(bool[2,3,4,6] y)"),
    "less or equal": (12, "y = LessOrEqual (x, z)", "(int32[9] x, int32[9] z) => (bool[9] y)"),
    "pow": (15, "e = Constant <value_int = 2> () y = Pow (x, e)", PLAIN),
    "pow int": (13, "e = Constant <value_float = 2.0> () y = Pow (x, e)", "(int64[5] x) => (int64[5] y)"),
    "relu int32": (14, "y = Relu (x)", "(int32[9] x) => (int32[9] y)"),
    "argmax": (13, "y = ArgMax <axis = 1, select_last_index = 0> (x)", f"{X}(int64[2,1,4,6] y)"),
    "softmax last": (13, "y = Softmax (x)", PLAIN),
    "softmax middle": (13, "y = Softmax <axis = 1> (x)", PLAIN),
    "log softmax": (13, "y = LogSoftmax <axis = -2> (x)", PLAIN),
    "hardmax": (13, "y = Hardmax <axis = 2> (x)", PLAIN),
    "gelu": (20, "y = Gelu (x)", PLAIN),
    "gelu tanh": (20, 'y = Gelu <approximate = "tanh"> (x)', PLAIN),
    "mish": (18, "y = Mish (x)", PLAIN),
    "hard swish": (14, "y = HardSwish (x)", PLAIN),
    "celu": (12, "y = Celu <alpha = 1.5> (x)", PLAIN),
    "layer norm": (17, "y = LayerNormalization <axis = -2> (x, s, b)",
                   PLAIN + " <float[4,6] s = {S24}, float[4,6] b = {S24}>"),
    "group norm": (21, "y = GroupNormalization <num_groups = 3, epsilon = 0.01> (x, s, b)",
                   "(float[2,6,4,5] x) => (float[2,6,4,5] y) <float[6] s = {1,2,3,4,5,6}, "
                   "float[6] b = {1,2,1,2,1,2}>"),
    "batch norm": (15, "y = BatchNormalization <training_mode = 0> (x, s, b, m, v)",
                   PLAIN + " <float[3] s={1,2,3}, float[3] b={1,2,3}, float[3] m={1,0,2}, float[3] v={1,2,4}>"),
    "dropout": (13, "r = Constant <value_float = 0.3> () t = Constant <value = bool {0}> () "
                "y, m = Dropout <seed = 3> (x, r, t)", PLAIN),
    "einsum": (12, 'y = Einsum <equation = "bij,bkj->bik"> (x, z)',
               "(float[2,3,4] x, float[2,5,4] z) => (float[2,3,5] y)"),
    "trilu": (14, "y = Trilu (x)", PLAIN),
    "trilu lower": (14, "k = Constant <value_int = -1> () y = Trilu <upper = 0> (x, k)", PLAIN),
    "resize scales": (13, 's = Constant <value_floats = [1.0, 1.0, 2.0, 1.5]> () y = Resize <mode = "linear"> '
                      "(x, , s)", f"{X}(float[2,3,8,9] y)"),
    "resize axes": (18, "s = Constant <value_ints = [8, 3]> () y = Resize <axes = [-2, 3]> (x, , , s)",
                    f"{X}(float[2,3,8,3] y)"),
    "resize axes scales": (18, "s = Constant <value_floats = [2.0]> () y = Resize <axes = [2], "
                           'mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , s)',
                           f"{X}(float[2,3,8,6] y)"),
    "constants": (13, "a = Constant <value_floats = [1.0, 2.0]> () b = Constant <value_float = 2.0> () "
                  "y = Mul (a, b)", "() => (float[2] y)"),
    "cast": (19, "a = Cast <to = 7, saturate = 1> (x) y = CastLike (a, x)", PLAIN),
    "shape part": (15, "y = Shape <start = 1, end = -1> (x)", f"{X}(int64[2] y)"),
    "reshape": (14, "s = Constant <value_ints = [6, -1]> () y = Reshape <allowzero = 1> (x, s)",
                f"{X}(float[6,24] y)"),
    "scatter": (18, 'y = ScatterND <reduction = "none"> (x, i, u)',
                "(float[4,3] x, float[2,3] u) => (float[4,3] y) <int64[2,1] i = {0, 2}>"),
    "gather nd": (13, "y = GatherND <batch_dims = 0> (x, i)",
                  "(float[4,3] x) => (float[2] y) <int64[2,2] i = {0, 2, 3, 1}>"),
    "average pool": (19, "y = AveragePool <kernel_shape = [2, 2], dilations = [1, 1], strides = [2, 2]> (x)",
                     f"{X}(float[2,3,2,3] y)"),
    "roi align": (16, 'y = RoiAlign <coordinate_transformation_mode = "output_half_pixel", output_height = 2, '
                  "output_width = 2> (x, r, i)",
                  f"{X}(float[1,3,2,2] y) <float[1,4] r = {{0, 0, 3, 3}}, int64[1] i = {{0}}>"),
    "types only": (18, "a = Add (x, x) b = Transpose (a) c = Transpose (b) d = LeakyRelu (c) y = Identity (d)",
                   PLAIN),
    "where and friends": (16, "z = Constant <value_float = 0.0> () g = Greater (x, z) y = Where (g, x, z)",
                          PLAIN),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_older_form_computes_the_same(rewrite: Rewrite, name: str) -> None:
    opset, body, ends = CASES[name]
    numbers = ", ".join(str(1 + 0.1 * i) for i in range(24))
    result = rewrite(_text(opset, body, ends.replace("S24", numbers)), LowerOpset())
    assert result.model.opset_imports[""] == 11
    assert result.model.ir_version <= 8
    result.assert_same(rtol=3e-6)


BLOCKED = {
    "GridSample": (16, "y = GridSample (x, g)", "(float[2,3,4,6] x, float[2,5,5,2] g) => (float[2,3,5,5] y)",
                   "GridSample is not in opset 11, and nothing here writes it out"),
    "axes computed": (13, "y = Squeeze (x, a)", "(float[2,1] x, int64[1] a) => (float[n] y)",
                      "its axes are computed"),
    "split unknown": (18, "z, y = Split <num_outputs = 2> (x)", "(float[n] x) => (float[k] z, float[m] y)",
                      "it splits an axis of unknown size"),
    "wrap": (19, 'p = Constant <value_ints = [1, 0]> () y = Pad <mode = "wrap"> (x, p)',
             "(float[4] x) => (float[5] y)", "its mode is wrap"),
    "antialias": (18, 's = Constant <value_floats = [2.0]> () y = Resize <antialias = 1, mode = "linear"> '
                  "(x, , s)", "(float[4] x) => (float[8] y)", "antialias = 1 has no counterpart"),
    "policy": (18, "s = Constant <value_ints = [8]> () y = Resize <keep_aspect_ratio_policy = "
               '"not_larger"> (x, , , s)', "(float[4] x) => (float[8] y)", "keep_aspect_ratio_policy"),
    "mode": (19, 's = Constant <value_floats = [2.0]> () y = Resize <coordinate_transformation_mode = '
             '"half_pixel_symmetric"> (x, , s)', "(float[4] x) => (float[8] y)", "half_pixel_symmetric"),
    "dilations": (19, "y = AveragePool <kernel_shape = [2], dilations = [2]> (x)",
                  "(float[1,1,5] x) => (float[1,1,3] y)", r"dilations = \[2\] have no counterpart"),
    "scatter add": (16, 'y = ScatterND <reduction = "add"> (x, i, u)',
                    "(float[4,3] x, int64[2,1] i, float[2,3] u) => (float[4,3] y)",
                    "reduction = add has no counterpart in opset 11"),
    "batch dims": (12, "y = GatherND <batch_dims = 1> (x, i)", "(float[2,3] x, int64[2,1] i) => (float[2] y)",
                   "batch_dims = 1 has no counterpart"),
    "last index": (12, "y = ArgMax <select_last_index = 1> (x)", "(float[4] x) => (int64[1] y)",
                   "select_last_index = 1"),
    "training": (14, "y, a, b = BatchNormalization <training_mode = 1> (x, s, s, s, s)",
                 "(float[1,2,3] x, float[2] s) => (float[1,2,3] y, float[2] a, float[2] b)",
                 "it is in training mode"),
    "dropout": (13, "y = Dropout (x, , t)", "(float[4] x, bool t) => (float[4] y)", "it is in training mode"),
    "dropout mask": (13, "y, m = Dropout (x)", "(float[4] x) => (float[4] y, bool[4] m)", "its mask is read"),
    "roi align": (16, "y = RoiAlign (x, r, i)",
                  "(float[1,1,4,4] x, float[1,4] r, int64[1] i) => (float[1,1,1,1] y)",
                  "coordinate_transformation_mode = half_pixel has no counterpart"),
    "bfloat16": (13, "y = Cast <to = 16> (x)", "(float[4] x) => (bfloat16[4] y)", "it casts to BFLOAT16"),
    "uint8 sum": (14, "y = Add (x, x)", "(uint8[4] x) => (uint8[4] y)", "it takes no UINT8 in opset 11"),
    "half norm": (17, "y = LayerNormalization (x, s)", "(float16[2,4] x, float16[4] s) => (float16[2,4] y)",
                  "its mean is computed in float32"),
    "strings": (19, "y = Equal (x, x)", "(string[4] x) => (bool[4] y)", "it takes no STRING"),
    "ellipsis": (12, 'y = Einsum <equation = "...i,...i->..."> (x, x)', "(float[2,3] x) => (float[2] y)",
                 "Einsum"),
    "allow zero": (14, "s = Constant <value_ints = [0, 3]> () y = Reshape <allowzero = 1> (x, s)",
                   "(float[0,3] x) => (float[0,3] y)", "allowzero makes an axis without elements"),
    "bitwise": (18, "y = BitwiseAnd (x, x)", "(int32[4] x) => (int32[4] y)", "BitwiseAnd is not in opset 11"),
    "trilu": (14, "y = Trilu (x)", "(float[n,n] x) => (float[n,n] y)", "the sizes of its matrix are not known"),
    "group norm": (21, "y = GroupNormalization <num_groups = 1> (x, s, s)",
                   "(float[1,2,n] x, float[2] s) => (float[1,2,n] y)", "fix the shapes first"),
    "reduce": (18, "y = ReduceL2 <noop_with_empty_axes = 1> (x)", "(float[4] x) => (float[4] y)",
               "it reduces over no axis"),
    "layout": (14, "y, h = GRU <hidden_size = 2, layout = 1> (x, w, r)",
               "(float[1,3,4] x, float[1,6,4] w, float[1,6,2] r) => (float[1,3,1,2] y, float[1,1,2] h)",
               "layout = 1 has no counterpart"),
    "window": (17, "y = HannWindow (x)", "(int64 x) => (float[n] y)", "HannWindow is not in opset 11"),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKED)
def test_what_stands_in_the_way_is_said_and_nothing_changes(
    model_of: Callable[..., ir.Model], name: str
) -> None:
    opset, body, ends, reason = BLOCKED[name]
    model = model_of(_text(opset, body, ends))
    before = to_proto(model).SerializeToString(deterministic=True)
    with pytest.raises(PreconditionError, match=reason):
        run_pass(model, LowerOpset())
    assert to_proto(model).SerializeToString(deterministic=True) == before


def test_all_nodes_in_the_way_are_listed(model_of: Callable[..., ir.Model]) -> None:
    body = "[one] a = BitwiseNot (x) [two] b = BitwiseAnd (a, x) [three] y = BitwiseOr (a, b)"
    with pytest.raises(PreconditionError, match=r"3 nodes cannot .* one: .* two: .* three: "):
        run_pass(model_of(_text(18, body, "(int32[4] x) => (int32[4] y)")), LowerOpset())


@pytest.mark.parametrize("to", [11, 12, 13, 15, 17])
def test_any_opset_in_between_can_be_asked_for(rewrite: Rewrite, to: int) -> None:
    body = (
        "a = Constant <value_ints = [1]> () m = ReduceMean (x, a) s, t = Split <axis = 0, num_outputs = 2> (m)"
        " u = Unsqueeze (s, a) v = Softmax <axis = 1> (x) w = Mish (v) q = Squeeze (u, a) y = Add (w, q)"
    )
    result = rewrite(_text(18, body, "(float[2,3,4] x) => (float[2,3,4] y)"), LowerOpset(to=to))
    assert result.model.opset_imports[""] == to
    result.assert_same(rtol=3e-6)


def test_branches_loops_and_bodies_of_functions_are_written_too(rewrite: Rewrite) -> None:
    text = """<ir_version: 9, opset_import: ["" : 18, "me" : 1]> g (float[2,3] x, bool c) => (float[2,3] y) {
        a = me.f (x)
        b = If (c) <then_branch = t () => (float[2,3] p) { p = Mish (a) },
                    else_branch = e () => (float[2,3] q) { k = Constant <value_float = 2.0> () q = Mul (a, k) }>
        n = Constant <value_int = 3> ()
        y = Loop (n, , b) <body = l (int64 i, bool k, float[2,3] v) => (bool o, float[2,3] w)
            { o = Identity (k) w = HardSwish (v) }>
    }
    <domain: "me", opset_import: ["" : 18]> f (v) => (w) {
        s = Constant <value_ints = [0]> () u = Unsqueeze (v, s) w = Squeeze (u, s) }"""
    result = rewrite(text, LowerOpset())
    result.assert_same(rtol=3e-6)
    (function,) = result.model.functions.values()
    assert function.opset_imports[""] == 11


def test_a_model_that_is_old_enough_is_left_alone(model_of: Callable[..., ir.Model]) -> None:
    model, report = run_pass(model_of(_text(10, "y = Abs (x)", PLAIN)), LowerOpset())
    assert not report.modified
    assert model.opset_imports[""] == 10


def test_lower_than_eleven_is_refused() -> None:
    with pytest.raises(UsageError, match="goes down to opset 11, not to 9"):
        LowerOpset(to=9)


def _modules() -> dict[str, Callable[[Any], Any]]:
    def convolutional(nn: Any) -> Any:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish(), nn.AvgPool2d(2, ceil_mode=True),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.GroupNorm(2, 8), nn.Mish(), nn.ReflectionPad2d(1),
            nn.Conv2d(8, 4, 3), nn.Softmax(1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.SiLU(),
        )  # fmt: skip

    def attention(nn: Any) -> Any:
        import torch

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.LayerNorm(12), nn.LayerNorm(12)
                self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
                self.inner = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Dropout(0.1), nn.Linear(24, 12))

            def forward(self, x: Any) -> Any:
                x = x.flatten(2).transpose(1, 2)[:, :10].reshape(2, 10, 3).repeat(1, 1, 4)
                q, k, v = self.qkv(self.first(x)).chunk(3, dim=-1)
                scores = torch.einsum("bik,bjk->bij", q, k) / 12**0.5
                mask = torch.ones(10, 10, dtype=torch.bool).triu(1)
                scores = scores.masked_fill(mask, -1e4).softmax(-1)
                x = x + self.out(scores @ v)
                return (x + self.inner(self.second(x))).clamp(min=-3), x.amax(1), x.norm(dim=-1), x.var(-1)

        return Block()

    return {"convolutional": convolutional, "attention": attention}


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dynamo", "opset"), [(False, 17), (False, 18), (True, 18), (True, 20)])
@pytest.mark.parametrize("name", ["convolutional", "attention"])
def test_exports_of_torch_come_down_to_eleven(name: str, dynamo: bool, opset: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    module = _modules()[name](torch.nn).eval()
    raw = tmp_path / "raw.onnx"
    with torch.no_grad():
        torch.onnx.export(module, (torch.randn(2, 3, 8, 8),), raw, dynamo=dynamo, opset_version=opset)
    report = rewrite_file(raw, tmp_path / "low.onnx", [PassStep(name="lower_opset")])
    assert report.verification.status is Status.PROVEN, report.verification.reason
    low = onnx.load(tmp_path / "low.onnx")
    assert {item.version for item in low.opset_import if item.domain == ""} == {11}
    assert np.all([item.passed for item in report.verification.comparisons])
