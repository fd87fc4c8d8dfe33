"""Recipes made of configurations: what they say, what they refuse, and where they are understood."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from graphopt.core.coco import COCO_CLASSES
from graphopt.core.errors import UsageError
from graphopt.core.preprocessing import PadBehindTo, ResizeCv2
from graphopt.recipes.catalogue import find_recipe, knows_recipe
from graphopt.recipes.families import mmdet
from graphopt.runtime.tasks.detection import DetectionTask

CONFIG = """
model = dict(
    type='{kind}',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6], pad_size_divisor=32),
    {head},
)
test_dataloader = dict(dataset=dict({data}pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', {resize}),
    dict(type='PackDetInputs'),
]))
"""
ONE_STAGE = "bbox_head=dict(num_classes=3), test_cfg=dict(score_thr=0.02, max_per_img=50)"
TWO_STAGES = (
    "roi_head=dict(bbox_head=[dict(num_classes=80)] * 3),"
    "test_cfg=dict(rpn=dict(max_per_img=1000), rcnn=dict(score_thr=0.05, max_per_img=70))"
)


def write(
    folder: Path,
    *,
    head: str = ONE_STAGE,
    data: str = "metainfo=dict(classes=('cat', 'dog', 'owl')),",
    resize: str = "scale=(133, 80), keep_ratio=True",
) -> Path:
    path = folder / "mine.py"
    path.write_text(CONFIG.format(kind="X", head=head, data=data, resize=resize))
    return path


def task_of(name: str) -> DetectionTask:
    task = find_recipe(name).task
    assert isinstance(task, DetectionTask)
    return task


def test_a_recipe_is_made_of_a_file_and_found_again_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe = find_recipe("mmdet:mine.py:96x160")
    assert recipe.name == f"mmdet:{tmp_path / 'mine.py'}:96x160"
    assert recipe.stem == "mine_96x160"
    assert recipe.inputs[0].shape == (1, 3, 96, 160)
    assert [(spec.name, spec.shape) for spec in recipe.outputs] == [("dets", (50, 5)), ("labels", (50,))]
    assert recipe.preprocessing[-2] == PadBehindTo(height=96, width=160, value=(0.0, 0.0, 0.0))
    monkeypatch.chdir("/")
    assert find_recipe(recipe.name).digest == recipe.digest
    assert task_of(recipe.name).classes == ("cat", "dog", "owl")
    assert task_of(recipe.name).threshold == 0.02


def test_another_network_has_another_digest(tmp_path: Path) -> None:
    name = f"mmdet:{write(tmp_path)}:96x160"
    before = find_recipe(name).digest
    write(tmp_path, head=ONE_STAGE.replace("50", "60"))
    assert find_recipe(name).digest != before


def test_two_stages_have_two_suppressions_and_their_own_settings(tmp_path: Path) -> None:
    recipe = find_recipe(f"mmdet:{write(tmp_path, head=TWO_STAGES, data='')}:96x160")
    assert recipe.outputs[0].shape == (70, 5)
    (nms,) = (step for step in recipe.passes if step.name == "replace_nms")
    assert nms.expect == 2
    assert task_of(recipe.name).classes == COCO_CLASSES


@pytest.mark.parametrize(
    ("resize", "size"),
    [("scale=(97, 65), keep_ratio=False", "96x128"), ("scale=(64, 64), keep_ratio=True", "64x64")],
)
def test_the_size_may_be_left_out_where_every_image_gets_the_same(
    tmp_path: Path, resize: str, size: str
) -> None:
    recipe = find_recipe(f"mmdet:{write(tmp_path, resize=resize)}")
    assert recipe.name.endswith(f":{size}")
    assert ("False" in resize) == isinstance(recipe.preprocessing[1], ResizeCv2)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("", "names no configuration; write mmdet:CONFIG:HEIGHTxWIDTH"),
        (":96x96", "names no configuration"),
        ("mine.py:", "names no configuration"),
        ("mine.py:96", "'96' in .* is no size"),
        ("mine.py:0x96", "'0x96' in .* is no size"),
        ("mine.py:96*96", "no size"),
        ("mine.py", r"needs a size.*mine\.py:96x160 .*or :160x160"),
        ("nine.py:96x96", r"no configuration nine\.py"),
    ],
)
def test_names_that_say_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str, said: str
) -> None:
    pytest.importorskip("mmdet")
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said) as caught:
        find_recipe(f"mmdet:{rest}")
    assert len(str(caught.value)) < 400
    assert not knows_recipe(f"mmdet:{rest}")


def test_an_unknown_family_is_an_unknown_recipe() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'mmdt:x:3x3'.*mmdet:CONFIG:HEIGHTxWIDTH"):
        find_recipe("mmdt:x:3x3")
    assert not knows_recipe("fcoz")
    assert knows_recipe("fcos")


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    assert task_of(f"mmdet:{write(tmp_path, data='')}:96x160").classes == ("class 0", "class 1", "class 2")


def test_a_size_that_mmdet_would_pad_is_told_when_the_network_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Network:
        rows = 50

    monkeypatch.setattr(mmdet, "build_detector", lambda *_: Network())
    path = write(tmp_path)
    with caplog.at_level(logging.WARNING):
        find_recipe(f"mmdet:{path}:96x160").needed_build("building")()
        assert not caplog.records
        find_recipe(f"mmdet:{path}:96x150").needed_build("building")()
    assert "multiples of 32, and 96x150 is none" in caplog.text
    assert "96x160 is the next" in caplog.text


def test_an_input_too_small_for_its_detections_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Network:
        rows = 12

    monkeypatch.setattr(mmdet, "build_detector", lambda *_: Network())
    with pytest.raises(UsageError, match="only 12 candidates for 50 detections"):
        find_recipe(f"mmdet:{write(tmp_path)}:32x32").needed_build("building")()


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({}, ""),
        ({"CLASSES": ("cat", "dog", "owl")}, ""),
        ({"dataset_meta": {"classes": ["cat", "dog", "owl"]}, "CLASSES": ("x",)}, ""),
        ({"CLASSES": ("dog", "cat", "owl")}, "names class 0 as 'dog', the configuration as 'cat'"),
        ({"dataset_meta": {"CLASSES": ("cat",)}}, "names 1 classes, the configuration 3"),
    ],
)
def test_classes_of_a_checkpoint_are_compared_with_those_of_the_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    meta: Mapping[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(mmdet, "load_detector_weights", lambda *_: {"meta": meta})
    recipe = find_recipe(f"mmdet:{write(tmp_path)}:96x160")
    module: Any = None
    assert recipe.load is not None
    with caplog.at_level(logging.WARNING):
        recipe.load(module, Path("c.pth"))
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


def test_stems_of_ordinary_recipes_are_their_names() -> None:
    recipe = find_recipe("fcos")
    assert recipe.stem == recipe.name
    packaged = dataclasses.replace(recipe, name="mmdet:gn+ws/faster_rcnn.v2:8x9")
    assert packaged.stem == "faster_rcnn.v2_8x9"


@pytest.mark.parametrize(
    ("head", "resize", "said"),
    [
        (
            "bbox_head=dict(num_classes=3), test_cfg=dict(max_per_img=-1)",
            "scale=(9, 9)",
            "max_per_img .* is -1",
        ),
        ("bbox_head=dict(num_classes=3), test_cfg=dict(max_per_img=None)", "scale=(9, 9)", "TypeError: int"),
        ("bbox_head=dict(num_classes=3), test_cfg=dict(score_thr='x')", "scale=(9, 9)", "ValueError: could"),
        ("test_cfg=3", "scale=(9, 9)", "AttributeError"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, head: str, resize: str, said: str) -> None:
    path = write(tmp_path, head=head, resize=resize)
    with pytest.raises(UsageError, match=said):
        find_recipe(f"mmdet:{path}:96x160")
