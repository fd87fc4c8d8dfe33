import onnx
import pytest

from graphopt.recipes.mending import BY_ASPECT, BY_OPERATOR, mends
from graphopt.surgery.catalogue import pass_names

NAMED = {name for names in (*BY_OPERATOR.values(), *BY_ASPECT.values()) for name in names}
AWAITED = {"replace_dcn", "decompose_dcn", "replace_nms", "replace_roi_extractor", "replace_merge_cells"}


def test_every_pass_of_the_table_exists() -> None:
    assert NAMED - set(pass_names()) <= AWAITED

    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    foreign = set(BY_OPERATOR) - standard
    assert all(name.startswith("MMCV") or name == "DeformableConv2D" for name in foreign)


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
