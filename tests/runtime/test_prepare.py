import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, OutputError
from graphopt.core.preprocessing import DecodePil, ScaleToUnit, Step, ToNchw
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.prepare import prepare
from graphopt.runtime.preprocess import preprocess


class _Sample(NamedTuple):
    name: str
    path: Path


class _Usage(NamedTuple):
    free: int


def test_one_raw_file_per_image_in_the_tools_forms(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    dataset = PetaDataset(peta_folder)
    seen: list[tuple[int, int]] = []
    got = prepare(
        dataset,
        steps,
        tmp_path / "p",
        width=5,
        height=7,
        name="deepmar",
        on_progress=lambda *n: seen.append(n),
    )
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "deepmar.info",
        "index.json",
        "input_bin",
    ]
    for sample in dataset:
        raw = np.fromfile(got.inputs / f"{Path(sample.name).stem}.bin", np.float32).reshape(3, 7, 5)
        assert raw.tobytes() == preprocess(sample.path, steps).tobytes()
    lines = got.info.read_text().splitlines()
    assert lines[0] == "0 ./input_bin/00030.bin 5 7"  # index, path, width, height
    assert [line.split(" ")[0] for line in lines] == ["0", "1", "2", "3", "4"]
    for line in lines:
        assert (got.folder / line.split(" ")[1]).is_file()
    assert (got.samples, got.shape, got.dtype, got.bytes) == (5, (3, 7, 5), "float32", 5 * 420)
    assert seen[-1] == (5, 5)
    assert got.to_json()["samples"] == 5


def test_index_maps_files_to_images(peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path) -> None:
    got = prepare(PetaDataset(peta_folder), steps, tmp_path / "p", width=5, height=7)
    content = json.loads(got.index.read_text())
    assert content["samples"][1] == {"name": "00010.png", "stem": "00010", "files": ["input_bin/00010.bin"]}
    assert (content["shape"], content["dtype"]) == ([3, 7, 5], "float32")
    assert content["preprocessing"][1]["step"] == "ResizePil"


def test_an_existing_folder_is_replaced_only_by_force(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    prepare(PetaDataset(peta_folder), steps, folder, width=5, height=7)
    with pytest.raises(OutputError, match="exists"):
        prepare(PetaDataset(peta_folder), steps, folder, width=5, height=7)
    prepare(PetaDataset(peta_folder, limit=2), steps, folder, width=5, height=7, force=True)
    assert len(list((folder / "input_bin").iterdir())) == 2


def test_a_broken_image_leaves_nothing_behind(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    dataset = PetaDataset(peta_folder)
    dataset[3].path.write_bytes(b"broken")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DatasetError, match="00020"):
        prepare(dataset, steps, out / "p", width=5, height=7)
    assert list(out.iterdir()) == []


def test_another_size_than_the_models_is_refused(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"5 x 7 .* takes 7 x 5"):
        prepare(PetaDataset(peta_folder), steps, tmp_path / "p", width=7, height=5)


def test_steps_that_do_not_fix_the_size_are_refused(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    samples = [
        _Sample("a.png", write_image(tmp_path / "a.png", width=5, height=7)),
        _Sample("b.png", write_image(tmp_path / "b.png", width=6, height=7)),
    ]
    with pytest.raises(DatasetError, match="do not fix the size"):
        prepare(samples, (DecodePil(), ScaleToUnit(), ToNchw()), tmp_path / "p", width=5, height=7)


@pytest.mark.parametrize("name", ["a b.png", "a.b.png", "a\tb.png"])
def test_names_the_tools_would_cut_are_refused(
    tmp_path: Path, write_image: Callable[..., Path], steps: tuple[Step, ...], name: str
) -> None:
    sample = _Sample(name, write_image(tmp_path / "x.png"))
    with pytest.raises(DatasetError, match="rename these images"):
        prepare([sample], steps, tmp_path / "p", width=5, height=7)


def test_two_images_of_one_stem_are_refused(
    tmp_path: Path, write_image: Callable[..., Path], steps: tuple[Step, ...]
) -> None:
    path = write_image(tmp_path / "x.png")
    with pytest.raises(DatasetError, match="1 file stems belong to several"):
        prepare([_Sample("a.png", path), _Sample("a.jpg", path)], steps, tmp_path / "p", width=5, height=7)
    with pytest.raises(DatasetError, match="no images"):
        prepare([], steps, tmp_path / "p", width=5, height=7)


def test_a_disk_that_is_too_small_is_refused_before_writing(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(5 * 420 - 1))
    with pytest.raises(OutputError, match="GB free"):
        prepare(PetaDataset(peta_folder), steps, tmp_path / "new" / "p", width=5, height=7)
    assert not (tmp_path / "new").exists()
