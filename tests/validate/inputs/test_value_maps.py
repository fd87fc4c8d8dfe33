from typing import Any

import numpy as np
import pytest

from graphopt.validate.inputs.expected import ChannelMap
from graphopt.validate.inputs.value_maps import ValueMap, explanations, fitted

OWN = ChannelMap.normalizing((0, 1, 2), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LEVELS = np.random.default_rng(4).integers(0, 256, (300, 3)).astype(np.float64)


def found(values: Any, levels: Any = LEVELS, own: ChannelMap = OWN, **more: Any) -> list[ValueMap]:
    allowed = np.full(values.shape, 1e-5)
    return explanations(own, values, levels, allowed=allowed, raw=more.pop("raw", False), **more)


def names(ways: list[ValueMap]) -> list[tuple[str, ...]]:
    return [tuple(cause.name for cause in way.causes) for way in ways]


def made(order: tuple[int, ...], mean: Any, std: Any) -> Any:
    return (LEVELS[:, list(order)] - np.array(mean)) / np.array(std)


def test_the_recipes_own_way_has_no_cause() -> None:
    (way,) = found(made((0, 1, 2), OWN.mean, OWN.std))
    assert way.causes == ()
    assert way.cost == 0


@pytest.mark.parametrize(
    ("mean", "std", "expected", "words"),
    [
        ((127.5,) * 3, (127.5,) * 3, ("mean", "std"), "-1..1"),
        ((122.7717, 115.9465, 102.9801), (1, 1, 1), ("mean", "std"), "Caffe"),
        ((120, 110, 100), OWN.std, ("mean",), "120, 110, 100 levels were subtracted"),
        (OWN.mean, (60, 50, 40), ("std",), "60, 50, 40 levels divide"),
        (OWN.mean, (255, 255, 255), ("std",), "only 255 divides"),
        (
            np.array(OWN.mean) * (1 + np.array(OWN.std)),
            np.array(OWN.std) ** 2,
            ("normalization",),
            "twice",
        ),
    ],
)
def test_another_normalization_is_named_with_its_numbers(
    mean: Any, std: Any, expected: tuple[str, ...], words: str
) -> None:
    (way,) = found(made((0, 1, 2), mean, std))
    assert names([way]) == [expected]
    assert words in way.causes[0].sentence


def test_any_order_of_colours_is_named() -> None:
    (way,) = found(made((1, 2, 0), OWN.mean, OWN.std))
    assert names([way]) == [("channel_order",)]
    assert "GBR" in way.causes[0].sentence


def test_colours_swapped_after_another_normalization_are_told_apart() -> None:
    (way,) = found(made((0, 1, 2), (120, 110, 100), (60, 50, 40))[:, ::-1])
    assert [name for name in names([way])[0] if name == "channel_order"] == ["channel_order"]
    assert {"mean", "std"} <= set(names([way])[0])


def test_grey_images_leave_several_explanations() -> None:
    grey = np.repeat(LEVELS[:, :1], 3, 1)
    ways = found(((grey - np.array(OWN.mean)) / np.array(OWN.std))[:, ::-1], grey)
    assert ("channel_order",) in names(ways)
    assert ("mean", "std") in names(ways)
    assert ways[0].cost == ways[1].cost


def test_numbers_of_grey_images_do_not_invent_an_order() -> None:
    grey = np.repeat(LEVELS[:, :1], 3, 1)
    (way,) = found((grey - np.array((120.0, 110, 100))) / np.array(OWN.std), grey)
    assert names([way]) == [("mean",)]


def test_values_that_fall_where_levels_rise_are_no_normalization() -> None:
    (way,) = found(255 - LEVELS)
    assert names([way]) == [("scale",)]
    assert "fall" in way.causes[0].sentence


def test_what_no_line_explains_has_no_explanation() -> None:
    assert found(np.sqrt(LEVELS)) == []


def test_whole_levels_are_not_to_be_normalised() -> None:
    assert names(found(LEVELS, raw=True)) == [()]
    assert names(found(LEVELS[:, ::-1], raw=True)) == [("channel_order",)]
    assert "rbuv_swap_switch" in found(LEVELS[:, ::-1], raw=True)[0].causes[0].sentence
    (way,) = found(LEVELS * 0.5, raw=True)
    assert "2, 2, 2 levels divide" in way.causes[0].sentence


def test_a_deviation_of_one_has_no_cause_of_its_own() -> None:
    caffe = ChannelMap.normalizing((2, 1, 0), (102.9801, 115.9465, 122.7717), (1, 1, 1))
    values = LEVELS[:, ::-1].copy()
    assert names(found(values, own=caffe)) == [("mean",)]


def test_nearly_constant_values_have_no_line() -> None:
    assert fitted(np.ones((50, 3)), LEVELS[:50], OWN.order) is None
    assert fitted(LEVELS[:50], np.full((50, 3), 7.0), OWN.order) is None


def test_a_map_and_its_inverse_agree() -> None:
    channels = ChannelMap.normalizing((2, 0, 1), (10, 20, 30), (2, 3, 4))
    levels = LEVELS.astype(np.float32)
    np.testing.assert_allclose(channels.levels_of(channels.values_of(levels)), levels, atol=1e-4)
    assert channels.mean == pytest.approx((10, 20, 30))
    assert channels.std == pytest.approx((2, 3, 4))
