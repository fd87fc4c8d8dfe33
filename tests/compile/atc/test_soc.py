import pytest

from graphopt.compile.atc.soc import (
    SOC_VERSIONS,
    family_of,
    has_fp32_matrix_unit,
    normalise_soc,
    soc_note,
)
from graphopt.core.errors import UsageError


@pytest.mark.parametrize("text", ["310P3", "Ascend310P3", "ascend310p3", " 310p3 ", "ASCEND310P3"])
def test_spellings_of_one_chip_become_one_value(text: str) -> None:
    assert normalise_soc(text) == "Ascend310P3"


@pytest.mark.parametrize("version", SOC_VERSIONS)
def test_every_known_value_is_itself(version: str) -> None:
    assert normalise_soc(version) == version
    assert normalise_soc(version.removeprefix("Ascend")) == version


def test_950_chips_without_a_public_name_are_accepted_by_form() -> None:
    assert normalise_soc("950DT_9582") == "Ascend950DT_9582"


def test_family_name_gets_the_list_of_its_chips() -> None:
    with pytest.raises(UsageError, match=r"E10001.*family.*Ascend310P1.*Ascend310P3.*npu-smi"):
        normalise_soc("310P")


@pytest.mark.parametrize(("text", "near"), [("310P4", "Ascend310P3"), ("Ascend910B5", "Ascend910B")])
def test_misspelt_chip_gets_near_ones(text: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"E10001.*did you mean.*{near}"):
        normalise_soc(text)


@pytest.mark.parametrize("text", ["", "Ascend", "T4", "310P3;rm -rf /"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="E10001"):
        normalise_soc(text)


def test_old_910b_is_accepted_and_told_apart_from_the_a2_chips() -> None:
    assert normalise_soc("910B") == "Ascend910B"
    note = soc_note("Ascend910B")
    assert note is not None
    assert "30 cores" in note
    assert "Ascend910B1" in note
    assert soc_note("Ascend910B4") is None


@pytest.mark.parametrize(
    ("soc", "family"),
    [
        ("Ascend310", "310"),
        ("Ascend310P3", "310P"),
        ("Ascend310P3Vir04", "310P"),
        ("Ascend310B4", "310B"),
        ("Ascend910A", "910"),
        ("Ascend910B", "910"),
        ("Ascend910ProB", "910"),
        ("Ascend910B4-1", "910B"),
        ("Ascend910_9382", "910_93"),
        ("Ascend950PR_9579", "950"),
        ("Ascend035B", "035B"),
    ],
)
def test_family(soc: str, family: str) -> None:
    assert family_of(soc) == family


def test_matrix_units_with_fp32_inputs() -> None:
    assert not has_fp32_matrix_unit("Ascend310P3")
    assert not has_fp32_matrix_unit("Ascend910A")
    assert has_fp32_matrix_unit("Ascend910B4")
    assert has_fp32_matrix_unit("Ascend310B1")
