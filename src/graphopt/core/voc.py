"""Classes, palette and void label of PASCAL VOC's segmentation task."""

VOC_CLASSES: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""In the order of a network's output channels and of the values in a mask."""

VOC_IGNORE = 255
"""Void: object borders, and what nobody labelled. Such pixels take part in no figure."""


def voc_palette() -> tuple[tuple[int, int, int], ...]:
    """Return the 256 RGB colours of VOC's indexed masks.

    The bits of an index are dealt out in turn to red, green and blue, from the highest bit of each
    downwards, as the development kit's ``VOClabelcolormap`` does.
    """
    return tuple(_colour(index) for index in range(256))


def _colour(index: int) -> tuple[int, int, int]:
    channels = [0, 0, 0]
    for place in range(8):
        bit = index >> place & 1
        channels[place % 3] |= bit << (7 - place // 3)
    return channels[0], channels[1], channels[2]
