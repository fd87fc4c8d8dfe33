import re
from pathlib import Path

import onnx
import pytest

import graphopt.compile.support as tables
from graphopt.core import operators
from graphopt.core.operators import all_operators
from graphopt.recipes.mending import (
    BY_ASPECT,
    BY_LIMIT,
    BY_OPERATOR,
    CHOICES,
    OPTIONS,
    ORDER,
    WRITTEN_WITHOUT,
    mends,
    mends_limit,
)
from graphopt.surgery.catalogue import pass_names
from graphopt.surgery.steps import parse_steps

NAMED = {name for names in (*BY_OPERATOR.values(), *BY_ASPECT.values()) for name in names}


def test_every_pass_of_the_table_exists() -> None:
    assert set(pass_names()) >= NAMED

    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    foreign = set(BY_OPERATOR) - standard
    assert foreign <= {operator.op_type for operator in all_operators()}


@pytest.mark.parametrize(
    ("op_types", "aspects", "expected"),
    [
        (["Einsum"], [], ("decompose_einsum",)),
        (["Einsum", "Einsum"], [], ("decompose_einsum",)),
        (["Gelu"], ["opset"], ("lower_opset", "decompose_gelu")),
        ([], ["int64"], ("int64_to_int32", "topk_int32")),
        (["Relu"], ["nothing such"], ()),
    ],
)
def test_what_concerns_the_model_comes_first_each_once(
    op_types: list[str], aspects: list[str], expected: tuple[str, ...]
) -> None:
    assert mends(op_types, aspects) == expected


def test_limits_are_codes_of_rules_and_their_passes_exist() -> None:
    folder = Path(tables.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")))
    codes = set(re.findall(r"(?:restricted|unsupported|unknown)\(\s*f?\"(\w+)", text))
    codes |= {"conv_kernel", "int64", "dtype"}  # put together, or chosen by dtype
    assert BY_LIMIT.keys() <= codes
    named = {name for names in BY_LIMIT.values() for name in names} | set(ORDER)
    assert named <= set(pass_names())
    assert all(pair[1] in BY_LIMIT[pair[0]] for pair in OPTIONS)
    assert len(set(ORDER)) == len(ORDER)


def test_limits_of_written_operators_are_codes_of_their_cautions() -> None:
    folder = Path(operators.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    assert set(re.findall(r'code="(\w+)"', text)) == WRITTEN_WITHOUT.keys() & CHOICES.keys()


@pytest.mark.parametrize(("name", "option"), WRITTEN_WITHOUT.values())
def test_options_that_avoid_a_limit_are_options_of_the_pass(name: str, option: str) -> None:
    [step] = parse_steps(f"{name}:{option}")
    assert str(step) == f"{name}:{option}"


def test_every_pass_that_mends_a_limit_exactly_has_its_turn() -> None:
    known = {name for names in BY_LIMIT.values() for name in names}
    assert known - set(ORDER) == {"clamp_constants", "resize_mode"}  # both change numbers


@pytest.mark.parametrize(
    ("code", "op", "expected"),
    [
        ("not_registered", "Gelu", ("decompose_gelu",)),
        ("opset", "LayerNormalization", ("lower_opset", "decompose_layernorm")),
        ("prelu_slope", "PRelu", ("prelu_slope",)),
        ("selu", "Selu", ()),
        ("model_opset", "", ("lower_opset",)),
    ],
)
def test_findings_name_the_passes_to_try(code: str, op: str, expected: tuple[str, ...]) -> None:
    assert mends_limit(code, op) == expected
