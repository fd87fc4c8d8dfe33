"""What is drawn: colours where the mask says, panels side by side, legends."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, OutputError
from graphopt.core.voc import voc_palette
from graphopt.runtime.pictures import compose, draw_prediction, overlay, percent, photograph
from graphopt.runtime.task import Panel, Reading


def _photo(width: int = 30, height: int = 20) -> Image.Image:
    return Image.new("RGB", (width, height), (100, 150, 200))


def test_a_mask_colours_its_pixels_dims_the_background_and_has_white_borders() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 10:20] = 15
    drawn = np.asarray(overlay(_photo(), mask, voc_palette()))
    assert drawn[2, 2].tolist() == [55, 82, 110]
    assert drawn[10, 15].tolist() == [155, 136, 156]  # 40 % photo, 60 % the person's colour
    assert drawn[5, 15].tolist() == [255, 255, 255]


def test_panels_stand_side_by_side_before_the_legend() -> None:
    panels = [
        Panel(caption="image", picture=_photo()),
        Panel(caption="prediction", picture=Image.new("RGB", (30, 20), (9, 8, 7))),
    ]
    readings = [Reading(label="cat", value=0.4, positive=True, colour=(64, 0, 0), measure="area")]
    sheet = compose(panels, readings, title="a.jpg")
    assert (sheet.height, sheet.width) == (480, 2 * 720 + 330)
    pixels = np.asarray(sheet)
    assert pixels[240, 300].tolist() == [100, 150, 200]
    assert pixels[240, 1000].tolist() == [9, 8, 7]
    legend = pixels[:, 1440:].reshape(-1, 3)
    assert (legend == (64, 0, 0)).all(axis=1).sum() > 100
    bare = compose(panels, [Reading(label="cat", value=0.4, positive=True)], title="a.jpg")
    assert not (np.asarray(bare)[:, 1440:].reshape(-1, 3) == (64, 0, 0)).all(axis=1).any()


@pytest.mark.parametrize(("truth", "positive"), [(None, True), (True, True), (False, True), (True, False)])
def test_right_wrong_and_missed_readings_look_different(truth: bool | None, positive: bool) -> None:
    panels = [Panel(caption="image", picture=_photo())]
    reading = Reading(label="a long enough label", value=0.5, positive=positive, truth=truth)
    pixels = np.asarray(compose(panels, [reading], title=""))[:, 720:].astype(int)
    green = (pixels[..., 1] - pixels[..., 0] > 60).any()
    red = (pixels[..., 0] - pixels[..., 1] > 60).any()
    assert (green, red) == {(None, True): (False, False), (True, True): (True, False)}.get(
        (truth, positive), (False, True)
    )


@pytest.mark.parametrize(
    ("value", "text", "fine"),
    [(0, "0%", "0.0%"), (0.0002, "<1%", "<0.1%"), (0.004, "<1%", "0.4%"), (0.126, "13%", "12.6%")],
)
def test_a_small_share_is_not_nothing(value: float, text: str, fine: str) -> None:
    assert (percent(value), percent(value, digits=1)) == (text, fine)


def test_a_drawing_is_a_png_and_never_overwrites(tmp_path: Path) -> None:
    panels = [Panel(caption="image", picture=_photo())]
    draw_prediction(panels, [], tmp_path / "a.png", title="a", force=False)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
    with pytest.raises(OutputError, match="exists"):
        draw_prediction(panels, [], tmp_path / "a.png", title="a", force=False)


def test_a_broken_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a\.jpg cannot be decoded"):
        photograph(tmp_path / "a.jpg")
