"""Rules about ``--dynamic_batch_size``, ``--dynamic_image_size`` and ``--dynamic_dims``."""

import re
from collections.abc import Iterator

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.rules import Rule, Violation
from graphopt.compile.atc.soc import family_of
from graphopt.compile.graph_facts import GraphFacts

_MOST = 100
_MOST_950 = 256
_DATA_DEPENDENT = ("NonZero", "Unique", "NonMaxSuppression", "Compress")


def one_way_to_be_dynamic(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10009: the profile options and input_shape_range exclude each other."""
    del graph
    given = [n for n in ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims") if getattr(call, n)]
    given += [name for name in ("input_shape_range",) if name in call.extra]
    if len(given) > 1:
        yield Violation(code="E10009", what=f"{' and '.join(given)} exclude each other", remedy="keep one")


def shapes_leave_room(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10040: profiles fill in -1; ranges cannot stand beside them."""
    del graph
    if not call.profile_option:
        return
    if any(isinstance(dim, tuple) for shape in call.input_shape for dim in shape.dims):
        yield Violation(
            code="E10040", what=f"a range '~' stands beside {call.profile_option}", remedy="write -1 instead"
        )
    if not any(shape.unknowns for shape in call.input_shape):
        yield Violation(
            code="E10040",
            what=f"{call.profile_option} is given, but no size in input_shape is -1",
            remedy="write -1 for the sizes that the profiles fill in; the graph must have them dynamic",
        )


def profile_count(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10035, E10036: 2 to 100 profiles (256 on the 950)."""
    del graph
    count = len(_profiles(call))
    most = _MOST_950 if family_of(call.soc_version) == "950" else _MOST
    if call.profile_option and count < 2:
        yield Violation(
            code="E10035",
            what=f"{call.profile_option} has one profile",
            remedy="give at least two, or give the size in input_shape",
        )
    if count > most:
        yield Violation(
            code="E10036", what=f"{call.profile_option} has {count} profiles", remedy=f"give at most {most}"
        )


def profile_values(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10038, E10039: positive, and each profile once."""
    del graph
    profiles = _profiles(call)
    if any(value <= 0 for profile in profiles for value in profile):
        yield Violation(
            code="E10038", what=f"{call.profile_option} has a size below 1", remedy="give positive sizes"
        )
    if len(set(profiles)) != len(profiles):
        yield Violation(
            code="E10039", what=f"{call.profile_option} has a profile twice", remedy="give each once"
        )


def batch_profiles_fit(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10012, E10018, E10031: only the first size is open, in at least one input."""
    del graph
    if not call.dynamic_batch_size:
        return
    for shape in call.input_shape:
        if not shape.dims:
            yield Violation(
                code="E10012",
                what=f"input {shape.name} is a scalar beside batch profiles",
                remedy="fix its value",
            )
        if -1 in shape.dims[1:]:
            yield Violation(
                code="E10018",
                what=f"{shape} leaves more than the batch open",
                remedy="fix the other sizes, or use dynamic_dims",
            )
    if not any(shape.dims[:1] == (-1,) for shape in call.input_shape):
        yield Violation(
            code="E10031", what="no input has -1 as its first size", remedy="write -1 for the batch size"
        )


def image_profiles_fit(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10019, E10020: height and width of four axes are open, nothing else."""
    del graph
    if not call.dynamic_image_size:
        return
    if any(len(profile) != 2 for profile in call.dynamic_image_size):
        yield Violation(
            code="E10020",
            what="a profile of dynamic_image_size is not height,width",
            remedy='write pairs: "224,224;448,448"',
        )
    if call.input_format != "NCHW":
        yield Violation(
            code="E10019",
            what=f"dynamic_image_size needs input_format NCHW, it is {call.input_format}",
            remedy="use NCHW, or dynamic_dims with ND",
        )
    for shape in call.input_shape:
        open_axes = [axis for axis, dim in enumerate(shape.dims) if dim == -1]
        if open_axes and (len(shape.dims) != 4 or open_axes != [2, 3]):
            yield Violation(
                code="E10019",
                what=f"{shape} is not N,C,-1,-1",
                remedy="leave exactly height and width open, or use dynamic_dims",
            )


def dims_profiles_fit(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10037, E10045: each profile has a value for every -1; input_format is ND."""
    del graph
    if not call.dynamic_dims:
        return
    unknowns = sum(shape.unknowns for shape in call.input_shape)
    lengths = sorted({len(profile) for profile in call.dynamic_dims})
    if len(lengths) > 1:
        yield Violation(
            code="E10037",
            what=f"the profiles of dynamic_dims have {' and '.join(map(str, lengths))} values",
            remedy="give each as many values",
        )
    elif lengths[0] != unknowns:
        yield Violation(
            code="E10045",
            what=f"input_shape has {unknowns} sizes -1, a profile of dynamic_dims {lengths[0]} values",
            remedy="give one value per -1, in the order of the inputs",
        )
    if call.input_format != "ND":
        yield Violation(
            what=f"dynamic_dims needs input_format ND, it is {call.input_format}",
            remedy="set input_format=ND",
        )
    if call.insert_op_conf is not None:
        yield Violation(
            what="dynamic_dims and insert_op_conf (AIPP) exclude each other",
            remedy="leave one out, or use dynamic_batch_size",
        )


def aipp_fits_image_profiles(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10052: static AIPP must not crop or pad beside image profiles, nor fix the source size."""
    del graph
    if not (call.dynamic_image_size and call.insert_op_conf and call.insert_op_conf.is_file()):
        return
    text = re.sub(r"#.*", "", call.insert_op_conf.read_text(encoding="utf-8", errors="replace"))
    for key, bad in (
        ("crop", r"\bcrop\s*:\s*(true|1)\b"),
        ("padding", r"\bpadding\s*:\s*(true|1)\b"),
        ("src_image_size", r"\bsrc_image_size_[wh]\s*:\s*[1-9]"),
    ):
        if re.search(bad, text):
            yield Violation(
                code="E10052",
                what=f"{call.insert_op_conf} sets {key}, which dynamic_image_size forbids",
                remedy="leave crop and padding off and the source size 0",
            )


def shapes_do_not_depend_on_data(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """Profiles are refused for graphs in which a size depends on values."""
    found = sorted(graph.op_types.intersection(_DATA_DEPENDENT))
    if call.profile_option and found:
        yield Violation(
            what=f"{', '.join(found)} gives shapes that depend on data, which {call.profile_option} forbids",
            remedy="rewrite it (pass replace_nms, ...), or compile one om per size",
        )


RULES: tuple[Rule, ...] = (
    one_way_to_be_dynamic,
    shapes_leave_room,
    profile_count,
    profile_values,
    batch_profiles_fit,
    image_profiles_fit,
    dims_profiles_fit,
    aipp_fits_image_profiles,
    shapes_do_not_depend_on_data,
)


def _profiles(call: AtcInvocation) -> tuple[tuple[int, ...], ...]:
    if call.dynamic_batch_size:
        return tuple((size,) for size in call.dynamic_batch_size)
    return call.dynamic_image_size or call.dynamic_dims
