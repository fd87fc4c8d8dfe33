from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.onnx_files import from_proto
from graphopt.core.operator_catalogue import (
    COMMAND,
    describe_operators,
    find_operator,
    operators_page,
    strangers,
)
from graphopt.core.operator_shapes import shapes_from_body
from graphopt.core.operator_trial import run_call
from graphopt.core.operators import operator_of, written_as
from graphopt.core.plugins import load_plugin, plugin_scope

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = '''
"""``Twice``: twice its input.

Inputs: x [N, C].
Outputs: y [N, C].
Limits: none.
"""

import numpy as np

from graphopt.core.foreign_operator import ForeignOperator
from graphopt.core.operator_shapes import shapes_from_body


def _body(call, new, inputs):
    factor = new.constant(np.array(call.number("factor", 2.0), dtype=np.float32))
    return [new.op("Mul", inputs[0], factor)]


OPERATOR = ForeignOperator(
    op_type="Twice", home="acme", domains=("",), shaped_like=shapes_from_body(), body=_body, note="twice it"
)
'''


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with plugin_scope():
        yield


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "twice.py", text: str = PLUGIN) -> Path:
        (tmp_path / name).write_text(text)
        load_plugin(tmp_path / name)
        return tmp_path / name

    return write


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    assert page == operators_page(describe_operators()), f"docs/operators.md is stale: {COMMAND}"


def test_every_operator_says_what_goes_in_and_what_comes_out() -> None:
    for info in describe_operators():
        assert info.note, info.name
        assert info.inputs, info.name
        assert info.outputs, info.name
        assert info.limits or not info.is_target, info.name
        assert info.attributes or not info.is_target, info.name


@pytest.mark.parametrize("name", ["DeformableConv2D", "deformableconv2d", "npu::DeformableConv2D"])
def test_an_operator_is_found_by_its_name(name: str) -> None:
    info = find_operator(name)
    assert (info.name, info.home, info.is_target) == ("DeformableConv2D", "npu", True)
    assert info.attributes["strides"] == "INTS"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean RoiExtractor"):
        find_operator("RoiExtracter")


def test_a_plugins_operator_is_described_with_its_file(plugin: Callable[..., Path]) -> None:
    path = plugin()
    info = find_operator("Twice")
    assert (info.plugin, info.inputs, info.outputs, info.limits) == (
        str(path),
        "x [N, C]",
        "y [N, C]",
        "none",
    )
    assert info.written == "acme, default"
    assert written_as("", "Twice") is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            PLUGIN.replace('op_type="Twice"', 'op_type="RoiExtractor"').replace('"acme"', '"npu"'),
            "of graphopt already",
        ),
        ("OPERATOR = 3", "must be a ForeignOperator"),
    ],
)
def test_a_plugin_that_defines_what_exists_or_no_operator_is_refused(
    plugin: Callable[..., Path], text: str, said: str
) -> None:
    plugin("odd.py", text)
    with pytest.raises(UsageError, match=said):
        describe_operators()


def test_two_plugins_with_one_operator_are_refused(plugin: Callable[..., Path]) -> None:
    plugin()
    plugin("again.py")
    with pytest.raises(UsageError, match="of another plugin already"):
        describe_operators()


def test_strangers_are_neither_known_nor_standard_nor_functions(plugin: Callable[..., Path]) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13, "acme" : 1, "mine" : 1, "ai.onnx.ml" : 2]>
    g (float[2,3] x) => (float[2,3] y) {
        a = Relu (x)
        b = acme.Unknown (a)
        c = mine.F (b)
        d = ai.onnx.ml.Scaler <offset = [0.0], scale = [1.0]> (c)
        y = Twice (d)
    }
    <domain: "mine", opset_import: ["" : 13]> F (v) => (w) { w = Neg (v) }"""
    proto = onnx.parser.parse_model(text)
    assert [node.op_type for node in strangers(from_proto(proto))] == ["Unknown", "Twice"]
    plugin()
    assert [node.op_type for node in strangers(from_proto(proto))] == ["Unknown"]


def test_shapes_come_from_the_body(plugin: Callable[..., Path]) -> None:
    plugin()
    x, y = ir.Value(name="x"), ir.Value(name="y")
    node = ir.node("Twice", [x], {"factor": 3.0}, domain="acme", outputs=[y])
    shaped = shapes_from_body()
    assert shaped(node) is None  # in no graph, so that its opset is unknown
    ir.Graph([x], [y], nodes=[node], opset_imports={"": 13})
    nodes = shaped(node)
    assert nodes is not None
    assert [item.op_type for item in nodes] == ["Constant", "Mul"]
    assert (nodes[-1].input[0], list(nodes[-1].output)) == ("x", ["y"])


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_one_call_runs_by_itself(plugin: Callable[..., Path], opset: int) -> None:
    plugin()
    operator = operator_of(ir.node("Twice", [], domain="acme"))
    assert operator is not None
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    (found,) = run_call(operator, [x], attributes={"factor": 3.0}, opset=opset)
    np.testing.assert_array_equal(found, 3 * x)


def test_a_call_that_its_body_does_not_understand_is_refused(plugin: Callable[..., Path]) -> None:
    plugin()
    operator = operator_of(ir.node("Twice", [], domain="acme"))
    assert operator is not None
    with pytest.raises(PreconditionError, match="Twice: its body does not understand"):
        run_call(operator, [np.zeros((1, 2), np.float32)], attributes={"factor": "three"})
