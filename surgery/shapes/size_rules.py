"""What operators make of sizes, element by element, where some are open.

Sizes are the elements of an integer tensor of rank 0 or 1: a number, the name of a graph input's size
(0 or more, the same number wherever the name appears), or None for what is unknown.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

Size = int | str | None
Sizes = tuple[Size, ...]


def elementwise(rule: Callable[..., Size], *operands: Sizes) -> Sizes | None:
    """Apply a rule to each element; operands of one element are repeated.

    Returns:
        The results, None when the lengths do not agree.
    """
    length = max(map(len, operands))
    if any(len(operand) not in (1, length) for operand in operands):
        return None
    columns = (operand * length if len(operand) == 1 else operand for operand in operands)
    return tuple(rule(*column) for column in zip(*columns, strict=True))


def equal(left: Size, right: Size) -> Size:
    """Return 1 or 0; a named size equals itself and no negative number."""
    if left is None or right is None:
        return None
    if isinstance(left, int) == isinstance(right, int):
        return int(left == right) if left == right or isinstance(left, int) else None
    number = left if isinstance(left, int) else right
    return 0 if isinstance(number, int) and number < 0 else None


def where(condition: Size, chosen: Size, other: Size) -> Size:
    """Return the element that is taken; known as well where both are the same."""
    if isinstance(condition, int):
        return chosen if condition else other
    return chosen if chosen == other else None


def add(left: Size, right: Size) -> Size:
    """Return the sum."""
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    return right if left == 0 else left if right == 0 else None


def subtract(left: Size, right: Size) -> Size:
    """Return the difference."""
    if isinstance(left, int) and isinstance(right, int):
        return left - right
    return left if right == 0 else None


def multiply(left: Size, right: Size) -> Size:
    """Return the product."""
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    if 0 in (left, right):
        return 0
    return right if left == 1 else left if right == 1 else None


def divide(left: Size, right: Size) -> Size:
    """Return the quotient of two that are not negative, rounded down as integer ``Div`` does."""
    if isinstance(left, int) and isinstance(right, int):
        return left // right if left >= 0 and right > 0 else None
    return left if right == 1 else None


def reshaped(shape: Sizes, sizes: Sizes) -> Sizes:
    """Return the shape that ``Reshape`` (without allowzero) gives to a tensor of ``shape``."""
    found: list[Size] = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(sizes)]
    if found.count(-1) == 1:
        found[found.index(-1)] = _rest(shape, [size for size in found if size != -1])
    return tuple(size if not isinstance(size, int) or size >= 0 else None for size in found)


def sizes_for_reshape(shape: Sizes | None, sizes: Sizes) -> tuple[int, ...] | None:
    """Return constants that say the same to ``Reshape`` as ``sizes`` for any input, else None.

    0 keeps the size of the same axis; -1 takes what is left for one axis, as long as no other can be
    empty.
    """
    own = shape or ()
    wanted = [
        0 if isinstance(size, str) and own[i : i + 1] == (size,) else size for i, size in enumerate(sizes)
    ]
    moved = [i for i, size in enumerate(wanted) if not isinstance(size, int)]
    others = [size for size in wanted if isinstance(size, int)]
    if len(moved) == 1 and all(size > 0 for size in others):
        wanted[moved[0]] = -1
    return _all_known(wanted)


def sizes_for_expand(shape: Sizes | None, sizes: Sizes) -> tuple[int, ...] | None:
    """Return constants that say the same to ``Expand`` as ``sizes`` for any input, else None.

    1 keeps the size of an axis, counted from the last one.
    """
    own = (None,) * (len(sizes) - len(shape or ())) + (shape or ())
    own = own[len(own) - len(sizes) :]
    return _all_known(
        [1 if isinstance(size, str) and size == old else size for size, old in zip(sizes, own, strict=True)]
    )


def _all_known(sizes: Sequence[Size]) -> tuple[int, ...] | None:
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == len(sizes) else None


def _rest(shape: Sizes, others: Sequence[Size]) -> Size:
    """Return the size that is left of all elements of ``shape`` when ``others`` are taken."""
    if None in shape or None in others:
        return None
    left = Counter(size for size in shape if isinstance(size, str))
    taken = Counter(size for size in others if isinstance(size, str))
    total, part = (math.prod(s for s in sizes if isinstance(s, int)) for sizes in (shape, others))
    if taken - left or part <= 0 or total % part:
        return None
    names = list((left - taken).elements())
    if not names:
        return total // part
    return names[0] if len(names) == 1 and total == part else None
