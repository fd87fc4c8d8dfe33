"""Classes, category ids and colours of COCO's detection task."""

import colorsys

COCO_CLASSES: tuple[str, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog"),
    *("horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella"),
    *("handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite"),
    *("baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle"),
    *("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich"),
    *("orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""By label 0..79, the order of a network's classes; names as in the annotation files of 2014 and 2017."""

_ABSENT = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""Ids between 1 and 90 that COCO gave to classes it never released."""

COCO_CATEGORY_IDS: tuple[int, ...] = tuple(i for i in range(1, 91) if i not in _ABSENT)
"""The id of each label in annotation and result files."""

_TURN = 0.618034
"""Golden ratio: neighbours in any number of hues are far apart."""


def class_colour(label: int) -> tuple[int, int, int]:
    """Return a strong RGB colour for a class; neighbouring labels differ much."""
    light = (1.0, 0.8)[label % 2]
    red, green, blue = colorsys.hsv_to_rgb(label * _TURN % 1, 0.85, light)
    return round(red * 255), round(green * 255), round(blue * 255)
