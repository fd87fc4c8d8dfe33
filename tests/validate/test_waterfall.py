"""Losses sum up along the path, each with its interval; the sentence names where they enter."""

from collections.abc import Sequence

import numpy as np
import pytest

from graphopt.validate.bootstrap import draw_images
from graphopt.validate.waterfall import Measured, Waterfall, waterfall

IMAGES = 80
WEIGHTS = draw_images(IMAGES, draws=300)


def stage(name: str, values: Sequence[float] | None, against: str = "", **more: object) -> Measured:
    """A stage whose metric is the mean of a value for each image."""
    if values is None:
        return Measured(stage=name, against=against, note="why not")
    array = np.array(values)
    drawn = WEIGHTS @ array / IMAGES
    return Measured(stage=name, metric=float(array.mean()), drawn=drawn, against=against, **more)  # type: ignore[arg-type]


def values(*, loss: float = 0.0, noise: float = 0.0, seed: int = 0) -> list[float]:
    """The same images each time, all scored lower by ``loss``; ``noise`` is another one each seed."""
    base = np.random.default_rng(99).uniform(0.3, 0.9, IMAGES)
    return list(base - loss + np.random.default_rng(seed).normal(0, noise, IMAGES) if noise else base - loss)


def rows(found: Waterfall) -> dict[str, float]:
    return {row.stage: round(row.loss.points, 6) for row in found.rows if row.loss}


def test_losses_on_the_path_sum_up_to_the_total() -> None:
    found = waterfall(
        [
            stage("torch", values()),
            stage("raw", values(loss=0.001, noise=0.02, seed=1), "torch"),
            stage("rewritten", values(loss=0.002, noise=0.02, seed=2), "raw"),
            stage("fp16", values(loss=0.01), "rewritten", estimate=True),
            stage("openvino", values(loss=0.3), "rewritten"),
            stage("device", values(loss=0.05, noise=0.02, seed=3), "fp16"),
        ],
        metric="mAP",
        last="device",
    )
    assert found.path == ("torch", "raw", "rewritten", "fp16", "device")
    assert found.total is not None
    on_path = [row.loss.points for row in found.rows if row.on_path and row.loss]
    assert sum(on_path) == pytest.approx(found.total.points, abs=1e-12)
    assert [row.stage for row in found.rows if not row.on_path] == ["openvino"]
    assert found.largest is not None
    assert found.largest.stage == "device"
    assert "enter at device" in found.sentence
    assert found.largest.loss is not None
    start = f"{found.largest.loss.points:.2f} of the {found.total.points:.2f} points"
    assert found.sentence.startswith(start)


def test_a_loss_that_the_interval_does_not_clear_is_noise() -> None:
    noisy = waterfall(
        [stage("torch", values()), stage("raw", values(loss=0.001, noise=0.1, seed=6), "torch")], metric="IoU"
    )
    assert noisy.rows[1].loss is not None
    assert noisy.rows[1].loss.within_noise
    assert noisy.sentence.startswith("within noise: ")
    sure = waterfall([stage("torch", values()), stage("raw", values(loss=0.001), "torch")], metric="IoU")
    assert sure.rows[1].loss is not None
    assert not sure.rows[1].loss.within_noise
    assert sure.sentence.startswith("0.10 of the 0.10 points of IoU between torch and raw")


def test_what_cancels_is_not_hidden() -> None:
    found = waterfall(
        [
            stage("torch", values()),
            stage("raw", values(loss=0.05), "torch"),
            stage("device", values(noise=0.05, seed=4), "raw"),
        ],
        metric="mAP",
        last="device",
    )
    assert found.sentence.startswith("within noise: ")
    assert found.sentence.endswith("; 5.00 enter at raw, which is more than noise")


def test_a_stage_without_figures_stays_and_is_stepped_over() -> None:
    found = waterfall(
        [
            stage("torch", None),
            stage("raw", values(), "torch"),
            stage("rewritten", None, "raw"),
            stage("device", values(loss=0.02), "rewritten"),
        ],
        metric="mAP",
        last="device",
    )
    assert [row.stage for row in found.rows] == ["torch", "raw", "rewritten", "device"]
    assert found.path == ("raw", "device")
    assert [row.against for row in found.rows] == ["", "", "", "raw"]
    assert found.rows[0].note == "why not"


def test_without_a_device_the_path_ends_at_the_lowest() -> None:
    found = waterfall(
        [
            stage("raw", values()),
            stage("rewritten", values(), "raw"),
            stage("fp16", values(loss=0.03), "rewritten", estimate=True),
            stage("openvino", values(loss=0.01), "rewritten"),
        ],
        metric="mAP",
    )
    assert found.path == ("raw", "rewritten", "fp16")
    assert rows(found) == {"rewritten": 0.0, "fp16": 3.0, "openvino": 1.0}
    assert found.sentence.endswith("enter at fp16 (an estimate)")


def test_equal_better_and_single_stages_have_their_own_words() -> None:
    assert "fewer than two" in waterfall([stage("raw", values())], metric="mAP").sentence
    assert "fewer than two" in waterfall([stage("raw", None)], metric="mAP").sentence
    same = waterfall([stage("raw", values()), stage("device", values(), "raw")], metric="m", last="device")
    assert same.sentence == "nothing is lost between raw and device"
    better = waterfall(
        [stage("raw", values()), stage("device", values(loss=-0.02), "raw")], metric="m", last="device"
    )
    assert better.sentence == "nothing is lost: device scores 2.00 points more than raw"


def test_a_gain_everywhere_is_no_loss() -> None:
    found = waterfall(
        [stage("torch", values()), stage("raw", values(loss=-0.01), "torch"), stage("fp16", values(), "raw")],
        metric="m",
    )
    assert found.path == ("torch", "raw", "fp16")
    assert found.sentence == "nothing is lost between torch and fp16"


def test_without_draws_nothing_is_sure() -> None:
    found = waterfall(
        [Measured(stage="raw", metric=0.5), Measured(stage="device", metric=0.3, against="raw")], metric="m"
    )
    assert found.total is not None
    assert found.total.within_noise
    assert found.total.points == pytest.approx(20)
    content = found.to_json()
    assert content["path"] == ["raw", "device"]
    assert content["rows"][1]["loss"]["within_noise"] is True
