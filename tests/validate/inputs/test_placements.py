import pytest

from graphopt.validate.inputs.expected import Placement
from graphopt.validate.inputs.placements import SIDES, Scene, other_rules, own_side

LETTERBOX = Scene(image=(60, 110), canvas=(80, 120), own=Placement(65, 120, 7, 0))
STRETCHED = Scene(image=(60, 110), canvas=(80, 120), own=Placement(80, 120, 0, 0))


def placed(scene: Scene) -> dict[Placement, str]:
    return {places[0]: rule.cause for rule, places in other_rules([scene])}


def test_the_recipes_own_placement_is_no_other_rule() -> None:
    for scene in (LETTERBOX, STRETCHED):
        assert scene.own not in placed(scene)


def test_every_placement_stands_once() -> None:
    found = [places for _, places in other_rules([LETTERBOX])]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("place", "cause"),
    [
        (Placement(65, 120, 0, 0), "padding_side"),
        (Placement(65, 120, 15, 0), "padding_side"),
        (Placement(65, 120, 8, 0), "padding_side"),  # the odd row of padding before the image
        (Placement(80, 120, 0, 0), "aspect"),
        (Placement(66, 120, 7, 0), "size_rounding"),
        (Placement(65, 120, 6, 1), "shift"),
        (Placement(60, 110, 10, 5), "size"),
    ],
)
def test_a_letterbox_can_be_missed_in_these_ways(place: Placement, cause: str) -> None:
    assert placed(LETTERBOX)[place] == cause


def test_a_stretched_image_could_keep_its_aspect_or_be_cropped() -> None:
    found = placed(STRETCHED)
    assert found[Placement(65, 120, 7, 0)] == "aspect"
    assert found[Placement(91, 137, -5, -8)] == "crop"
    assert "padding_side" not in found.values()


def test_a_size_that_rounding_does_not_explain_is_a_size() -> None:
    small = Scene(image=(60, 110), canvas=(80, 120), own=Placement(30, 55, 25, 32))
    assert placed(small)[Placement(65, 120, 7, 0)] == "size"
    assert "size_rounding" in placed(small).values()  # a pixel more or less


def test_rules_hold_for_all_images() -> None:
    upright = Scene(image=(110, 60), canvas=(80, 120), own=Placement(80, 44, 0, 38))
    for rule, places in other_rules([LETTERBOX, upright]):
        assert places == (rule.place(LETTERBOX), rule.place(upright))
    assert own_side([LETTERBOX, upright]) == "in the middle"
    corner = Scene(image=(60, 110), canvas=(80, 120), own=Placement(65, 120, 0, 0))
    assert own_side([corner]) == "in the upper left corner"


def test_what_lies_outside_is_cut_off() -> None:
    place = Placement(10, 12, -3, 5)
    assert place.inside((6, 9)) == (slice(0, 6), slice(5, 9))
    assert place.own((6, 9)) == (slice(3, 9), slice(0, 4))
    assert SIDES["in the lower right corner"]((4, 5), (6, 9)) == Placement(4, 5, 2, 4)
