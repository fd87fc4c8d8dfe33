"""Pictures of two stages beside each other, the worst image first, small enough for a page."""

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.recipes import report_gallery
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline
from graphopt.recipes.report_gallery import _chips, _small_enough, gallery, shown_stages
from graphopt.recipes.scoring import Scored
from graphopt.runtime.task import Panel, Reading


def _picture(text: str) -> Any:
    kind, _, content = text.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(BytesIO(base64.b64decode(content))) as picture:
        picture.load()
        return picture


@pytest.fixture
def seen(boxes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a pipeline gives to its gallery: scorer and cards."""
    kept: dict[str, Any] = {}

    def watched(scorer: Any, stages: Any) -> Any:
        kept.update(scorer=scorer, stages=stages, cards=gallery(scorer, stages))
        return kept["cards"]

    monkeypatch.setattr("graphopt.recipes.html_report.gallery", watched)
    options = PipelineOptions(
        folder=tmp_path / "run",
        onnx=boxes.write_onnx(tmp_path / "raw.onnx", pinned=True),
        data=boxes.write_data(tmp_path / "data"),
        targets=("onnxruntime",),
        batches=(1,),
    )
    run_pipeline(boxes.RECIPE, options)
    kept["page"] = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    return kept


def test_detections_of_the_reference_and_the_last_stage_stand_side_by_side(seen: Any) -> None:
    assert [item.label for item in seen["stages"]] == ["raw", "onnxruntime"]
    errors = seen["stages"][-1].score.errors
    names = [card["name"] for card in seen["cards"]]
    assert names == sorted(errors, key=lambda name: (-errors[name], name))
    for card in seen["cards"]:
        assert [panel["caption"] for panel in card["panels"]] == ["image", "labels", "raw", "onnxruntime"]
        photo, labels, first, last = (np.asarray(_picture(panel["image"]), int) for panel in card["panels"])
        assert (first == last).all()  # both answer the same
        assert np.abs(photo - first).max() > 60
        assert np.abs(labels - first).max() > 60
    assert "Stage onnxruntime beside raw." in seen["page"]
    assert "Per class" in seen["page"]


def test_a_stage_that_answers_otherwise_is_seen(seen: Any) -> None:
    scorer, (first, last) = seen["scorer"], seen["stages"]
    outputs = {**last.predictions.outputs, "dets": last.predictions.outputs["dets"] * np.float32(0.5)}
    moved = replace(last, predictions=replace(last.predictions, outputs=outputs))
    panels = gallery(scorer, (first, moved))[0]["panels"]
    assert panels[2]["image"] != panels[3]["image"]
    alone = gallery(scorer, (first,))[0]["panels"]
    assert [panel["caption"] for panel in alone] == ["image", "labels", "raw"]
    assert gallery(scorer, ()) == []


def test_estimates_and_stages_that_did_not_run_are_not_shown(seen: Any) -> None:
    scorer, (first, last) = seen["scorer"], seen["stages"]
    named: dict[str, Scored] = {
        "atc": replace(last, predictions=None, score=None),
        "raw": first,
        "fp16": replace(last, is_estimate=True),
    }
    scorer.by_label = named
    assert shown_stages(scorer) == (first,)
    scorer.by_label = {}
    assert shown_stages(scorer) == ()


def test_pictures_shrink_until_the_page_is_small_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    panels = [[Panel(caption="image", picture=Image.fromarray(noise))] * 2]
    assert _picture(_small_enough(panels)[0][0]).size == (560, 420)
    monkeypatch.setattr(report_gallery, "_MOST_BYTES", 100_000)
    small = _small_enough(panels)[0]
    assert sum(len(base64.b64decode(text.partition(",")[2])) for text in small) <= 100_000
    assert 160 < _picture(small[0]).width < 560
    monkeypatch.setattr(report_gallery, "_MOST_BYTES", 1)
    assert _picture(_small_enough(panels)[0][0]).width == 160  # pictures there are, whatever they take


def _reading(label: str, *, positive: bool, truth: bool | None, value: float = 0.5) -> Reading:
    return Reading(label=label, value=value, positive=positive, truth=truth, box=(0, 0, 1, 1))


def test_what_is_left_out_is_right() -> None:
    right = [_reading(f"right {i}", positive=True, truth=True) for i in range(30)]
    wrong = [
        _reading("wrong", positive=True, truth=False),
        _reading("missed", positive=False, truth=True, value=0.0),
        _reading("nothing", positive=False, truth=False),
    ]
    chips, more = _chips([*right, *wrong])
    assert (len(chips), more) == (24, 8)
    assert [chip["kind"] for chip in chips[-3:]] == ["", "wrong", "missed"]
    assert [chip["value"] for chip in chips[-2:]] == ["50%", ""]
    assert _chips([_reading("unknown", positive=True, truth=None)])[0][0]["kind"] == "plain"


def test_words_alone_have_one_picture(finished: Path) -> None:
    text = (finished / "run/report.html").read_text(encoding="utf-8")
    assert text.count("<img") == 7
    assert "<figcaption>" not in text
