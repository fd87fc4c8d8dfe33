"""A detection recipe that runs in a moment: seven fixed boxes, as many of them as the image is bright.

See the fixture ``boxes``. The raw graph numbers its outputs and answers as many rows as there are, as
exporters do; the pinned one has the recipe's names and always seven rows.
"""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import DecodeCv2, NormalizeMmcv, PadCentredTo, ResizeToFitCv2, ToNchw
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Recipe
from graphopt.runtime.datasets.synthetic_coco import write_coco
from graphopt.runtime.tasks.detection import DetectionTask

HEIGHT, WIDTH, ROWS = 48, 64, 7
_STEPS = (
    DecodeCv2(),
    ResizeToFitCv2(width=WIDTH, height=HEIGHT, rounding="floor"),
    NormalizeMmcv(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0)),
    PadCentredTo(width=WIDTH, height=HEIGHT, value=(0.0, 0.0, 0.0)),
    ToNchw(),
)
RECIPE = Recipe(
    name="boxes",
    title="Seven boxes",
    inputs=(TensorSpec(name="image", shape=(1, 3, HEIGHT, WIDTH), dtype="float32", layout="NCHW"),),
    outputs=(
        TensorSpec(name="labels", shape=(ROWS,), dtype="int64", role="labels"),
        TensorSpec(name="dets", shape=(ROWS, 5), dtype="float32", role="dets"),
    ),
    passes=(),
    tolerance=Tolerance(atol=1e-5, rtol=1e-5, why="nothing is computed"),
    preprocessing=_STEPS,
    task=DetectionTask(steps=_STEPS),
)


def write_onnx(path: Path, *, pinned: bool = False, shift: float = 0.0) -> Path:
    """Write the graph; ``shift`` moves all boxes, in pixels."""
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 30, (ROWS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 18, (ROWS, 2))], axis=1) + shift
    rows = np.concatenate([boxes, 0.95 - 0.1 * np.arange(ROWS)[:, None]], axis=1).astype(np.float32)
    # The last two tell seeded inputs apart, whose mean is about 0.8; images are darker.
    bound = np.array([0, 0.15, 0.3, 0.45, 0.6, 0.79, 0.81], np.float32)
    numbered = "float[n,5] found_17, int64[n] found_23"
    fixed = f"float[{ROWS},5] dets, int64[{ROWS}] labels"
    ends = """
            dets = Mul (rows, mask)
            labels = Identity (classes)
    """
    if not pinned:
        ends = """
            places = NonZero (bright)
            turned = Transpose <perm = [1, 0]> (places)
            chosen = Squeeze <axes = [1]> (turned)
            found_17 = Gather <axis = 0> (rows, chosen)
            found_23 = Gather <axis = 0> (classes, chosen)
        """
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 11]>
        boxes (float[1,3,{HEIGHT},{WIDTH}] image) => ({fixed if pinned else numbered})
        {{
            positive = Abs (image)
            mean = ReduceMean <keepdims = 0> (positive)
            bright = Less (bound, mean)
            flag = Cast <to = 1> (bright)
            mask = Unsqueeze <axes = [1]> (flag)
            {ends}
        }}
    """)
    values = {"rows": rows, "bound": bound, "classes": np.array([0, 2, 5, 8, 18, 58, 62], np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    onnx.save(model, str(path))
    return path


def write_data(folder: Path, *, images: int = 3) -> Path:
    """Write drawn scenes in COCO's format; return the folder of ``coco``."""
    sizes = ((160, 120), (90, 120), (128, 96))
    write_coco(folder, train=1, val=images, seed=5, sizes=sizes, objects=(10, 14))
    return folder
