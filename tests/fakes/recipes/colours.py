"""A segmentation recipe that runs in a moment: the nearest of four colours, on 24 x 24 pixels.

There is no network behind the graph: the logits are ``2 p.x - |p|^2`` for the mean colour x of each
4 x 4 block and the colour p of each class, so that the largest belongs to the nearest colour. See
the fixture ``colours``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper
from PIL import Image

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
from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE, voc_palette
from graphopt.recipes.recipe import Published, Recipe
from graphopt.runtime.tasks.segmentation import SegmentationTask
from graphopt.surgery import PassStep

SIDE = 24
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
COLOURS = {0: (128, 128, 128), 1: (220, 40, 40), 8: (40, 200, 60), 15: (50, 60, 220)}
"""Of the classes that the pictures show."""
STEMS = (
    "2010_000007",
    "2010_000003",
    "2010_000005",
    "2010_000001",
    "2010_000009",
    "2010_000002",
    "2010_000004",
)


def write_onnx(path: Path, *, batch: int | str = 1, scale: float = 1.0) -> Path:
    """Write the graph; ``scale`` is of the colours and makes other masks."""
    weight = np.zeros((len(VOC_CLASSES), 3, 1, 1), np.float32)
    bias = np.full(len(VOC_CLASSES), -1e3, np.float32)
    for index, colour in COLOURS.items():
        point = (np.array(colour) / 255 - MEAN) / np.array(STD) * (scale if index else 1)
        weight[index, :, 0, 0], bias[index] = 2 * point, -(point**2).sum()
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 11]>
        colours (float[{batch},3,{SIDE},{SIDE}] input) => (float[{batch},21,6,6] output)
        {{
            same = Identity (input)
            pooled = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (same)
            output = Conv <kernel_shape = [1, 1]> (pooled, weight, bias)
        }}
    """)
    model.graph.initializer.extend(
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    )
    onnx.save(model, str(path))
    return path


def write_data(folder: Path) -> Path:
    """Write seven noisy pictures of coloured boxes, of different sizes, in VOC's layout."""
    place = folder / "VOCdevkit" / "VOC2012"
    for inner in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (place / inner).mkdir(parents=True)
    palette = [channel for entry in voc_palette() for channel in entry]
    for number, stem in enumerate(STEMS):
        pixels, mask = _picture(number)
        Image.fromarray(pixels).save(place / f"JPEGImages/{stem}.jpg", quality=95)
        indexed = Image.fromarray(mask)
        indexed.putpalette(palette)
        indexed.save(place / f"SegmentationClass/{stem}.png")
    (place / "ImageSets/Segmentation/val.txt").write_text("".join(f"{stem}\n" for stem in STEMS))
    return folder


def _picture(number: int) -> tuple[Any, Any]:
    rng = np.random.default_rng([5, number])
    width, height = 48 - 3 * number, 30 + 2 * number
    mask = np.zeros((height, width), np.uint8)
    for index in rng.permutation([1, 8, 15])[: 1 + number % 3]:
        left, top = int(rng.integers(0, width - 16)), int(rng.integers(0, height - 14))
        mask[top : top + 14, left : left + 16] = index
    pixels = np.array([COLOURS.get(index, (0, 0, 0)) for index in range(16)], np.float32)[mask]
    pixels = pixels + rng.normal(0, 12, pixels.shape)
    edge = np.zeros(mask.shape, np.bool_)
    edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edge[1:] |= mask[1:] != mask[:-1]
    mask[edge] = VOC_IGNORE
    return pixels.clip(0, 255).astype(np.uint8), mask


RECIPE = Recipe(
    name="colours",
    title="Colours: the nearest of four",
    inputs=(TensorSpec(name="input", shape=("b", 3, SIDE, SIDE), dtype="float32", layout="NCHW"),),
    outputs=(TensorSpec(name="output", shape=("b", len(VOC_CLASSES), 6, 6), dtype="float32", role="masks"),),
    preprocessing=(
        DecodePil(),
        ToFloat32(),
        ResizeLongestCv2(size=SIDE),
        PadCentredTo(height=SIDE, width=SIDE, value=(127.5, 127.5, 127.5)),
        NormalizePixels(mean=MEAN, std=STD),
        ToNchw(),
    ),
    passes=(PassStep("remove_identity"),),
    tolerance=Tolerance(atol=1e-3, rtol=1e-4, why="float32 sums in another order; logits up to 1000"),
    task=SegmentationTask(size=(SIDE, SIDE)),
    batch_sizes=(1, 2),
    published=(Published(what="mean IoU, elsewhere", value=0.7, source="nobody"),),
)
