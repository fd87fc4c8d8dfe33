from collections.abc import Callable
from typing import Any

import pytest

from graphopt.surgery.decompositions.einsum import parse_equation
from graphopt.surgery.passes.decompose_einsum import DecomposeEinsum

Rewrite = Callable[..., Any]

SUITABLE = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,3] x, float[5,3] w) => (float[2,5] y)
{ y = Einsum <equation = "ik,jk->ij"> (x, w) }"""

SIZES = {"a": 2, "b": 3, "c": 5, "d": 7, "e": 4}


def model(equation: str, *, dynamic: str = "", opset: int = 13) -> str:
    left, _, right = equation.partition("->")

    def shape(letters: str) -> str:
        sizes = ",".join("n" if letter in dynamic else str(SIZES[letter]) for letter in letters)
        return f"float[{sizes}]" if letters else "float"

    inputs = ", ".join(f"{shape(letters)} x{i}" for i, letters in enumerate(left.split(",")))
    names = ", ".join(f"x{i}" for i in range(len(left.split(","))))
    return (
        f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({shape(right)} y)'
        f' {{ y = Einsum <equation = "{equation}"> ({names}) }}'
    )


@pytest.mark.parametrize("opset", [12, 13])
@pytest.mark.parametrize(
    "equation",
    [
        "ab->ba", "abc->ca", "abc->", "ab,bc->ac", "ab,cb->ac", "ab,cb->ca", "a,a->", "a,b->ab", "ab,ab->a",
        "ab,ab->ab", "abc,abd->dc", "abc,cde->abde", "abcd,aecd->aceb", "abcd,adbe->acbe", "abcd,cde->abe",
        "abc,abde->dec", "abcd,ecd->abe", "abcd,abce->abde", "abcd,aecd->acbe", "abc,dec->abde", "ab,c->cab",
        "abcd,abce->acde", "abc,b->ac", "ab,cd->ad",
    ],
)  # fmt: skip
def test_an_equation_is_written_with_one_product_at_most(rewrite: Rewrite, equation: str, opset: int) -> None:
    result = rewrite(model(equation, opset=opset), DecomposeEinsum())
    assert "Einsum" not in result.ops
    assert result.ops.count("MatMul") == equation.count(",")
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize("equation", ["abc,abd->acd", "abcd,aecd->acbe", "ab,bc->ac"])
def test_one_unknown_size_is_enough_where_it_is_not_merged(rewrite: Rewrite, equation: str) -> None:
    result = rewrite(model(equation, dynamic="a"), DecomposeEinsum())
    assert len(result.applied) == 1
    result.assert_same(rtol=1e-5)


@pytest.mark.parametrize(
    ("equation", "dynamic", "why"),
    [
        ("aab->b", "", "a letter stands twice in one operand (a diagonal)"),
        ("ab,bc,cd->ad", "", "it has 3 operands"),
        ("abcd,ecd->abe", "c", "the sizes of axes c are not known"),
    ],
)
def test_what_it_cannot_write_is_declined(rewrite: Rewrite, equation: str, dynamic: str, why: str) -> None:
    assert rewrite(model(equation, dynamic=dynamic), DecomposeEinsum(), compare=False).declined == (why,)


def test_equations_are_read_as_the_specification_says() -> None:
    implicit = parse_equation("ba, cb")
    assert not isinstance(implicit, str)
    assert implicit.result == "ac"
    assert parse_equation("...a->a") == "its equation has an ellipsis"
    assert parse_equation("a1->a") == "its equation 'a1->a' is not understood"


def test_an_equation_that_changes_nothing_leaves_an_identity(rewrite: Rewrite) -> None:
    result = rewrite(model("ab->ab"), DecomposeEinsum())
    assert result.ops == ["Identity"]
    result.assert_same()
