"""Inputs made by hand with OpenCV, Pillow and numpy, each with one mistake (or two) of known name."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.recipe import Recipe

Array = NDArray[Any]
Triple = tuple[float, float, float]
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
CAFFE_MEAN = (102.9801, 115.9465, 122.7717)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What is done to an image, in this order; the defaults are those of most detectors."""

    canvas: tuple[int, int]
    mirrored: bool = False
    fit: str = "half up"
    taller: int = 0
    library: str = "opencv"
    interpolation: str = "linear"
    moved_by_half: bool = False
    cropped: bool = False
    order: str = "RGB"
    prescale: float = 1.0
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    side: str = "middle"
    padding_level: Triple | None = None
    shift: tuple[int, int] = (0, 0)
    swapped_after: bool = False
    dtype: str = "float32"
    layout: str = "CHW"


PUBLISHED = {
    "deepmar": Pipeline(canvas=(224, 224), library="pillow", fit="stretch"),
    "refinenet": Pipeline(
        canvas=(500, 500), library="opencv float", fit="longest", padding_level=IMAGENET_MEAN
    ),
    "fcos": Pipeline(canvas=(800, 1333), fit="down", order="BGR", mean=CAFFE_MEAN, std=(1, 1, 1)),
    "nas_fpn": Pipeline(canvas=(640, 640)),
    "faster_rcnn_dcn": Pipeline(canvas=(1216, 1216)),
}


def recipe_at(name: str, canvas: tuple[int, int]) -> Recipe:
    """Return a shipped recipe whose steps make another size of the input."""
    recipe = find_recipe(name)
    sizes = {"height": canvas[0], "width": canvas[1], "size": max(canvas)}
    steps: list[Any] = []
    for step in recipe.preprocessing:
        fields = {field.name for field in dataclasses.fields(step)}
        changed: Any = {key: value for key, value in sizes.items() if key in fields}
        steps.append(dataclasses.replace(step, **changed))
    spec = dataclasses.replace(recipe.inputs[0], shape=(1, 3, *canvas))
    return dataclasses.replace(recipe, preprocessing=tuple(steps), inputs=(spec,))


def make(image: Path, done: Pipeline) -> Array:
    """Run a pipeline; the result has the axes of ``layout``."""
    pixels: Array = np.asarray(Image.open(image).convert("RGB"))
    pixels = pixels[:, ::-1] if done.mirrored else pixels
    height, width = done.canvas
    tall, wide = _size(done, *pixels.shape[:2])
    if done.cropped:
        larger = round(height * 256 / 224), round(width * 256 / 224)
        top, left = round((larger[0] - height) / 2), round((larger[1] - width) / 2)
        scaled = _scaled(pixels, *larger, done)[top : top + height, left : left + width]
        tall, wide = height, width
    else:
        scaled = _scaled(pixels, tall, wide, done)
    if done.moved_by_half:
        for _ in range(2):
            scaled = (scaled + np.concatenate([scaled[1:], scaled[-1:]])) / 2
            scaled = scaled.swapaxes(0, 1)
    if done.order == "BGR":
        scaled = scaled[..., ::-1]
    mean, std = np.array(done.mean), np.array(done.std)
    levels = np.array(mean / done.prescale if done.padding_level is None else done.padding_level)
    canvas = np.broadcast_to((levels * done.prescale - mean) / std, (height, width, 3)).copy()
    top, left = {
        "middle": ((height - tall) // 2, (width - wide) // 2),
        "upper left": (0, 0),
        "lower right": (height - tall, width - wide),
    }[done.side]
    canvas[top : top + tall, left : left + wide] = (scaled * done.prescale - mean) / std
    if any(done.shift):
        down, right = done.shift
        wider = np.pad(canvas, ((4, 4), (4, 4), (0, 0)), mode="edge")
        canvas = wider[4 - down : 4 - down + height, 4 - right : 4 - right + width]
    canvas = canvas[..., ::-1] if done.swapped_after else canvas
    if done.dtype == "uint8":
        canvas = np.rint(canvas * std + mean).clip(0, 255)
    axes = ["HWC".index(axis) for axis in done.layout]
    return np.ascontiguousarray(canvas.transpose(axes).astype(done.dtype))


def _size(done: Pipeline, height: int, width: int) -> tuple[int, int]:
    if done.fit == "stretch":
        return done.canvas
    if done.fit == "longest":
        scale = max(done.canvas) / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale)) + done.taller
    scale = min(done.canvas[1] / width, done.canvas[0] / height)
    more = {"half up": 0.5, "down": 0.0, "up": 1 - 1e-9}[done.fit]
    return max(1, int(height * scale + more) + done.taller), max(1, int(width * scale + more))


def _scaled(pixels: Array, height: int, width: int, done: Pipeline) -> Array:
    if done.interpolation in ("asymmetric", "aligned corners"):
        return _at_other_places(pixels, height, width, done)
    if done.library == "pillow":
        names = {"linear": "BILINEAR", "nearest": "NEAREST", "cubic": "BICUBIC", "area": "BOX"}
        method = Image.Resampling[names[done.interpolation]]
        return np.asarray(Image.fromarray(pixels).resize((width, height), method)).astype(np.float64)
    source = pixels.astype(np.float32) if done.library == "opencv float" else np.ascontiguousarray(pixels)
    if source.shape[:2] == (height, width):
        return source.astype(np.float64)
    flag = getattr(cv2, f"INTER_{done.interpolation.upper()}")
    scaled: Array = cv2.resize(source, (width, height), interpolation=flag)
    return scaled.astype(np.float64)


def _at_other_places(pixels: Array, height: int, width: int, done: Pipeline) -> Array:
    """Sample bilinearly, one output pixel at a time of each axis."""
    result = pixels.astype(np.float64)
    for axis, new in ((0, height), (1, width)):
        old = result.shape[axis]
        step = old / new if done.interpolation == "asymmetric" else (old - 1) / max(1, new - 1)
        rows = []
        for place in np.minimum(np.arange(new) * step, old - 1):
            below = int(place)
            above = min(below + 1, old - 1)
            part = place - below
            rows.append(result.take(below, axis) * (1 - part) + result.take(above, axis) * part)
        result = np.stack(rows, axis)
    return result if done.library == "opencv float" else np.rint(result)


@dataclass(frozen=True)
class Plant:
    """A mistake.

    Attributes:
        causes: the names that a verdict should give, in any order; none where the input is as it should be.
        change: the recipe's pipeline to the fields that differ; None where the mistake cannot be made.
    """

    causes: tuple[str, ...]
    change: Callable[[Pipeline], dict[str, Any] | None]


def _other_order(own: Pipeline) -> str:
    return "RGB" if own.order == "BGR" else "BGR"


def _padded(**fields: Any) -> Callable[[Pipeline], dict[str, Any] | None]:
    return lambda own: None if own.fit == "stretch" else fields


def _divided(own: Pipeline) -> bool:
    return own.std != (1, 1, 1)


PLANTS = {
    "nothing": Plant((), lambda _: {}),
    "BGR for RGB": Plant(("channel_order",), lambda own: {"order": _other_order(own)}),
    "channels swapped after normalising": Plant(("channel_order",), lambda _: {"swapped_after": True}),
    "another mean": Plant(
        ("mean",), lambda own: {"mean": (own.mean[0] + 3, own.mean[1] - 2, own.mean[2] + 5)}
    ),
    "no mean": Plant(("mean",), lambda _: {"mean": (0, 0, 0)}),
    "mean of the other order": Plant(("mean",), lambda own: {"mean": own.mean[::-1]}),
    "no deviation": Plant(("std",), lambda own: {"std": (1, 1, 1)} if _divided(own) else None),
    "another deviation": Plant(
        ("std",), lambda own: {"std": (own.std[0] * 1.02, own.std[1] * 0.9, own.std[2] * 1.1)}
    ),
    "not normalised": Plant(
        ("normalization",), lambda own: {"mean": (0, 0, 0), "std": (1, 1, 1)} if _divided(own) else None
    ),
    "only divided by 255": Plant(("normalization",), lambda _: {"mean": (0, 0, 0), "std": (255, 255, 255)}),
    "not divided by 255": Plant(("scale",), lambda own: {"prescale": 255.0}),
    "divided by 255 too much": Plant(("scale",), lambda own: {"prescale": 1 / 255}),
    "nearest": Plant(("resize_kernel",), lambda _: {"interpolation": "nearest"}),
    "cubic": Plant(("resize_kernel",), lambda _: {"interpolation": "cubic"}),
    "area": Plant(("resize_kernel",), lambda _: {"interpolation": "area"}),
    "the other library": Plant(
        ("resize_kernel",), lambda own: {"library": "opencv" if own.library == "pillow" else "pillow"}
    ),
    "rounded or not": Plant(
        ("resize_precision",),
        lambda own: {
            "opencv": {"library": "opencv float"},
            "opencv float": {"library": "opencv"},
        }.get(own.library),
    ),
    "asymmetric": Plant(("half_pixel_shift",), lambda _: {"interpolation": "asymmetric"}),
    "aligned corners": Plant(("half_pixel_shift",), lambda _: {"interpolation": "aligned corners"}),
    "moved by half a pixel": Plant(("half_pixel_shift",), lambda _: {"moved_by_half": True}),
    "upper left": Plant(("padding_side",), _padded(side="upper left")),
    "lower right": Plant(("padding_side",), _padded(side="lower right")),
    "padded with 114": Plant(("padding_value",), _padded(padding_level=(114, 114, 114))),
    "padded with black": Plant(("padding_value",), _padded(padding_level=(0, 0, 0))),
    "stretched": Plant(("aspect",), _padded(fit="stretch")),
    "aspect kept": Plant(("aspect",), lambda own: {"fit": "half up"} if own.fit == "stretch" else None),
    "rounded up": Plant(("size_rounding",), _padded(fit="up")),
    "a pixel less": Plant(("size_rounding",), _padded(taller=-1)),
    "moved by a pixel": Plant(("shift",), lambda _: {"shift": (1, -1)}),
    "cropped": Plant(("crop",), lambda own: {"cropped": True} if own.fit == "stretch" else None),
    "NHWC": Plant(("layout",), lambda _: {"layout": "HWC"}),
    "height and width exchanged": Plant(("layout",), lambda _: {"layout": "CWH"}),
    "mirrored": Plant(("orientation",), lambda _: {"mirrored": True}),
    "float16": Plant((), lambda _: {"dtype": "float16"}),
    "whole levels": Plant((), lambda _: {"dtype": "uint8", "layout": "HWC"}),
    "float64": Plant(("dtype",), lambda _: {"dtype": "float64"}),
    "whole levels, BGR for RGB": Plant(
        ("channel_order",), lambda own: {"dtype": "uint8", "layout": "HWC", "order": _other_order(own)}
    ),
    "float16, mean of the other order": Plant(
        ("mean",), lambda own: {"dtype": "float16", "mean": own.mean[::-1]}
    ),
    "BGR for RGB, nearest": Plant(
        ("channel_order", "resize_kernel"),
        lambda own: {"order": _other_order(own), "interpolation": "nearest"},
    ),
    "upper left, cubic": Plant(
        ("padding_side", "resize_kernel"), _padded(side="upper left", interpolation="cubic")
    ),
    "NHWC, no mean": Plant(("layout", "mean"), lambda _: {"layout": "HWC", "mean": (0, 0, 0)}),
}
"""By what was done."""


def planted(name: str, canvas: tuple[int, int], plant: Plant) -> Pipeline | None:
    """Return a recipe's pipeline at a size with a mistake in it; None where it cannot be made."""
    own = dataclasses.replace(PUBLISHED[name], canvas=canvas)
    fields = plant.change(own)
    return None if fields is None else dataclasses.replace(own, **fields)


def write(images: Sequence[Path], folder: Path, done: Pipeline, *, of: Sequence[Path] | None = None) -> None:
    """Write the file of every image; ``of`` gives the images that they really show."""
    folder.mkdir(parents=True, exist_ok=True)
    for image, shown in zip(images, of or images, strict=True):
        make(shown, done).tofile(folder / f"{image.stem}.bin")
