"""The drawn data set: VOC's format, reproducible, and neither trivial nor hopeless."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import OutputError
from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE, voc_palette
from graphopt.runtime.datasets.synthetic_voc import synthetic_scene, write_voc
from graphopt.runtime.datasets.voc_segmentation import VocSegmentation
from graphopt.runtime.metrics.mean_iou import ConfusionAccumulator
from graphopt.runtime.scenes.objects import OBJECTS


@pytest.fixture(scope="module")
def devkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_voc(tmp_path_factory.mktemp("voc"), train=9, val=7, seed=3)


def test_it_is_a_data_set_in_vocs_own_format(devkit: Path) -> None:
    train, val = VocSegmentation(devkit, split="train"), VocSegmentation(devkit)
    assert (devkit.name, len(train), len(val)) == ("VOCdevkit", 9, 7)
    assert not set(train.names) & set(val.names)
    sizes = set()
    for sample in (*train, *val):
        with Image.open(sample.path) as photo, Image.open(sample.mask_path) as mask:
            assert (photo.format, photo.mode, mask.format, mask.mode) == ("JPEG", "RGB", "PNG", "P")
            assert 460 <= max(photo.size) <= 540
            assert (mask.getpalette() or [])[:6] == [*voc_palette()[0], *voc_palette()[1]]
            sizes.add(photo.size)
    assert len(sizes) > 8
    assert any(height > width for width, height in sizes)


def test_every_class_is_in_either_list_and_borders_are_void(devkit: Path) -> None:
    for split in ("train", "val"):
        masks = [sample.mask() for sample in VocSegmentation(devkit, split=split)]
        present = {int(value) for mask in masks for value in np.unique(mask)}
        assert present == {0, VOC_IGNORE, *(VOC_CLASSES.index(name) for name in OBJECTS)}
        assert 0.5 < np.mean([(mask == 0).mean() for mask in masks]) < 0.9
        assert all(0.003 < (mask == VOC_IGNORE).mean() < 0.1 for mask in masks)
        for mask in masks:
            # Two classes never touch: there is void between them.
            pairs = (mask[:, 1:] != mask[:, :-1]) & (mask[:, 1:] != VOC_IGNORE) & (mask[:, :-1] != VOC_IGNORE)
            assert not pairs.any()


def test_a_picture_depends_on_seed_and_number_only(devkit: Path, tmp_path: Path) -> None:
    again = write_voc(tmp_path, train=4, val=1, seed=3)

    def contents(root: Path) -> list[str]:
        folders = ("JPEGImages", "SegmentationClass")
        files = sorted(
            path
            for name in folders
            for path in (root / "VOC2012" / name).iterdir()
            if path.stem <= "2012_000005"
        )
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert contents(again) == contents(devkit)
    assert not np.array_equal(
        np.asarray(synthetic_scene(2, seed=3)[0]), np.asarray(synthetic_scene(2, seed=4)[0])
    )


def test_colours_alone_tell_much_but_not_all(devkit: Path) -> None:
    """Ridge regression on smoothed colours of the training images: better than chance, not done."""
    features, classes = _pixels(devkit, "train")
    targets = np.eye(len(VOC_CLASSES))[classes]
    weights = np.linalg.solve(features.T @ features + 0.1 * np.eye(features.shape[1]), features.T @ targets)
    total, blind = ConfusionAccumulator(VOC_CLASSES), ConfusionAccumulator(VOC_CLASSES)
    features, classes = _pixels(devkit, "val")
    truth = classes.astype(np.uint8)
    total.update((features @ weights).argmax(axis=1).astype(np.uint8), truth)
    blind.update(np.zeros_like(truth), truth)
    assert blind.compute().mean_iou < 0.12
    assert 0.2 < total.compute().mean_iou < 0.8


def _pixels(devkit: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    rows, classes = [], []
    for sample in VocSegmentation(devkit, split=split):
        with Image.open(sample.path) as photo:
            small = (
                np.asarray(photo.resize((photo.width // 4, photo.height // 4), Image.Resampling.BOX)) / 255
            )
        mask = sample.mask()[2::4, 2::4][: small.shape[0], : small.shape[1]]
        small = small[: mask.shape[0], : mask.shape[1]]
        red, green, blue = np.moveaxis(small, -1, 0)
        planes = [np.ones_like(red), red, green, blue, red * green, red * blue, green * blue]
        planes += [red**2, green**2, blue**2, small.max(-1) - small.min(-1)]
        known = mask != VOC_IGNORE
        rows.append(np.stack(planes, axis=-1)[known])
        classes.append(mask[known])
    return np.concatenate(rows), np.concatenate(classes)


def test_counts_and_places_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        write_voc(tmp_path, train=0, val=1, seed=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_voc(tmp_path / "file", train=1, val=1, seed=1)
