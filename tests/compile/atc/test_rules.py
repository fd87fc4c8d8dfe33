"""Every rule of ATC, broken once on purpose."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from graphopt.compile.atc import graph_rules, option_rules, profile_rules, shape_rules
from graphopt.compile.atc.check import ALL_RULES, check_call, notes, violations
from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.rules import Rule
from graphopt.compile.graph_facts import GraphFacts
from graphopt.core.errors import UsageError
from graphopt.core.tensors import TensorSpec

IMAGE = TensorSpec(name="image", shape=(1, 3, 224, 224), dtype="float32")
OPEN_BATCH = dataclasses.replace(IMAGE, shape=("batch", 3, 224, 224))
OPEN_SIZE = dataclasses.replace(IMAGE, shape=(1, 3, None, None))
SCALE = TensorSpec(name="scale", shape=(), dtype="float32")
LOGITS = TensorSpec(name="logits", shape=(1, 35), dtype="float32")

GRAPH = GraphFacts(
    inputs=(IMAGE,),
    outputs=(LOGITS,),
    nodes={"Conv_0": ("12",), "Gemm_9": ("logits",)},
    duplicates=(),
    op_types=frozenset({"Conv", "Gemm"}),
    functions=(),
    opsets={"": 11},
    ir_version=8,
    size_bytes=94_000_000,
)


def graph(**changes: Any) -> GraphFacts:
    return dataclasses.replace(GRAPH, **changes)


def call(soc: str = "Ascend310P3", model: str = "m.onnx", **options: str) -> AtcInvocation:
    return AtcInvocation.from_options(Path(model), Path("m"), soc_version=soc, options=options)


STATIC = "image:1,3,224,224"
BATCH = {"input_shape": "image:-1,3,224,224", "dynamic_batch_size": "1,4,8"}
SIZES = {"input_shape": "image:1,3,-1,-1", "dynamic_image_size": "224,224;448,448"}
DIMS = {"input_shape": "image:-1,3,224,224", "dynamic_dims": "1;4", "input_format": "ND"}
BOTH_MODES = {"precision_mode": "force_fp16", "precision_mode_v2": "fp16"}
S, P, X, G = shape_rules, profile_rules, option_rules, graph_rules

# rule, options, changes of the graph, error code, part of what is said
CASES: list[tuple[Rule, Mapping[str, str], GraphFacts, str, str]] = [
    (S.input_names_exist, {"input_shape": "imgae:1,3,224,224"}, GRAPH, "E10016", "did you mean image"),
    (S.input_names_exist, {"input_shape": "Conv_0:1,3,224,224"}, GRAPH, "E10017", "name the inputs: image"),
    (S.input_names_exist, {"input_shape": "12:1,3,224,224"}, GRAPH, "E10017", "inside the graph"),
    (S.inputs_named_once, {"input_shape": f"{STATIC};{STATIC}"}, GRAPH, "", "2 shapes"),
    (S.names_can_be_written, {"input_shape": "im age:1,3,224,224"}, GRAPH, "E10002", "rename"),
    (S.ranks_agree, {"input_shape": "image:1,3,224"}, GRAPH, "E10049", "3 sizes, it is [1, 3, 224, 224]"),
    (S.sizes_agree, {"input_shape": "image:4,3,224,224"}, GRAPH, "", "set_batch"),
    (S.sizes_agree, BATCH, GRAPH, "", "the graph fixes [1, 3, 224, 224]"),
    (S.sizes_are_positive, {"input_shape": "image:0,3,224,224"}, GRAPH, "E10011", "size 0"),
    (S.sizes_are_positive, {"input_shape": "image:-2,3,224,224"}, GRAPH, "E10011", "size -2"),
    (S.sizes_are_positive, {"input_shape": "image:8~1,3,224,224"}, GRAPH, "E10013", "range 8~1"),
    (
        S.unknown_sizes_have_profiles,
        {"input_shape": "image:-1,3,224,224"},
        graph(inputs=(OPEN_BATCH,)),
        "E10011",
        'input_shape="image:1,3,224,224"',
    ),
    (S.dynamic_inputs_are_covered, {}, graph(inputs=(OPEN_BATCH,)), "E10001", "image:1,3,224,224"),
    (S.dynamic_inputs_are_covered, BATCH, graph(inputs=(OPEN_BATCH, SCALE)), "E10001", "input scale"),
    (
        S.ranges_are_supported,
        {"input_shape": "image:1~8,3,224,224", "soc": "Ascend310B1"},
        graph(inputs=(OPEN_BATCH,)),
        "E10055",
        "Ascend310B1",
    ),
    (S.out_nodes_have_one_form, {"out_nodes": "Gemm_9:0;logits"}, GRAPH, "E10001", "mixes"),
    (S.out_nodes_exist, {"out_nodes": "Gemm_8:0"}, GRAPH, "E10016", "did you mean Gemm_9"),
    (S.out_nodes_exist, {"out_nodes": "Gemm_9:1"}, GRAPH, "E10001", "which has 1"),
    (S.out_nodes_exist, {"out_nodes": "12"}, GRAPH, "E19999", "outputs are logits"),
    (S.out_nodes_exist, {"out_nodes": "out:put"}, GRAPH, "E10001", "contains ':'"),
    (S.fp16_inputs_exist, {"input_fp16_nodes": "imag"}, GRAPH, "E10016", "did you mean image"),
    (P.one_way_to_be_dynamic, {**BATCH, "dynamic_dims": "1;4"}, GRAPH, "E10009", "dynamic_batch_size and"),
    (
        P.one_way_to_be_dynamic,
        {**BATCH, "input_shape_range": "image:[1~8,3,224,224]"},
        GRAPH,
        "E10009",
        "input_shape_range",
    ),
    (P.shapes_leave_room, {**BATCH, "input_shape": STATIC}, GRAPH, "E10040", "no size in input_shape is -1"),
    (P.shapes_leave_room, {**BATCH, "input_shape": "image:1~8,3,-1,1"}, GRAPH, "E10040", "range"),
    (P.profile_count, {**BATCH, "dynamic_batch_size": "4"}, GRAPH, "E10035", "at least two"),
    (
        P.profile_count,
        {**BATCH, "dynamic_batch_size": ",".join(map(str, range(1, 102)))},
        GRAPH,
        "E10036",
        "101 profiles; give at most 100",
    ),
    (P.profile_values, {**BATCH, "dynamic_batch_size": "0,4"}, GRAPH, "E10038", "below 1"),
    (P.profile_values, {**BATCH, "dynamic_batch_size": "4,4"}, GRAPH, "E10039", "twice"),
    (P.batch_profiles_fit, {**BATCH, "input_shape": "scale:;image:-1,1"}, GRAPH, "E10012", "scalar"),
    (P.batch_profiles_fit, {**BATCH, "input_shape": "image:-1,3,-1,224"}, GRAPH, "E10018", "dynamic_dims"),
    (P.batch_profiles_fit, {**BATCH, "input_shape": STATIC}, GRAPH, "E10031", "first size"),
    (P.image_profiles_fit, {**SIZES, "dynamic_image_size": "1,2,3;4,5,6"}, GRAPH, "E10020", "pairs"),
    (P.image_profiles_fit, {**SIZES, "input_format": "ND"}, GRAPH, "E10019", "NCHW"),
    (P.image_profiles_fit, {**SIZES, "input_shape": "image:-1,3,-1,-1"}, GRAPH, "E10019", "N,C,-1,-1"),
    (P.dims_profiles_fit, {**DIMS, "dynamic_dims": "1,2;4"}, GRAPH, "E10037", "1 and 2 values"),
    (P.dims_profiles_fit, {**DIMS, "dynamic_dims": "1,2;4,5"}, GRAPH, "E10045", "1 sizes -1"),
    (P.dims_profiles_fit, {**DIMS, "input_format": "NCHW"}, GRAPH, "", "input_format=ND"),
    (P.dims_profiles_fit, {**DIMS, "insert_op_conf": "aipp.cfg"}, GRAPH, "", "exclude each other"),
    (P.aipp_fits_image_profiles, {**SIZES, "insert_op_conf": "crop.cfg"}, GRAPH, "E10052", "sets crop"),
    (P.aipp_fits_image_profiles, {**SIZES, "insert_op_conf": "crop.cfg"}, GRAPH, "E10052", "src_image_size"),
    (
        P.shapes_do_not_depend_on_data,
        BATCH,
        graph(op_types=frozenset({"NonZero"})),
        "",
        "NonZero gives shapes that depend on data",
    ),
    (
        X.one_precision_mode,
        {"precision_mode": "force_fp16", "precision_mode_v2": "fp16"},
        GRAPH,
        "E10056",
        "",
    ),
    (X.mixlist_needs_mixed_mode, {"modify_mixlist": "mix.json"}, GRAPH, "", "allow_mix_precision"),
    (X.mixlist_is_json, {"modify_mixlist": "comment.json"}, GRAPH, "", "not pure JSON"),
    (X.mixlist_is_json, {"modify_mixlist": "keys.json"}, GRAPH, "", "other keys"),
    (X.mixlist_is_json, {"modify_mixlist": "inner.json"}, GRAPH, "", "to-add and to-remove"),
    (
        X.one_way_to_choose_implementations,
        {"op_precision_mode": "op.ini", "op_select_implmode": "high_precision"},
        GRAPH,
        "",
        "ignore op_select_implmode",
    ),
    (X.type_list_needs_mode, {"optypelist_for_implmode": "Sigmoid"}, GRAPH, "", "op_select_implmode"),
    (
        X.one_weight_compression,
        {"enable_compress_weight": "true", "compress_weight_conf": "c.cfg"},
        GRAPH,
        "E10047",
        "keep one",
    ),
    (X.output_types_are_known, {"output_type": "Gemm_9:0:FP16"}, GRAPH, "E10001", "no out_nodes"),
    (X.output_types_are_known, {"output_type": "HIF8"}, GRAPH, "E10001", "Ascend310P3"),
    (X.layout_switches_have_nodes, {"is_input_adjust_hw_layout": "true"}, GRAPH, "E10001", "input_fp16"),
    (X.layout_switches_have_nodes, {"is_output_adjust_hw_layout": "true"}, GRAPH, "E10001", "out_nodes"),
    (X.aipp_fits, {"insert_op_conf": "aipp.cfg", "input_format": "ND"}, GRAPH, "E10001", "NCHW"),
    (X.aipp_fits, {"insert_op_conf": "aipp.cfg", "input_fp16_nodes": "image"}, GRAPH, "E10034", "fp16"),
    (X.aipp_fits, {"insert_op_conf": "dynamic.cfg", "enable_small_channel": "1"}, GRAPH, "", "static AIPP"),
    (X.chip_has_the_feature, {"deterministic": "1", "soc": "Ascend310B4"}, GRAPH, "E10055", "deterministic"),
    (X.chip_has_the_feature, {"core_type": "VectorCore", "soc": "Ascend910A"}, GRAPH, "E10055", "310P"),
    (X.tuner_is_another_tool, {"auto_tune_mode": "RL,GA"}, GRAPH, "E10001", "aoe"),
    (X.files_exist, {"keep_dtype": "nowhere.cfg"}, GRAPH, "E13000", "nowhere.cfg"),
    (G.opset_is_registered, {}, graph(opsets={"": 19}), "E13010", "opset 19"),
    (G.names_are_unique, {}, graph(duplicates=("Conv_0",)), "E13009", "Conv_0"),
    (G.graph_has_ends, {}, graph(inputs=()), "E16001", "no input"),
    (G.graph_has_ends, {}, graph(outputs=()), "E16001", "no output"),
    (G.functions_are_unknown, {}, graph(functions=("npu::DeformableConv2D",)), "E13010", "npu::Deform"),
    (G.control_flow_is_known, {}, graph(op_types=frozenset({"Loop", "If"})), "E13010", "parser for Loop;"),
    (G.size_fits, {}, graph(size_bytes=3 << 30), "E13023", "external_weight=1"),
]


@pytest.fixture(autouse=True)
def option_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files that the cases name, into a working directory of their own."""
    (tmp_path / "aipp.cfg").write_text("aipp_op { aipp_mode: static }")
    (tmp_path / "dynamic.cfg").write_text("aipp_op { aipp_mode: dynamic }")
    (tmp_path / "crop.cfg").write_text("aipp_op { crop: true\n # padding: true\n src_image_size_w: 256 }")
    (tmp_path / "mix.json").write_text('{"black-list": {"to-add": ["Sigmoid"]}}')
    (tmp_path / "comment.json").write_text('{"black-list": {}} // why')
    (tmp_path / "keys.json").write_text('{"blacklist": {}}')
    (tmp_path / "inner.json").write_text('{"black-list": {"add": []}}')
    for name in ("op.ini", "c.cfg"):
        (tmp_path / name).write_text("Sigmoid=high_precision\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("rule", "options", "facts", "code", "said"), CASES)
def test_broken_rule_names_its_code_and_a_remedy(
    rule: Rule, options: Mapping[str, str], facts: GraphFacts, code: str, said: str
) -> None:
    found = list(rule(call(**options), facts))
    assert any(item.code == code and said in str(item) and item.remedy for item in found), found


def test_every_rule_is_broken_above() -> None:
    assert {case[0] for case in CASES} == set(ALL_RULES)


GOOD: list[tuple[Mapping[str, str], GraphFacts]] = [
    ({}, GRAPH),
    ({"input_shape": STATIC}, GRAPH),
    ({"input_shape": STATIC, "out_nodes": "Gemm_9:0"}, GRAPH),
    ({"input_shape": STATIC, "out_nodes": "logits"}, GRAPH),
    (BATCH, graph(inputs=(OPEN_BATCH,))),
    (DIMS, graph(inputs=(OPEN_BATCH,))),
    (SIZES, graph(inputs=(OPEN_SIZE,))),
    ({"input_shape": "image:1~8,3,224,224"}, graph(inputs=(OPEN_BATCH,))),
    ({"input_shape_range": "image:[1~8,3,224,224]"}, graph(inputs=(OPEN_BATCH,))),
    ({"modify_mixlist": "mix.json", "precision_mode": "allow_mix_precision"}, GRAPH),
    ({"modify_mixlist": "mix.json", "precision_mode_v2": "mixed_float16"}, GRAPH),
    ({"op_select_implmode": "high_precision", "optypelist_for_implmode": "Sigmoid"}, GRAPH),
    ({"insert_op_conf": "aipp.cfg", "enable_small_channel": "1"}, GRAPH),
    ({"output_type": "Gemm_9:0:FP16", "out_nodes": "Gemm_9:0"}, GRAPH),
    ({"output_type": "HIF8", "soc": "Ascend950PR_9579"}, GRAPH),
    ({"core_type": "VectorCore"}, GRAPH),
    ({"external_weight": "1"}, graph(size_bytes=3 << 30)),
    ({}, graph(op_types=frozenset({"If", "NonZero"}), opsets={"": 18})),
]


@pytest.mark.parametrize(("options", "facts"), GOOD)
def test_good_calls_break_no_rule(options: Mapping[str, str], facts: GraphFacts) -> None:
    assert violations(call(**options), facts, folder=Path()) == ()


def test_256_profiles_on_the_950() -> None:
    many = {**BATCH, "dynamic_batch_size": ",".join(map(str, range(1, 257))), "soc": "Ascend950PR_9579"}
    assert violations(call(**many), graph(inputs=(OPEN_BATCH,)), folder=Path()) == ()


@pytest.mark.parametrize("name", ["a b.onnx", "a(1).onnx", "modèle.onnx", "a+b.onnx"])
def test_paths_with_other_characters_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="E10001: ATC refuses the characters"):
        check_call(call(model=name), GRAPH, folder=Path())


def test_chinese_paths_are_fine() -> None:
    assert violations(call(model="模型.onnx"), GRAPH, folder=Path()) == ()


def test_only_the_part_of_a_path_that_atc_sees_matters(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    inside = call(model=str(folder / "m.onnx"))
    inside = dataclasses.replace(inside, output=folder / "m")
    assert violations(inside, GRAPH, folder=folder) == ()


def test_too_long_path() -> None:
    with pytest.raises(UsageError, match="E10021"):
        check_call(call(model="/".join(["x" * 200] * 21)), GRAPH, folder=Path())


def test_all_broken_rules_are_told_at_once() -> None:
    bad = call(input_shape="imgae:1,3", precision_mode="force_fp16", precision_mode_v2="fp16")
    with pytest.raises(UsageError) as caught:
        check_call(bad, GRAPH, folder=Path())
    assert "E10016" in str(caught.value)
    assert "E10056" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "facts", "said"),
    [
        ({}, graph(ir_version=10), "IR version 10"),
        ({}, graph(opsets={"": 17}), "CANN 7.0"),
        ({}, graph(opsets={"": 14}), "CANN 6.0"),
        ({}, graph(opsets={"": 9}), "below 11"),
        ({}, graph(op_types=frozenset({"mmcv::NMS"})), "mmcv::NMS"),
        ({"soc": "Ascend910B"}, GRAPH, "30 cores"),
        ({"precision_mode": "force_fp32"}, GRAPH, "matrix unit"),
        ({"precision_mode": "must_keep_origin_dtype", "keep_dtype": "op.ini"}, GRAPH, "no effect"),
        ({"op_select_implmode": "high_precision"}, GRAPH, "deprecated"),
        ({"input_shape_range": "image:[1~8]"}, GRAPH, "deprecated"),
        ({**BATCH, "dynamic_batch_size": "1,4096"}, GRAPH, "4096"),
        ({"insert_op_conf": "aipp.cfg"}, GRAPH, "uint8"),
    ],
)
def test_notes_warn_without_stopping(options: Mapping[str, str], facts: GraphFacts, said: str) -> None:
    found = notes(call(**options), facts)
    assert any(said in note for note in found), found


def test_usual_call_has_no_notes() -> None:
    assert notes(call(input_shape=STATIC), GRAPH) == ()
