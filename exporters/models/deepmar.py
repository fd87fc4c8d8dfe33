"""DeepMAR: 35 attributes of a pedestrian from a ResNet-50 (Li, Chen and Huang, 2015).

Key names are those of the public checkpoints: ``base.conv1.weight``, ``base.layer1.0.bn1.bias``,
..., ``classifier.weight``. Importing this file needs no torch, building does.
"""

from typing import TYPE_CHECKING, cast

from graphopt.core.errors import UsageError
from graphopt.core.optional import require
from graphopt.core.peta import PETA_ATTRIBUTES

if TYPE_CHECKING:
    from graphopt.exporters.models._deepmar import DeepMAR

RESNET50_BLOCKS = (3, 4, 6, 3)
TOTAL_STRIDE = 32
"""Input pixels per cell of the last feature map."""


def build_deepmar(
    *,
    num_attributes: int = len(PETA_ATTRIBUTES),
    image_size: int = 224,
    blocks: tuple[int, int, int, int] = RESNET50_BLOCKS,
    width: int = 64,
) -> "DeepMAR":
    """Return the network in eval mode, with the random weights that training starts from.

    Args:
        num_attributes: logits per image.
        image_size: height and width of the input in pixels, a multiple of 32. It fixes the
            kernel of the last pool (7 for 224).
        blocks: bottlenecks per layer; fewer make a small network for tests.
        width: channels of the stem; ``32 * width`` features reach the classifier.

    Returns:
        A module from images float32 ``[N, 3, image_size, image_size]`` to logits
        ``[N, num_attributes]``; ``features(x)`` stops before the classifier.

    Raises:
        UsageError: ``image_size`` is no multiple of 32.
        MissingBackendError: torch is not installed.
    """
    if image_size <= 0 or image_size % TOTAL_STRIDE:
        raise UsageError(f"image_size must be a positive multiple of {TOTAL_STRIDE}, not {image_size}")
    require("torch", extra="torch", purpose="the DeepMAR network")
    from graphopt.exporters.models._deepmar import DeepMAR

    network = DeepMAR(
        blocks=blocks, width=width, num_attributes=num_attributes, pool=image_size // TOTAL_STRIDE
    )
    return cast("DeepMAR", network.eval())
