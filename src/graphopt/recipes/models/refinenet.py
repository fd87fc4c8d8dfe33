"""RefineNet-101: semantic segmentation with 21 classes (PASCAL VOC 2012)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import (
    DecodePil,
    NormalizePixels,
    PadCentredTo,
    ResizeLongestCv2,
    ToFloat32,
    ToNchw,
)
from graphopt.core.tensors import TensorSpec
from graphopt.core.voc import VOC_CLASSES
from graphopt.recipes.recipe import Demo, Published, Recipe
from graphopt.runtime.tasks.segmentation import SegmentationTask
from graphopt.surgery import PassStep

if TYPE_CHECKING:
    import torch

_GUIDE = "RefineNet guide, Ascend/ModelZoo-PyTorch (ACL_PyTorch)"
_SIDE = 500
"""Of the input in pixels, as published: the longest side of most VOC images."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _build() -> "torch.nn.Module":
    from graphopt.exporters.models.refinenet import build_refinenet

    return build_refinenet()


def _load(module: "torch.nn.Module", checkpoint: Path) -> Mapping[str, Any]:
    from graphopt.exporters.checkpoint import load_into, read_checkpoint

    content = read_checkpoint(checkpoint)
    load_into(module, content, key="model")
    return content.meta


def _make_demo(folder: Path) -> Demo:
    from graphopt.recipes.demo_refinenet import make_refinenet_demo

    return make_refinenet_demo(folder)


RECIPE = Recipe(
    name="refinenet",
    title="RefineNet: semantic segmentation, ResNet-101, VOC 2012",
    build=_build,
    load=_load,
    make_demo=_make_demo,
    inputs=(
        TensorSpec(
            name="input",
            shape=("batch", 3, _SIDE, _SIDE),
            dtype="float32",
            layout="NCHW",
            unit="RGB, normalised with the ImageNet mean and deviation",
        ),
    ),
    outputs=(
        TensorSpec(
            name="output",
            shape=("batch", len(VOC_CLASSES), _SIDE // 4, _SIDE // 4),
            dtype="float32",
            layout="NCHW",
            unit="logit",
            role="scores",
        ),
    ),
    # The published script scales and pads in float, then normalises.
    preprocessing=(
        DecodePil(colour="RGB"),
        ToFloat32(),
        ResizeLongestCv2(size=_SIDE),
        PadCentredTo(height=_SIDE, width=_SIDE, value=(_MEAN[0] * 255, _MEAN[1] * 255, _MEAN[2] * 255)),
        NormalizePixels(mean=_MEAN, std=_STD),
        ToNchw(),
    ),
    passes=(
        # The last pooling block has kernel 1 in the checkpoint's network, four times.
        PassStep("remove_identity_pool", expect=4),
        PassStep("static_shapes"),
        PassStep("fold_constants"),
        PassStep("fuse_batchnorm"),
        PassStep("remove_identity"),
    ),
    tolerance=Tolerance(
        atol=1e-4,
        rtol=1e-3,
        peak=1e-4,
        why="float32 logits after 150 layers, a third of them without normalisation",
    ),
    task=SegmentationTask(classes=VOC_CLASSES, output="output", size=(_SIDE, _SIDE)),
    batch_sizes=(1, 4, 8, 16, 32, 64),
    atc={"input_format": "NCHW", "log": "debug"},
    published=(
        Published(what="mean IoU, PyTorch", value=0.7861, source=_GUIDE),
        Published(what="mean IoU, Ascend 310P", value=0.786359, source=_GUIDE),
        Published(what="images/s at batch 1 on the data set, Ascend 310P", value=91.434, source=_GUIDE),
        Published(what="images/s at batch 16 on the data set, Ascend 310P", value=77.7378, source=_GUIDE),
        Published(what="images/s at batch 1, Ascend 310P", value=92.2434, source=_GUIDE),
        Published(what="images/s at batch 4, Ascend 310P", value=88.0568, source=_GUIDE),
        Published(what="images/s at batch 8, Ascend 310P", value=84.4253, source=_GUIDE),
        Published(what="images/s at batch 16, Ascend 310P", value=80.3815, source=_GUIDE),
        Published(what="images/s at batch 32, Ascend 310P", value=79.9769, source=_GUIDE),
        Published(what="images/s at batch 64, Ascend 310P", value=79.1814, source=_GUIDE),
    ),
)
