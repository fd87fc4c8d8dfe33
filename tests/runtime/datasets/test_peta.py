import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.runtime.datasets.peta import PetaDataset, read_peta_labels

NAMES = ("00030.png", "00010.png", "00050.png", "00020.png", "00040.png")


def _labels(folder: Path) -> dict[str, list[int]]:
    content: dict[str, list[int]] = json.loads((folder / "label.json").read_text())
    return content


def _write_labels(folder: Path, labels: object) -> None:
    (folder / "label.json").write_text(json.dumps(labels))


def test_samples_come_in_the_order_of_the_list_with_their_labels(peta_folder: Path) -> None:
    dataset = PetaDataset(peta_folder)
    labels = _labels(peta_folder)
    assert dataset.names == NAMES
    assert [sample.name for sample in dataset] == list(NAMES)
    for sample in dataset:
        assert sample.path.is_file()
        assert sample.labels.dtype == np.bool_
        assert sample.labels.astype(int).tolist() == labels[sample.name]
    assert dataset.labels.shape == (5, 35)
    assert dataset.attributes == PETA_ATTRIBUTES


def test_labels_are_read_only(peta_folder: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        PetaDataset(peta_folder).labels[0, 0] = True


def test_without_a_list_all_labelled_images_come_sorted(peta_folder: Path) -> None:
    (peta_folder / "image.txt").unlink()
    assert PetaDataset(peta_folder).names == tuple(sorted(NAMES))


def test_limit_keeps_the_first(peta_folder: Path) -> None:
    dataset = PetaDataset(peta_folder, limit=2)
    assert dataset.names == NAMES[:2]
    assert len(dataset) == len(dataset.labels) == 2
    assert PetaDataset(peta_folder, limit=99).names == NAMES
    with pytest.raises(UsageError, match="limit of 0"):
        PetaDataset(peta_folder, limit=0)


def test_slices_are_lists_of_samples(peta_folder: Path) -> None:
    assert [sample.name for sample in PetaDataset(peta_folder)[1:3]] == list(NAMES[1:3])


def test_images_may_lie_in_the_root_or_elsewhere(peta_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (peta_folder / "images").rename(elsewhere)
    assert PetaDataset(peta_folder, images=elsewhere)[0].path == elsewhere / NAMES[0]
    for image in elsewhere.iterdir():
        image.rename(peta_folder / image.name)
    assert PetaDataset(peta_folder)[0].path == peta_folder / NAMES[0]


def test_names_match_by_stem(peta_folder: Path) -> None:
    (peta_folder / "image.txt").write_text("00050\n00010.jpg\n\n")
    dataset = PetaDataset(peta_folder)
    labels = _labels(peta_folder)
    assert [sample.path.name for sample in dataset] == ["00050.png", "00010.png"]
    assert dataset.labels.astype(int).tolist() == [labels["00050.png"], labels["00010.png"]]


def test_missing_images_are_counted_and_named(peta_folder: Path) -> None:
    for name in NAMES[1:3]:
        (peta_folder / "images" / name).unlink()
    with pytest.raises(DatasetError, match=r"2 of 5 images have no image file: 00010.png, 00050.png"):
        PetaDataset(peta_folder)


def test_labels_alone_are_enough_when_said_so(peta_folder: Path) -> None:
    for image in (peta_folder / "images").iterdir():
        image.unlink()
    with pytest.raises(DatasetError, match="5 of 5 images"):
        PetaDataset(peta_folder)
    dataset = PetaDataset(peta_folder, labels_only=True)
    assert dataset.names == NAMES
    assert dataset.digest


def test_listed_image_without_label_is_named(peta_folder: Path) -> None:
    labels = _labels(peta_folder)
    del labels["00050.png"]
    _write_labels(peta_folder, labels)
    with pytest.raises(DatasetError, match=r"1 of 5 images have no label: 00050\.png"):
        PetaDataset(peta_folder)


def test_repeated_names_are_refused(peta_folder: Path) -> None:
    (peta_folder / "image.txt").write_text("00010.png\n00020.png\n00010.png\n")
    with pytest.raises(DatasetError, match="lists 1 images twice: 00010"):
        PetaDataset(peta_folder)
    text = (peta_folder / "label.json").read_text()
    (peta_folder / "label.json").write_text(text[:-1] + ", " + text[1:])
    with pytest.raises(DatasetError, match="5 images are labelled twice"):
        PetaDataset(peta_folder)


def test_a_stem_that_fits_two_labels_is_refused(peta_folder: Path) -> None:
    labels = _labels(peta_folder)
    labels["00010.jpg"] = [0] * 35
    _write_labels(peta_folder, labels)
    (peta_folder / "image.txt").write_text("00010\n")
    with pytest.raises(DatasetError, match="1 names fit more than one label"):
        PetaDataset(peta_folder)


@pytest.mark.parametrize(
    "values",
    [[1] * 34, [1] * 36, [2] + [0] * 34, [-1] + [0] * 34, [0.5] + [0] * 34, ["1"] * 35, None, [True] * 35],
)
def test_labels_that_are_not_35_of_0_or_1_are_named(peta_folder: Path, values: object) -> None:
    _write_labels(peta_folder, {**_labels(peta_folder), "00020.png": values})
    with pytest.raises(DatasetError, match=r"1 of 5 images lack 35 values of 0 or 1: 00020\.png"):
        PetaDataset(peta_folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", "[" * 100_000, "\x00"])
def test_a_damaged_label_file_is_named(peta_folder: Path, text: str) -> None:
    (peta_folder / "label.json").write_text(text)
    with pytest.raises(DatasetError, match=r"label\.json"):
        PetaDataset(peta_folder)


def test_missing_files_are_named(tmp_path: Path, peta_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"folder .* does not exist"):
        PetaDataset(tmp_path / "nowhere")
    (peta_folder / "image.txt").write_text(" \n")
    with pytest.raises(DatasetError, match="lists no images"):
        PetaDataset(peta_folder)
    (peta_folder / "label.json").unlink()
    with pytest.raises(DatasetError, match=r"label\.json"):
        PetaDataset(peta_folder)


def test_digest_follows_names_labels_and_pictures(
    peta_folder: Path, write_image: Callable[..., Path]
) -> None:
    first = PetaDataset(peta_folder).digest
    assert PetaDataset(peta_folder).digest == first
    assert PetaDataset(peta_folder, limit=4).digest != first
    write_image(peta_folder / "images" / NAMES[4], seed=99)
    second = PetaDataset(peta_folder).digest
    assert second != first
    labels = _labels(peta_folder)
    labels[NAMES[0]][0] ^= 1
    _write_labels(peta_folder, labels)
    assert PetaDataset(peta_folder).digest not in (first, second)


@pytest.mark.shared
def test_real_labels(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "peta"
    labels = read_peta_labels(folder / "label.json")
    assert labels.values.shape == (7600, 35)
    dataset = PetaDataset(folder, labels_only=True)
    assert len(dataset) == 7600
    content = json.loads((folder / "label.json").read_text())
    listed = (folder / "image.txt").read_text().split()
    assert dataset.labels.astype(int).tolist() == [content[name] for name in listed]
    # What the names say must be plausible: nearly everyone wears something on the lower body.
    share = dict(zip(PETA_ATTRIBUTES, labels.values.mean(axis=0), strict=True))
    assert 0.5 < share["personalMale"] < 0.6
    assert share["lowerBodyCasual"] > 0.8
    assert share["upperBodyVNeck"] < 0.05
