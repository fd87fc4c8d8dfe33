from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.passes.remove_identity_pool import RemoveIdentityPool

Rewrite = Callable[..., Any]

HEAD = '<ir_version: 8, opset_import: ["" : 13]> g (float[1,3,5,7] x) => ({outputs}) '
ONE = HEAD.format(outputs="float[1,3,5,7] y")

SUITABLE = """
    r = Constant <value = int64[3] {{1,1,4}}> () a = Reshape ({x}, r) b = MaxPool <kernel_shape = [1]> (a)
    q = Constant <value = int64[2] {{1,4}}> () y = Reshape (b, q)
"""


@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool <kernel_shape = [1,1]>",
        "MaxPool <kernel_shape = [1,1], strides = [1,1], pads = [0,0,0,0], ceil_mode = 1>",
        "MaxPool <kernel_shape = [1,1], dilations = [2,3]>",
        'AveragePool <kernel_shape = [1,1], auto_pad = "SAME_UPPER">',
        "AveragePool <kernel_shape = [1,1], strides = [1,1], count_include_pad = 1>",
    ],
)
def test_a_pool_of_one_element_is_removed(rewrite: Rewrite, pool: str) -> None:
    result = rewrite(f"{ONE} {{ a = Relu (x) b = {pool} (a) y = Neg (b) }}", RemoveIdentityPool())
    assert result.ops == ["Relu", "Neg"]
    result.assert_same()


def test_pools_of_any_rank_are_removed(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3,5] x) => (float[2,3,5] y) {
        a = MaxPool <kernel_shape = [1]> (x) y = Neg (a) }"""
    result = rewrite(text, RemoveIdentityPool())
    assert result.ops == ["Neg"]
    result.assert_same()


@pytest.mark.parametrize(
    ("pool", "shape", "reason"),
    [
        ("MaxPool <kernel_shape = [1,3], pads = [0,1,0,1]>", "[1,3,5,7]", "its kernel is 1x3"),
        (
            "MaxPool <kernel_shape = [1,1], strides = [2,1]>",
            "[1,3,3,7]",
            "its kernel is 1x1, but it strides by 2x1",
        ),
        (
            "AveragePool <kernel_shape = [5,5], strides = [1,1], pads = [2,2,2,2]>",
            "[1,3,5,7]",
            "its kernel is 5x5",
        ),
    ],
)
def test_a_pool_that_pools_is_left_alone(rewrite: Rewrite, pool: str, shape: str, reason: str) -> None:
    text = HEAD.format(outputs=f"float{shape} y") + f"{{ a = Relu (x) y = {pool} (a) }}"
    result = rewrite(text, RemoveIdentityPool())
    assert not result.applied
    assert result.declined == (reason,)


def test_a_pool_that_pads_is_left_alone(rewrite: Rewrite) -> None:
    # onnxruntime refuses pads as wide as the kernel; the file may still hold them.
    text = HEAD.format(outputs="float[1,3,7,7] y") + (
        "{ a = Relu (x) y = MaxPool <kernel_shape = [1,1], pads = [1,0,1,0]> (a) }"
    )
    result = rewrite(text, RemoveIdentityPool(), compare=False)
    assert result.declined == ("it pads by [1, 0, 1, 0]",)


def test_a_pool_whose_indices_are_read_is_left_alone(rewrite: Rewrite) -> None:
    text = HEAD.format(outputs="float[1,3,5,7] y, int64[1,3,5,7] places") + (
        "{ a = Relu (x) b, places = MaxPool <kernel_shape = [1,1]> (a) y = Neg (b) }"
    )
    result = rewrite(text, RemoveIdentityPool())
    assert result.declined == ("its indices are read",)


def test_indices_that_nobody_reads_do_not_matter(rewrite: Rewrite) -> None:
    text = f"{ONE} {{ a = Relu (x) b, places = MaxPool <kernel_shape = [1,1]> (a) y = Neg (b) }}"
    result = rewrite(text, RemoveIdentityPool())
    assert result.ops == ["Relu", "Neg"]
    result.assert_same()


def test_a_pool_between_graph_input_and_output_is_left_alone(rewrite: Rewrite) -> None:
    result = rewrite(f"{ONE} {{ y = MaxPool <kernel_shape = [1,1]> (x) }}", RemoveIdentityPool())
    (why,) = result.declined
    assert "must keep its own name" in why


def test_the_name_of_a_graph_output_is_kept(rewrite: Rewrite) -> None:
    result = rewrite(f"{ONE} {{ a = Relu (x) y = MaxPool <kernel_shape = [1,1]> (a) }}", RemoveIdentityPool())
    assert result.ops == ["Relu"]
    assert result.model.graph.outputs[0].name == "y"
    result.assert_same()


def test_a_kernel_given_by_the_caller_of_a_function_is_not_judged(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
        g (float[1,3,5,7] x) => (float[1,3,5,7] y) { a = local.Pooled <window = [1,1]> (x) y = Neg (a) }
        <domain: "local", opset_import: ["" : 13]>
        Pooled <window> (a) => (c) { b = Relu (a) c = MaxPool <kernel_shape : ints = @window> (b) }"""
    result = rewrite(text, RemoveIdentityPool(), compare=False)
    assert result.declined == ("its attributes are those of the enclosing function",)


@pytest.mark.shared
def test_refinenet_has_four_in_its_last_pooling_block(shared_dir: Path) -> None:
    model = ir.from_proto(onnx.load(shared_dir / "raw" / "refinenet.onnx"))  # its weights are stripped
    _, report = run_pass(model, RemoveIdentityPool())
    assert [change.node for change in report.applied] == [
        "MaxPool_433",
        "MaxPool_436",
        "MaxPool_439",
        "MaxPool_442",
    ]
    assert len(report.declined) == 13
