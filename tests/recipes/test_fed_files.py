from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphopt.core.errors import DatasetError, PreconditionError
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.fed_files import fed_files, input_canvas, model_input
from graphopt.runtime.datasets.image_folder import ImageFolder


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("cat.png", "dog.png", "owl.png"):
        Image.new("RGB", (5, 3)).save(folder / name)
    return ImageFolder(folder)


def files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def names_of(pairs: object) -> list[tuple[str, str]]:
    return [(path.name, sample.name) for path, sample in pairs]  # type: ignore[attr-defined]  # pairs are


def test_files_belong_to_images_by_their_stems(images: ImageFolder, tmp_path: Path) -> None:
    folder = files(tmp_path / "bins", "owl.bin", "cat.bin", "notes.txt")
    assert names_of(fed_files(folder, images)) == [("cat.bin", "cat.png"), ("owl.bin", "owl.png")]
    assert names_of(fed_files(folder, images, limit=1)) == [("cat.bin", "cat.png")]


def test_the_folder_that_prepare_writes_is_looked_into(images: ImageFolder, tmp_path: Path) -> None:
    files(tmp_path / "made" / "input_bin", "dog.bin")
    assert names_of(fed_files(tmp_path / "made", images)) == [("dog.bin", "dog.png")]


def test_numbered_files_follow_the_order_of_numbers(images: ImageFolder, tmp_path: Path) -> None:
    folder = files(tmp_path / "bins", "in_10.bin", "in_9.bin", "in_11.bin")
    found = names_of(fed_files(folder, images))
    assert found == [("in_9.bin", "cat.png"), ("in_10.bin", "dog.png"), ("in_11.bin", "owl.png")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "holds no inputs"),
        (("bird.bin", "fish.bin"), "no file is called like an image"),
        (("1.bin", "2.bin", "3.bin", "4.bin"), "4 numbered files, the data set has 3 images"),
    ],
)
def test_files_without_images_are_refused(
    names: tuple[str, ...], message: str, images: ImageFolder, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message):
        fed_files(files(tmp_path / "bins", *names), images)


def test_a_missing_folder_is_refused(images: ImageFolder, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        fed_files(tmp_path / "nowhere", images)


def test_the_canvas_is_that_of_the_only_input(small: object) -> None:
    assert input_canvas(find_recipe("fcos")) == (800, 1333)
    assert input_canvas(find_recipe("refinenet")) == (500, 500)


def test_a_recipe_without_a_fixed_image_is_refused() -> None:
    import dataclasses

    recipe = find_recipe("deepmar")
    free = dataclasses.replace(recipe.inputs[0], shape=(1, 3, "height", 224))
    with pytest.raises(PreconditionError, match="fixed size"):
        input_canvas(dataclasses.replace(recipe, inputs=(free,)))


def test_half_precision_and_levels_are_read_as_the_model_gets_them(tmp_path: Path) -> None:
    recipe = find_recipe("deepmar")
    levels = np.random.default_rng(2).integers(0, 256, (224, 224, 3), np.uint8)
    levels.tofile(tmp_path / "levels.bin")
    wanted = (levels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    wanted = wanted.transpose(2, 0, 1).astype(np.float32)
    np.testing.assert_allclose(model_input(tmp_path / "levels.bin", recipe), wanted, atol=2e-6)
    wanted.astype(np.float16).tofile(tmp_path / "half.bin")
    got = model_input(tmp_path / "half.bin", recipe)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=2e-3)
    wanted.tofile(tmp_path / "whole.bin")
    assert model_input(tmp_path / "whole.bin", recipe).tobytes() == wanted.tobytes()


def test_a_file_of_another_size_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "short.bin").write_bytes(b"1234")
    with pytest.raises(DatasetError, match="4 bytes"):
        model_input(tmp_path / "short.bin", find_recipe("deepmar"))
