"""Read how a configuration prepares images, by test pipeline and data preprocessor, as steps of graphopt."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphopt.core.errors import UsageError
from graphopt.core.preprocessing import (
    DecodeCv2,
    Normalize,
    NormalizeMmcv,
    PadBehindTo,
    ResizeCv2,
    ResizeEdgesCv2,
    Step,
    SwapChannels,
    ToFloat32,
    ToNchw,
)
from graphopt.exporters.mmdet.configs import needed

Settings = Mapping[str, Any]
_NO_IMAGE = (
    "LoadAnnotations",
    "PackDetInputs",
    "DefaultFormatBundle",
    "ImageToTensor",
    "Collect",
)
"""Transforms that leave the image as it is."""


class Preprocessing:
    """How a configuration makes an input of an image, for inputs of any size.

    mmdet pads each image to the next multiple of a divisor; here all images are padded to one size, on the
    same sides. An image that mmdet would make larger than that, e.g. an upright one, is made to fit.

    Args:
        settings: of the whole configuration.
        where: its name, for messages.

    Raises:
        UsageError: it has no pipeline, or one with a transform that is not known; it is named.
    """

    def __init__(self, settings: Settings, where: str) -> None:
        self._where = where
        named = map(_named, _flattened(_pipeline(dict(settings), where), where))
        found = [(kind, options) for kind, options in named if kind not in _NO_IMAGE]
        self._data = _data_preprocessor(settings, where)
        for kind, options in found:
            if kind not in _KNOWN:
                raise self._refusal(f"the transform {kind}")
            self._check(kind, options, _KNOWN[kind])
        self._transforms = dict(found)
        kinds = [kind for kind, _ in found]
        if kinds != [kind for kind in _KNOWN if kind in kinds] or kinds[:2] != list(_KNOWN)[:2]:
            raise self._refusal(f"a test pipeline in the order {', '.join(kinds) or 'of nothing'}")

    @property
    def divisor(self) -> int:
        """What the sides of an input are multiples of."""
        pad = self._transforms.get("Pad", {})
        return max(int(self._data.get("pad_size_divisor") or 1), int(pad.get("size_divisor") or 1))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that every image gets; None where they depend on its shape."""
        pad, scale = self._transforms.get("Pad", {}), self._scale()
        found = pad.get("size")
        if not found and (not self._keeps_ratio or scale[0] == scale[1]):
            found = scale
        return None if not found else (self._up(found[1]), self._up(found[0]))

    @property
    def landscape(self) -> tuple[int, int]:
        """Height and width that no image which lies on its long side exceeds."""
        return self._up(min(self._scale())), self._up(max(self._scale()))

    def steps(self, height: int, width: int) -> tuple[Step, ...]:
        """Return the steps to an input of ``height`` x ``width``."""
        steps: list[Step] = [DecodeCv2(colour="BGR")]
        if self._transforms.get("LoadImageFromFile", {}).get("to_float32"):
            steps.append(ToFloat32())
        if self._keeps_ratio:
            longest, shortest = max(self._scale()), min(self._scale())
            steps.append(ResizeEdgesCv2(longest=longest, shortest=shortest, width=width, height=height))
        else:
            steps.append(ResizeCv2(width=width, height=height))
        normalize = self._transforms.get("Normalize")
        if normalize:
            swap = [SwapChannels()] if normalize.get("to_rgb", True) else []
            mean, std = (_three(normalize[name]) for name in ("mean", "std"))
            steps += [*swap, NormalizeMmcv(mean=mean, std=std)]
        if "Pad" in self._transforms:
            steps.append(PadBehindTo(height=height, width=width, value=self._colour()))
        if self._data.get("bgr_to_rgb") or self._data.get("rgb_to_bgr"):
            steps.append(SwapChannels())
        if not normalize and ToFloat32() not in steps:
            steps.append(ToFloat32())
        if self._data.get("mean") is not None:
            if self._data.get("std") is None:
                raise self._refusal("a mean without a std")
            steps.append(Normalize(mean=_three(self._data["mean"]), std=_three(self._data["std"])))
        if "Pad" not in self._transforms:
            value = float(self._data.get("pad_value") or 0)
            steps.append(PadBehindTo(height=height, width=width, value=(value, value, value)))
        return (*steps, ToNchw())

    @property
    def _keeps_ratio(self) -> bool:
        return bool(self._transforms["Resize"].get("keep_ratio", False))

    def _scale(self) -> tuple[int, int]:
        """Width and height, as the configuration says them."""
        resize = self._transforms.get("Resize", {})
        scale = resize.get("scale", resize.get("img_scale"))
        sides = (scale, scale) if isinstance(scale, int) else scale
        if (
            not isinstance(sides, (tuple, list))
            or len(sides) != 2
            or not all(isinstance(side, int) and side > 0 for side in sides)
        ):
            raise self._refusal(f"a test pipeline that resizes to {scale!r}")
        return sides[0], sides[1]

    def _colour(self) -> tuple[float, float, float]:
        value = self._transforms["Pad"].get("pad_val", 0)
        value = value.get("img", 0) if isinstance(value, Mapping) else value
        return _three([value] if isinstance(value, (int, float)) else value)

    def _up(self, side: int) -> int:
        return -(-int(side) // self.divisor) * self.divisor

    def _check(self, kind: str, options: Settings, known: Mapping[str, tuple[Any, ...]]) -> None:
        for name, value in options.items():
            if name not in known:
                raise self._refusal(f"the option {name} of the transform {kind}")
            if known[name] and value not in known[name]:
                raise self._refusal(f"{kind} with {name}={value!r}")

    def _refusal(self, what: str) -> UsageError:
        return UsageError(
            f"{self._where} has {what}, which graphopt does not imitate; write the steps in a recipe of "
            "your own (graphopt new recipe), or export without data: graphopt export mmdet"
        )


_ANY: tuple[Any, ...] = ()
_FREE = {"backend_args": _ANY, "file_client_args": _ANY}
_KNOWN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "LoadImageFromFile": {
        **_FREE,
        "to_float32": (False, True),
        "color_type": ("color",),
        "imdecode_backend": ("cv2", None),
        "ignore_empty": _ANY,
    },
    "Resize": {
        "scale": _ANY,
        "img_scale": _ANY,
        "keep_ratio": (False, True),
        "clip_object_border": _ANY,
        "backend": ("cv2",),
        "interpolation": ("bilinear",),
    },
    "Normalize": {"mean": _ANY, "std": _ANY, "to_rgb": (False, True)},
    "Pad": {
        "size": _ANY,
        "size_divisor": _ANY,
        "pad_to_square": (False, True),
        "pad_val": _ANY,
        "padding_mode": ("constant",),
    },
}
"""Transforms of mmdet 3.x and 2.x in the order that is understood, their options, and the values of these;
none listed: any."""


def _pipeline(settings: dict[str, Any], where: str) -> Sequence[Any]:
    """Return the test pipeline: that of the test data, else the setting of this name."""
    place: Any = settings
    for key in ("test_dataloader", "dataset", "pipeline"):
        place = place.get(key) if isinstance(place, Mapping) else None
    if place is None:
        place = _of_old_versions(settings) or settings.get("test_pipeline")
    if place is None:
        raise UsageError(f"{where} has no test pipeline (test_dataloader.dataset.pipeline)")
    found: Sequence[Any] = needed({"test_pipeline": place}, "test_pipeline", where)
    return found


def _of_old_versions(settings: Settings) -> Any:
    place: Any = settings
    for key in ("data", "test", "pipeline"):
        place = place.get(key) if isinstance(place, Mapping) else None
    return place


def _flattened(transforms: Sequence[Any], where: str) -> list[Settings]:
    """Return the transforms, those of 2.x taken out of their ``MultiScaleFlipAug`` of one size."""
    found: list[Settings] = []
    for item in transforms:
        if not isinstance(item, Mapping):
            raise UsageError(f"{where}: {item!r} in the test pipeline is no transform")
        if _named(item)[0] != "MultiScaleFlipAug":
            found.append(item)
            continue
        scale = item.get("img_scale")
        if item.get("flip") or not isinstance(scale, (tuple, list)) or not isinstance(scale[0], int):
            raise UsageError(f"{where} tests at several sizes or mirrored, which graphopt does not do")
        # Its own flip decides, which is off.
        inner = [dict(part) for part in item["transforms"] if _named(part)[0] != "RandomFlip"]
        for part in inner:
            if _named(part)[0] == "Resize":
                part["img_scale"] = scale  # one of the transform's own takes no part
                part.setdefault("keep_ratio", True)  # the default was another one before 3.0
        found += inner
    return found


def _named(transform: Settings) -> tuple[str, Settings]:
    kind = str(transform.get("type")).rpartition(".")[2]
    return kind, {name: value for name, value in transform.items() if name != "type"}


def _data_preprocessor(settings: Settings, where: str) -> Settings:
    model = needed(dict(settings), "model", where)
    found = model.get("data_preprocessor") or settings.get("data_preprocessor")
    if found is None:
        return {}  # before 3.0 the pipeline did all of it
    kind, options = _named(found)
    if kind != "DetDataPreprocessor":
        raise UsageError(f"{where} prepares inputs by a {kind}; only DetDataPreprocessor is understood")
    return options


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in ([*values] * 3 if len(values) == 1 else values))
    return first, second, third
