"""VOC's layout and masks, and what is said when they are not as they should be."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.voc import voc_palette
from graphopt.runtime.datasets.voc_segmentation import VocSegmentation, read_voc_mask

PALETTE = np.array(voc_palette(), np.uint8)
IDS = ("2007_000033", "2007_000042", "2008_000003")


def _mask(seed: int = 1) -> Any:
    return np.random.default_rng(seed).choice([0, 1, 15, 20, 255], (5, 7)).astype(np.uint8)


def _save_indexed(path: Path, mask: Any, palette: Any = PALETTE) -> Path:
    picture = Image.fromarray(mask)
    picture.putpalette(palette.ravel().tolist())
    picture.save(path)
    return path


@pytest.fixture
def root(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """A folder with ``VOCdevkit``, its list not in sorted order."""
    place = tmp_path / "voc" / "VOCdevkit" / "VOC2012"
    (place / "ImageSets/Segmentation").mkdir(parents=True)
    (place / "SegmentationClass").mkdir()
    for seed, name in enumerate(IDS):
        write_image(place / f"JPEGImages/{name}.jpg", seed=seed, width=7, height=5)
        _save_indexed(place / f"SegmentationClass/{name}.png", _mask(seed))
    (place / "ImageSets/Segmentation/val.txt").write_text(f"{IDS[2]}\n{IDS[0]}\n\n{IDS[1]} \n")
    (place / "ImageSets/Segmentation/train.txt").write_text(f"{IDS[1]}\n")
    return tmp_path / "voc"


@pytest.mark.parametrize("inner", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_any_of_the_three_folders_is_taken(root: Path, inner: str) -> None:
    data = VocSegmentation(root / inner)
    assert data.names == ("2008_000003.jpg", "2007_000033.jpg", "2007_000042.jpg")
    assert [sample.name for sample in data] == list(data.names)
    assert np.array_equal(data[1].mask(), _mask(0))
    assert [sample.name for sample in data[1:]] == list(data.names[1:])
    assert VocSegmentation(root / inner, split="train").names == ("2007_000042.jpg",)
    assert len(VocSegmentation(root / inner, limit=2)) == 2


def test_results_are_scored_without_images(root: Path) -> None:
    whole = VocSegmentation(root).digest
    shutil.rmtree(root / "VOCdevkit/VOC2012/JPEGImages")
    data = VocSegmentation(root, labels_only=True)
    assert np.array_equal(data[0].mask(), _mask(2))
    assert data.digest != whole
    with pytest.raises(DatasetError, match=r"3 of 3 images are missing: 2008_000003\.jpg"):
        VocSegmentation(root)


def test_the_digest_says_names_masks_and_images(root: Path, write_image: Callable[..., Path]) -> None:
    place = root / "VOCdevkit/VOC2012"
    seen = {VocSegmentation(root).digest, VocSegmentation(root, limit=2).digest}
    _save_indexed(place / f"SegmentationClass/{IDS[0]}.png", _mask(9))
    seen.add(VocSegmentation(root).digest)
    write_image(place / f"JPEGImages/{IDS[0]}.jpg", seed=99, width=7, height=5)
    seen.add(VocSegmentation(root).digest)
    assert len(seen) == 4
    assert VocSegmentation(root).digest in seen


def test_what_is_not_vocs_layout_says_what_is(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist; VOCdevkit/VOC2012 holds"):
        VocSegmentation(tmp_path / "none")
    with pytest.raises(DatasetError, match="not in VOC's layout"):
        VocSegmentation(root / "VOCdevkit/VOC2012/JPEGImages")
    with pytest.raises(DatasetError, match="lists that are there: train, val"):
        VocSegmentation(root, split="test")
    with pytest.raises(UsageError, match="limit of 0"):
        VocSegmentation(root, limit=0)
    (root / f"VOCdevkit/VOC2012/SegmentationClass/{IDS[0]}.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 3 masks are missing: 2007_000033\.png"):
        VocSegmentation(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no images"),
        ("a\nb\na\n", "lists 1 images twice: a"),
        ("aeroplane -1\n", "no image ids: aeroplane -1"),
        ("../../etc\n", "no image ids"),
    ],
)
def test_bad_lists(root: Path, text: str, message: str) -> None:
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        VocSegmentation(root)


def test_a_list_that_is_no_text(root: Path) -> None:
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as a list"):
        VocSegmentation(root)


def test_a_mask_of_another_size_than_its_image_is_refused(root: Path) -> None:
    _save_indexed(root / f"VOCdevkit/VOC2012/SegmentationClass/{IDS[0]}.png", _mask(1).T.copy())
    with pytest.raises(DatasetError, match=r"2007_000033\.png is 5 x 7, its image 7 x 5"):
        VocSegmentation(root)[1].mask()


def test_coloured_and_grey_masks_mean_the_same(tmp_path: Path) -> None:
    mask = _mask()
    colours = Image.fromarray(PALETTE[mask])
    colours.save(tmp_path / "rgb.png")
    colours.convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(mask).save(tmp_path / "grey.png")
    _save_indexed(tmp_path / "indexed.png", mask)
    for name in ("rgb", "rgba", "grey", "indexed"):
        assert np.array_equal(read_voc_mask(tmp_path / f"{name}.png"), mask)


def test_an_indexed_mask_whose_palette_was_reordered_is_read_by_colour(tmp_path: Path) -> None:
    mask = _mask()
    values = np.unique(mask)
    packed = np.searchsorted(values, mask).astype(np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(values)] = PALETTE[values]
    assert np.array_equal(read_voc_mask(_save_indexed(tmp_path / "a.png", packed, palette)), mask)


def test_an_indexed_mask_in_other_colours_is_read_by_index(tmp_path: Path) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    grey[0] = 1
    mask = _mask()
    assert np.array_equal(read_voc_mask(_save_indexed(tmp_path / "a.png", mask, grey)), mask)


def test_masks_that_are_none(tmp_path: Path) -> None:
    smooth = PALETTE[_mask()].copy()
    smooth[2, 3] = (127, 1, 0)
    Image.fromarray(smooth).save(tmp_path / "smooth.png")
    with pytest.raises(DatasetError, match=r"smooth\.png holds the colour \(127, 1, 0\)"):
        read_voc_mask(tmp_path / "smooth.png")
    with pytest.raises(DatasetError, match=r"holds the labels 21, 99; VOC's are 0 to 20 and 255"):
        read_voc_mask(_save_indexed(tmp_path / "more.png", np.array([[0, 21, 99, 255]], np.uint8)))
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DatasetError, match="pixels of kind I;16"):
        read_voc_mask(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("no mask")
    with pytest.raises(DatasetError, match=r"text\.png cannot be decoded"):
        read_voc_mask(tmp_path / "text.png")
    with pytest.raises(DatasetError, match=r"none\.png does not exist"):
        read_voc_mask(tmp_path / "none.png")


def test_an_image_that_is_none_is_named(root: Path) -> None:
    (root / f"VOCdevkit/VOC2012/JPEGImages/{IDS[2]}.jpg").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"2008_000003\.jpg cannot be read"):
        VocSegmentation(root)[0].mask()
