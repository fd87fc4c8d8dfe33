"""A whole model: which table and which rule speaks of which node."""

from collections.abc import Callable

import onnx_ir as ir
import pytest

from graphopt.compile.support.check import Support, check_model, rules_by_operator
from graphopt.compile.support.model_rules import LAST_IR_VERSION
from graphopt.compile.support.place import Aim
from graphopt.compile.support.registrations import registrations
from graphopt.compile.support.verdicts import SOURCES, Verdict
from graphopt.core.foreign_operator import Caution, ForeignOperator

NET = """
    h = Conv<kernel_shape=[2,4]>(x, w)
    g = Gather<axis=1>(h, last)
    s = Shape(g)
    t = Add(s, s)
    l = NonZero(g)
    y = Concat<axis=1>(l, l)
"""
WEIGHTS = "<float[5,3,2,4] w, int64[1] last = {-1}>"

GOLDEN = [
    ("Conv_0", "Conv", "fine", ["registered"]),
    ("Gather_1", "Gather", "unsupported", ["registered", "negative_index"]),
    ("Shape_2", "Shape", "fine", ["registered"]),
    ("Add_3", "Add", "restricted", ["registered", "int64"]),
    ("NonZero_4", "NonZero", "restricted", ["registered", "data_dependent"]),
    ("Concat_5", "Concat", "restricted", ["registered", "int64"]),
]

Parse = Callable[..., ir.Model]
Check = Callable[..., Support]


def test_the_table_of_a_small_model(parsed: Parse, checked: Check) -> None:
    support = checked(
        parsed(NET, weights="<int64[1] last = {-1}>", inputs="float[1,3,8,9] x, float[5,3,2,4] w")
    )
    rows = [(n.name, n.operator, n.verdict.value, [f.code for f in n.findings]) for n in support.nodes]
    assert rows == GOLDEN
    assert support.counts == {"fine": 2, "restricted": 3, "unknown": 0, "unsupported": 1}
    assert support.int64 == {"Add": 1, "Concat": 1}
    assert support.verdict is Verdict.UNSUPPORTED
    assert support.sources == ("C22", "GE", "DOC", "MZ")
    assert support.nodes[1].faults[0].code == "negative_index"


def test_json_has_all_that_was_found(parsed: Parse, checked: Check) -> None:
    support = checked(parsed("y = AveragePool<kernel_shape=[20,20]>(x)", inputs="float[1,3,88,99] x"))
    assert support.nodes[0].to_json() == {
        "node": "AveragePool_0",
        "operator": "AveragePool",
        "opset": 11,
        "ascend_operator": "PartitionedCall",
        "verdict": "restricted",
        "findings": [
            {
                "code": "registered",
                "verdict": "fine",
                "reason": "registered for opset 11 in mid-2022 and in August 2026",
                "sources": ["C22", "OPS"],
                "recorded": False,
            },
            {
                "code": "pool_window",
                "verdict": "restricted",
                "reason": "kernel 20x20 covers more than 256 elements: runs on the chip's CPU",
                "sources": ["DOC"],
                "recorded": False,
            },
        ],
    }


def test_rules_speak_of_operators_of_the_table_and_name_known_sources() -> None:
    assert rules_by_operator().keys() <= registrations().keys()
    assert all(rules for op, rules in rules_by_operator().items() if op != "GatherElements")
    assert all(key.isupper() or key == "DOC5" for key in SOURCES)


def test_unknown_is_worse_than_restricted_and_better_than_unsupported() -> None:
    assert [v.value for v in sorted(Verdict, key=lambda v: v.severity)] == [
        "fine",
        "restricted",
        "unknown",
        "unsupported",
    ]


@pytest.mark.parametrize(
    ("body", "imports", "expected"),
    [
        ("y = npu.BatchMultiClassNMS(x)", ', "npu" : 1', ["unsupported operator_limit"]),
        ("y = com.vendor.Thing(x)", ', "com.vendor" : 1', ["unsupported not_registered"]),
        ("y = npu.NPUIou(x, x)", ', "npu" : 1', ["unknown domain"]),
        ("y = Thing(x)", "", ["unsupported not_registered"]),
    ],
)
def test_operators_of_other_domains(
    codes: Callable[..., list[str]], body: str, imports: str, expected: list[str]
) -> None:
    found = codes(body, imports=imports)
    assert set(expected) <= set(found), found


def foreign(**more: object) -> ForeignOperator:
    return ForeignOperator(op_type="Thing", home="npu", is_target=True, shaped_like=lambda node: None, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (foreign(), {"unknown plugin"}),
        (foreign(attributes={"size": ir.AttributeType.INT}), {"unknown plugin"}),
        (
            foreign(attributes={"size": ir.AttributeType.INTS}),
            {"unknown plugin", "restricted attribute_type"},
        ),
        (
            foreign(attributes={"size": ir.AttributeType.STRING}),
            {"unknown plugin", "unsupported attribute_type"},
        ),
        (
            foreign(attributes={"sizes": ir.AttributeType.INT}),
            {"unknown plugin", "restricted attribute_name"},
        ),
        (foreign(check=lambda call: ["size is 3"]), {"unknown plugin", "unsupported operator_limit"}),
        (foreign(check=lambda call: [Caution("slow")]), {"unknown plugin", "restricted operator_limit"}),
        (
            foreign(check=lambda call: [call.text("mode")]),
            {"unknown plugin", "unsupported operator_limit"},
        ),
    ],
)
def test_limits_of_an_operator_of_the_target(
    codes: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    operator: ForeignOperator,
    expected: set[str],
) -> None:
    def at_home(node: ir.Node) -> ForeignOperator | None:
        return operator if node.domain == "npu" else None

    monkeypatch.setattr("graphopt.compile.support.check.at_home", at_home)
    assert set(codes("y = npu.Thing<size=3>(x)", imports=', "npu" : 1')) == expected


def test_operators_of_ascend_stand_in_the_default_domain(
    codes: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = ForeignOperator(
        op_type="RoiExtractor", home="npu", is_target=True, shaped_like=lambda node: None
    )
    monkeypatch.setattr("graphopt.compile.support.check.at_home", lambda node: extractor)
    body = "y = npu.RoiExtractor(x, x)"
    assert codes(body, imports=', "npu" : 1') == []
    assert codes(body, imports=', "npu" : 1', opset=17) == ["unsupported opset"]


@pytest.mark.parametrize(
    ("op", "soc", "expected"),
    [
        ("RoiExtractor", "310P3", []),
        ("RoiExtractor", "910A", ["restricted chip"]),
        ("DeformableConv2D", "310P3", []),
        ("DeformableConv2D", "310", ["restricted chip"]),
    ],
)
def test_kernels_of_chips(
    codes: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, op: str, soc: str, expected: list[str]
) -> None:
    operator = ForeignOperator(op_type=op, home="npu", is_target=True, shaped_like=lambda node: None)
    monkeypatch.setattr("graphopt.compile.support.check.at_home", lambda node: operator)
    assert codes(f"y = npu.{op}(x)", imports=', "npu" : 1', soc=soc) == expected


def test_calls_of_functions_are_not_read(checked: Check) -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 13, "own" : 1]>
        net (float[5] x) => (float[5] y) { y = own.twice(x) }
        <domain: "own", opset_import: ["" : 13]> twice (a) => (b) { b = Add(a, a) }
    """
    support = checked(ir.from_onnx_text(text))
    assert [(node.operator, node.faults[0].code) for node in support.nodes] == [("own::twice", "function")]


def test_nodes_of_subgraphs_are_checked(checked: Check, parsed: Parse) -> None:
    model = parsed(
        "y = If(c) <then_branch = t () => (float[5] a) { a = Relu(x) }, "
        "else_branch = e () => (float[5] b) { b = Mish(x) }>",
        inputs="bool c, float[5] x",
        opset=18,
    )
    found = {node.operator: node.verdict.value for node in checked(model, cann="9.2").nodes}
    assert found == {"If": "fine", "Relu": "fine", "Mish": "fine"}


def whole(support: Support) -> list[str]:
    return [f"{item.verdict.value} {item.code}" for item in support.model]


@pytest.mark.parametrize(
    ("how", "cann", "expected"),
    [
        ({}, "", []),
        ({"opset": 19}, "", ["unsupported model_opset"]),
        ({"opset": 10}, "9.2", ["restricted model_opset"]),
        ({"opset": 10}, "6.0", []),
        ({"inputs": "float[1,3,N,9] x"}, "", ["restricted dynamic_input"]),
        ({"inputs": "int64[5] x"}, "", []),
        ({"inputs": "double[5] x"}, "", ["restricted input_dtype"]),
    ],
)
def test_the_model_as_a_whole(
    parsed: Parse, checked: Check, how: dict[str, object], cann: str, expected: list[str]
) -> None:
    assert whole(checked(parsed("y = Relu(x)", **how), cann=cann)) == expected


def test_names_ir_version_ends_and_domains(parsed: Parse, checked: Check) -> None:
    model = parsed("h = Relu(x) y = Abs(h)")
    model.ir_version = LAST_IR_VERSION + 1
    for node in model.graph:
        node.name = "x"
    model.opset_imports.pop("")
    assert whole(checked(model)) == ["restricted ir_version", "unsupported names", "unsupported domain"]
    model = parsed("y = RandomNormal<shape=[5]>()", inputs="")
    assert whole(checked(model)) == ["unsupported ends"]


def test_size_and_open_places_are_said(parsed: Parse, aim: Callable[..., Aim]) -> None:
    class Nothing:
        dtype = None
        shape = (5,)

    model = parsed("y = Relu(x)")
    support = check_model(
        model, aim(), lambda value: Nothing(), size_bytes=3 << 30, open_at=("NonZero_1: it does",)
    )
    assert [item.code for item in support.model] == ["size", "dynamic"]
    assert "3.0 GiB" in support.model[0].why
    assert "first NonZero_1" in support.model[1].why
