"""What every pass of the folder must keep to; a new file is tested by being there.

What a pass rewrites is told by the test module of the pass: see ``PassCase`` in ``conftest.py``.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from graphopt.core.comparison import compare_outputs
from graphopt.core.errors import UsageError
from graphopt.core.lineage import KEYS
from graphopt.core.onnx_files import from_proto, load_model, to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery import describe_passes, find_pass, pass_names
from graphopt.surgery.catalogue import describe_pass
from graphopt.surgery.engine.fingerprint import fingerprint
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_pass import Effect, GraphPass, Pass
from graphopt.surgery.model_pass import ModelPass
from graphopt.surgery.options import typed_options
from graphopt.surgery.shapes.shape_inference import infer_types, record_types

Write = Callable[[str, str], Path]
NAMES = pass_names()

UNRELATED = {
    "floats": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[1,4] x) => (float[1,4] y) { [exp] a = Exp (x) [tanh] y = Tanh (a) }
    """,
    "integers and strings": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (int64[3] i, int64[3] j, string[3] s, string[3] t) => (int64[3] y, string[3] z) {
            [sum] a = Add (i, j) [abs] y = Abs (a)
            [same] b = Equal (i, j) [choose] z = Where (b, s, t)
        }
    """,
    "subgraphs": """
        <ir_version: 8, opset_import: ["" : 13]>
        g (bool flag, float[2,3] x) => (float[2,3] y) {
            [choice] y = If (flag) <
                then_branch = t () => (float[2,3] p) { [cosine] p = Cos (x) },
                else_branch = e () => (float[2,3] q) { [sine] r = Sin (x) [absolute] q = Abs (r) }
            >
        }
    """,
    "function": """
        <ir_version: 8, opset_import: ["" : 13, "me" : 1]>
        g (float[2,3] x) => (float[2,3] y) { [call] a = me.twice (x) [floor] y = Floor (a) }
        <domain: "me", opset_import: ["" : 13]> twice (v) => (w) { [sum] w = Add (v, v) }
    """,
}
"""Static, no constants, nothing to fold, fuse or remove."""


def _run(model: ir.Model) -> dict[str, Array]:
    with attached(model):
        proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        return session.run(structured_feeds(session.inputs, seed=3))


def _assert_equal(expected: Mapping[str, Array], got: Mapping[str, Array], item: Pass) -> None:
    assert list(got) == list(expected)
    failed = [found for found in compare_outputs(expected, got, item.tolerance) if not found.passed]
    assert not failed, failed


def _interface(model: ir.Model) -> list[tuple[Any, ...]]:
    ends = (*model.graph.inputs, *model.graph.outputs)
    return [(value.name, value.dtype, None if value.shape is None else list(value.shape)) for value in ends]


def _made(model: ir.Model) -> dict[str, ir.Value]:
    """Return the values of the main graph that nodes make, without the outputs."""
    values = (value for node in model.graph for value in node.outputs if not value.is_graph_output())
    return {value.name: value for value in values if value.name}


def _typed(model: ir.Model) -> list[str]:
    """Return the names of inner values that could be outputs; records their types."""
    types, values = infer_types(model), _made(model)
    record_types({value: types[value] for value in values.values()})
    return [name for name, value in values.items() if value.dtype is not None and value.shape is not None]


def _expose(model: ir.Model, names: list[str]) -> None:
    """Make outputs of inner values."""
    values = _made(model)
    model.graph.outputs.extend(values[name] for name in names)


@pytest.mark.parametrize("name", NAMES)
def test_file_class_and_word_are_one_name_and_the_class_is_a_frozen_dataclass(name: str) -> None:
    cls = find_pass(name)
    assert cls.name == name
    assert issubclass(cls, GraphPass | ModelPass)
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen


@pytest.mark.parametrize("info", describe_passes(), ids=lambda info: info.name)
def test_the_docstring_says_what_why_before_and_after(info: Any) -> None:
    assert re.match(r"[A-Z][a-z]+ .*\.$", info.summary), info.summary
    assert info.why
    assert info.before
    assert info.after
    assert info.seen_in, "name the exported graphs on which it fires after 'Seen in:'"
    assert "Before" not in info.why
    assert len(inspect.getdoc(find_pass(info.name)) or "") < 1500


def test_options_are_typed_documented_and_readable_from_text(case: Any) -> None:
    cls = find_pass(case.name)
    info = describe_pass(cls)
    for option in info.options:
        assert option.doc, f"{info.name}: option {option.name} is not documented under Attributes"
        assert option.type
        if option.default:
            typed = typed_options(info.name, cls, {**case.required, option.name: option.default})
            default = next(f for f in dataclasses.fields(cls) if f.name == option.name)  # type: ignore[arg-type]
            if default.default is not dataclasses.MISSING:
                assert typed[option.name] == default.default
    with pytest.raises(UsageError, match="options"):
        typed_options(info.name, cls, {"no_such_option": "1"})


@pytest.mark.parametrize("name", NAMES)
def test_an_approximate_pass_states_its_bound_and_tolerance(name: str) -> None:
    cls = find_pass(name)
    assert (cls.effect is Effect.APPROXIMATE) == bool(cls.bound)
    if cls.effect is Effect.APPROXIMATE:
        assert cls.tolerance is not Pass.tolerance


def test_the_test_module_says_what_the_pass_rewrites_or_why_not(case: Any) -> None:
    assert bool(case.suitable) != bool(case.no_suitable), f"test_{case.name}.py: SUITABLE or NO_SUITABLE"


@pytest.mark.filterwarnings("ignore")  # of the simplifiers, which run in a child outside tests
@pytest.mark.parametrize("kind", UNRELATED)
def test_an_unrelated_model_is_left_untouched(case: Any, kind: str, write_text: Write) -> None:
    if case.unrelated and kind != "floats":
        return
    model = load_model(write_text(case.unrelated or UNRELATED[kind], "unrelated.onnx"))
    before = fingerprint(model)
    result, report = run_pass(model, case.make())
    assert result is model
    assert not report.modified
    assert report.declined == () or kind != "floats"
    assert fingerprint(model) == before


PLACES = ("main", "subgraph", "initializers", "function", "opset 18", "opset 23")


@pytest.mark.parametrize("place", PLACES)
def test_a_pass_fires_once_keeps_what_is_not_its_own_and_the_numbers(suitable_case: Any, place: str) -> None:
    proto = suitable_case.variant(place)
    if proto is None:
        return
    model, item = from_proto(proto), suitable_case.make()
    expected, interface = _run(model), _interface(model)
    model.metadata_props["author"] = "me"
    for graph in all_graphs(model):
        for node in graph:
            node.metadata_props["seen"] = "before"
    model, report = run_pass(model, item)
    assert report.modified or place not in ("main", "subgraph"), report.declined
    assert all(change.what for change in report.applied)
    assert _interface(model) == interface
    assert model.metadata_props["author"] == "me"
    for graph in all_graphs(model):
        for node in graph:
            assert node.metadata_props.get("seen") == "before" or KEYS & set(node.metadata_props), node
    _assert_equal(expected, _run(model), item)
    before = fingerprint(model)
    again, second = run_pass(model, item)
    assert not second.modified
    assert again is model
    assert fingerprint(model) == before


def test_a_tensor_that_keeps_its_name_keeps_its_numbers(suitable_case: Any) -> None:
    before, item = from_proto(suitable_case.variant("main")), suitable_case.make()
    after, _ = run_pass(from_proto(suitable_case.variant("main")), item)
    typed = set(_typed(after))
    common = [name for name in _typed(before) if name in typed]
    _expose(before, common)
    _expose(after, common)
    expected, got = _run(before), _run(after)
    if suitable_case.inner_change:
        assert item.effect is Effect.APPROXIMATE
        outputs = [value.name for value in suitable_case.variant("main").graph.output]
        expected, got = ({name: found[name] for name in outputs} for found in (expected, got))
    _assert_equal(expected, got, item)


@pytest.mark.parametrize("place", ["main", "initializers"])
def test_inner_tensors_may_be_graph_outputs(suitable_case: Any, place: str) -> None:
    proto, item = suitable_case.variant(place), suitable_case.make()
    for name in _typed(from_proto(proto)):
        model = from_proto(proto)
        _typed(model)
        _expose(model, [name])
        expected, interface = _run(model), _interface(model)
        model, _ = run_pass(model, item)
        assert _interface(model) == interface, name
        _assert_equal(expected, _run(model), item)


@pytest.mark.parametrize("place", ["main", "initializers"])
def test_inner_tensors_and_constants_may_be_read_by_others(suitable_case: Any, place: str) -> None:
    proto, item = suitable_case.variant(place), suitable_case.make()
    for name in _numeric(from_proto(proto)):
        model = from_proto(proto)
        values = {**_made(model), **model.graph.initializers}
        reader = ir.node("Cast", [values[name]], {"to": ir.DataType.DOUBLE.value}, name="other_reader")
        reader.outputs[0].name = "also"
        model.graph.append(reader)
        model.graph.outputs.append(reader.outputs[0])
        types = infer_types(model)
        record_types({reader.outputs[0]: types[reader.outputs[0]]})
        expected = _run(model)
        model, _ = run_pass(model, item)
        _assert_equal(expected, _run(model), item)


def _numeric(model: ir.Model) -> list[str]:
    values = {**_made(model), **model.graph.initializers}
    names = [*_typed(model), *model.graph.initializers]
    return [name for name in names if values[name].dtype != ir.DataType.STRING]


SHARED_WEIGHT = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[1,2,3,3] x) => (float[1,2,3,3] y, float[1,2,3,3] z, float[2] v)
<float[2,2,1,1] w = {1,2,3,4}, float[2] s = {1,2}, int64[8] pads = {0,0,0,0,0,0,0,0}, float[2] k = {3,4}> {
    a = Conv (x, w)  y = BatchNormalization (a, s, s, s, s)
    b = Pad (x, pads)  c = Identity (b)  z = Conv (c, w)
    d = Add (k, s)  v = Mul (d, k)
}
"""


@pytest.mark.filterwarnings("ignore")
def test_shared_initializers_stay_as_they_were_for_their_other_readers(case: Any, write_text: Write) -> None:
    model = load_model(write_text(SHARED_WEIGHT, "shared.onnx"))
    item = case.make()
    names = item.output_names(model) or {value.name or "": value.name or "" for value in model.graph.outputs}
    before = _run(model)
    model, _ = run_pass(model, item)
    _assert_equal({now: before[then] for now, then in names.items()}, _run(model), item)
