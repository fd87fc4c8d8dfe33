from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core import operators
from graphopt.core.errors import InvalidModelError, PreconditionError
from graphopt.core.foreign_operator import Call, ForeignOperator
from graphopt.core.onnx_files import check_model_file, from_proto, load_model, save_model
from graphopt.core.operator_bodies import bare_calls, call_of, inline_calls
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.versioned_ops import VersionedOps

TWO_SCALES = """<ir_version: 6, opset_import: ["" : 11]> g (float[2,3] x) => (float[2,3] y) {
    a, twice = Scale <factor = 2.0> (x)
    b, four = Scale <factor = 3.0> (twice)
    y = Add (b, four) }"""


def _twice(node: ir.Node) -> Sequence[onnx.NodeProto]:
    source, outputs = node.inputs[0], node.outputs
    assert source is not None
    return [
        onnx.helper.make_node("Relu", [source.name or ""], ["inner"]),
        *(onnx.helper.make_node("Relu", ["inner"], [value.name or ""]) for value in outputs),
    ]


def _scale(call: Call, new: VersionedOps, inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value]:
    factor = new.constant(np.array(call.number("factor"), dtype=call.dtype(0).numpy()))
    scaled = new.op("Mul", inputs[0], factor)
    return [scaled, new.op("Add", scaled, scaled)]


@pytest.fixture(autouse=True)
def _scale_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ForeignOperator(op_type="Scale", home="npu", is_target=True, shaped_like=_twice, body=_scale)
    other = ForeignOperator(op_type="Left", home="mmcv", shaped_like=_twice)
    found = {("", "Scale"): known, ("npu", "Scale"): known, ("", "Left"): other, ("mmcv", "Left"): other}
    monkeypatch.setattr(operators, "_built_in", lambda: found)


def _model(text: str = TWO_SCALES) -> ir.Model:
    return from_proto(ir.to_proto(ir.from_onnx_text(text)))


def _ran(path: Path) -> np.ndarray:
    with OnnxRuntimeSession(path) as session:
        return session.run({"x": np.full((2, 3), 5.0, dtype=np.float32)})["y"]


def test_calls_stand_bare_in_their_home_domain_in_memory() -> None:
    model = _model()
    assert [node.domain for node in model.graph] == ["npu", "npu", ""]
    assert (dict(model.opset_imports), dict(model.functions)) == ({"": 11, "npu": 1}, {})


def test_a_saved_file_holds_a_body_for_each_way_of_calling_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = _model()
    save_model(model, path, force=False)
    proto = onnx.load(path)
    assert len({(item.name, item.overload) for item in proto.functions}) == 2
    assert proto.ir_version == 8
    assert not proto.graph.value_info
    onnx.checker.check_model(proto, full_check=True)
    assert check_model_file(path) is None
    np.testing.assert_array_equal(_ran(path), np.full((2, 3), 5 * 2 * 2 * 3 * 3, dtype=np.float32))
    assert not model.functions
    assert model.ir_version == 6


def test_loading_takes_the_bodies_away_again(tmp_path: Path) -> None:
    save_model(_model(), tmp_path / "m.onnx", force=False)
    again = load_model(tmp_path / "m.onnx")
    assert not again.functions
    assert {node.overload for node in again.graph} == {""}


def test_a_call_of_the_same_kind_shares_the_body(tmp_path: Path) -> None:
    save_model(_model(TWO_SCALES.replace("3.0", "2.0")), tmp_path / "m.onnx", force=False)
    assert len(onnx.load(tmp_path / "m.onnx").functions) == 1


def test_a_file_without_bodies_runs_too(tmp_path: Path) -> None:
    path = tmp_path / "bare.onnx"
    path.write_bytes(ir.to_proto(ir.from_onnx_text(TWO_SCALES)).SerializeToString())
    np.testing.assert_array_equal(_ran(path), np.full((2, 3), 180, dtype=np.float32))


def test_a_call_that_the_body_does_not_understand_stays_bare(tmp_path: Path) -> None:
    model = _model(TWO_SCALES.replace("factor = 3.0", 'factor = "three"'))
    save_model(model, tmp_path / "m.onnx", force=False)
    assert len(onnx.load(tmp_path / "m.onnx").functions) == 1
    with pytest.raises(InvalidModelError, match="Scale"):
        OnnxRuntimeSession(tmp_path / "m.onnx")


def test_a_users_own_function_of_that_name_is_kept(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]> g (float[2,3] x) => (float[2,3] y)
        { y = npu.Scale (x) }
        <domain: "npu", opset_import: ["" : 11]> Scale (v) => (w) { w = Neg (v) }"""
    save_model(_model(text), tmp_path / "m.onnx", force=False)
    np.testing.assert_array_equal(_ran(tmp_path / "m.onnx"), np.full((2, 3), -5, dtype=np.float32))


def test_calls_inside_subgraphs_get_bodies(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]> g (float[2,3] x, bool c) => (float[2,3] y) {
        y = If (c) <then_branch = t () => (float[2,3] p) { p, q = Scale <factor = 7.0> (x) },
                    else_branch = e () => (float[2,3] r) { r = Neg (x) }> }"""
    save_model(_model(text), tmp_path / "m.onnx", force=False)
    with OnnxRuntimeSession(tmp_path / "m.onnx") as session:
        found = session.run({"x": np.ones((2, 3), dtype=np.float32), "c": np.array(True)})["y"]
    np.testing.assert_array_equal(found, np.full((2, 3), 7, dtype=np.float32))


def test_calls_inside_of_a_function_find_their_bodies(tmp_path: Path) -> None:
    nested = """<ir_version: 8, opset_import: ["" : 11, "me" : 1, "npu" : 1]>
        g (float[2,3] x) => (float[2,3] y) {
        a, twice = npu.Scale <factor = 3.0> (x)
        y = me.Twice (twice) }
        <domain: "me", opset_import: ["" : 11, "npu" : 1]>
        Twice (v) => (w) { s, w = npu.Scale <factor = 2.0> (v) }"""
    save_model(_model(nested), tmp_path / "m.onnx", force=False)
    np.testing.assert_array_equal(_ran(tmp_path / "m.onnx"), np.full((2, 3), 5.0 * 6 * 4))
    again = load_model(tmp_path / "m.onnx")
    assert [name[0] for name in again.functions] == ["me"]
    assert all(not node.overload for node in again.graph)


def test_inlined_calls_leave_standard_operators_only() -> None:
    model = _model()
    inline_calls(model)
    assert {node.domain for node in model.graph} == {""}
    assert (dict(model.opset_imports), dict(model.functions)) == ({"": 11}, {})
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_bare_calls_are_spelled_for_the_target() -> None:
    model = _model()
    model.opset_imports["mmcv"] = 1  # of operators that were replaced meanwhile
    bare_calls(model)
    assert [(node.domain, node.op_type) for node in model.graph] == [
        ("", "Scale"),
        ("", "Scale"),
        ("", "Add"),
    ]
    assert dict(model.opset_imports) == {"": 11}


def test_an_exporters_operator_is_refused_in_a_bare_copy() -> None:
    model = _model(TWO_SCALES.replace("Scale <factor = 2.0>", "Left"))
    with pytest.raises(PreconditionError, match=r"Left .* replace it first"):
        bare_calls(model)


def test_a_call_knows_dtypes_through_what_feeds_it() -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]> g (float16[2,3] x) => (float16[2,3] y)
        { r = Relu (x) y, z = Scale <factor = 2.0> (r) }"""
    node = list(_model(text).graph)[1]
    assert call_of(node, 11).dtype(0) is ir.DataType.FLOAT16
