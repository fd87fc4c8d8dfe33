"""Logs of all eras; the texts are shaped like ATC's own."""

import json

import pytest

from graphopt.compile.atc.log_reading import read_check_report, read_log
from graphopt.compile.atc.log_report import LogReport

FAILED = "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"


def read(text: str) -> LogReport:
    return read_log(text.splitlines(keepends=True))


def test_an_old_parser_error_names_all_its_nodes_by_operator() -> None:
    report = read(
        "ATC start working now, please wait for a moment.\n" + FAILED + "E19010: No parser is registered for "
        "Op [Foo_52, optype [ai.onnx::11::Foo]].\n"
        "        Solution: Check the version of the installation package.\n"
        "        TraceBack (most recent call last):\n"
        "        No parser is registered for Op [Foo_112, optype [ai.onnx::11::Foo]].\n"
        "        No parser is registered for Op [Bar_1, optype [mmcv::1::Bar]].\n"
        "        Model parse to graph failed, graph name:m.[FUNC:ModelParseToGraph][FILE:x.cc][LINE:905]\n"
    )
    assert report.outcome == "failed"
    foo, bar = report.findings
    assert (foo.code, foo.line, foo.count, foo.op_types, foo.opset) == ("E19010", 3, 2, ("Foo",), 11)
    assert [item.node for item in foo.nodes.values()] == ["Foo_52", "Foo_112"]
    assert bar.op_types == ("Bar",)
    assert not foo.consequence
    assert not bar.consequence
    assert "lower the opset" in str(foo)
    assert report.unexplained == ()


@pytest.mark.parametrize(
    "line",
    [
        "EZ9010: No parser is registered for Op [A_1, optype [ai.onnx::16::A]].",
        "E13010: No operator plugin is registered for Op: A_1, optype: ai.onnx::16::A.",
        (
            "E13010: [PID: 7] 2025-03-18-09:02:18.501.341 No operator plugin is registered for Op: A_1, "
            "optype: ai.onnx::16::A."
        ),
        (
            "[PID: 7] 2025-11-26-11:43:03.835.873 Not_Supported_Operator(E13010): No operator plugin is "
            "registered for Op: A_1, optype: ai.onnx::16::A."
        ),
        (
            "EZ9010[PID: 7] 2026-07-28-06:36:35.251.745 (EZ9010):  No parser is registered for Op [A_1, "
            "optype [ai.onnx::16::A]]."
        ),
        (
            "[ERROR] GE(45311,atc.bin):2024-05-24-21:17:48.149.068 [p.cc:106]45311 Parse: ErrorNo: "
            "4294967295(failed) [COMP][PRE_OPT]No parser is registered for Op [A_1, optype [ai.onnx::16::A]]."
        ),
        "\x1b[31mE19010: No parser is registered for Op [A_1, optype [ai.onnx::16::A]].\x1b[0m",
    ],
)
def test_one_error_in_the_spellings_of_all_eras(line: str) -> None:
    (finding,) = read(line).findings
    assert finding.op_types == ("A",)
    assert [item.node for item in finding.nodes.values()] == ["A_1"]
    assert finding.opset == 16
    assert finding.explanation is not None
    assert finding.explanation.rewrites


def test_reasons_per_kernel_and_the_node_become_one_finding() -> None:
    report = read(
        "EZ3002: Optype [Conv2D] of Ops kernel [AIcoreEngine] is unsupported. Reason: the format is odd.\n"
        "        TraceBack (most recent call last):\n"
        "        Optype [Conv2D] of Ops kernel [aicpu_ascend_kernel] is unsupported. Reason: no such op.\n"
        "        No supported Ops kernel and engine are found for [Conv_52], optype [Conv2D].\n"
        "        build graph failed, graph id:0, ret:-1[FUNC:BuildModel][FILE:y.cc][LINE:1]\n"
    )
    (finding,) = report.findings
    assert finding.code == "EZ3002"
    assert finding.details == ["aicpu_ascend_kernel: no such op."]
    assert "Conv_52" in {item.node for item in finding.nodes.values()}


def test_an_error_of_another_operator_stays_its_own_finding() -> None:
    report = read(
        "EZ3002: Optype [Conv2D] of Ops kernel [AIcoreEngine] is unsupported. Reason: the format is odd.\n"
        "EZ3003: No supported Ops kernel and engine are found for [TopK_2], optype [TopK].\n"
    )
    assert [item.code for item in report.findings] == ["EZ3002", "EZ3003"]


def test_an_inner_error_is_explained_by_the_lines_below_it() -> None:
    report = read(
        FAILED + "EZ9999: Inner Error!\n"
        "EZ9999: [PID: 216] 2025-05-30-17:44:16.563.100 [InferShape] The k-axis of a(64) and b(92) tensors "
        "must be the same[FUNC:InferShape][FILE:m.cc][LINE:1402]\n"
        "        TraceBack (most recent call last):\n"
        "        Call InferShapeAndType for node:MatMul_77(BatchMatMul) failed[FUNC:Infer]\n"
    )
    (finding,) = report.findings
    assert finding.text == "[InferShape] The k-axis of a(64) and b(92) tensors must be the same"
    assert [(item.node, item.op_type) for item in finding.nodes.values()] == [("MatMul_77", "BatchMatMul")]
    assert finding.case is not None
    assert finding.case.word == "shape-inference"


def test_what_is_definite_is_the_cause_of_what_is_vague_even_when_it_comes_later() -> None:
    report = read(
        "E19999: Inner Error!\n        Unknown error occurred. Please check the log.\n"
        "E10016: Opname [input] specified in [--input_shape] is not found in the model\n"
    )
    first, second = report.findings
    assert (first.code, first.consequence) == ("E10016", False)
    assert [item.node for item in first.nodes.values()] == ["input"]
    assert (second.code, second.consequence) == ("E19999", True)


def test_an_inner_error_alone_is_the_cause() -> None:
    (finding,) = read("E19999: Inner Error!\n        Unknown error occurred. Please check the log.\n").errors
    assert not finding.consequence
    assert "plog" in finding.remedy


def test_a_failed_kernel_keeps_the_exception_that_it_ends_with() -> None:
    report = read(
        "E40021: [PID: 9] 2024-07-03-10:49:44.001.002 Failed to compile Op [Index2,]. (oppath: [Compile "
        'index.py failed with errormsg/stack: File "index.py", line 536, in\n'
        "\t->  x_tail = self.tik_instance.Scalar()\n"
        "Traceback (most recent call last):\n"
        "  193: TVMFuncCall\n"
        "RuntimeError: the tail is odd\n"
    )
    (finding,) = report.findings
    assert [item.node for item in finding.nodes.values()] == ["Index2"]
    assert finding.details == ["RuntimeError: the tail is odd"]


@pytest.mark.parametrize(
    ("line", "word", "said"),
    [
        ("ERROR: unknown command line flag 'out_node'", "unknown-option", "out_nodes"),
        ("ERROR: flag 'output' is missing its argument", "no-value", "--name=value"),
        ("Non-option parameter: 3", "stray-word", "quote"),
        ("bash: line 1: atc: command not found", "no-atc", "set_env.sh"),
        (
            "atc.bin: error while loading shared libraries: libascend_hal.so: cannot open shared object file",
            "shared-library",
            "devlib",
        ),
        ("ModuleNotFoundError: No module named 'decorator'", "python-module", "pip install decorator"),
        ("AttributeError: `np.float_` was removed in the NumPy 2.0 release", "numpy-2", "numpy<2"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "host-memory", "TE_PARALLEL"),
        ("Killed", "host-memory", "larger machine"),
        ("OSError: [Errno 28] No space left on device", "disk-full", "free some space"),
        ("Segmentation fault (core dumped)", "crash", "plog"),
    ],
)
def test_what_goes_wrong_without_a_code(line: str, word: str, said: str) -> None:
    (finding,) = read(f"some words before\n{line}\n").findings
    assert finding.code == word
    assert finding.line == 2
    assert said in str(finding)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Value [linux] for parameter [--host_env_os] is invalid", "environment"),
        ("Value [Ascend1] for parameter [--soc_version] is invalid.", "unknown-chip"),
        ("Only one of index, top_name and output_name can be used.", "mixed-outputs"),
        ("Value NULL is invalid. Reason: --input_shape NULL, the model contains -1", "unknown-shape"),
    ],
)
def test_the_reason_says_more_than_the_code(text: str, word: str) -> None:
    (finding,) = read(f"E10001: {text}").findings
    assert finding.code == "E10001"
    assert finding.case is not None
    assert finding.case.word == word


def test_a_chip_without_even_a_convolution_lacks_its_package() -> None:
    (finding,) = read(
        "EZ3003: No supported Ops kernel and engine are found for [a], optype [Conv2D]."
    ).findings
    assert finding.meaning == "not even Conv2D, which every chip has, finds a kernel"
    assert "ops package" in finding.remedy


def test_a_missing_module_and_the_code_that_follows_are_one_finding() -> None:
    (finding,) = read(
        f"ModuleNotFoundError: No module named 'sympy'\n{FAILED}E40000: Failed to import te.log_util.\n"
    ).findings
    assert (finding.code, finding.line) == ("E40000", 1)
    assert "lacks the package sympy" in finding.meaning


def test_warnings_of_a_successful_run_in_three_spellings() -> None:
    report = read(
        "...Warning: tiling offset out of range ... ATC run success, welcome to the next use.\n"
        "W11001: Op [/a/Mod] does not hit the high-priority operator information library. W11001: [PID: 2] "
        "2025-08-27-20:57:16.980.726 Op [/a/Div] does not hit the high-priority operator library.\n"
        "Operator_Missing_High-Priority_Performance(W11001): Op [/a/Add] does not hit the high-priority\n"
    )
    assert report.outcome == "success"
    (finding,) = report.findings
    assert finding.warning
    assert report.errors == ()
    assert [item.node for item in finding.nodes.values()] == ["/a/Mod", "/a/Div", "/a/Add"]


def test_lines_of_a_plog_that_report_no_error_say_nothing() -> None:
    report = read(
        "[INFO] GE(4,atc.bin):2024-05-24-21:17:48 [x.cc:177]4 Set: E10001 failed to find, an error\n"
        "[WARNING] GE(4,atc.bin):2024-05-24-21:17:48 [x.cc:177]4 Set: cannot be fused\n"
    )
    assert report.findings == ()
    assert report.unexplained == ()


def test_unknown_errors_are_kept_with_their_lines_and_counted() -> None:
    report = read("hello\n" + "".join(f"flux {index} failed\n" for index in range(30)))
    assert report.findings == ()
    assert report.unexplained[0] == (2, "flux 0 failed")
    assert len(report.unexplained) == 10
    assert report.unexplained_count == 30


def test_an_unknown_code_is_kept_as_it_stands() -> None:
    (finding,) = read("EX8765: something new\n").findings
    assert finding.explanation is None
    assert str(finding) == "EX8765: something new"


def test_numbers_that_only_look_like_codes_are_none() -> None:
    assert read("node E10016x, XE10016, 1E10016, E1001, E100167, /x/E10016.y-E10016").findings == ()


def test_a_log_full_of_errors_stays_small() -> None:
    report = read_log(f"E10001: value {index} is invalid, {'x' * 9000}" for index in range(2000))
    assert len(report.findings) <= 200
    assert all(len(item.text) <= 400 for item in report.findings)
    assert report.lines == 2000


def test_a_check_report_names_the_nodes_that_are_refused() -> None:
    refused = {"code": 5, "message": "No parser is registered for Op [F_1, optype [ai.onnx::11::F]]."}
    content = {
        "name": "m",
        "result": "failed",
        "total": 2,
        "pass": 1,
        "fail": 1,
        "op": [
            {"name": "F_1", "type": "F", "result": "failed", "cause": [refused]},
            {"name": "Relu_2", "type": "Relu", "result": "success"},
        ],
    }
    report = read_check_report(json.dumps(content))
    assert report is not None
    assert report.outcome == "failed"
    (finding,) = report.findings
    assert finding.code == "E19010"
    assert [(item.node, item.op_type) for item in finding.nodes.values()] == [("F_1", "F")]


def test_a_check_report_without_failures_is_a_success() -> None:
    report = read_check_report('{"result": "success", "op": []}')
    assert report is not None
    assert (report.outcome, report.findings) == ("success", ())


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"op": 3}', "{}"])
def test_another_text_is_no_check_report(text: str) -> None:
    assert read_check_report(text) is None
