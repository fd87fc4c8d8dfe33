"""Name what stands around an image in a network's input."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphopt.validate.inputs.expected import ChannelMap, Triple
from graphopt.validate.inputs.verdict import InputCause

Values = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Padding:
    """What was found around an image.

    Attributes:
        value: per channel of the input, in its unit.
        causes: at most one; empty where it is the recipe's.
    """

    value: Triple
    causes: tuple[InputCause, ...]


def constant_value(around: Values, allowed: float) -> Triple | None:
    """Return the value per channel of pixels [n, C], or None where they are not all alike."""
    low, high = around.min(0), around.max(0)
    if (high - low > allowed).any() or not np.isfinite(high).all():
        return None
    first, second, third = ((low + high) / 2).tolist()
    return first, second, third


def named_padding(
    value: Triple, found: ChannelMap, own: ChannelMap, own_value: Triple | None, *, allowed: float, raw: bool
) -> Padding:
    """Say whether a padding is the recipe's, and if not what it is.

    Args:
        value: per channel, as found.
        found: how levels became values around it.
        own: how the recipe does that.
        own_value: the recipe's padding, in the unit of its input; None where it has none.
        allowed: difference that is rounding, in the unit of the values.
        raw: the file holds whole levels: the recipe's padding would be rounded to one.
    """
    if own_value is None or _is_own(np.array(value), found, own, np.array(own_value), allowed, raw=raw):
        return Padding(value=value, causes=())
    level = (np.array(value) - np.array(found.offset)) / np.array(found.scale)
    own_level = (np.array(own_value) - np.array(own.offset)) / np.array(own.scale)
    slack = 0.05 if not raw else 0.51
    if not raw and (np.abs(np.array(value)) <= allowed).all():
        what = "0 after normalising"
    elif np.ptp(level) <= slack:
        what = f"level {level.mean():.4g} of 255" + ("" if raw else " before normalising")
    else:
        what = f"levels {', '.join(f'{each:.4g}' for each in level)} by channel"
    recipes = ", ".join(f"{each:.4g}" for each in own_level)
    sentence = f"padded with {what}, the recipe with what is level {recipes} by channel"
    return Padding(value=value, causes=(InputCause(name="padding_value", sentence=sentence),))


def _is_own(
    value: NDArray[Any],
    found: ChannelMap,
    own: ChannelMap,
    own_value: NDArray[Any],
    allowed: float,
    *,
    raw: bool,
) -> bool:
    level = (own_value - np.array(own.offset)) / np.array(own.scale)
    before = level * np.array(found.scale) + np.array(found.offset)
    if raw:
        return bool((np.abs(value - level) <= 1.01).all())  # rounded, or cut off: both are done
    after = np.abs(value - own_value) <= allowed
    return bool(after.all() or (np.abs(value - before) <= allowed).all())
