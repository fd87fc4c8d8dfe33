"""Rules about options that exclude, need or contradict each other, and about files."""

import json
import os
import re
from collections.abc import Iterator

from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.options import Form, find_option
from graphopt.compile.atc.rules import Rule, Violation
from graphopt.compile.atc.soc import family_of
from graphopt.compile.graph_facts import GraphFacts

_MIXED_V1 = ("allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16")
_LISTS = ("black-list", "white-list", "gray-list")
_PATH_MAX = 4096
_PATH = re.compile(r"[\w./\-\u4e00-\u9fff]+", re.ASCII)
_OUTPUT_TYPES = (
    "FP32",
    "FP16",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "UINT32",
    "INT32",
    "UINT64",
    "INT64",
    "DOUBLE",
)
_OUTPUT_TYPES_950 = ("HIF8", "FP8E5M2", "FP8E4M3FN")


def one_precision_mode(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10056: precision_mode and precision_mode_v2 are two spellings of one choice."""
    del graph
    if call.precision_mode and call.precision_mode_v2:
        yield Violation(
            code="E10056", what="precision_mode and precision_mode_v2 exclude each other", remedy="keep one"
        )


def mixlist_needs_mixed_mode(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """A list of what to mix works in a mixed mode only."""
    del graph
    mixed = call.precision_mode in _MIXED_V1 or call.precision_mode_v2.startswith("mixed_")
    if "modify_mixlist" in call.extra and not mixed:
        yield Violation(
            what="modify_mixlist has no effect outside mixed precision",
            remedy="set precision_mode=allow_mix_precision or precision_mode_v2=mixed_float16",
        )


def mixlist_is_json(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """The file is pure JSON: black-list and white-list, each with to-add and to-remove."""
    del graph
    path = next((p for p in call.files if str(p) == call.extra.get("modify_mixlist")), None)
    if path is None or not path.is_file():
        return
    remedy = 'write {"black-list": {"to-add": ["Sigmoid"]}, "white-list": {"to-remove": ["Add"]}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        yield Violation(what=f"{path} is not pure JSON ({error})", remedy=remedy)
        return
    entries = content.values() if isinstance(content, dict) else ()
    if not isinstance(content, dict) or not set(content) <= set(_LISTS):
        yield Violation(what=f"{path} has other keys than {', '.join(_LISTS)}", remedy=remedy)
    elif not all(isinstance(entry, dict) and set(entry) <= {"to-add", "to-remove"} for entry in entries):
        yield Violation(what=f"the lists in {path} have other keys than to-add and to-remove", remedy=remedy)


def one_way_to_choose_implementations(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """With op_precision_mode ATC silently drops the two older options."""
    del graph
    older = [n for n in ("op_select_implmode", "optypelist_for_implmode") if n in call.extra]
    if "op_precision_mode" in call.extra and older:
        yield Violation(
            what=f"op_precision_mode makes ATC ignore {' and '.join(older)}",
            remedy="move them into the file of op_precision_mode",
        )


def type_list_needs_mode(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """optypelist_for_implmode says for which types, op_select_implmode says what."""
    del graph
    if "optypelist_for_implmode" in call.extra and "op_select_implmode" not in call.extra:
        yield Violation(
            what="optypelist_for_implmode is given without op_select_implmode",
            remedy="add op_select_implmode=high_precision",
        )


def one_weight_compression(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10047: weight compression is on for all, or by a file."""
    del graph
    if call.extra.get("enable_compress_weight") == "true" and "compress_weight_conf" in call.extra:
        yield Violation(
            code="E10047",
            what="enable_compress_weight and compress_weight_conf exclude each other",
            remedy="keep one",
        )


def output_types_are_known(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10001: known types; types per node need out_nodes."""
    del graph
    text = call.extra.get("output_type", "")
    if not text:
        return
    items = text.split(";")
    if any(":" in item for item in items) and not call.out_nodes:
        yield Violation(
            code="E10001",
            what="output_type names nodes, and there is no out_nodes",
            remedy="name them there, or give one type for all",
        )
    known = _OUTPUT_TYPES + (_OUTPUT_TYPES_950 if family_of(call.soc_version) == "950" else ())
    for item in items:
        word = item.rpartition(":")[2]
        if word not in known:
            yield Violation(
                code="E10001",
                what=f"{word!r} is no output_type on {call.soc_version}",
                remedy=f"one of {', '.join(known)}",
            )


def layout_switches_have_nodes(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """The hardware layout of inputs and outputs is chosen for nodes that are named."""
    del graph
    if "is_input_adjust_hw_layout" in call.extra and "input_fp16_nodes" not in call.extra:
        yield Violation(
            code="E10001",
            what="is_input_adjust_hw_layout is given without input_fp16_nodes",
            remedy="name the inputs there",
        )
    if "is_output_adjust_hw_layout" in call.extra and not call.out_nodes:
        yield Violation(
            code="E10001",
            what="is_output_adjust_hw_layout is given without out_nodes",
            remedy="name the outputs there",
        )


def aipp_fits(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10034: AIPP makes uint8 images of its input, so its layout is NCHW and its type not fp16."""
    del graph
    if call.insert_op_conf is None:
        return
    if call.input_format != "NCHW" and not call.dynamic_dims:
        yield Violation(
            code="E10001",
            what=f"insert_op_conf (AIPP) needs input_format NCHW, it is {call.input_format}",
            remedy="set input_format=NCHW",
        )
    if "input_fp16_nodes" in call.extra:
        yield Violation(
            code="E10034",
            what="an input with AIPP cannot be fp16",
            remedy="leave out input_fp16_nodes or insert_op_conf",
        )
    if call.extra.get("enable_small_channel") == "1" and _is_dynamic_aipp(call):
        yield Violation(
            what="enable_small_channel does not go with dynamic AIPP",
            remedy="use static AIPP, or leave enable_small_channel out",
        )


def chip_has_the_feature(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10055: options that only some chips have."""
    del graph
    family = family_of(call.soc_version)
    if call.extra.get("deterministic") == "1" and family == "310B":
        yield Violation(
            code="E10055", what=f"deterministic is not supported on {call.soc_version}", remedy="leave it out"
        )
    if call.extra.get("core_type") == "VectorCore" and family != "310P":
        yield Violation(
            code="E10055",
            what=f"core_type=VectorCore exists on the 310P only, not on {call.soc_version}",
            remedy="leave it out",
        )


def tuner_is_another_tool(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E10001: auto_tune_mode moved out of ATC."""
    del graph
    if "auto_tune_mode" in call.extra:
        yield Violation(
            code="E10001",
            what="auto_tune_mode was taken out of ATC",
            remedy="tune with the aoe tool and give its result as op_bank_path or mdl_bank_path",
        )


def files_exist(call: AtcInvocation, graph: GraphFacts) -> Iterator[Violation]:
    """E13000: the files that options name are there."""
    del graph
    for file in call.files:
        if not file.is_file():
            yield Violation(code="E13000", what=f"the file {file} does not exist", remedy="check the path")


def paths_have_plain_characters(call: AtcInvocation) -> Iterator[Violation]:
    """E10001, E10021: ATC takes letters, digits, ``_ - .`` and Chinese in paths, of a certain length."""
    folders = [value for name, value in call.extra.items() if find_option(name).form is Form.FOLDER]
    for path in (call.model.as_posix(), call.output.as_posix(), *map(str, call.files), *folders):
        bad = sorted(set(re.sub(_PATH, "", path)))
        if bad:
            yield Violation(
                code="E10001",
                what=f"ATC refuses the characters {' '.join(map(repr, bad))} in the path {path!r}",
                remedy="rename it, or work in another folder: letters, digits, '_', '-' and '.' are fine",
            )
        if len(os.fsencode(path)) >= _PATH_MAX:
            yield Violation(code="E10021", what=f"the path {path[:60]!r}... is too long", remedy="shorten it")


RULES: tuple[Rule, ...] = (
    one_precision_mode,
    mixlist_needs_mixed_mode,
    mixlist_is_json,
    one_way_to_choose_implementations,
    type_list_needs_mode,
    one_weight_compression,
    output_types_are_known,
    layout_switches_have_nodes,
    aipp_fits,
    chip_has_the_feature,
    tuner_is_another_tool,
    files_exist,
)


def _is_dynamic_aipp(call: AtcInvocation) -> bool:
    path = call.insert_op_conf
    if path is None or not path.is_file():
        return False
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8", errors="replace"))
    return re.search(r"\baipp_mode\s*:\s*(dynamic|2)\b", text) is not None
