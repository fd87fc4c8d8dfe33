"""RetinaNet R50 NAS-FPN, crop640, 50 epochs: one-stage detection with a searched pyramid (COCO)."""

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
from graphopt.surgery import Expect, PassStep

_GUIDE = "NAS-FPN guide, Ascend/ModelZoo-PyTorch (ACL_PyTorch)"
_CONFIG = "retinanet_r50_nasfpn_crop640-50e_coco"


def nas_fpn_recipe(side: int) -> Recipe:
    """Return the recipe for square inputs of another size, in pixels."""
    steps = square_rgb_steps(side)
    recipe = Recipe(
        name="nas_fpn",
        title="RetinaNet with NAS-FPN: object detection, ResNet-50, COCO",
        build=network(_CONFIG, (side, side)),
        load=load_weights,
        inputs=(square_rgb_input(side),),
        outputs=(DETS, LABELS),
        preprocessing=steps,
        passes=(
            PassStep("fold_constants"),
            # In each of seven stages: three maps are enlarged, one is pooled from a pool, gates are put in
            # order.
            PassStep("replace_merge_cells", expect=(Expect(35, "pytorch 1.8"), Expect(35, "pytorch 2."))),
            PassStep("replace_nms", expect=1),
            *CLEAN,
            PassStep("pin_outputs", {"names": ("dets", "labels")}),
        ),
        tolerance=Tolerance(
            atol=1e-4, rtol=1e-4, peak=1e-5, why="scores are 0 to 1; boxes are float32 behind 100 layers"
        ),
        task=DetectionTask(steps=steps, clip=True),
        # The guide pins the outputs by node and index; here by those of the graph as it is.
        atc={"input_format": "NCHW", "log": "error", "out_nodes": "auto"},
        published=(
            Published(what="box mAP, PyTorch", value=0.405, source=_GUIDE),
            Published(what="box mAP, Ascend 310P", value=0.404, source=_GUIDE),
            Published(what="mean ms at batch 1, Ascend 310P", value=16.0825, source=_GUIDE),
            Published(what="images/s at batch 1, Ascend 310P", value=62.18, source=_GUIDE),
        ),
    )
    return with_demo(recipe)


RECIPE = nas_fpn_recipe(640)
