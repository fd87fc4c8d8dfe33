import numpy as np
import pytest

from graphopt.validate.inputs.expected import ChannelMap, Triple
from graphopt.validate.inputs.padding import constant_value, named_padding

OWN = ChannelMap.normalizing((0, 1, 2), (120, 110, 100), (50, 50, 50))
RAW = ChannelMap((0, 1, 2), (1, 1, 1), (0, 0, 0))


def sentence(value: Triple, own_value: Triple | None = (0, 0, 0), found: ChannelMap = OWN) -> str:
    padding = named_padding(value, found, OWN, own_value, allowed=1e-4, raw=found is RAW)
    assert len(padding.causes) <= 1
    return padding.causes[0].sentence if padding.causes else ""


def test_the_recipes_padding_is_no_cause() -> None:
    assert sentence((0, 0, 0)) == ""
    assert sentence((3, 4, 5), own_value=None) == ""


def test_padding_before_another_normalization_moves_with_it() -> None:
    none = ChannelMap.normalizing((0, 1, 2), (0, 0, 0), (50, 50, 50))
    assert sentence((2.4, 2.2, 2), found=none) == ""  # levels 120, 110, 100, as the recipe's 0 is
    assert sentence((0, 0, 0), found=none) == ""  # padded after normalising


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((-2.4, -2.2, -2), "level 0 of 255 before normalising"),
        ((-0.12, 0.08, 0.28), "level 114 of 255 before normalising"),
        ((1, 0, 0), "levels 170, 110, 100 by channel"),
    ],
)
def test_another_padding_is_told_in_levels(value: Triple, words: str) -> None:
    assert words in sentence(value)


def test_zero_after_normalising_is_told() -> None:
    assert "0 after normalising" in sentence((0, 0, 0), own_value=(-2.4, -2.2, -2))


def test_whole_levels_may_be_rounded_or_cut_off() -> None:
    half = (0.011, 0.011, 0.011)
    assert sentence((120, 111, 100), own_value=half, found=RAW) == ""
    assert "level 0 of 255," in sentence((0, 0, 0), found=RAW)


def test_only_one_colour_is_a_padding() -> None:
    around = np.full((5, 3), 2, np.float32)
    assert constant_value(around, 1e-3) == (2, 2, 2)
    around[3, 1] = 2.1
    assert constant_value(around, 1e-3) is None
    around[3, 1] = np.nan
    assert constant_value(around, 1e-3) is None
