"""FCOS R50-caffe FPN: one-stage detection without anchors (COCO)."""

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import DecodeCv2, NormalizeMmcv, PadCentredTo, ResizeToFitCv2, ToNchw
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.detector_parts import CLEAN, DETS, LABELS
from graphopt.recipes.recipe import Published, Recipe
from graphopt.runtime.tasks.detection import DetectionTask
from graphopt.surgery import PassStep

_GUIDE = "FCOS guide, Ascend/ModelZoo-PyTorch (ACL_PyTorch)"
_HEIGHT, _WIDTH = 800, 1333
# The guide's table says RGB; its script keeps OpenCV's BGR, which the checkpoint wants.
_STEPS = (
    DecodeCv2(colour="BGR"),
    ResizeToFitCv2(width=_WIDTH, height=_HEIGHT, rounding="floor"),
    NormalizeMmcv(mean=(102.9801, 115.9465, 122.7717), std=(1.0, 1.0, 1.0)),
    PadCentredTo(width=_WIDTH, height=_HEIGHT, value=(0.0, 0.0, 0.0)),
    ToNchw(),
)


RECIPE = Recipe(
    name="fcos",
    title="FCOS: object detection, ResNet-50-caffe FPN, COCO",
    inputs=(
        TensorSpec(
            name="input",
            shape=(1, 3, _HEIGHT, _WIDTH),
            dtype="float32",
            layout="NCHW",
            unit="BGR, Caffe's means subtracted",
        ),
    ),
    outputs=(LABELS, DETS),
    preprocessing=_STEPS,
    passes=(
        PassStep("fold_constants"),
        PassStep("replace_nms", expect=1),
        *CLEAN,
        PassStep("pin_outputs", {"names": ("labels", "dets")}),
    ),
    tolerance=Tolerance(
        atol=1e-4, rtol=1e-4, peak=1e-5, why="scores are 0 to 1; boxes are float32 behind 60 layers"
    ),
    task=DetectionTask(steps=_STEPS),
    batch_sizes=(1, 4, 8, 16, 32, 64),
    atc={"input_format": "NCHW", "log": "error", "out_nodes": "labels;dets"},
    published=(
        Published(what="box mAP on the device, Ascend 310P3", value=0.359, source=_GUIDE),
        *(
            Published(what=f"images/s at batch {batch}, Ascend 310P3", value=value, source=_GUIDE)
            for batch, value in ((1, 58.0), (4, 65.0), (8, 58.0), (16, 58.0), (32, 58.0), (64, 45.0))
        ),
    ),
)
