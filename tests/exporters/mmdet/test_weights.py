import numpy as np
import pytest

from graphopt.core.tensors import Array
from graphopt.exporters.mmdet.weights import adapted_weights

ONE: Array = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("saved", "wanted"),
    [
        ("bbox_head.fcos_cls.weight", "bbox_head.conv_cls.weight"),
        ("bbox_head.fcos_centerness.bias", "bbox_head.conv_centerness.bias"),
        ("backbone.layer2.0.conv2_offset.weight", "backbone.layer2.0.conv2.conv_offset.weight"),
        ("bbox_head.shared_fcs.0.weight", "roi_head.bbox_head.shared_fcs.0.weight"),
        ("neck.a.weight", "neck.a.weight"),
    ],
)
def test_keys_of_earlier_versions_are_renamed(saved: str, wanted: str) -> None:
    assert list(adapted_weights({saved: ONE}, [wanted])) == [wanted]


def test_keys_that_mean_nothing_stay_so_that_they_are_listed() -> None:
    saved: dict[str, Array] = {"bbox_head.fcos_cls.weight": ONE}

    assert list(adapted_weights(saved, ["neck.a"])) == list(saved)


def test_moving_averages_are_left_out() -> None:
    assert not adapted_weights({"ema_neck_a": ONE}, ["neck.a"])


def test_the_background_of_old_two_stage_detectors_moves_behind() -> None:
    keys = ["roi_head.bbox_head.fc_cls.bias", "roi_head.bbox_head.fc_reg.bias"]
    saved: dict[str, Array] = {
        "bbox_head.fc_cls.bias": np.arange(3, dtype=np.float32),
        "bbox_head.fc_reg.bias": np.arange(12, dtype=np.float32),
    }

    found = adapted_weights(saved, keys)

    assert found[keys[0]].tolist() == [1, 2, 0]
    assert found[keys[1]].tolist() == list(range(4, 12))
