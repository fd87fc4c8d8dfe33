import onnx_ir as ir
import pytest

from graphopt.surgery.detection.facts import Facts
from graphopt.surgery.detection.rows import Element, Index, Rows, RowTracker

HEAD = """<ir_version: 8, opset_import: ["" : 13]>
    g (bool[6] m, bool[6,5] grid, float[6,4] b, float[6,5] s, float[2,6,3] deep, int64[n] i) => (float[k] y)
    <int64[1] at0 = {0}, int64[1] at1 = {1}, int64[1] at2 = {2}, int64[1] at3 = {3}, int64[2] two = {0,2},
     int64 last = {-1}, int64[2] column = {-1,1}, int64[2] fixed = {3,1}, int64[1] flat = {-1},
     int64[3] apart = {1,-1,4}, int64[2] swapped = {4,-1}, int64[1] far = {9223372036854775807}> {
        nz = NonZero (m)  turned = Transpose <perm = [1,0]> (nz)  place = Squeeze (turned, at1)
        nz2 = NonZero (grid)  pairs = Transpose (nz2)  picked = Gather (b, place)
"""


def rows_of(body: str, name: str) -> Rows | None:
    model = ir.from_onnx_text(f"{HEAD} {body} y = Identity (unread) }}".replace("(unread)", f"({name})"))
    value = next(v for node in model.graph for v in node.outputs if v.name == name)
    return RowTracker(model, Facts(model)).of(value)


@pytest.mark.parametrize(
    ("body", "axis", "columns"),
    [
        ("v = Identity (place)", 0, [Index(0)]),
        ("v = Cast <to = 6> (nz)", 1, [Index(0)]),
        ("v = Unsqueeze (place, at0)", 1, [Index(0)]),
        ("v = Identity (pairs)", 0, [Index(0), Index(1)]),
        ("v = Gather <axis = 1> (pairs, last)", 0, [Index(1)]),
        ("v = Gather <axis = 0> (nz2, at1)", 1, [Index(1)]),
        ("v = Slice (pairs, at1, at2, at1)", 0, [Index(1)]),
        ("v = Reshape (picked, apart)", 1, ["b0", "b1", "b2", "b3"]),
        ("v = Gather <axis = 1> (picked, two)", 0, ["b0", "b2"]),
        ("v = Transpose (picked)", 1, ["b0", "b1", "b2", "b3"]),
        ("w = Slice (picked, at1, at3, at1)  v = Concat <axis = 1> (w, picked)", 0, ["b1", "b2", "b0"]),
        ("v = GatherND (s, pairs)", 0, ["s"]),
        ("v = Gather <axis = 1> (deep, place)", 1, ["d00", "d01", "d02", "d10", "d11", "d12"]),
    ],
)
def test_what_stands_in_the_rows_is_followed(body: str, axis: int, columns: list[object]) -> None:
    found = rows_of(body, "v")
    assert found is not None
    assert found.axis == axis
    names = [
        item if isinstance(item, Index) else (item.source.name or "")[0] + "".join(map(str, item.place))
        for item in found.listed()
    ]
    assert names[: len(columns)] == columns


def test_the_first_rows_are_a_limit_that_only_shrinks() -> None:
    found = rows_of("w = Slice (picked, at0, at3, at0)  v = Slice (w, at0, far, at0)", "v")
    assert found is not None
    assert found.limit == 3
    found = rows_of("w = Slice (picked, at0, at2, at0)  v = Slice (w, at0, at3, at0)", "v")
    assert found is not None
    assert found.limit == 2


def test_an_element_says_by_which_axis_it_was_chosen() -> None:
    found = rows_of("v = GatherND (s, pairs)", "v")
    assert found is not None
    (column,) = found.listed()
    assert isinstance(column, Element)
    assert column.by == ((0, 0), (1, 1))


@pytest.mark.parametrize(
    "body",
    [
        "v = Neg (picked)",
        "v = Slice (picked, at1, at3, at0)",
        "v = Gather <axis = 0> (picked, at1)",
        "v = Reshape (picked, fixed)",
        "v = Reshape (picked, swapped)",
        "w = Transpose (picked)  v = Reshape (w, flat)",
        "v = Squeeze (turned, at0)",
        "v = Squeeze (turned)",
        "v = Concat <axis = 0> (picked, picked)",
        "w = Gather (s, place)  u = Slice (w, at0, at2, at0)  v = Concat <axis = 1> (u, picked)",
        "w = NonZero (m)  u = Gather (pairs, last)  v = Concat <axis = 0> (u, at0)",
        "v = Gather (b, pairs)",
        "v = Gather (b, i)",
        "w = Relu (picked)  v = Concat <axis = 1> (picked, w)",
        "v = GatherND <batch_dims = 1> (s, pairs)",
        "v = Slice (picked, i, at3, at1)",
    ],
)
def test_other_tensors_are_no_rows(body: str) -> None:
    assert rows_of(body, "v") is None
