"""FCOS R50-caffe FPN: one-stage detection without anchors (COCO)."""

from dataclasses import replace

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import DecodeCv2, NormalizeMmcv, PadCentredTo, ResizeToFitCv2, Step, ToNchw
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.demo_detector import with_demo
from graphopt.recipes.detector_parts import CLEAN, DETS, LABELS, load_weights, network
from graphopt.recipes.recipe import Published, Recipe
from graphopt.runtime.tasks.detection import DetectionTask
from graphopt.surgery import PassStep

_GUIDE = "FCOS guide, Ascend/ModelZoo-PyTorch (ACL_PyTorch)"
_CONFIG = "fcos_r50-caffe_fpn_gn-head_1x_coco"
_CHANGES = {"bbox_head.norm_cfg": None}
"""The published network has no group norm, which became mmdet's default; its other settings are the same."""
_ORDER = ("labels", "dets")
_BATCH = "batch"


def fcos_recipe(height: int, width: int) -> Recipe:
    """Return the recipe for inputs of another size, in pixels."""
    steps = _steps(height, width)
    outputs = {spec.name: replace(spec, shape=(_BATCH, *spec.shape)) for spec in (DETS, LABELS)}
    recipe = Recipe(
        name="fcos",
        title="FCOS: object detection, ResNet-50-caffe FPN, COCO",
        build=network(_CONFIG, (height, width), changes=_CHANGES, batched=True, order=_ORDER),
        load=load_weights,
        inputs=(
            TensorSpec(
                name="input",
                shape=(_BATCH, 3, height, width),
                dtype="float32",
                layout="NCHW",
                unit="BGR, Caffe's means subtracted",
            ),
        ),
        outputs=tuple(outputs[name] for name in _ORDER),
        preprocessing=steps,
        passes=(
            # One graph for each batch: those for more images are made of this one.
            PassStep("static_shapes", {"shapes": f"1x3x{height}x{width}"}),
            PassStep("fold_constants"),
            PassStep("replace_nms", expect=1),
            *CLEAN,
            PassStep("pin_outputs", {"names": _ORDER}),
        ),
        tolerance=Tolerance(
            atol=1e-4, rtol=1e-4, peak=1e-5, why="scores are 0 to 1; boxes are float32 behind 60 layers"
        ),
        task=DetectionTask(steps=steps),
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
    return with_demo(recipe)


def _steps(height: int, width: int) -> tuple[Step, ...]:
    # The guide's table says RGB; its script keeps OpenCV's BGR, which the checkpoint wants.
    return (
        DecodeCv2(colour="BGR"),
        ResizeToFitCv2(width=width, height=height, rounding="floor"),
        NormalizeMmcv(mean=(102.9801, 115.9465, 122.7717), std=(1.0, 1.0, 1.0)),
        PadCentredTo(width=width, height=height, value=(0.0, 0.0, 0.0)),
        ToNchw(),
    )


RECIPE = fcos_recipe(height=800, width=1333)
