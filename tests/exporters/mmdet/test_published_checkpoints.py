"""Files in the layouts in which mmdet 1.x, 2.x and 3.x published checkpoints, loaded into mmdet 3."""

import importlib
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import CheckpointError
from graphopt.exporters.checkpoint import read_checkpoint
from graphopt.exporters.mmdet.classes import class_names_of

torch: Any = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.mmdet]

SIZE = (64, 96)
CLASSES = ("cat", "dog", "owl")
OLD_NAMES = {"conv_cls": "fcos_cls", "conv_reg": "fcos_reg", "conv_centerness": "fcos_centerness"}


@pytest.fixture
def build(tmp_path: Path, tiny: Any) -> Callable[[str], Any]:
    """A function that builds a tiny detector, its weights and statistics different at each call."""
    from graphopt.recipes.mmdet_export import build_detector

    seeds = iter(range(100))

    def make(kind: str, more: str = "") -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: Any = build_detector(str(tiny.write_config(tmp_path, kind, more=more)), SIZE)
        generator = torch.Generator().manual_seed(next(seeds))
        for value in module.model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
        return module

    return make


def save(path: Path, content: Any, *, stream: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not stream)
    return path


def load(module: Any, path: Path, *, partial: bool = False) -> Any:
    from graphopt.recipes.mmdet_export import load_detector_weights

    return load_detector_weights(module, path, partial=partial)


def weights_of(module: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def assert_equal(module: Any, expected: dict[str, Any]) -> None:
    for name, value in module.model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("device", ["cpu", "cuda:0", "npu:0"])
def test_fcos_of_2019_in_a_stream_without_metadata(
    build: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda _: device)
    source, target = build("fcos"), build("fcos")
    expected = weights_of(source)
    old: OrderedDict[str, Any] = OrderedDict()
    for name, value in expected.items():
        head, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        renamed = name.replace(part, OLD_NAMES[part]) if head == "bbox_head" and part in OLD_NAMES else name
        if not name.endswith("num_batches_tracked"):  # torch 0.4 had none
            old[renamed] = value
    assert "bbox_head.fcos_centerness.bias" in old
    assert not any(".gn." in name for name in old)
    meta = {"mmdet_version": "0.6.0rc0+a7e8efc", "CLASSES": CLASSES, "config": "model = dict(type='FCOS')\n"}
    path = save(tmp_path / "fcos.pth", {"meta": meta, "state_dict": old}, stream=True)
    assert path.read_bytes()[:2] != b"PK"

    found = load(target, path)

    assert_equal(target, expected)
    assert class_names_of(found) == CLASSES


@pytest.mark.parametrize("kind", ["faster_rcnn", "cascade_rcnn"])
def test_two_stages_of_1x_had_the_background_first(
    build: Callable[[str], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    source, target = build(kind), build(kind)
    expected, old = weights_of(source), {}
    for name, value in expected.items():
        if name.endswith(("fc_cls.weight", "fc_cls.bias")):
            value = torch.cat((value[-1:], value[:-1]))
        if name.endswith(("fc_reg.weight", "fc_reg.bias")) and len(value) > 4:
            value = torch.cat((torch.full_like(value[:4], 77.0), value))
        old[name.removeprefix("roi_head.")] = value
    meta = {"mmdet_version": "1.1.0", "CLASSES": CLASSES}
    path = save(tmp_path / "c.pth", {"meta": meta, "state_dict": old}, stream=True)

    with caplog.at_level(logging.WARNING):
        load(target, path)

    assert_equal(target, expected)
    assert "made by mmdet 1.1.0, whose anchors lie half a pixel off" in caplog.text


def test_retinanet_of_2018_had_plain_convolutions_in_its_head(
    build: Callable[[str], Any], tmp_path: Path
) -> None:
    source, target = build("retinanet"), build("retinanet")
    expected = weights_of(source)
    old = {
        name.replace("_convs.0.conv.", "_convs.0.") if name.startswith("bbox_head") else name: value
        for name, value in expected.items()
    }
    assert set(old) != set(expected)

    load(target, save(tmp_path / "c.pth", {"meta": {"mmdet_version": "0.5.3"}, "state_dict": old}))

    assert_equal(target, expected)


def test_a_file_of_2x_with_configuration_loggers_and_moving_averages(
    build: Callable[[str], Any], tmp_path: Path
) -> None:
    source, target = build("retinanet"), build("retinanet")
    expected = weights_of(source)
    averages = {f"ema_{name.replace('.', '_')}": value * 2 for name, value in expected.items()}
    meta = {
        "mmdet_version": "2.25.0+",
        "config": "model = dict(type='RetinaNet')\n" * 50,
        "CLASSES": CLASSES,
        "PALETTE": [(220, 20, 60)] * 3,
        "env_info": "sys.platform: linux",
        "seed": None,
        "hook_msgs": {"best_ckpt": "x.pth", "logger": logging.getLogger("mmdet")},
        "exp_name": Path("retinanet.py"),
        "time": np.float64(3.0),
    }
    content = {"meta": meta, "state_dict": OrderedDict({**expected, **averages}), "optimizer": {"lr": 0.1}}

    found = load(target, save(tmp_path / "c.pth", content))

    assert_equal(target, expected)
    assert class_names_of(found) == CLASSES


def test_a_file_of_3x_as_the_runner_writes_it(build: Callable[[str], Any], tmp_path: Path) -> None:
    source, target = build("retinanet"), build("retinanet")
    expected = weights_of(source)
    mmengine: Any = importlib.import_module("mmengine")
    hub = importlib.import_module("mmengine.logging").MessageHub("hub")
    hub.update_scalar("train/loss", np.float64(0.5))
    hub.update_info("epoch", 3)
    scheduler: Any = importlib.import_module("mmengine.optim").ConstantParamScheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    content = {
        "meta": {
            "epoch": 12,
            "cfg": mmengine.Config({"model": {"type": "RetinaNet"}}).pretty_text,
            "dataset_meta": {"classes": CLASSES, "palette": [(1, 2, 3)] * 3},
            "experiment_name": "retinanet_20250101",
            "mmengine_version": "0.10.4",
        },
        "state_dict": OrderedDict(expected),
        "message_hub": hub.state_dict(),
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [scheduler(optimizer, "lr").state_dict()],
        "ema_state_dict": {f"module.{name}": value * 2 for name, value in expected.items()},
    }

    found = load(target, save(tmp_path / "c.pth", content))

    assert_equal(target, expected)
    assert class_names_of(found) == CLASSES


def test_a_refused_file_lists_keys_and_changes_nothing(build: Callable[[str], Any], tmp_path: Path) -> None:
    target = build("retinanet")
    before = weights_of(target)
    path = save(tmp_path / "c.pth", {"state_dict": weights_of(build("fcos"))})

    with pytest.raises(CheckpointError, match=r"missing \(bbox_head.*unexpected \(bbox_head.*very network"):
        load(target, path)

    assert_equal(target, before)


def test_a_partial_load_takes_what_fits_and_lists_the_rest(
    build: Callable[[str], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, other = build("retinanet"), build("fcos")
    before, expected = weights_of(target), weights_of(other)

    with caplog.at_level(logging.WARNING):
        load(target, save(tmp_path / "c.pth", {"state_dict": expected}), partial=True)

    loaded = weights_of(target)
    same = [name for name in loaded if name in expected and loaded[name].shape == expected[name].shape]
    assert "backbone.conv1.weight" in same
    assert all(torch.equal(loaded[name], expected[name]) for name in same)
    assert torch.equal(loaded["bbox_head.retina_reg.bias"], before["bbox_head.retina_reg.bias"])
    assert "keys are not used: bbox_head.conv_centerness.bias" in caplog.text
    assert "keys stay as they were: neck" in caplog.text


def test_ssd_of_1x_is_refused_as_its_classes_are_in_another_order(tmp_path: Path) -> None:
    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = torch.nn.Module()
            layer.conv = torch.nn.Conv2d(2, 3, 1)
            self.neck = torch.nn.Module()
            self.neck.extra_layers = torch.nn.ModuleList([torch.nn.Sequential(layer)])

    class Detector:
        model = Network()

    old = {"backbone.extra.0.weight": torch.ones(3, 2, 1, 1), "backbone.extra.0.bias": torch.ones(3)}
    path = save(tmp_path / "old.pth", {"meta": {"mmdet_version": "1.0"}, "state_dict": old})
    with pytest.raises(CheckpointError, match=r"SSD of mmdet 1\.0, whose classes have the background first"):
        load(Detector(), path)
    path = save(tmp_path / "newer.pth", {"meta": {"mmdet_version": "2.4.0"}, "state_dict": old})
    load(Detector(), path)
    assert Detector.model.neck.extra_layers[0][0].conv.weight.sum() == 6


@pytest.mark.parametrize("stream", [False, True])
def test_a_hostile_file_runs_nothing(tmp_path: Path, stream: bool) -> None:
    mark = tmp_path / "ran"

    class Hostile:
        def __reduce__(self) -> Any:
            return open, (str(mark), "w")

    path = save(tmp_path / "c.pth", {"meta": {"logger": Hostile()}, "state_dict": {}}, stream=stream)
    assert "builtins.open" in str(read_checkpoint(path).meta) or "io.open" in str(read_checkpoint(path).meta)
    assert not mark.exists()
