"""VOC's names and colours, against those everybody knows."""

from graphopt.core.voc import VOC_CLASSES, VOC_IGNORE, voc_palette


def test_classes_are_vocs_in_their_order() -> None:
    assert (len(VOC_CLASSES), len(set(VOC_CLASSES)), VOC_IGNORE) == (21, 21, 255)
    assert (VOC_CLASSES[0], VOC_CLASSES[1], VOC_CLASSES[15], VOC_CLASSES[20]) == (
        "background",
        "aeroplane",
        "person",
        "tvmonitor",
    )


def test_the_palette_is_the_development_kits() -> None:
    palette = voc_palette()
    assert (len(palette), len(set(palette))) == (256, 256)
    assert palette[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert (palette[8], palette[15], palette[20]) == ((64, 0, 0), (192, 128, 128), (0, 64, 128))
    assert palette[VOC_IGNORE] == (224, 224, 192)
