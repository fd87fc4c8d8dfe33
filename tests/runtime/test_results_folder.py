import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.tensors import TensorSpec
from graphopt.runtime.predictions import Predictions
from graphopt.runtime.results_folder import read_results

STEMS = ("00030", "00010", "00050")
LOGITS = TensorSpec(name="output1", shape=("batch", 35), dtype="float32")
DETS = TensorSpec(name="dets", shape=(1, 6, 5), dtype="float32")
LABELS = TensorSpec(name="labels", shape=(1, 6), dtype="int64")

Writer = Callable[[Path, np.ndarray], None]


def _rows(count: int = 3, width: int = 35) -> np.ndarray:
    # Exact in float16 and in six decimals, so that every format must give the same bits.
    return (np.random.default_rng(4).integers(-64, 64, (count, width)) / 8).astype(np.float32)


def _bin(path: Path, row: np.ndarray) -> None:
    row.tofile(path.with_suffix(".bin"))


def _npy(path: Path, row: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), row)


def _txt(path: Path, row: np.ndarray) -> None:
    lines = "".join("".join(f"{value:f} " for value in line) + "\n" for line in np.atleast_2d(row))
    path.with_suffix(".txt").write_text(lines)


def _half(path: Path, row: np.ndarray) -> None:
    row.astype(np.float16).tofile(path.with_suffix(".bin"))


def _write(folder: Path, rows: np.ndarray, writer: Writer = _bin, *, k: int = 0, middle: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, row in zip(STEMS, rows, strict=False):
        writer(folder / f"{stem}{middle}_{k}", row)
    return folder


@pytest.mark.parametrize("writer", [_bin, _npy, _txt, _half])
@pytest.mark.parametrize("k", [0, 1])
def test_every_format_and_first_number(tmp_path: Path, writer: Writer, k: int) -> None:
    rows = _rows()
    got = read_results(_write(tmp_path / "r", rows, writer, k=k), (LOGITS,), STEMS)
    assert got.names == STEMS
    assert got.outputs["output1"].dtype == np.float32
    assert np.array_equal(got.outputs["output1"], rows)


def test_the_names_of_the_images_may_be_given_instead_of_stems(tmp_path: Path) -> None:
    names = [f"{stem}.png" for stem in STEMS]
    got = read_results(_write(tmp_path / "r", _rows()), (LOGITS,), names)
    assert got.names == tuple(names)


@pytest.mark.parametrize(
    ("inner", "given"),
    [
        ("result/dumpOutput_device0", ""),
        ("result/dumpOutput_device0", "result"),
        ("result/dumpOutput_device3", "result/dumpOutput_device3"),
        ("device0", ""),
        ("2024_05_01-10_11_12", ""),
    ],
)
def test_folders_as_the_tools_make_them(tmp_path: Path, inner: str, given: str) -> None:
    rows = _rows()
    _write(tmp_path / inner, rows, k=1)
    (tmp_path / "sumary.json").write_text("{}")
    (tmp_path / inner / "sumary.json").write_text("{}")
    (tmp_path / inner / "perf_vision_batchsize_1_device_0.txt").write_text("x")
    got = read_results(tmp_path / given, (LOGITS,), STEMS)
    assert np.array_equal(got.outputs["output1"], rows)


def test_several_runs_must_be_chosen_from(tmp_path: Path) -> None:
    _write(tmp_path / "2024_05_01-10_11_12", _rows())
    _write(tmp_path / "2024_05_02-10_11_12", _rows())
    with pytest.raises(DatasetError, match=r"several runs \(2024_05_01-10_11_12, 2024_05_02"):
        read_results(tmp_path, (LOGITS,), STEMS)


def test_devices_that_shared_the_images_are_joined(tmp_path: Path) -> None:
    rows = _rows()
    for i, stem in enumerate(STEMS):
        folder = tmp_path / f"device{i % 2}"
        folder.mkdir(exist_ok=True)
        rows[i].tofile(folder / f"{stem}_0.bin")
    assert np.array_equal(read_results(tmp_path, (LOGITS,), STEMS).outputs["output1"], rows)


def test_devices_that_ran_the_same_images_must_agree(tmp_path: Path) -> None:
    rows = _rows()
    _write(tmp_path / "device0", rows)
    _write(tmp_path / "device1", rows)
    assert np.array_equal(read_results(tmp_path, (LOGITS,), STEMS).outputs["output1"], rows)
    (rows[1] + 1).tofile(tmp_path / "device1" / "00010_0.bin")
    with pytest.raises(DatasetError, match=r"both output 0 of 00010, and differ"):
        read_results(tmp_path, (LOGITS,), STEMS)


def test_missing_results_are_counted_and_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "r", _rows())
    (folder / "00010_0.bin").unlink()
    with pytest.raises(DatasetError, match="1 of 3 images have no results: 00010"):
        read_results(folder, (LOGITS,), STEMS)


def test_results_of_unknown_images_are_named(tmp_path: Path) -> None:
    rows = _rows()
    folder = _write(tmp_path / "r", rows)
    rows[0].tofile(folder / "99999_0.bin")
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(DatasetError, match=r"2 files belong to no image .* 99999_0\.bin, notes\.txt"):
        read_results(folder, (LOGITS,), STEMS)
    got = read_results(folder, (LOGITS,), STEMS[:2], allow_extra=True)
    assert np.array_equal(got.outputs["output1"], rows[:2])


@pytest.mark.parametrize("size", [1, 70, 136, 139, 141, 280])
def test_a_short_or_long_file_is_named(tmp_path: Path, size: int) -> None:
    # 70 bytes would be right in half precision, but the other files are not.
    folder = _write(tmp_path / "r", _rows())
    path = folder / "00050_0.bin"
    path.write_bytes((path.read_bytes() * 2)[:size])
    with pytest.raises(DatasetError, match=r"00050_0\.bin .* bytes\) is not float32 \[35\]"):
        read_results(folder, (LOGITS,), STEMS)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "r", _rows())
    (folder / "00050_0.bin").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"00050_0\.bin \(0 bytes\)"):
        read_results(folder, (LOGITS,), STEMS)


def test_text_that_is_no_numbers_is_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "r", _rows(), _txt)
    (folder / "00050_0.txt").write_text("1.0 two 3.0")
    with pytest.raises(DatasetError, match=r"00050_0\.txt holds something else"):
        read_results(folder, (LOGITS,), STEMS)


def test_a_damaged_npy_is_named(tmp_path: Path) -> None:
    folder = _write(tmp_path / "r", _rows(), _npy)
    (folder / "00050_0.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DatasetError, match=r"00050_0\.npy is not a \.npy file"):
        read_results(folder, (LOGITS,), STEMS)


def _write_detections(folder: Path, first: str, *, dtype: type = np.int64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(9)
    dets = rng.random((3, 6, 5)).astype(np.float32)
    labels = rng.integers(0, 80, (3, 6))
    for k, rows in enumerate(
        (dets, labels.astype(dtype)) if first == "dets" else (labels.astype(dtype), dets)
    ):
        _write(folder, rows, k=k)
    return dets, labels


@pytest.mark.parametrize("first", ["dets", "labels"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_outputs_of_different_size_are_told_apart_in_any_order(
    tmp_path: Path, first: str, dtype: type
) -> None:
    dets, labels = _write_detections(tmp_path / "r", first, dtype=dtype)
    got = read_results(tmp_path / "r", (DETS, LABELS), STEMS)
    assert np.array_equal(got.outputs["dets"], dets)
    assert np.array_equal(got.outputs["labels"], labels)
    assert got.outputs["labels"].dtype == np.int64


def test_outputs_of_equal_size_are_never_guessed(tmp_path: Path) -> None:
    boxes = TensorSpec(name="boxes", shape=(1, 6, 2), dtype="float32")
    labels = TensorSpec(name="labels", shape=(1, 6), dtype="int64")
    a = np.arange(36, dtype=np.float32).reshape(3, 6, 2)
    b = np.arange(18).reshape(3, 6)
    _write(tmp_path / "r", a, k=0)
    _write(tmp_path / "r", b, k=1)
    with pytest.raises(DatasetError, match="boxes, labels cannot be told apart"):
        read_results(tmp_path / "r", (boxes, labels), STEMS)
    got = read_results(tmp_path / "r", (boxes, labels), STEMS, in_model_order=True)
    assert np.array_equal(got.outputs["boxes"], a)
    assert np.array_equal(got.outputs["labels"], b)


def test_npy_headers_tell_outputs_of_equal_size_apart(tmp_path: Path) -> None:
    boxes = TensorSpec(name="boxes", shape=(1, 6, 2), dtype="float32")
    labels = TensorSpec(name="labels", shape=(1, 12), dtype="float32")
    a = np.arange(36, dtype=np.float32).reshape(3, 6, 2)
    b = np.arange(36, 72, dtype=np.float32).reshape(3, 12)
    _write(tmp_path / "r", b, _npy, k=0)
    _write(tmp_path / "r", a, _npy, k=1)
    got = read_results(tmp_path / "r", (boxes, labels), STEMS)
    assert np.array_equal(got.outputs["boxes"], a)
    assert np.array_equal(got.outputs["labels"], b)


def test_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "r", _rows(), k=0)
    _write(tmp_path / "r", _rows(), k=1)
    with pytest.raises(DatasetError, match=r"2 outputs per image \(numbers \[0, 1\]\), the model has 1"):
        read_results(tmp_path / "r", (LOGITS,), STEMS)
    (tmp_path / "r" / "00050_1.bin").unlink()
    with pytest.raises(DatasetError, match=r"1 images have other output numbers .*: 00050"):
        read_results(tmp_path / "r", (DETS, LABELS), STEMS)


def test_results_that_fit_no_output_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "r", _rows(width=34))
    with pytest.raises(DatasetError, match=r"do not fit the outputs: found 00030_0\.bin 136 bytes"):
        read_results(tmp_path / "r", (LOGITS,), STEMS)


def test_a_fixed_batch_is_taken_off_the_shape(tmp_path: Path) -> None:
    rows = _rows()
    folder = _write(tmp_path / "r", rows)
    spec = TensorSpec(name="output1", shape=(8, 35), dtype="float32")
    assert np.array_equal(read_results(folder, (spec,), STEMS, batch=8).outputs["output1"], rows)
    with pytest.raises(UsageError, match="no axis of the batch size 4"):
        read_results(folder, (spec,), STEMS, batch=4)


def test_an_output_without_batch_axis_is_taken_whole(tmp_path: Path) -> None:
    rows = np.arange(90, dtype=np.float32).reshape(3, 6, 5)
    spec = TensorSpec(name="dets", shape=(6, 5), dtype="float32")
    got = read_results(_write(tmp_path / "r", rows), (spec,), STEMS)
    assert np.array_equal(got.outputs["dets"], rows)


def test_free_sizes_are_refused(tmp_path: Path) -> None:
    spec = TensorSpec(name="dets", shape=(1, None, 5), dtype="float32")
    with pytest.raises(UsageError, match="has free sizes"):
        read_results(_write(tmp_path / "r", _rows()), (spec,), STEMS)


def test_stems_that_look_like_numbers_of_outputs(tmp_path: Path) -> None:
    rows = _rows()
    stems = ("a", "a_1", "b_output")
    tmp_path.joinpath("r").mkdir()
    for stem, row in zip(stems, rows, strict=True):
        row.tofile(tmp_path / "r" / f"{stem}_0.bin")
    assert np.array_equal(read_results(tmp_path / "r", (LOGITS,), stems).outputs["output1"], rows)


def test_the_word_output_before_the_number_is_known(tmp_path: Path) -> None:
    rows = _rows()
    got = read_results(_write(tmp_path / "r", rows, middle="_output"), (LOGITS,), STEMS)
    assert np.array_equal(got.outputs["output1"], rows)


def test_results_of_the_runner_are_bound_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "bundle" / "results"
    a, b = _rows(), _rows() + 1
    _write(folder, a, k=0)
    _write(folder, b, k=1)
    index = {"outputs": [{"name": "second"}, {"name": "first"}]}
    (folder / "index.json").write_text(json.dumps(index))
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    specs = [TensorSpec(name=name, shape=(1, 35), dtype="float32") for name in ("first", "second")]
    for place in (folder, tmp_path / "bundle"):
        got = read_results(place, specs, STEMS)
        assert np.array_equal(got.outputs["second"], a)
        assert np.array_equal(got.outputs["first"], b)
    (folder / "index.json").write_text(json.dumps({"outputs": [{"name": "x"}, {"name": "first"}]}))
    with pytest.raises(DatasetError, match="the model has others: second"):
        read_results(folder, specs, STEMS)


@pytest.mark.parametrize("setup", ["missing", "empty", "bundle"])
def test_folders_without_results_are_refused(tmp_path: Path, setup: str) -> None:
    folder = tmp_path / "r"
    if setup != "missing":
        folder.mkdir()
    if setup == "bundle":
        (folder / "bundle.json").write_text("{}")
    with pytest.raises(DatasetError):
        read_results(folder, (LOGITS,), STEMS)


def test_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="same file stem"):
        read_results(_write(tmp_path / "r", _rows()), (LOGITS,), ("a.png", "a.jpg"))


def test_progress_counts_images(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    got = read_results(
        _write(tmp_path / "r", _rows()), (LOGITS,), STEMS, on_progress=lambda *now: seen.append(now)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert isinstance(got, Predictions)
