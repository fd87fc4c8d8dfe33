import numpy as np
import onnx_ir as ir
import pytest

from graphopt.surgery.shapes.shape_inference import Inferred, ShapeInference, infer_types, record_types

TEXT = """<ir_version: 8, opset_import: ["" : 13, "local" : 1]>
g (float[n,3] x, bool flag) => (float[n,3] y)
<float[9] a, float[2000,3] big = {VALUES}, int64[2] s = {-1, 6}> {
    a = Relu (x)
    t = Transpose (big)
    m = MatMul (a, t)
    r = Reshape (a, s)
    f = local.F (a)
    y = If (flag) <
        then_branch = th () => (float[n,3] p) { p = Neg (f) },
        else_branch = el () => (float[n,3] q) { q = Exp (f) }
    >
}
<domain: "local", opset_import: ["" : 13]> F (m) => (n) { n = Exp (m) }
"""


@pytest.fixture
def model() -> ir.Model:
    return ir.from_onnx_text(TEXT.replace("VALUES", ",".join(["1"] * 6000)))


def by_name(model: ir.Model, **options: object) -> dict[str, tuple[int | str | None, ...] | None]:
    return {value.name or "": found.shape for value, found in infer_types(model, **options).items()}  # type: ignore[arg-type]


def test_shapes_follow_from_given_inputs_through_functions_and_subgraphs(model: ir.Model) -> None:
    shapes = by_name(model, inputs={"x": (4, 3)})
    assert shapes["a"] == (4, 3)  # the file says [9]
    assert shapes["m"] == (4, 2000)
    assert shapes["r"] == (2, 6)
    assert shapes["f"] == shapes["p"] == shapes["q"] == shapes["y"] == (4, 3)


def test_symbols_stay(model: ir.Model) -> None:
    assert by_name(model)["m"] == ("n", 2000)


def test_the_model_is_not_changed_and_large_weights_are_not_read(
    model: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, *_: object) -> None:
        raise AssertionError("a large weight was read")

    big = model.graph.initializers["big"]
    tensor = ir.LazyTensor(refuse, dtype=ir.DataType.FLOAT, shape=ir.Shape([2000, 3]), name="big")  # type: ignore[arg-type]
    big.const_value = tensor
    before = [(value.name, str(value.shape)) for node in model.graph for value in node.outputs]
    infer_types(model, inputs={"x": (4, 3)})
    assert [(value.name, str(value.shape)) for node in model.graph for value in node.outputs] == before


def test_known_values_are_used(model: ir.Model) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[2,3] x, int64[2] u) => (float[a,b] y) { s = Abs (u) y = Reshape (x, s) }"""
    model = ir.from_onnx_text(text)
    inference = ShapeInference(model)
    y = model.graph.outputs[0]
    assert inference.run()[y].static is None
    s = model.graph[0].outputs[0]
    inference.make_known({s: ir.tensor(np.array([3, 2]))})
    assert inference.run()[y].static == (3, 2)


def test_recording_writes_what_is_known_and_keeps_what_is_not(model: ir.Model) -> None:
    types = infer_types(model, inputs={"x": (4, 3)})
    record_types(types)
    assert list(model.graph.outputs[0].shape or ()) == [4, 3]
    assert model.graph[0].outputs[0].dtype == ir.DataType.FLOAT


def test_sizes_are_followed_through_an_operator_of_an_exporter() -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,4,9,8] x, float[1,36,5,8] offset, float[6,2,3,3] w) => (float[a,b,c,d] y) {
            m = MMCVDeformConv2d <stride = [2,1], padding = [1,1], dilation = [1,1], groups = 2> (
                x, offset, w)
            y = Relu (m)
        }"""
    assert by_name(ir.from_onnx_text(text))["y"] == (1, 6, 5, 8)


def test_an_unknown_operator_keeps_what_the_file_says_of_it() -> None:
    text = """<ir_version: 8, opset_import: ["" : 11]>
        g (float[1,4] x) => (float[a,b] y) <float[1,7] m> { m = Stranger (x) y = Relu (m) }"""
    assert by_name(ir.from_onnx_text(text))["y"] == (1, 7)


def test_types_are_inferred_once_until_something_changes(
    model: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    infer = ShapeInference.run

    def counted(self: ShapeInference) -> dict[ir.Value, Inferred]:
        runs.append(1)
        return infer(self)

    monkeypatch.setattr(ShapeInference, "run", counted)
    assert by_name(model)["m"] == by_name(model)["m"] == ("n", 2000)
    assert len(runs) == 1
    model.graph[0].outputs[0].name = "renamed"
    assert by_name(model)["renamed"] == ("n", 3)
    model.graph.inputs[0].shape = ir.Shape([7, 3])
    assert by_name(model)["m"] == (7, 2000)
    model.graph.initializers["s"].const_value = ir.tensor(np.array([3, 7]), name="s")
    assert by_name(model)["r"] == (3, 7)
    model.graph[0].attributes.add(ir.AttrInt64("some", 1))
    by_name(model)
    assert len(runs) == 5
