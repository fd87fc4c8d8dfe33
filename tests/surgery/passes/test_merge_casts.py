from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.passes.merge_casts import MergeCasts

SUITABLE = "a = Cast <to = 11> ({x}) b = Cast <to = 1> (a) y = Neg (b)"
PREPARE = "fold_constants"

Rewrite = Callable[..., Any]
FLOAT, UINT8, INT8, INT32, INT64, BOOL, HALF, DOUBLE = 1, 2, 3, 6, 7, 9, 10, 11
NAMES = {1: "float", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "double"}


def chain(first: int, *others: int, opset: int = 13) -> str:
    casts = " ".join(f"v{i + 1} = Cast <to = {to}> (v{i})" for i, to in enumerate(others))
    last = others[-1]
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g ({NAMES[first]}[3,5] x) => ({NAMES[last]}[6,5] y)
        {{ v0 = Concat <axis = 0> (x, x) {casts} y = Concat <axis = 0> (v{len(others)}) }}"""


@pytest.mark.parametrize(
    ("dtypes", "left"),
    [
        ((INT32, INT64, FLOAT), [FLOAT]),
        ((BOOL, INT32, INT64, FLOAT), [FLOAT]),
        ((HALF, FLOAT, DOUBLE), [DOUBLE]),
        ((FLOAT, DOUBLE, HALF), [HALF]),
        ((UINT8, INT32, INT8), [INT8]),
        ((FLOAT, DOUBLE, FLOAT), []),
        ((INT64, INT64), []),
        ((FLOAT, FLOAT, INT32), [INT32]),
        ((FLOAT, FLOAT, FLOAT, FLOAT, INT32), [INT32]),
        ((INT32, INT32, INT64, DOUBLE, FLOAT), [FLOAT]),
    ],
)
def test_chains_without_loss_become_one_step_or_none(
    rewrite: Rewrite, dtypes: tuple[int, ...], left: list[int]
) -> None:
    result = rewrite(chain(*dtypes), MergeCasts())
    casts = [node for node in result.model.graph if node.op_type == "Cast"]
    assert [node.attributes["to"].as_int() for node in casts] == left
    result.assert_same()


@pytest.mark.parametrize(
    ("dtypes", "why"),
    [
        ((FLOAT, HALF, FLOAT), "FLOAT does not fit into FLOAT16 without loss"),
        ((FLOAT, INT64, INT32), "FLOAT does not fit into INT64 without loss"),
        ((INT64, FLOAT, INT64), "INT64 does not fit into FLOAT without loss"),
        ((INT32, FLOAT, DOUBLE), "INT32 does not fit into FLOAT without loss"),
        ((INT8, UINT8, INT32), "INT8 does not fit into UINT8 without loss"),
        ((INT32, BOOL, FLOAT), "INT32 does not fit into BOOL without loss"),
        ((FLOAT, DOUBLE, INT32), "from FLOAT to INT32, out of range is undefined"),
    ],
)
def test_chains_that_may_lose_something_are_declined(
    rewrite: Rewrite, dtypes: tuple[int, ...], why: str
) -> None:
    result = rewrite(chain(*dtypes), MergeCasts())
    assert not result.applied
    assert result.declined == (why,)
    result.assert_same()


def test_a_step_that_others_read_too_stays_for_them(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (int32[3] x) => (float[3] y, int64[3] z) {
        a = Cast <to = 7> (x) y = Cast <to = 1> (a) z = Neg (a) }"""
    result = rewrite(text, MergeCasts())
    assert sorted(result.ops) == ["Cast", "Cast", "Neg"]
    assert next(v for v in result.model.graph.outputs if v.name == "y").producer().inputs[0].name == "x"
    result.assert_same()


def test_an_output_with_the_dtype_of_an_input_keeps_its_cast(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[3] x) => (float[3] y) {
        a = Cast <to = 11> (x) y = Cast <to = 1> (a) }"""
    result = rewrite(text, MergeCasts())
    assert result.ops == ["Cast"]
    assert "from the graph input x" in result.declined[0]
    result.assert_same()


def test_dtypes_with_rules_of_their_own_are_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 10, opset_import: ["" : 19]> g (float16[3] x) => (float16[3] y) {
        a = Cast <to = 1> (x) b = Cast <to = 17> (a) c = Cast <to = 1> (b) y = Cast <to = 10> (c) }"""
    result = rewrite(text, MergeCasts(), compare=False)
    assert not result.applied
    assert result.declined[0] == "FLOAT8E4M3FN has conversion rules of its own"


def test_inside_functions_the_dtypes_are_unknown(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "me" : 1]> g (int32[3] x) => (float[3] y)
        { y = me.f (x) }
        <domain: "me", opset_import: ["" : 13]> f (v) => (w)
        { a = Cast <to = 7> (v) w = Cast <to = 1> (a) }"""
    assert rewrite(text, MergeCasts()).declined == ("the dtype of what Cast a reads is unknown",)
