import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.preprocessing import Step
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array, Dim, TensorSpec
from graphopt.runtime.datasets.peta import PetaDataset
from graphopt.runtime.predictions import Predictions, _filled, _Runner, predict
from graphopt.runtime.preprocess import preprocess
from graphopt.runtime.sessions import open_session


@dataclass(frozen=True)
class _Sample:
    name: str
    path: Path


class _Recorder:
    """A session that remembers what it was fed; its outputs are set by a function."""

    def __init__(self, batch: Dim, outputs: tuple[TensorSpec, ...], answer: Callable[[Any], dict[str, Any]]):
        self.inputs: tuple[TensorSpec, ...] = (
            TensorSpec(name="image", shape=(batch, 3, 7, 5), dtype="float32"),
        )
        self.outputs = outputs
        self._answer = answer
        self.fed: list[Array] = []

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.fed.append(feeds["image"])
        return self._answer(feeds["image"])

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def _sums(batch: Dim) -> _Recorder:
    spec = TensorSpec(name="sum", shape=(batch,), dtype="float32")
    return _Recorder(batch, (spec,), lambda x: {"sum": np.asarray(x.sum(axis=(1, 2, 3)))})


def _expected(dataset: PetaDataset, steps: tuple[Step, ...], model: Path) -> np.ndarray:
    with OnnxRuntimeSession(model) as session:
        return np.concatenate(
            [session.run({"image": preprocess(s.path, steps)[None]})["logits"] for s in dataset]
        )


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 8])
def test_fixed_batches_give_the_same_rows_last_partial_one_included(
    peta_folder: Path, steps: tuple[Step, ...], write_model: Callable[..., Path], batch: int
) -> None:
    dataset = PetaDataset(peta_folder)
    with open_session(write_model(batch=batch)) as session:
        got = predict(session, dataset, steps)
    assert got.names == dataset.names
    expected = _expected(dataset, steps, write_model("free.onnx"))
    assert got.outputs["logits"].shape == (5, 4)
    logits: Any = got.outputs["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


def test_free_batch_uses_the_one_asked_for_without_padding(
    peta_folder: Path, steps: tuple[Step, ...]
) -> None:
    session = _sums("batch")
    predict(session, PetaDataset(peta_folder), steps, batch=2)
    assert [len(fed) for fed in session.fed] == [2, 2, 1]


def test_fixed_batch_is_filled_with_copies_of_the_first_of_the_last(
    peta_folder: Path, steps: tuple[Step, ...]
) -> None:
    session = _sums(4)
    got = predict(session, PetaDataset(peta_folder), steps)
    assert [len(fed) for fed in session.fed] == [4, 4]
    assert all(np.array_equal(row, session.fed[1][0]) for row in session.fed[1])
    assert got.outputs["sum"].shape == (5,)


def test_asking_for_another_batch_than_the_fixed_one_is_refused(
    peta_folder: Path, steps: tuple[Step, ...]
) -> None:
    with pytest.raises(UsageError, match="fixed at 4, asked for 2"):
        predict(_sums(4), PetaDataset(peta_folder), steps, batch=2)
    with pytest.raises(UsageError, match="batch of 0"):
        predict(_sums("batch"), PetaDataset(peta_folder), steps, batch=0)


def test_outputs_without_batch_axis_are_taken_whole_at_batch_1(
    peta_folder: Path, steps: tuple[Step, ...]
) -> None:
    boxes = TensorSpec(name="dets", shape=(6, 5), dtype="float32")
    got = predict(
        _Recorder(1, (boxes,), lambda x: {"dets": np.full((6, 5), x.sum())}), PetaDataset(peta_folder), steps
    )
    assert got.outputs["dets"].shape == (5, 6, 5)
    with pytest.raises(UsageError, match="cannot be told apart"):
        predict(_Recorder(2, (boxes,), lambda _: {"dets": np.zeros((6, 5))}), PetaDataset(peta_folder), steps)


def test_outputs_that_change_shape_are_refused(peta_folder: Path, steps: tuple[Step, ...]) -> None:
    sizes = iter(range(3, 99))
    spec = TensorSpec(name="dets", shape=(None, 5), dtype="float32")
    with pytest.raises(UsageError, match="changes its shape"):
        predict(
            _Recorder(1, (spec,), lambda _: {"dets": np.zeros((next(sizes), 5))}),
            PetaDataset(peta_folder),
            steps,
        )


def test_preprocessing_happens_in_another_thread(
    peta_folder: Path, steps: tuple[Step, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def watched(path: Path, chain: tuple[Step, ...]) -> np.ndarray:
        threads.add(threading.current_thread().name)
        return preprocess(path, chain)

    monkeypatch.setattr("graphopt.runtime.predictions.preprocess", watched)
    predict(_sums(1), PetaDataset(peta_folder), steps)
    assert threads
    assert threading.current_thread().name not in threads
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("preprocess")]


@pytest.mark.parametrize("batch", [1, 2, "batch"])
@pytest.mark.parametrize("workers", [1, 3, 9])
def test_the_number_of_workers_changes_no_answer(
    peta_folder: Path, steps: tuple[Step, ...], batch: Dim, workers: int
) -> None:
    dataset = PetaDataset(peta_folder)
    one = predict(_sums(1), dataset, steps, workers=1)
    many = predict(_sums(batch), dataset, steps, workers=workers)
    assert many.names == one.names
    assert many.outputs["sum"].tolist() == pytest.approx(one.outputs["sum"].tolist(), rel=1e-5)
    dataset[3].path.write_bytes(b"broken")
    with pytest.raises(DatasetError, match=dataset[3].path.name):
        predict(_sums(batch), dataset, steps, workers=workers)


def test_the_sample_of_a_batch_of_one_is_not_copied(
    peta_folder: Path, steps: tuple[Step, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[np.ndarray] = []

    def watched(path: Path, chain: tuple[Step, ...]) -> np.ndarray:
        made.append(preprocess(path, chain))
        return made[-1]

    monkeypatch.setattr("graphopt.runtime.predictions.preprocess", watched)
    session = _sums(1)
    predict(session, PetaDataset(peta_folder), steps, workers=1)
    assert all(np.shares_memory(*pair) for pair in zip(session.fed, made, strict=True))


def test_progress_counts_samples(peta_folder: Path, steps: tuple[Step, ...]) -> None:
    seen: list[tuple[int, int]] = []
    predict(_sums(2), PetaDataset(peta_folder), steps, on_progress=lambda *now: seen.append(now))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_no_samples_and_repeated_names_are_refused(peta_folder: Path, steps: tuple[Step, ...]) -> None:
    with pytest.raises(DatasetError, match="no samples"):
        predict(_sums(1), [], steps)
    sample = _Sample("a.png", PetaDataset(peta_folder)[0].path)
    with pytest.raises(DatasetError, match="repeats sample names"):
        predict(_sums(1), [sample, sample], steps)


def test_a_model_with_two_inputs_is_refused(peta_folder: Path, steps: tuple[Step, ...]) -> None:
    session = _sums(1)
    session.inputs = (*session.inputs, TensorSpec(name="mask", shape=(1,), dtype="bool"))
    with pytest.raises(UsageError, match="has 2: image, mask"):
        predict(session, PetaDataset(peta_folder), steps)


def _interrupt_after(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_goes_on_where_it_stopped(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    dataset, store = PetaDataset(peta_folder), tmp_path / "kept.npz"
    whole = predict(_sums(2), dataset, steps)
    with pytest.raises(KeyboardInterrupt):
        predict(
            _sums(2),
            dataset,
            steps,
            store=store,
            model_sha256="m",
            data_digest="d",
            on_progress=_interrupt_after(4),
        )
    assert Predictions.load(store).names == dataset.names[:4]
    session = _sums(2)
    got = predict(session, dataset, steps, store=store, model_sha256="m", data_digest="d")
    assert len(session.fed) == 1
    assert got.names == whole.names
    assert np.array_equal(got.outputs["sum"], whole.outputs["sum"])
    again = _sums(2)
    predict(again, dataset, steps, store=store, model_sha256="m", data_digest="d")
    assert again.fed == []


@pytest.mark.parametrize("other", [{"model_sha256": "x"}, {"data_digest": "x"}])
def test_what_is_kept_of_another_model_or_data_set_is_not_used(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path, other: dict[str, str]
) -> None:
    dataset, store = PetaDataset(peta_folder), tmp_path / "kept.npz"
    same: dict[str, Any] = {"model_sha256": "m", "data_digest": "d"}
    predict(_sums(2), dataset, steps, store=store, **same)
    session = _sums(2)
    predict(session, dataset, steps, store=store, **{**same, **other})
    assert len(session.fed) == 3


def test_what_is_kept_of_other_preprocessing_is_not_used(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    dataset, store = PetaDataset(peta_folder), tmp_path / "kept.npz"
    predict(_sums(2), dataset, steps, store=store, model_sha256="m", data_digest="d")
    session = _sums(2)
    without_mean = (*steps[:3], steps[4])
    predict(session, dataset, without_mean, store=store, model_sha256="m", data_digest="d")
    assert len(session.fed) == 3


def test_a_damaged_store_is_replaced(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "kept.npz"
    store.write_bytes(b"PK\x03\x04 and then nothing")
    got = predict(_sums(2), PetaDataset(peta_folder), steps, store=store, model_sha256="m", data_digest="d")
    assert "holds no predictions" in caplog.text
    assert np.array_equal(Predictions.load(store).outputs["sum"], got.outputs["sum"])


def test_a_broken_image_stops_but_keeps_what_is_done(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    dataset, store = PetaDataset(peta_folder), tmp_path / "kept.npz"
    dataset[4].path.write_bytes(b"broken")
    with pytest.raises(DatasetError, match="cannot be decoded"):
        predict(_sums(2), dataset, steps, store=store, model_sha256="m", data_digest="d")
    assert len(Predictions.load(store)) == 4


def test_saved_predictions_come_back_as_they_were(tmp_path: Path) -> None:
    saved = Predictions(
        names=("a", "b"),
        outputs={
            "scope/logits:0": np.array([[1.5, -2], [0, 3]], np.float32),
            "../labels": np.array([7, 8], np.int64),
        },
        model_sha256="m",
        data_digest="d",
    )
    saved.save(tmp_path / "p.npz")
    got = Predictions.load(tmp_path / "p.npz")
    assert (got.names, got.model_sha256, got.data_digest) == (("a", "b"), "m", "d")
    assert list(got.outputs) == list(saved.outputs)
    for name, value in saved.outputs.items():
        assert got.outputs[name].dtype == value.dtype
        assert np.array_equal(got.outputs[name], value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", None])
def test_loading_something_else_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match="holds no predictions"):
        Predictions.load(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DatasetError, match="holds no predictions"):
        Predictions.load(path)


def test_rows_and_names_must_agree() -> None:
    with pytest.raises(DatasetError, match="another number of rows"):
        Predictions(names=("a",), outputs={"x": np.zeros((2, 3))})
    with pytest.raises(DatasetError, match="names repeat"):
        Predictions(names=("a", "a"), outputs={"x": np.zeros((2, 3))})


def test_a_store_that_is_complete_is_not_written_again(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path
) -> None:
    dataset, store = PetaDataset(peta_folder), tmp_path / "kept.npz"
    kept: dict[str, Any] = {"store": store, "model_sha256": "m", "data_digest": "d"}
    predict(_sums(2), dataset, steps, **kept)
    before = store.stat().st_mtime_ns, store.stat().st_ino
    predict(_sums(2), dataset, steps, **kept)
    assert (store.stat().st_mtime_ns, store.stat().st_ino) == before


def test_unfinished_predictions_are_saved_now_and_then(
    peta_folder: Path, steps: tuple[Step, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphopt.runtime.predictions._SAVE_EVERY", 0.0)
    monkeypatch.setattr("graphopt.runtime.predictions._SAVE_SHARE", 0)
    store, seen = tmp_path / "kept.npz", []

    def look(done: int, _: int) -> None:
        seen.append((done, len(Predictions.load(store)) if store.is_file() else 0))

    predict(
        _sums(2),
        PetaDataset(peta_folder),
        steps,
        store=store,
        model_sha256="m",
        data_digest="d",
        on_progress=look,
    )
    assert seen == [(2, 0), (4, 2), (5, 4)]


@pytest.mark.parametrize(("side", "batch"), [(5, 8), (224, 8), (500, 1), (2000, 1)])
def test_a_free_batch_is_small_where_the_input_is_large(side: int, batch: int) -> None:
    session = _sums("batch")
    session.inputs = (TensorSpec(name="image", shape=("batch", 3, side, side), dtype="float32"),)
    assert _Runner(session, (), None).batch == batch
    assert _Runner(session, (), 3).batch == 3


def test_a_varying_number_of_rows_is_filled_up_with_zeros() -> None:
    one = _filled("dets", np.ones((2, 5)), (3, 5), 1)
    assert one.shape == (1, 3, 5)
    assert one.sum(axis=2).tolist() == [[5, 5, 0]]
    assert _filled("dets", np.ones((1, 5)), (3, 5), 1).sum() == 5  # one row is no batch of one
    assert _filled("labels", np.ones((4, 2), np.int64), (3,), 4).sum(axis=1).tolist() == [2, 2, 2, 2]
    for value, fed in ((np.ones((4, 5)), 1), (np.ones((2, 5)), 2), (np.ones((1, 2, 6)), 1)):
        with pytest.raises(UsageError, match=r"at most \[3, 5\] for each sample"):
            _filled("dets", value, (3, 5), fed)
