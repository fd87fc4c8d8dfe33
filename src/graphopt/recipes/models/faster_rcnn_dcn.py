"""Faster R-CNN R50 FPN with deformable convolutions in stages 3 to 5: two-stage detection (COCO)."""

from graphopt.core.comparison import Tolerance
from graphopt.recipes.demo_detector import with_demo
from graphopt.recipes.detector_parts import (
    CLEAN,
    DETS,
    LABELS,
    load_weights,
    network,
    square_rgb_input,
    square_rgb_steps,
)
from graphopt.recipes.recipe import Published, Recipe
from graphopt.runtime.tasks.detection import DetectionTask
from graphopt.surgery import PassStep

_GUIDE = "Faster R-CNN DCN guide, Ascend/ModelZoo-PyTorch (ACL_PyTorch)"
_CONFIG = "faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco"


def faster_rcnn_dcn_recipe(side: int) -> Recipe:
    """Return the recipe for square inputs of another size, in pixels."""
    steps = square_rgb_steps(side)
    recipe = Recipe(
        name="faster_rcnn_dcn",
        title="Faster R-CNN with deformable convolutions: object detection, ResNet-50 FPN, COCO",
        build=network(_CONFIG, (side, side)),
        load=load_weights,
        inputs=(square_rgb_input(side),),
        outputs=(DETS, LABELS),
        preprocessing=steps,
        passes=(
            PassStep("fold_constants"),
            # The network has 4, 6 and 3 bottlenecks with one each.
            PassStep("replace_dcn", expect=13),
            PassStep("replace_roi_extractor", expect=1),
            # Proposals and detections. The published figures were measured with max_proposals=500.
            PassStep("replace_nms", expect=2),
            *CLEAN,
            PassStep("pin_outputs", {"names": ("dets", "labels")}),
        ),
        tolerance=Tolerance(
            atol=1e-4, rtol=1e-4, peak=1e-5, why="scores are 0 to 1; boxes are float32 behind 80 layers"
        ),
        task=DetectionTask(steps=steps),
        atc={"input_format": "NCHW", "log": "debug"},
        published=(
            Published(what="box mAP, PyTorch", value=0.413, source=_GUIDE),
            Published(what="box mAP with 500 proposals, Ascend 310", value=0.412, source=_GUIDE),
            Published(what="box mAP with 500 proposals, Ascend 310P", value=0.411, source=_GUIDE),
            *(
                Published(what=f"images/s at batch {batch}, {chip}", value=value, source=_GUIDE)
                for chip, values in (
                    ("T4", {1: 5.40, 4: 4.00, 8: 3.60}),
                    ("Ascend 310", {1: 4.61, 4: 6.68, 8: 7.21}),
                    ("Ascend 310P", {1: 7.41, 4: 8.81, 8: 8.45, 16: 8.71}),
                )
                for batch, value in values.items()
            ),
        ),
    )
    return with_demo(recipe)


RECIPE = faster_rcnn_dcn_recipe(1216)
