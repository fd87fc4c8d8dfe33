"""The tables joined with what inference knows; passes that mend, tried and applied."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from graphopt.compile.support.records import RECORDS_FILE, Records, read_records
from graphopt.core.errors import (
    InvalidModelError,
    OutputError,
    PreconditionError,
    UnsupportedError,
    UsageError,
)
from graphopt.recipes.compilation import CompileOptions, compile_into, plan_for
from graphopt.recipes.mending_trial import Mending, try_mending
from graphopt.recipes.support import Checked, aim_at, check_file, hint, refusal
from graphopt.recipes.support_fix import fix_file
from graphopt.recipes.support_record import record
from graphopt.recipes.support_summary import by_operator, groups_of, next_step, to_json
from graphopt.surgery import PassStep

NET = """
    <ir_version: 8, opset_import: ["" : 11]>
    net (float[1,5,8,9] x) => (float[1,3] y) <int64 last = {-1}, int64 zero = {0}, int64[1] three = {3}> {
        p = AveragePool<kernel_shape=[8,9]>(x)
        s = Shape(p)
        n = Gather(s, zero)
        m = Unsqueeze<axes=[0]>(n)
        size = Concat<axis=0>(m, three)
        row = Gather<axis=3>(p, last)
        col = Gather<axis=2>(row, last)
        part = Slice<Z>(col, first, until, axes)
        y = Expand(part, size)
    }
"""
NET = NET.replace("Slice<Z>", "Slice").replace(
    "int64[1] three = {3}>",
    "int64[1] three = {3}, int64[1] first = {1}, int64[1] until = {2}, int64[1] axes = {1}>",
)
STEEP = """
    <ir_version: 8, opset_import: ["" : 11]>
    net (float[1,5,8,9] x) => (float[1,5,8,9] y) { a = Selu<alpha=1.5>(x) y = Abs(a) }
"""
CLEAN = """
    <ir_version: 8, opset_import: ["" : 11]>
    net (float[1,5,8,9] x) => (float[1,5,8,9] y) { y = Relu(x) }
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checked]:
    """Check a model given as text; no records hold but those of the test's folder."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, cann: str = "6.0.1", records: Records | None = None) -> Checked:
        model = onnx.parser.parse_model(text)
        for index, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{index}"
        onnx.save(model, tmp_path / "net.onnx")
        return check_file(tmp_path / "net.onnx", aim_at("310P3", cann), records=records)

    return run


def test_types_come_from_inference_and_not_from_the_file(check: Callable[..., Checked]) -> None:
    found = {item.name: [fault.code for fault in item.faults] for item in check(NET).support.nodes}
    assert found == {
        "AveragePool_0": [],
        "Shape_1": [],
        "Gather_2": [],
        "Unsqueeze_3": [],
        "Concat_4": ["int64"],
        "Gather_5": ["negative_index"],
        "Gather_6": ["negative_index"],
        "Slice_7": [],
        "Expand_8": ["computed_size"],
    }


def test_passes_that_mend_are_found_with_what_each_mends(check: Callable[..., Checked]) -> None:
    checked = check(NET)
    before = checked.model.graph.num_nodes()
    mending = try_mending(checked)
    assert checked.model.graph.num_nodes() == before  # looked at, not changed
    assert mending.after.verdict.value == "fine"
    assert mending.mended[("Concat_4", "int64")] == "static_shapes"
    assert mending.mended[("Expand_8", "computed_size")] == "static_shapes"
    assert mending.mended[("Gather_5", "negative_index")] in {
        "gather_columns_to_slice",
        "negative_gather_index",
    }
    assert "static_shapes" in [step.name for step in mending.steps]


def test_a_pass_that_mends_nothing_is_not_proposed(check: Callable[..., Checked]) -> None:
    mending = try_mending(check(STEEP))
    assert (mending.steps, mending.mended) == ((), {})
    assert mending.after.counts == mending.before.counts


def test_passes_that_change_numbers_are_named_and_not_tried(check: Callable[..., Checked]) -> None:
    text = CLEAN.replace("y = Relu(x)", 'r = Resize<mode="cubic">(x, , k) y = Relu(r)').replace(
        "y) {", "y) <float[4] k = {1, 1, 1, 1}> {"
    )
    mending = try_mending(check(text))
    assert mending.approximate == {("Resize_0", "resize_cubic"): ("resize_mode",)}
    [group] = groups_of(mending.before, mending)
    assert group.remedy == "resize_mode, which changes numbers"


def test_why_a_pass_leaves_a_node_alone_is_told(check: Callable[..., Checked]) -> None:
    text = CLEAN.replace("Relu(x)", "AveragePool<kernel_shape=[17,17], strides=[3,3]>(x)").replace(
        "1,5,8,9", "1,5,40,41"
    )
    mending = try_mending(check(text))
    name, why = mending.declined[("AveragePool_0", "pool_window")]
    assert name == "split_avgpool"
    assert why
    [group] = groups_of(mending.before, mending)
    assert group.remedy == f"not split_avgpool: {why}"


def test_fix_writes_a_proven_model_and_says_what_became_of_it(
    check: Callable[..., Checked], tmp_path: Path
) -> None:
    fixed = fix_file(check(NET), tmp_path / "net.opt.onnx")
    assert fixed.report is not None
    assert fixed.report.verification.status.value == "proven"
    assert fixed.after is not None
    assert fixed.after.support.verdict.value == "fine"
    assert fixed.to_json()["counts_before"]["unsupported"] == 2
    assert fixed.to_json()["counts"]["unsupported"] == 0
    with pytest.raises(OutputError, match="--force"):
        fix_file(check(NET), tmp_path / "net.opt.onnx")


@pytest.mark.parametrize(
    ("text", "reason"), [(CLEAN, "nothing is to be mended"), (STEEP, "no pass of the cat")]
)
def test_fix_writes_nothing_when_nothing_mends(
    check: Callable[..., Checked], tmp_path: Path, text: str, reason: str
) -> None:
    fixed = fix_file(check(text), tmp_path / "net.opt.onnx")
    assert fixed.reason.startswith(reason)
    assert fixed.report is None
    assert fixed.to_json()["rewrite"] is None
    assert not (tmp_path / "net.opt.onnx").exists()


def test_weights_that_the_file_lacks_are_no_obstacle_but_for_a_fix(tmp_path: Path) -> None:
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[6, 5, 2, 3])
    slope = onnx.TensorProto(name="s", data_type=onnx.TensorProto.FLOAT, dims=[6])
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 11]> net (float[1,5,8,9] x) => (y) '
        "{ h = Conv(x, w) y = PRelu(h, s) }"
    )
    model.graph.initializer.extend([weight, slope])
    onnx.save(model, tmp_path / "stripped.onnx")
    checked = check_file(tmp_path / "stripped.onnx", aim_at("310P3"), records=Records())
    assert checked.stripped == 2
    assert checked.support.counts["fine"] == 2
    with pytest.raises(InvalidModelError, match="lacks 2 weights"):
        fix_file(checked, tmp_path / "out.onnx")


def test_the_summary_groups_by_reason(check: Callable[..., Checked]) -> None:
    checked = check(NET)
    mending = try_mending(checked)
    groups = {group.finding.code: group for group in groups_of(checked.support, mending)}
    assert list(groups) == ["negative_index", "int64", "computed_size"]
    assert groups["negative_index"].nodes == ("Gather_5", "Gather_6")
    assert groups["negative_index"].operator_text == "Gather"
    assert groups["int64"].remedy == "static_shapes"
    assert [group.remedy for group in groups_of(checked.support, None)] == ["-", "-", "-"]
    rows = [(operator, counts.total(), bool(why)) for operator, counts, why in by_operator(checked.support)]
    assert rows[0] == ("Gather", 3, True)
    assert rows[-1] == ("Unsqueeze", 1, False)


def test_json_is_complete_and_says_who_mends(check: Callable[..., Checked]) -> None:
    checked = check(NET)
    content = to_json(checked, try_mending(checked))
    assert len(content["nodes"]) == 9
    assert content["counts"] == {"fine": 5, "restricted": 2, "unknown": 0, "unsupported": 2}
    assert content["counts_mended"]["unsupported"] == 0
    gather = next(item for item in content["nodes"] if item["node"] == "Gather_5")
    assert gather["findings"][1]["mended_by"] in {"gather_columns_to_slice", "negative_gather_index"}
    assert set(gather["findings"][1]["sources"]) <= content["sources"].keys()
    assert to_json(checked, None)["mending"] is None


@pytest.mark.parametrize(
    ("text", "trial", "part"),
    [
        (NET, True, "--fix the passes that mend leave nothing"),
        (NET, False, "without --no-trial"),
        (STEEP, True, "--record ok"),
        (CLEAN, True, "graphopt compile"),
        (CLEAN, False, "graphopt compile"),
    ],
)
def test_the_last_line_says_what_to_type(
    check: Callable[..., Checked], text: str, trial: bool, part: str
) -> None:
    checked = check(text)
    step = " ".join(next_step(checked, try_mending(checked) if trial else None))
    assert part in step
    assert "--soc Ascend310P3 --cann 6.0.1" in step


def test_shapes_that_contradict_each_other_do_not_end_the_look(
    check: Callable[..., Checked], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: object, **how: object) -> None:
        raise PreconditionError("Add_3: 5 against 7")

    monkeypatch.setattr("graphopt.recipes.support.analyse_sizes", refuse)
    support = check(CLEAN.replace("Relu(x)", "PRelu(x, x)")).support
    assert [(item.code, item.why) for item in support.model] == [("shapes", "Add_3: 5 against 7")]
    assert support.nodes[0].faults[0].code == "prelu_slope"  # by what the file itself declares


def test_a_release_that_is_not_covered_is_no_reason_to_rewrite(check: Callable[..., Checked]) -> None:
    mending = try_mending(check(CLEAN.replace("Relu(x)", "Identity(x)"), cann="4.0"))
    assert mending.before.counts["unknown"] == 1
    assert mending.steps == ()


def test_the_chip_may_be_asked_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.recipes.support.detect_soc", lambda: "Ascend310P1")
    assert aim_at("Auto").soc == "Ascend310P1"


def test_refusal_and_hint_are_for_compile(check: Callable[..., Checked]) -> None:
    assert "Selu_0 (Selu): alpha 1.5" in refusal(check(STEEP))
    assert refusal(check(CLEAN)) == hint(check(CLEAN)) == ""
    assert "2 restricted, 2 unsupported" in hint(check(NET))


# records


def test_what_compiled_is_kept_and_heeded(check: Callable[..., Checked], tmp_path: Path) -> None:
    checked = check(STEEP, cann="5.0.4")
    assert checked.support.counts == {"fine": 0, "restricted": 0, "unknown": 1, "unsupported": 1}
    path, added = record(checked.support, checked.path, "ok", note="by hand")
    assert path == tmp_path / RECORDS_FILE
    assert [(item.operator, item.limit) for item in added] == [
        ("Selu", ""),
        ("Selu", "selu"),
        ("Abs", ""),
    ]
    assert {item.note for item in read_records(path).items} == {"by hand"}
    again = check(STEEP, cann="5.0.4")
    assert again.support.counts == {"fine": 1, "restricted": 1, "unknown": 0, "unsupported": 0}
    assert again.records.path == path
    assert record(again.support, again.path, "ok")[1] == ()


def test_a_log_says_what_did_not_compile(check: Callable[..., Checked], tmp_path: Path) -> None:
    log = tmp_path / "atc.log"
    log.write_text(
        "E19010: No parser is registered for Op [Relu_0, optype [ai.onnx::11::Relu]].\nATC run failed"
    )
    checked = check(CLEAN)
    _, added = record(checked.support, checked.path, str(log))
    assert [(item.operator, item.verdict.value) for item in added] == [("Relu", "unsupported")]
    assert added[0].note.startswith("net.onnx, 20")
    assert check(CLEAN).support.verdict.value == "unsupported"
    log.write_text("ATC run success, welcome to the next use.")
    _, added = record(checked.support, checked.path, str(log))
    assert [(item.operator, item.verdict.value) for item in added] == [("Relu", "fine")]
    assert check(CLEAN).support.verdict.value == "fine"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "takes 'ok' or the log"), ("E10016: no such input", "neither says"), ("", "neither says")],
)
def test_a_log_that_says_nothing_of_operators_is_refused(
    check: Callable[..., Checked], tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "atc.log").write_text(content)
    checked = check(CLEAN)
    with pytest.raises(UsageError, match=message):
        record(checked.support, checked.path, str(tmp_path / "atc.log"))
    assert not (tmp_path / RECORDS_FILE).exists()


def test_a_record_needs_a_release(check: Callable[..., Checked]) -> None:
    checked = check(CLEAN, cann="")
    with pytest.raises(UsageError, match="needs --cann"):
        record(checked.support, checked.path, "ok")


# compile


@pytest.mark.parametrize("script_only", [True, False])
def test_compile_stops_before_atc_unless_told_otherwise(
    check: Callable[..., Checked], tmp_path: Path, script_only: bool
) -> None:
    model = check(STEEP).path
    request = CompileOptions(target="atc", soc="310P3", cann="6.0.1", script_only=script_only)
    for stopped in (lambda: compile_into(tmp_path / "out", model, request), lambda: plan_for(model, request)):
        with pytest.raises(UnsupportedError, match=r"Selu_0 .*\n.*graphopt support .*--allow-unsupported"):
            stopped()
    assert UnsupportedError.exit_code == 1
    assert not (tmp_path / "out").exists()
    allowed = CompileOptions(target="atc", soc="310P3", script_only=True, allow_unsupported=True)
    done = compile_into(tmp_path / "out", model, allowed)
    assert "Selu_0" in done.refused
    assert (tmp_path / "out" / "net_bs1.atc.sh").is_file()
    assert any("Selu_0" in note for note in done.plans[0]["notes"])


def test_restrictions_are_a_note_of_the_plan(check: Callable[..., Checked]) -> None:
    text = CLEAN.replace("Relu(x)", "AveragePool<kernel_shape=[1,1], strides=[64,64]>(x)").replace(
        "float[1,5,8,9] y", "float[1,5,1,1] y"
    )
    [plan] = plan_for(check(text).path, CompileOptions(target="atc", soc="310P3"))
    assert any("1 restricted" in note for note in plan.notes)
    [plan] = plan_for(check(CLEAN).path, CompileOptions(target="atc", soc="310P3"))
    assert not any("restricted" in note for note in plan.notes)


@pytest.mark.parametrize("option", [{"cann": "6.0"}, {"allow_unsupported": True}])
def test_options_for_atc_are_refused_elsewhere(
    check: Callable[..., Checked], tmp_path: Path, option: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match="is for --target atc"):
        compile_into(
            tmp_path / "out",
            check(CLEAN).path,
            CompileOptions(target="onnxruntime", **option),  # type: ignore[arg-type]
        )


# the real graphs


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("deepmar_bs1", {"fine": 180, "restricted": 2, "unknown": 0, "unsupported": 0}),
        ("refinenet", {"fine": 449, "restricted": 12, "unknown": 0, "unsupported": 0}),
        ("fcos", {"fine": 801, "restricted": 55, "unknown": 0, "unsupported": 2}),
    ],
)
def test_verdicts_on_raw_graphs(shared_dir: Path, name: str, counts: dict[str, int]) -> None:
    path = shared_dir / "raw" / f"{name}.onnx"
    assert check_file(path, aim_at("310P3", "6.0.1"), records=Records()).support.counts == counts


@pytest.mark.shared
def test_operators_of_exporters_are_unsupported_without_a_body(shared_dir: Path) -> None:
    path = shared_dir / "raw" / "faster_rcnn_dcn.onnx"
    support = check_file(path, aim_at("310P3", "6.0.1"), records=Records()).support
    bad = [item.operator for item in support.nodes if item.verdict.value == "unsupported"]
    assert bad.count("mmcv::MMCVDeformConv2d") == 13
    assert np.sum(list(support.int64.values())) > 40


NMS = """
    <ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
    net (float[1,{count},1,4] boxes, float[1,{count},3] scores)
        => (float[1,7,4] b, float[1,7] s, float[1,7] c, int32[1] n) {{
            b, s, c, n = npu.BatchMultiClassNMS <iou_threshold = 0.5, score_threshold = 0.1,
                max_size_per_class = 7, max_total_size = 7> (boxes, scores)
        }}
"""
NEAREST = """
    <ir_version: 8, opset_import: ["" : 11]>
    net (float[1,5,8,9] x, float[1,5,16,18] a) => (float[1,5,16,18] y)
        <float[4] k = {1, 1, 2, 2}, float[0] roi = {}> {
        r = Resize <mode = "nearest", nearest_mode = "floor",
            coordinate_transformation_mode = "asymmetric">(x, roi, k)
        y = Add(r, a)
    }
"""


def test_what_the_operator_of_a_detector_does_not_take_is_told_with_what_to_do(
    check: Callable[..., Checked],
) -> None:
    checked = check(NMS.format(count=4100))
    remedies = {g.finding.code: g.remedy for g in groups_of(checked.support, try_mending(checked))}
    assert "force_fp16" in remedies["nms_float32"]
    assert "must_keep_origin_dtype" in remedies["nms_float32"]
    assert "replace_nms:max_candidates=4080" in remedies["nms_candidates"]
    fewer = check(NMS.format(count=4080))
    assert "nms_candidates" not in {g.finding.code for g in groups_of(fewer.support, None)}


def test_what_a_pass_would_write_is_told_with_the_options_that_avoid_it(
    check: Callable[..., Checked],
) -> None:
    checked, written = check(CLEAN), check(NMS.format(count=4100))
    mending = Mending(steps=(PassStep("replace_nms"),), before=checked.support, after=written.support)
    remark = next_step(checked, mending)[1]
    assert remark.endswith(
        "1 restricted, 1 of them what replace_nms writes: replace_nms:boundary=fp16:max_candidates=4080 "
        "breaks fewer limits, and changes numbers"
    )
    same = Mending(steps=(PassStep("replace_nms"),), before=written.support, after=written.support)
    assert "replace_nms" not in next_step(written, same)[1]


def test_rounding_of_nearest_is_mended_with_the_option_that_it_needs(
    check: Callable[..., Checked], tmp_path: Path
) -> None:
    checked = check(NEAREST)
    mending = try_mending(checked)
    assert mending.mended[("Resize_0", "resize_rounding")] == "replace_merge_cells:coordinates=half_pixel"
    assert mending.after.verdict.value == "fine"
    fixed = fix_file(checked, tmp_path / "net.opt.onnx")
    assert fixed.report is not None
    assert fixed.report.verification.status.value == "proven"
