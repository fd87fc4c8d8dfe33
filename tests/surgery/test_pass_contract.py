"""What every pass of the folder must keep to; a new file is tested by being there."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.errors import UsageError
from graphopt.core.lineage import KEYS
from graphopt.core.onnx_files import load_model
from graphopt.surgery import describe_passes, find_pass, pass_names
from graphopt.surgery.engine.fingerprint import fingerprint
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.engine.walking import all_graphs
from graphopt.surgery.graph_pass import Effect, GraphPass, Pass
from graphopt.surgery.model_pass import ModelPass
from graphopt.surgery.options import typed_options

Write = Callable[[str, str], Path]
NAMES = pass_names()

UNRELATED = """
<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4] x) => (float[1,4] y) { [exp] a = Exp (x) [tanh] y = Tanh (a) }
"""
"""Static, no constants, nothing to fold, fuse or remove."""

SUITABLE = {
    "drop_dropout": "y = Dropout ({x})",
    "fold_constants": "c = Constant <value_float = 2.0> () d = Exp (c) y = Mul ({x}, d)",
    "fuse_batchnorm": """
        w = Constant <value = float[4,4,1,1] {{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}}> ()
        s = Constant <value = float[4] {{1,2,3,4}}> ()
        r = Constant <value = int64[4] {{1,4,1,1}}> () f = Reshape ({x}, r)
        c = Conv (f, w) b = BatchNormalization (c, s, s, s, s)
        q = Constant <value = int64[2] {{1,4}}> () y = Reshape (b, q)
    """,
    "remove_identity": "i = Identity ({x}) y = Exp (i)",
    "remove_identity_pool": """
        r = Constant <value = int64[3] {{1,1,4}}> () a = Reshape ({x}, r) b = MaxPool <kernel_shape = [1]> (a)
        q = Constant <value = int64[2] {{1,4}}> () y = Reshape (b, q)
    """,
    "remove_pad": "p = Constant <value = int64[4] {{0,0,0,0}}> () i = Pad ({x}, p) y = Exp (i)",
}
"""Bodies that a pass of that name rewrites, wherever they stand; for passes that visit subgraphs."""

REQUIRED: dict[str, dict[str, Any]] = {"pin_outputs": {"names": ("y",)}, "set_batch": {"size": 1}}
"""Options that must be given, chosen so that the unrelated model is already as wanted."""


def _make(name: str) -> Pass:
    cls = find_pass(name)
    return cls(**typed_options(name, cls, REQUIRED.get(name, {})))


def _plain(body: str) -> str:
    return (
        '<ir_version: 8, opset_import: ["" : 13]> g (float[1,4] x) => (float[1,4] z) {'
        f" {body.format(x='x')} z = Neg (y) }}"
    )


def _nested(body: str) -> str:
    inner = re.sub(r"\b([a-z])\b(?= =|[,)])", r"\1_in", body.format(x="OUTER")).replace("OUTER", "h")
    return (
        '<ir_version: 8, opset_import: ["" : 13]> g (bool flag, float[1,4] x) => (float[1,4] z) {'
        " h = Exp (x) z = If (flag) <"
        f" then_branch = t () => (float[1,4] p) {{ {inner} p = Neg (y_in) }},"
        " else_branch = e () => (float[1,4] q) { q = Tanh (h) } > }"
    )


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
    assert "Before" not in info.why
    assert len(inspect.getdoc(find_pass(info.name)) or "") < 1500


@pytest.mark.parametrize("info", describe_passes(), ids=lambda info: info.name)
def test_options_are_typed_documented_and_readable_from_text(info: Any) -> None:
    cls = find_pass(info.name)
    for option in info.options:
        assert option.doc, f"{info.name}: option {option.name} is not documented under Attributes"
        assert option.type
        if option.default:
            typed = typed_options(
                info.name, cls, {**REQUIRED.get(info.name, {}), option.name: option.default}
            )
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


@pytest.mark.filterwarnings("ignore")  # of the simplifiers, which run in a child outside tests
@pytest.mark.parametrize("name", NAMES)
def test_an_unrelated_model_is_left_untouched(name: str, write_text: Write) -> None:
    model = load_model(write_text(UNRELATED, "unrelated.onnx"))
    before = fingerprint(model)
    result, report = run_pass(model, _make(name))
    assert result is model
    assert not report.modified
    assert report.declined == ()
    assert fingerprint(model) == before


def _bodies() -> Iterator[Any]:
    for name in NAMES:
        if name in SUITABLE:
            for nested in (False, True):
                yield pytest.param(name, nested, id=f"{name}-{'subgraph' if nested else 'main'}")


@pytest.mark.parametrize(("name", "nested"), list(_bodies()))
def test_a_pass_fires_in_main_graph_and_subgraphs_once_and_keeps_what_is_not_its_own(
    name: str, nested: bool, write_text: Write
) -> None:
    body = SUITABLE[name]
    model = load_model(write_text(_nested(body) if nested else _plain(body), "suitable.onnx"))
    model.metadata_props["author"] = "me"
    for graph in all_graphs(model):
        for node in graph:
            node.metadata_props["seen"] = "before"
    item = _make(name)
    model, report = run_pass(model, item)
    assert report.modified, report.declined
    assert all(change.what for change in report.applied)
    assert model.metadata_props["author"] == "me"
    for graph in all_graphs(model):
        for node in graph:
            assert node.metadata_props.get("seen") == "before" or KEYS & set(node.metadata_props), node
    before = fingerprint(model)
    again, second = run_pass(model, item)
    assert not second.modified
    assert again is model
    assert fingerprint(model) == before


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
@pytest.mark.parametrize("name", [name for name in NAMES if name != "pin_outputs"])
def test_shared_initializers_stay_as_they_were_for_their_other_readers(name: str, write_text: Write) -> None:
    model = load_model(write_text(SHARED_WEIGHT, "shared.onnx"))
    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    expected = weight.numpy().copy()
    result, _ = run_pass(model, _make(name))
    producer = next(value for value in result.graph.outputs if value.name == "z").producer()
    assert producer is not None
    assert producer.op_type == "Conv"
    assert producer.inputs[1] is not None
    kept = ir.convenience.get_const_tensor(producer.inputs[1])
    assert kept is not None
    np.testing.assert_array_equal(kept.numpy(), expected)
