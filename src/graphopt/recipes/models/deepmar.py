"""DeepMAR: 35 attributes of pedestrians from one ResNet-50 (PETA)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.core.comparison import Tolerance
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.core.preprocessing import DecodePil, Normalize, ResizePil, ScaleToUnit, ToNchw
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Demo, Published, Recipe
from graphopt.runtime.tasks.attributes import AttributeTask
from graphopt.surgery import Expect, PassStep

if TYPE_CHECKING:
    import torch

_GUIDE = "DeepMAR guide, Ascend/ModelZoo-PyTorch (ACL_PyTorch)"


def _build() -> "torch.nn.Module":
    from graphopt.exporters.models.deepmar import build_deepmar

    return build_deepmar()


def _load(module: "torch.nn.Module", checkpoint: Path) -> Mapping[str, Any]:
    from graphopt.exporters.checkpoint import load_into, read_checkpoint

    content = read_checkpoint(checkpoint)
    load_into(module, content, key="state_dict")
    return content.meta


def _make_demo(folder: Path) -> Demo:
    from graphopt.recipes.demo_deepmar import make_deepmar_demo

    return make_deepmar_demo(folder)


RECIPE = Recipe(
    name="deepmar",
    title="DeepMAR: pedestrian attributes, ResNet-50, PETA",
    build=_build,
    load=_load,
    make_demo=_make_demo,
    inputs=(
        TensorSpec(
            name="actual_input_1",
            shape=(1, 3, 224, 224),
            dtype="float32",
            layout="NCHW",
            unit="RGB, normalised with the ImageNet mean and deviation",
        ),
    ),
    outputs=(
        TensorSpec(
            name="output1",
            shape=(1, len(PETA_ATTRIBUTES)),
            dtype="float32",
            unit="logit",
            role="attributes",
        ),
    ),
    preprocessing=(
        DecodePil(colour="RGB"),
        ResizePil(width=224, height=224, interpolation="bilinear"),
        ScaleToUnit(),
        Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ToNchw(),
    ),
    passes=(
        # torch 1.6 left one zero Pad before the last pool; newer exporters leave none.
        PassStep("remove_pad", expect=(Expect(1, "pytorch 1.6"), Expect(0, "pytorch 2."))),
        PassStep("static_shapes"),
        PassStep("fold_constants"),
        PassStep("fuse_batchnorm"),
        PassStep("remove_identity"),
    ),
    tolerance=Tolerance(
        atol=1e-4, rtol=1e-4, peak=1e-5, why="float32 logits after 50 layers; noise seen is below 1e-5"
    ),
    task=AttributeTask(attributes=PETA_ATTRIBUTES, output="output1"),
    batch_sizes=(1, 4, 8, 16, 32, 64),
    atc={"input_format": "NCHW", "log": "error"},
    published=(
        Published(what="instance accuracy, PyTorch", value=0.789, source=_GUIDE),
        Published(what="instance accuracy, Ascend 310", value=0.78965245043699, source=_GUIDE),
        Published(what="instance precision, Ascend 310", value=0.8823281028182345, source=_GUIDE),
        Published(what="instance recall, Ascend 310", value=0.8496866930584036, source=_GUIDE),
        Published(what="instance F1, Ascend 310", value=0.8656998192635741, source=_GUIDE),
    ),
)
