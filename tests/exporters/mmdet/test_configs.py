from pathlib import Path

import pytest

from graphopt.core.errors import UsageError
from graphopt.exporters.mmdet.configs import find_config, needed, read_config


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "own.py"


def test_a_file_changes_what_it_builds_on(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        base="norm = dict(type='BN')\nmodel = dict(a=1, neck=dict(b=2, c=3), heads=[dict(d=4), dict(d=5)])",
        own="_base_ = './base.py'\nmodel = dict(neck=dict(_delete_=True, b=6, n=_base_.norm), "
        "heads={'1': dict(d=7)}, e=2 * -3)",
    )

    assert read_config(str(path))["model"] == {
        "a": 1,
        "neck": {"b": 6, "n": {"type": "BN"}},
        "heads": [{"d": 4}, {"d": 7}],
        "e": -6,
    }


def test_code_is_not_run_and_refused_only_where_it_is_needed(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = _write(
        tmp_path,
        own=f"import os\nopen({str(mark)!r}, 'w')\nlr = os.getpid()\nmodel = dict(a=1)\nhook = dict(b=lr)",
    )

    settings = read_config(str(path))

    assert needed(settings, "model", "own") == {"a": 1}
    with pytest.raises(UsageError, match=r"hook cannot be read without running code.*--exec-config"):
        needed(settings, "hook", "own")
    assert not mark.exists()


def test_changes_over_a_base_that_is_code_stay_unreadable(tmp_path: Path) -> None:
    path = _write(tmp_path, base="model = dict(a=open('x'))", own="_base_ = ['base.py']\nmodel = dict(b=1)")

    with pytest.raises(UsageError, match="cannot be read without running code"):
        needed(read_config(str(path)), "model", "own")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_base_ = 'own.py'", "builds on itself"),
        ("_base_ = 'none.py'", "cannot read"),
        ("model = (", "no Python file"),
        ("with read_base():\n    from x import *", "--exec-config"),
        ("_base_ = 'other::x.py'", "another package"),
    ],
)
def test_files_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(str(_write(tmp_path, own=text)))


@pytest.mark.parametrize("text", ["model = 'x' * 10 ** 9", "model = 10 ** 10 ** 10"])
def test_what_would_take_all_memory_is_not_computed(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        needed(read_config(str(_write(tmp_path, own=text))), "model", "own")


def test_lists_written_as_loops_and_lengths_are_read(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        own="names = ('a', 'b', 'c')\n"
        "model = dict(count=len(names), scales=[[x, x * 2] for x in [32, 64]], "
        "heads=[dict(i=i) for i in range(2)], odd=[y for x, y in [(0, 'a'), (1, 'b')] if x], ratio=float(3))",
    )

    assert needed(read_config(str(path)), "model", "own") == {
        "count": 3,
        "scales": [[32, 64], [64, 128]],
        "heads": [{"i": 0}, {"i": 1}],
        "odd": ["b"],
        "ratio": 3.0,
    }


@pytest.mark.parametrize(
    "text",
    [
        "[x for x in range(10 ** 9)]",
        "[x for x in 'abc']",
        "[x for x in [1] for y in [2]]",
        "[open(x) for x in ['a']]",
        "len(5)",
        "int('x')",
        "sum([1])",
    ],
)
def test_loops_and_calls_that_are_more_than_data_are_not_read(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read without running code"):
        needed(read_config(str(_write(tmp_path, own=f"model = {text}"))), "model", "own")


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UsageError, match="no setting 'model'"):
        needed({}, "model", "own")


@pytest.mark.mmdet
@pytest.mark.parametrize(
    "name", ["fcos_r50-caffe_fpn_gn-head_1x_coco", "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py"]
)
def test_packaged_ones_are_read_as_mmdet_reads_them(name: str) -> None:
    read = needed(read_config(name), "model", name)

    assert read == read_config(name, execute=True)["model"]


@pytest.mark.mmdet
def test_a_typo_is_answered_with_the_name() -> None:
    with pytest.raises(UsageError, match="fcos_r50-caffe_fpn_gn-head_1x_coco"):
        find_config("fcos_r50-cafe_fpn_gn-head_1x_coco")
