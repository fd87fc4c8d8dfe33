"""RefineNet-101: semantic segmentation by four refinement blocks on a ResNet-101 (Lin et al., 2017).

Key names are those of the public checkpoints (DrSleep/refinenet-pytorch, ``rf101``). Importing this
file needs no torch, building does.
"""

from typing import TYPE_CHECKING, cast

from graphopt.core.errors import UsageError
from graphopt.core.optional import require

if TYPE_CHECKING:
    from graphopt.exporters.models._refinenet import RefineNet

RESNET101_BLOCKS = (3, 4, 23, 3)
VOC_CLASSES = 21
POOL_KERNEL = 5
LAST_POOL_KERNEL = 1
"""The published device checkpoint was trained so; the paper's network has 5 there, too."""


def build_refinenet(
    *,
    num_classes: int = VOC_CLASSES,
    pool: int = POOL_KERNEL,
    last_pool: int = LAST_POOL_KERNEL,
    blocks: tuple[int, int, int, int] = RESNET101_BLOCKS,
    width: int = 64,
) -> "RefineNet":
    """Return the network in eval mode, with random weights.

    Args:
        num_classes: logits per cell, background included.
        pool: kernel of the pools in the first three refinement blocks, odd.
        last_pool: kernel of the pools in the last one; 5 for checkpoints of the paper's network. The
            weights have the same shapes whatever the kernels are.
        blocks: bottlenecks per layer; fewer make a small network for tests.
        width: channels of the stem; ``4 * width`` features per cell reach the classifier.

    Returns:
        A module from images float32 ``[N, 3, H, W]`` to logits ``[N, num_classes, H / 4, W / 4]``
        (rounded up); ``features(x)`` stops before the classifier ``clf_conv``.

    Raises:
        UsageError: a kernel is even or not positive, so that its pool would change the map's size.
        MissingBackendError: torch is not installed.
    """
    for name, kernel in (("pool", pool), ("last_pool", last_pool)):
        if kernel < 1 or kernel % 2 == 0:
            raise UsageError(f"{name} must be odd and positive, not {kernel}")
    require("torch", extra="torch", purpose="the RefineNet network")
    from graphopt.exporters.models._refinenet import RefineNet

    network = RefineNet(blocks=blocks, width=width, num_classes=num_classes, pool=pool, last_pool=last_pool)
    return cast("RefineNet", network.eval())
