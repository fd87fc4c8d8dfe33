"""What a run leaves for people and programs: report.html and report.json."""

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from graphopt.recipes.html_report import finite
from graphopt.recipes.pipeline_report import BatchCheck, PipelineReport


class Page(HTMLParser):
    """Collects what a browser would load, images, and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_no_other_file(finished: Path) -> None:
    text = (finished / "run/report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", text)
    assert len(page.sources) == 7  # one picture per image of the data set
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(BytesIO(base64.b64decode(content))) as picture:
            assert picture.format == "JPEG"


def test_the_page_says_what_a_person_needs(finished: Path) -> None:
    text = (finished / "run/report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert '<span class="badge good">passed</span>' in text
    for words in ("Small: a convolution for tests", "instance accuracy", "remove_pad", "accessoryHat"):
        assert words in page.words
    assert re.search(r"instance accuracy, elsewhere.*?bar ghost", text, re.DOTALL)
    assert "not our results" in page.words
    for label in ("raw", "rewritten"):
        assert not re.search(rf"<td[^>]*>{label}</td><td><div class=\"bar ghost", text)
    assert "batch 2: same predictions as the rewritten model" in page.words


def test_a_failed_run_says_so(
    pipeline: Callable[..., PipelineReport], project: Path, write_results: Callable[..., Path]
) -> None:
    report = pipeline(results=write_results(lambda logits: -np.abs(logits)))
    text = (project / "run/report.html").read_text(encoding="utf-8")
    assert '<span class="badge bad">failed</span>' in text
    assert report.problems[0] in text
    content = json.loads((project / "run/report.json").read_text(encoding="utf-8"))
    assert (content["ok"], content["problems"]) == (False, list(report.problems))


def test_the_json_is_strict_and_complete(finished: Path) -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(name)

    text = (finished / "run/report.json").read_text(encoding="utf-8")
    content = json.loads(text, parse_constant=refuse)
    assert content["report_version"] == 1
    assert content["ok"] is True
    row = content["stages"][1]
    assert set(row) >= {"stage", "verdict", "max_error", "metric", "change", "bytes", "seconds", "sha256"}
    assert re.fullmatch(r"[0-9a-f]{64}", row["sha256"])
    assert content["published"] == [
        {"what": "instance accuracy, elsewhere", "value": 0.5, "source": "nobody"}
    ]
    assert content["scores"]["raw"]["samples"] == 7
    assert content["environment"]["onnxruntime"]


def test_the_commands_for_the_box_fit_the_run(
    small: Any, pipeline: Callable[..., PipelineReport], project: Path
) -> None:
    bundle, there, back = pipeline(limit=3).commands
    assert bundle.startswith(f"graphopt bundle {project / 'run'} --data {project / 'data'} --limit 3")
    assert "bash small_bs1.atc.sh" in there
    assert f"--onnx {project / 'raw.onnx'} --data {project / 'data'} --limit 3" in back
    # What was not left at its default is said, so that the stages are found done.
    assert "--batch 1,2" in back
    assert "--max-drop" not in back
    assert "--results results -o" in back


def test_finite_keeps_everything_but_what_json_cannot_hold() -> None:
    nan, infinity = float("nan"), float("inf")
    assert finite({"a": [1.5, nan, (infinity, "x")], "b": None}) == {"a": [1.5, None, [None, "x"]], "b": None}


@pytest.mark.parametrize(
    ("batch", "images", "last"), [(8, 5, "5 of 8"), (2, 5, "1 of 2"), (1, 3, "1 of 1"), (4, 7, "3 of 4")]
)
def test_a_batch_check_names_its_last_batch(batch: int, images: int, last: str) -> None:
    check = BatchCheck(batch=batch, images=images, max_error=1.25e-6, passed=True)
    assert f"(last batch {last}), largest difference 1.25e-06" in check.text


def test_a_batch_check_says_how_many_decisions_were_on_the_edge() -> None:
    check = BatchCheck(batch=4, images=9, max_error=1e-6, passed=True, flips=3)
    assert "same predictions but for 3 decisions on the edge as the rewritten model" in check.text
    assert "DIFFERENT predictions" in BatchCheck(batch=4, images=9, max_error=1, passed=False, flips=3).text
