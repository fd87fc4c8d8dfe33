"""How sure a difference of two figures is: the same images drawn anew for both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
DRAWS = 1000
FEW_IMAGES = 30
"""Below it, an interval says little: the images themselves hardly show what others would do."""
_SEED = 20261125


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where a difference lies, had other images of the same kind been taken.

    Attributes:
        low: lower end.
        high: upper end.
    """

    low: float
    high: float

    @property
    def has_zero(self) -> bool:
        """Whether there may be no difference at all."""
        return self.low <= 0 <= self.high


def draw_images(images: int, *, draws: int = DRAWS, seed: int = _SEED) -> NDArray[np.int64]:
    """Return how often each image is drawn, int64 [draws, images]; every row sums to ``images``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), size=draws)


def difference_interval(
    estimate: float, first: NDArray[np.float64], second: NDArray[np.float64], *, level: float = LEVEL
) -> Interval:
    """Return the interval of ``second - first``.

    Percentiles of the drawn differences, widened to the estimate where figures such as mAP are biased on
    drawn images (one that is drawn twice competes with itself). They are not moved there: what a single
    image loses is not drawn in a third of the draws, and such a loss is never sure.

    Args:
        estimate: the difference on the images as they are.
        first: the one figure on each draw [B]; nan where it has none.
        second: the other on the same draws.
        level: share of such intervals that should hold the true difference.
    """
    differences = second - first
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return Interval(low=-np.inf, high=np.inf)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(differences, tails)
    return Interval(low=float(min(low, estimate)), high=float(max(high, estimate)))
