"""A wrong pass is found wherever it stands; what cannot be proven is not called proven."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.comparison import Outcome, Tolerance
from graphopt.core.errors import UsageError, VerificationError
from graphopt.core.onnx_files import load_model
from graphopt.surgery import (
    Effect,
    Pass,
    PassStep,
    RewriteError,
    Samples,
    Status,
    Verify,
    parse_steps,
    rewrite_file,
)
from graphopt.surgery.engine.proving import _first
from graphopt.surgery.engine.verdicts import combined_tolerance
from graphopt.surgery.graph_pass import Declined, GraphPass, Site

Write = Callable[[str, str], Path]
NAMES = ("first", "second", "third", "fourth")


def _around(wrong: GraphPass, position: int, planted: Any) -> list[Any]:
    good = [planted.DropIdentity(node=name) for name in NAMES]
    return [*good[:position], wrong, *good[position:]]


@pytest.mark.parametrize("position", range(5))
def test_a_planted_wrong_pass_is_named_at_every_position(
    chain: Path, tmp_path: Path, planted: Any, position: int
) -> None:
    steps = _around(planted.ChangeConstant(value=2.02), position, planted)
    with pytest.raises(RewriteError, match="change_constant is wrong: output y differs by up to") as caught:
        rewrite_file(chain, tmp_path / "out.onnx", steps)
    verification = caught.value.report.verification
    assert verification.guilty == "change_constant"
    assert verification.status is Status.FAILED
    assert not (tmp_path / "out.onnx").exists()
    assert isinstance(caught.value, VerificationError)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 100])
def test_bisection_finds_each_index_in_few_steps(count: int) -> None:
    for guilty in range(count):
        asked: list[int] = []

        def bad(length: int, guilty: int = guilty, asked: list[int] = asked) -> bool:
            asked.append(length)
            return length > guilty

        assert _first(count, bad) == guilty
        assert len(asked) <= max(1, int(np.ceil(np.log2(count))))


def test_the_message_says_output_error_and_tolerance(chain: Path, tmp_path: Path, planted: Any) -> None:
    with pytest.raises(RewriteError, match=r"times the tolerance \(atol 1e-07, rtol 0.0001, peak 1e-05\)"):
        rewrite_file(chain, tmp_path / "out.onnx", [planted.ChangeConstant(value=2.002)])


def test_nan_is_a_failure(chain: Path, tmp_path: Path, planted: Any) -> None:
    with pytest.raises(RewriteError, match="change_constant is wrong: output y: not finite") as caught:
        rewrite_file(
            chain, tmp_path / "o.onnx", _around(planted.ChangeConstant(value=float("nan")), 2, planted)
        )
    assert caught.value.report.verification.comparisons[0].outcome is Outcome.NOT_FINITE


def test_a_dropped_output_is_a_failure(chain: Path, tmp_path: Path, planted: Any) -> None:
    with pytest.raises(RewriteError, match="lose_output is wrong: output z: missing") as caught:
        rewrite_file(chain, tmp_path / "o.onnx", _around(planted.LoseOutput(), 1, planted))
    assert caught.value.report.verification.guilty == "lose_output"


def test_each_compares_after_every_pass_and_stops_at_the_wrong_one(
    chain: Path, tmp_path: Path, planted: Any
) -> None:
    steps = _around(planted.ChangeConstant(), 2, planted)
    with pytest.raises(RewriteError) as caught:
        rewrite_file(chain, tmp_path / "o.onnx", steps, verify=Verify.EACH)
    report = caught.value.report
    assert report.verification.guilty == "change_constant"
    errors = [item.max_abs for item in report.passes]
    assert errors[:2] == [0.0, 0.0]
    assert errors[2] is not None
    assert errors[2] > 0
    assert len(report.passes) == 3


def test_each_reports_the_error_after_every_pass(chain: Path, tmp_path: Path, planted: Any) -> None:
    steps = [planted.DropIdentity(node="first"), planted.DropIdentity(node="nowhere"), planted.DropIdentity()]
    report = rewrite_file(chain, tmp_path / "o.onnx", steps, verify=Verify.EACH)
    assert [item.max_abs for item in report.passes] == [0.0, None, 0.0]
    assert report.verification.mode is Verify.EACH


def test_keep_proven_writes_the_rest(chain: Path, tmp_path: Path, planted: Any) -> None:
    output = tmp_path / "out.onnx"
    steps = _around(planted.ChangeConstant(), 2, planted)
    report = rewrite_file(chain, output, steps, keep_proven=True)
    assert report.dropped == ("change_constant",)
    assert report.verification.status is Status.PROVEN
    assert [item.name for item in report.passes] == ["drop_identity"] * 4
    assert "Identity" not in report.ops_after
    assert [node.op_type for node in onnx.load(output).graph.node] == ["Conv", "Mul", "Relu", "Sigmoid"]


def test_outputs_that_ignore_the_input_prove_nothing(write_text: Write, tmp_path: Path, planted: Any) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[4] x) => (float[4] y) <float zero = {0}> {'
        " [id] a = Identity (x)  b = Mul (a, zero)  y = Abs (b) }",
        "deaf.onnx",
    )
    output = tmp_path / "o.onnx"
    with pytest.raises(RewriteError, match="unproven: the outputs do not depend on the inputs") as caught:
        rewrite_file(source, output, [planted.DropIdentity()])
    assert caught.value.report.verification.status is Status.UNPROVEN
    assert not output.exists()
    report = rewrite_file(source, output, [planted.DropIdentity()], allow_unproven=True)
    assert report.verification.status is Status.UNPROVEN
    assert output.exists()


def test_one_deaf_output_among_others_is_said(write_text: Write, tmp_path: Path, planted: Any) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[4] x) => (float[4] y, int64[1] n) {'
        " [id] a = Identity (x)  y = Exp (a)  n = Shape (a) }",
        "half.onnx",
    )
    report = rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()])
    assert report.verification.status is Status.PROVEN
    assert report.verification.reason == "n did not vary over the samples"


def test_operators_that_onnxruntime_lacks_are_unproven(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]> g (float[4] x) => (float[4] y) {'
        " [id] a = Identity (x)  y = vendor.Magic (a) }",
        "custom.onnx",
    )
    with pytest.raises(
        RewriteError, match="unproven: 1 of 2 nodes are proven, the models cut at 1 vendor::Magic"
    ) as caught:
        rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()])
    assert "Magic" in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class _ToVendor(GraphPass):
    """Put an operator in place of Relu that only a target knows, or one that cannot run."""

    name: ClassVar[str] = "to_vendor"
    effect: ClassVar[Effect] = Effect.TARGET_ONLY
    domain: str = "npu"

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        yield from (Site(node=n, what="Fast") for n in model.graph if n.op_type == "Relu")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        model.graph.opset_imports[self.domain] = 1
        node = ir.Node(self.domain, "Fast", inputs=[site.node.inputs[0]], num_outputs=1)
        model.graph.insert_after(site.node, node)
        ir.convenience.replace_all_uses_with(
            site.node.outputs[0], node.outputs[0], replace_graph_outputs=True
        )
        name = site.node.outputs[0].name
        node.outputs[0].type, node.outputs[0].shape = site.node.outputs[0].type, site.node.outputs[0].shape
        model.graph.remove(site.node, safe=True)
        node.outputs[0].name = name


def test_a_result_with_a_vendor_operator_without_body_is_unproven(chain: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RewriteError,
        match="unproven: 7 of 8 nodes are proven, the models cut at 1 npu::Fast, which onnxruntime",
    ):
        rewrite_file(chain, tmp_path / "o.onnx", [_ToVendor()])


@dataclass(frozen=True, kw_only=True)
class _Pin(GraphPass):
    """Make other tensors the outputs and say so."""

    name: ClassVar[str] = "pin"
    names: tuple[str, ...]

    def output_names(self, model: ir.Model) -> Mapping[str, str]:
        return {f"out_{name}": name for name in self.names}

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        if not str(model.graph.outputs[0].name).startswith("out_"):
            yield Site(node=model.graph[0], what="pinned")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        values = {v.name: v for node in model.graph for v in node.outputs}
        model.graph.outputs[:] = [values[name] for name in self.names]
        for value in model.graph.outputs:
            value.name = f"out_{value.name}"
            value.shape = ir.Shape([1, 3, 6, 6])
            value.type = ir.TensorType(ir.DataType.FLOAT)
        for node in reversed(list(model.graph)):
            if not any(v.uses() or v.is_graph_output() for v in node.outputs):
                model.graph.remove(node, safe=True)


def test_a_pass_may_rename_drop_and_add_outputs_when_it_says_so(
    chain: Path, tmp_path: Path, planted: Any
) -> None:
    # "d" is an inner tensor of the source, "z" is dropped.
    steps = [planted.DropIdentity(), _Pin(names=("y", "d"))]
    report = rewrite_file(chain, tmp_path / "o.onnx", steps)
    assert report.verification.status is Status.PROVEN
    assert [item.name for item in report.verification.comparisons] == ["out_y", "out_d"]
    with pytest.raises(RewriteError, match="change_constant is wrong: output y differs"):
        rewrite_file(chain, tmp_path / "p.onnx", [*steps[:1], planted.ChangeConstant(), *steps[1:]])


def test_an_output_that_the_source_lacks_is_unproven(chain: Path, tmp_path: Path, planted: Any) -> None:
    @dataclass(frozen=True, kw_only=True)
    class _Liar(_Pin):
        def output_names(self, model: ir.Model) -> Mapping[str, str]:
            return {"out_y": "nowhere"}

    with pytest.raises(RewriteError, match="unproven: the source has no tensor nowhere"):
        rewrite_file(chain, tmp_path / "o.onnx", [_Liar(names=("y",))])


@dataclass(frozen=True, kw_only=True)
class _Batch(GraphPass):
    """Set the batch of all inputs and outputs."""

    name: ClassVar[str] = "batch"
    size: int | str

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        shape = model.graph.inputs[0].shape
        assert shape is not None
        if shape[0] != self.size and str(shape[0]) != f"SymbolicDim({self.size})":
            yield Site(node=model.graph[0], what=f"batch {self.size}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        for value in (*model.graph.inputs, *model.graph.outputs):
            assert value.shape is not None
            value.shape = ir.Shape([self.size, *list(value.shape)[1:]])
        for node in model.graph:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None


BATCHED = """
<ir_version: 8, opset_import: ["" : 13]> g (float[{0},3,4,4] x) => (float[{0},3] y) {{
    [id] a = Identity (x)  b = GlobalAveragePool (a)  c = Exp (b)  y = Flatten (c)
}}
"""
"""Samples do not touch each other, so any batch must give the same rows."""


@pytest.mark.parametrize(("old", "new"), [("1", 4), ("4", 1), ("2", 3), ("1", "batch"), ("batch", 4)])
def test_a_changed_batch_is_compared_sample_by_sample(
    write_text: Write, tmp_path: Path, old: str, new: int | str
) -> None:
    source = write_text(BATCHED.format(old), "b.onnx")
    report = rewrite_file(source, tmp_path / "o.onnx", [_Batch(size=new)])
    assert report.verification.status is Status.PROVEN
    assert report.verification.comparisons[0].max_abs == 0.0


def test_samples_that_mix_within_a_batch_are_caught(write_text: Write, tmp_path: Path) -> None:
    # The first sample of a batch is taken off every other one.
    text = BATCHED.format(1).replace(
        "c = Exp (b)", "zero = Constant <value_ints = [0]> ()  d = Gather (b, zero)  c = Sub (b, d)"
    )
    source = write_text(text, "m.onnx")
    with pytest.raises(RewriteError, match="batch is wrong: output y differs"):
        rewrite_file(source, tmp_path / "o.onnx", [_Batch(size=4)])


def test_given_samples_are_cut_to_the_new_batch_and_named(write_text: Write, tmp_path: Path) -> None:
    source = write_text(BATCHED.format(1), "b.onnx")
    rng = np.random.default_rng(3)
    feeds = tuple({"x": rng.random((1, 3, 4, 4), dtype=np.float32)} for _ in range(6))
    samples = Samples(feeds=feeds, kind="recipe samples")
    report = rewrite_file(source, tmp_path / "o.onnx", [_Batch(size=4)], samples=samples)
    assert (report.verification.samples, report.verification.kind) == (2, "recipe samples")


def test_given_samples_of_an_open_batch_are_run_one_by_one_when_it_is_fixed(
    write_text: Write, tmp_path: Path
) -> None:
    source = write_text(BATCHED.format("batch"), "b.onnx")
    rng = np.random.default_rng(3)
    feeds = tuple({"x": rng.random((2, 3, 4, 4), dtype=np.float32)} for _ in range(3))
    samples = Samples(feeds=feeds, kind="recipe samples")
    report = rewrite_file(source, tmp_path / "o.onnx", [_Batch(size=1)], samples=samples)
    assert report.verification.status is Status.PROVEN


def test_one_given_sample_is_enough_to_see_that_outputs_vary(
    chain: Path, tmp_path: Path, planted: Any
) -> None:
    feed = {"x": np.ones((1, 3, 6, 6), np.float32)}
    samples = Samples(feeds=(feed,), kind="--data one.npy")
    report = rewrite_file(chain, tmp_path / "o.onnx", [planted.DropIdentity()], samples=samples)
    assert report.verification.status is Status.PROVEN
    assert report.verification.samples == 1


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ((), "no samples were given"),
        (({"w": np.ones(1, np.float32)},), "lack input x"),
        (
            ({"x": np.ones((1, 3, 7, 6), np.float32)},),
            r"shape \[1, 3, 7, 6\], the model takes \[1, 3, 6, 6\]",
        ),
    ],
)
def test_samples_that_do_not_fit_are_usage(
    chain: Path, tmp_path: Path, planted: Any, feeds: Any, message: str
) -> None:
    samples = Samples(feeds=feeds, kind="--data")
    with pytest.raises(UsageError, match=message):
        rewrite_file(chain, tmp_path / "o.onnx", [planted.DropIdentity()], samples=samples)


def test_an_approximate_pass_may_move_numbers_within_its_tolerance(
    chain: Path, tmp_path: Path, planted: Any
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Rough(planted.ChangeConstant):
        effect: ClassVar[Effect] = Effect.APPROXIMATE
        bound: ClassVar[str] = "2 % of each element"
        tolerance: ClassVar[Tolerance] = Tolerance(atol=1e-3, rtol=0.02, why="rounded factor")

    report = rewrite_file(chain, tmp_path / "o.onnx", [Rough(value=2.02)])
    assert report.verification.status is Status.PROVEN
    assert report.verification.tolerance is not None
    assert report.verification.tolerance.why == "rounded factor"
    assert report.passes[0].effect == "approximate"
    both = combined_tolerance([Rough(), Rough(), planted.DropIdentity()])
    assert (both.atol, both.rtol, both.why) == (2e-3, 0.04, "rounded factor")


def test_a_source_that_yields_nan_proves_nothing(write_text: Write, tmp_path: Path, planted: Any) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[8] x) => (float[8] y) {'
        " [id] a = Identity (x)  b = Neg (a)  c = Abs (b)  d = Neg (c)  y = Sqrt (d) }",
        "nan.onnx",
    )
    with pytest.raises(RewriteError, match="unproven: output y of the source proves nothing"):
        rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()])


def test_a_model_without_inputs_is_proven_by_its_one_answer(
    write_text: Write, tmp_path: Path, planted: Any
) -> None:
    source = write_text(
        '<ir_version: 8, opset_import: ["" : 13]> g () => (float[2] y) <float[2] w = {1, 2}> {'
        " [id] a = Identity (w)  y = Exp (a) }",
        "closed.onnx",
    )
    report = rewrite_file(source, tmp_path / "o.onnx", [planted.DropIdentity()])
    assert report.verification.status is Status.PROVEN


@pytest.mark.shared
def test_a_wrong_pass_on_deepmar_is_named(filled_deepmar: Path, tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class _Louder(GraphPass):
        """Scale the weights of the last layer by one per cent."""

        name: ClassVar[str] = "louder"

        def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
            gemm = next(node for node in model.graph if node.op_type == "Gemm")
            if gemm.attributes["alpha"].as_float() == 1.0:
                yield Site(node=gemm, what="alpha 1.01")

        def rewrite(self, model: ir.Model, site: Site) -> None:
            site.node.attributes["alpha"] = ir.AttrFloat32("alpha", 1.01)

    steps: list[PassStep | Pass] = [*parse_steps("remove_pad"), _Louder(), *parse_steps("remove_identity")]
    with pytest.raises(RewriteError, match="louder is wrong: output output1 differs"):
        rewrite_file(filled_deepmar, tmp_path / "o.onnx", steps)
    assert len(list(load_model(filled_deepmar).graph.all_nodes())) == 182
