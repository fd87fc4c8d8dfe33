"""Drawn pedestrians: PETA's format, reproducible, consistent labels, and each attribute visible."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import OutputError
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.datasets.synthetic_pedestrians import synthetic_pedestrian, write_synthetic_peta
from graphopt.runtime.pedestrians.canvas import HEIGHT, WIDTH, Canvas, street
from graphopt.runtime.pedestrians.figure import draw_person
from graphopt.runtime.pedestrians.person import Person, from_hsv, random_person, shaded

AGES = {name for name in PETA_ATTRIBUTES if name.startswith("personalL")}
FOOTWEAR = {name for name in PETA_ATTRIBUTES if name.startswith("footwear")}
LEGWEAR = {"lowerBodyTrousers", "lowerBodyJeans", "lowerBodyShorts", "lowerBodyShortSkirt"}
GARMENTS = {"upperBodyJacket", "upperBodyTshirt", "upperBodyVNeck", "upperBodyOther"}
ACCESSORIES = {"accessoryHat", "accessoryMuffler", "accessorySunglasses"}
BAGS = {"carryingBackpack", "carryingOther", "carryingMessengerBag", "carryingPlasticBags"}


@pytest.fixture(scope="module")
def crowd() -> list[frozenset[str]]:
    return [random_person(np.random.default_rng([3, number])).attributes for number in range(1500)]


def test_writes_the_format_of_the_real_data_set(tmp_path: Path) -> None:
    write_synthetic_peta(tmp_path, count=3, seed=1, start=8)
    names = ["00009.png", "00010.png", "00011.png"]
    assert (tmp_path / "image.txt").read_text() == "".join(f"{name}\n" for name in names)
    labels = json.loads((tmp_path / "label.json").read_text())
    assert list(labels) == names
    assert all(len(row) == 35 and set(row) <= {0, 1} for row in labels.values())
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == names


def test_is_read_back_as_peta(tmp_path: Path) -> None:
    write_synthetic_peta(tmp_path, count=4, seed=1)
    data = PetaDataset(tmp_path)
    assert len(data) == 4
    assert data.labels[2].astype(int).tolist() == synthetic_pedestrian(3, seed=1)[1]


def test_sizes_are_those_of_pedestrian_crops() -> None:
    sizes = {synthetic_pedestrian(number, seed=2)[0].size for number in range(30)}
    assert all(40 <= width <= 100 and 90 <= height <= 220 for width, height in sizes)
    assert len(sizes) > 15


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_synthetic_peta(tmp_path / folder, count=3, seed=5)
    for first in sorted((tmp_path / "first").rglob("*.*")):
        second = tmp_path / "second" / first.relative_to(tmp_path / "first")
        assert first.read_bytes() == second.read_bytes()


def test_a_picture_depends_on_seed_and_number_only(tmp_path: Path) -> None:
    write_synthetic_peta(tmp_path, count=1, seed=5, start=41)
    with Image.open(tmp_path / "images" / "00042.png") as saved:
        assert saved.tobytes() == synthetic_pedestrian(42, seed=5)[0].tobytes()
    assert saved.tobytes() != synthetic_pedestrian(42, seed=6)[0].tobytes()


@pytest.mark.parametrize(("count", "start"), [(0, 0), (-1, 0), (1, -1)])
def test_refuses_impossible_counts(tmp_path: Path, count: int, start: int) -> None:
    with pytest.raises(ValueError, match="count must be at least 1"):
        write_synthetic_peta(tmp_path, count=count, seed=1, start=start)


def test_says_when_the_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_synthetic_peta(tmp_path / "file", count=1, seed=1)


@pytest.mark.parametrize("group", [AGES, FOOTWEAR, LEGWEAR, GARMENTS])
def test_exactly_one_of_each_group(crowd: list[frozenset[str]], group: set[str]) -> None:
    assert len(group) == 4
    assert {len(person & group) for person in crowd} == {1}


@pytest.mark.parametrize("part", ["upperBody", "lowerBody"])
def test_clothes_are_either_casual_or_formal(crowd: list[frozenset[str]], part: str) -> None:
    assert all((f"{part}Casual" in person) != (f"{part}Formal" in person) for person in crowd)


def test_nothing_means_nothing(crowd: list[frozenset[str]]) -> None:
    for person in crowd:
        assert ("accessoryNothing" in person) == (not person & ACCESSORIES)
        assert ("carryingNothing" in person) == (not person & BAGS)


def test_combinations_make_sense(crowd: list[frozenset[str]]) -> None:
    for person in crowd:
        assert not {"upperBodyJacket", "upperBodyShortSleeve"} <= person
        assert not {"upperBodyTshirt", "upperBodyFormal"} <= person
        assert not {"lowerBodyFormal", "lowerBodyJeans"} <= person
        assert not {"lowerBodyFormal", "lowerBodyShorts"} <= person


@pytest.mark.parametrize("attribute", PETA_ATTRIBUTES)
def test_both_values_of_each_attribute_are_frequent(crowd: list[frozenset[str]], attribute: str) -> None:
    share = np.mean([attribute in person for person in crowd])
    assert 0.08 <= share <= 0.92


def test_no_attribute_is_unknown(crowd: list[frozenset[str]]) -> None:
    assert frozenset().union(*crowd) == set(PETA_ATTRIBUTES)


def _drawing(attributes: set[str]) -> np.ndarray:
    person = Person(
        attributes=frozenset(attributes), skin=(220, 180, 150), hair=(90, 60, 30), cloth=(60, 90, 200)
    )
    picture = street(np.random.default_rng(4))
    draw_person(Canvas(picture, scale=1.0, shift=(0, 0)), person)
    return np.asarray(picture.resize((WIDTH, HEIGHT))).astype(int)


PLAIN = {"upperBodyOther", "lowerBodyTrousers", "footwearSneaker", "personalLess30"}
# Less30 to Less60 show in colours that the person brings; these hold when nothing else is drawn.
WITHOUT_SHAPE = {
    "personalLess30", "personalLess45", "personalLess60", "accessoryNothing", "carryingNothing",
    "upperBodyCasual", "lowerBodyCasual", *PLAIN,
}  # fmt: skip


@pytest.mark.parametrize("attribute", sorted(set(PETA_ATTRIBUTES) - WITHOUT_SHAPE))
def test_each_attribute_changes_the_drawing(attribute: str) -> None:
    group = next((group for group in (FOOTWEAR, LEGWEAR, GARMENTS) if attribute in group), set())
    changed = np.abs(_drawing((PLAIN - group) | {attribute}) - _drawing(PLAIN)).max(axis=2) > 20
    assert changed.sum() > 40  # units of area, of 22,000


def test_age_shows_in_hair_and_clothes() -> None:
    looks: dict[str, set[tuple[bool, bool]]] = {}
    for number in range(300):
        person = random_person(np.random.default_rng([9, number]))
        if person.has("upperBodyFormal"):
            continue
        (age,) = person.attributes & AGES
        vivid = max(person.cloth) - min(person.cloth) > 0.5 * max(person.cloth)
        looks.setdefault(age, set()).add((vivid, max(person.cloth) > 170))
    assert looks == {
        "personalLess30": {(True, True)},
        "personalLess45": {(True, False)},
        "personalLess60": {(False, False)},
        "personalLarger60": {(False, True)},
    }


def test_colours_stay_in_range() -> None:
    assert shaded((200, 100, 0), 2.0) == (255, 200, 0)
    assert from_hsv(1.0, 1.0, 1.0) == (255, 0, 0)
