"""Activations, bounds, norms and other operators on single elements or channels."""

from collections.abc import Iterator
from math import isclose

from graphopt.compile.support.place import Place, Rules
from graphopt.compile.support.verdicts import Finding, restricted, unsupported

_SELU = {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}


def clip_has_a_bound(place: Place) -> Iterator[Finding]:
    """From opset 11 on one bound at least."""
    if place.opset >= 11 and place.value(1) is None and place.value(2) is None:
        yield unsupported("clip_bounds", "it has neither min nor max", "OPS C22")


def slope_is_a_vector(place: Place) -> Iterator[Finding]:
    """PRelu: one slope, or one per channel, in one axis."""
    slope, data = place.shape(1), place.shape(0)
    if slope is None:
        return
    text = "x".join(map(str, slope)) or "a scalar"
    if len(slope) != 1:
        yield unsupported("prelu_slope", f"its slope is {text}; it must have one axis", "OPS")
    elif data is not None and len(data) > 1 and slope[0] not in (1, data[1]):
        yield unsupported("prelu_slope", f"its slope is {text}; it must have 1 or {data[1]} elements", "OPS")


def selu_is_standard(place: Place) -> Iterator[Finding]:
    """Selu with the two numbers of the standard."""
    for name, number in _SELU.items():
        if not isclose(place.number(name, number), number, rel_tol=1e-5):
            yield unsupported(
                "selu", f"{name} {place.number(name, number):g}; only the default is taken", "OPS"
            )


def both_signs(place: Place) -> Iterator[Finding]:
    """IsInf finds infinities of both signs."""
    for name in ("detect_negative", "detect_positive"):
        if not place.integer(name, 1):
            yield unsupported("is_inf_sign", f"{name} 0 is ignored: both signs are found", "OPS")


def remainder_of_integers(place: Place) -> Iterator[Finding]:
    """Of floats the two sources say the opposite."""
    kind = place.dtype(0)
    if kind is not None and kind.is_floating_point():
        yield restricted("mod_fmod", "remainder of floats: sources of different years disagree", "DOC5 OPS")


def size_is_odd(place: Place) -> Iterator[Finding]:
    """LRN sums over a symmetric window."""
    if place.integer("size", 1) % 2 == 0:
        yield unsupported("lrn_size", f"size {place.integer('size', 1)}; it must be odd", "OPS")


def norm_is_of_pictures(place: Place) -> Iterator[Finding]:
    """Documents know batch normalization of four axes."""
    if place.rank() not in (None, 4):
        yield restricted("batchnorm_rank", f"input of rank {place.rank()}; documents name 4", "DOC")


def blocks_are_real(place: Place) -> Iterator[Finding]:
    """DepthToSpace moves blocks of two at least."""
    if place.integer("blocksize", 0) < 2:
        yield unsupported(
            "blocksize", f"blocksize {place.integer('blocksize', 0)}; 2 or more is taken", "OPS"
        )


def several_inputs(place: Place) -> Iterator[Finding]:
    """Mean takes two inputs or more."""
    if len(place.node.inputs) < 2:
        yield unsupported("mean_single", "it has one input; two or more are taken", "OPS")


def order_is_written(place: Place) -> Iterator[Finding]:
    """Transpose with its perm."""
    if not place.has("perm"):
        yield unsupported("transpose_perm", "perm is not written", "OPS C22")


def axis_counts_from_the_front(place: Place) -> Iterator[Finding]:
    """Flatten of 5.0 took no negative axis."""
    if place.aim.is_50 and place.integer("axis", 1) < 0:
        yield unsupported(
            "flatten_axis", f"axis {place.integer('axis', 1)}; negative ones are not taken", "DOC5"
        )


def gemm_is_plain(place: Place) -> Iterator[Finding]:
    """Gemm of 5.0 had no C, alpha and beta."""
    if not place.aim.is_50:
        return
    scaled = place.number("alpha", 1.0) != 1 or place.number("beta", 1.0) != 1
    if scaled or place.value(2) is not None:
        yield restricted("gemm_c", "documents of 5.0 know neither C nor alpha nor beta", "DOC5")


def diagonal_is_the_main_one(place: Place) -> Iterator[Finding]:
    """EyeLike of 5.0 filled the main diagonal."""
    if place.aim.is_50 and place.integer("k", 0):
        yield unsupported("eye_k", f"k {place.integer('k', 0)}; only 0 is taken", "DOC5")


def shift_is_right(place: Place) -> Iterator[Finding]:
    """BitShift of 5.0 shifted few unsigned types to the left."""
    kind = place.dtype(0)
    if place.aim.is_50 and place.text("direction") == "LEFT" and kind is not None and kind.bitwidth > 8:
        yield unsupported("shift_left", f"direction LEFT of {kind.name.lower()}", "DOC5")


def product_has_few_axes(place: Place) -> Iterator[Finding]:
    """MatMul of 5.0 took six axes."""
    ranks = [rank for rank in (place.rank(0), place.rank(1)) if rank is not None]
    if place.aim.is_50 and ranks and max(ranks) > 6:
        yield unsupported("matmul_rank", f"input of rank {max(ranks)}; 1 to 6 are taken", "DOC5")


RULES: Rules = {
    "Clip": (clip_has_a_bound,),
    "PRelu": (slope_is_a_vector,),
    "Selu": (selu_is_standard,),
    "IsInf": (both_signs,),
    "Mod": (remainder_of_integers,),
    "LRN": (size_is_odd,),
    "BatchNormalization": (norm_is_of_pictures,),
    "DepthToSpace": (blocks_are_real,),
    "Mean": (several_inputs,),
    "Transpose": (order_is_written,),
    "Flatten": (axis_counts_from_the_front,),
    "Gemm": (gemm_is_plain,),
    "BitShift": (shift_is_right,),
    "MatMul": (product_has_few_axes,),
    "EyeLike": (diagonal_is_the_main_one,),
}
