from graphopt.compile.atc.errors import EXPLANATIONS, find_errors

LOG = """\
ATC start working now, please wait for a moment.
ATC run failed, Please check the detail log, Try 'atc --help' for more information
E19010: No parser is registered for Op [Conv_52, optype [ai.onnx::11::Convx]].
        No parser is registered for Op [Conv_53, optype [ai.onnx::11::Convx]].
EZ3003: No supported Ops kernel and engine are found for [Conv_52], optype [Conv].
E19010: again
W11001: Op [Conv_1] does not hit the high-priority operator information library
E98765: something new
"""


def test_codes_are_found_once_in_order_without_warnings() -> None:
    found = find_errors(LOG)
    assert [item.code for item in found] == ["E19010", "EZ3003", "E98765"]
    assert found[0].line.startswith("E19010: No parser is registered for Op [Conv_52")


def test_known_codes_are_explained_with_a_remedy() -> None:
    parser, kernel, unknown = find_errors(LOG)
    assert "lower the opset" in str(parser)
    assert "int64 to int32" in str(kernel)
    assert unknown.explanation is None
    assert str(unknown) == "E98765: something new"


def test_numbers_that_only_look_like_codes_are_none() -> None:
    assert find_errors("node E10016x, XE10016, 1E10016, E1001, E100167") == ()


def test_every_explanation_is_complete() -> None:
    for code, explanation in EXPLANATIONS.items():
        assert explanation.meaning, code
        assert explanation.remedy, code
        assert not explanation.remedy.endswith("."), code
