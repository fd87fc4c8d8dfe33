import pytest

from graphopt.compile.atc.shapes import InputShape, parse_input_shape, parse_profiles, write_profiles
from graphopt.core.errors import UsageError


def test_sizes_ranges_and_scalars() -> None:
    text = "x:1,3,-1,224;y:1~8,2~-1;z:"
    shapes = parse_input_shape(text)
    assert shapes == (
        InputShape("x", (1, 3, -1, 224)),
        InputShape("y", ((1, 8), (2, -1))),
        InputShape("z", ()),
    )
    assert ";".join(map(str, shapes)) == text


def test_last_colon_splits_the_name() -> None:
    (shape,) = parse_input_shape("serving:0:1,3")
    assert shape == InputShape("serving:0", (1, 3))


@pytest.mark.parametrize("text", ["x", "x:1,3.5", "x:1,,3", "x:a", ":1,3", "x:1~", "x:1 3"])
def test_bad_text_is_e10002(text: str) -> None:
    with pytest.raises(UsageError, match="E10002"):
        parse_input_shape(text)


def test_unknowns_are_counted() -> None:
    assert InputShape("x", (-1, 3, -1, (1, 8))).unknowns == 2


def test_profiles_round_trip() -> None:
    profiles = parse_profiles("224,224; 448,448", option="dynamic_image_size")
    assert profiles == ((224, 224), (448, 448))
    assert write_profiles(profiles) == "224,224;448,448"


@pytest.mark.parametrize(("option", "code"), [("dynamic_image_size", "E10020"), ("dynamic_dims", "E10001")])
def test_bad_profiles(option: str, code: str) -> None:
    with pytest.raises(UsageError, match=f"{code}.*{option}"):
        parse_profiles("224,x", option=option)
