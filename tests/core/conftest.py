"""Small models for the tests of the file layer."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.parser import parse_model

LARGE = 1500  # float32 elements: above the size from which weights stay in their file


def _tensor(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(array, name)


def build_linear(*, elements: int = LARGE, ir_version: int = 8) -> onnx.ModelProto:
    """One weight, one addition: ``y = x + w``."""
    weight = np.arange(elements, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], name="add")],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", elements])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", elements])],
        [_tensor("w", weight)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=ir_version)


def build_everything() -> onnx.ModelProto:
    """Weights wherever a model can hold them, large and small, and metadata on everything."""
    model = parse_model(
        """
        <ir_version: 10, opset_import: ["" : 18, "local" : 1], producer_name: "test",
         producer_version: "1.2", model_version: 7, doc_string: "all of it",
         metadata_props: ["author": "me", "graphopt.recipe": "none"]>
        everything (float[N, 3] x, bool flag) => (float[N, 3] y, float[M] loops) {
          [name_of_twice] twice = local.Twice <by = 2.5> (x)
          y = If (flag) <
            then_branch = yes () => (float[N, 3] then_y) { then_y = Identity (twice) },
            else_branch = no () => (float[N, 3] else_y) { else_y = Neg (twice) }
          >
          trips = Constant <value = int64 {4}> ()
          empty_name = Constant <value_float = 1.5> ()
          carried, loops = Loop (trips, , empty_name) <
            body = step (int64 i, bool go, float state) => (bool go_on, float next, float scan) {
              go_on = Identity (go)
              next = Add (state, state)
              scan = Identity (next)
            }
          >
        }
        <domain: "local", opset_import: ["" : 18], doc_string: "a function">
        Twice <by> (a) => (b) { factor = Constant <value_float: float = @by> () b = Mul (a, factor) }
        """
    )
    _add_weights(model.graph, "main")
    for node in model.graph.node:
        node.metadata_props.add(key="graphopt.origin", value=node.op_type)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _add_weights(attribute.g, attribute.g.name)
    large = _tensor("constant_value", np.arange(LARGE, dtype=np.float64))
    for nodes in (model.graph.node, model.functions[0].node):
        nodes.append(helper.make_node("Constant", [], [f"unused_{len(nodes)}"], value=large))
    model.graph.initializer[0].doc_string = "a weight"
    model.graph.initializer[0].metadata_props.add(key="source", value="layer1")
    model.graph.metadata_props.add(key="graph", value="yes")
    return model


def _add_weights(graph: onnx.GraphProto, label: str) -> None:
    rng = np.random.default_rng(len(graph.node))
    large = rng.standard_normal((LARGE // 3, 3)).astype(np.float32)
    graph.initializer.append(_tensor(f"{label}_large", large))
    graph.initializer.append(_tensor(f"{label}_small", np.array([1, 2, 3], np.int64)))
    packed = TensorProto(name=f"{label}_float_data", data_type=TensorProto.FLOAT, dims=[LARGE])
    packed.float_data.extend(float(i) for i in range(LARGE))
    graph.initializer.append(packed)
    strings = TensorProto(name=f"{label}_strings", data_type=TensorProto.STRING, dims=[2])
    strings.string_data.extend([b"a", "é".encode()])
    graph.initializer.append(strings)


def named_arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every tensor of a model by the place it is in, as onnx itself reads it."""
    found: dict[str, np.ndarray] = {}

    def visit(place: str, nodes: object, initializers: object) -> None:
        for tensor in initializers:  # type: ignore[attr-defined]
            found[f"{place}/{tensor.name}"] = numpy_helper.to_array(tensor)
        for index, node in enumerate(nodes):  # type: ignore[arg-type, var-annotated]
            for attribute in node.attribute:
                here = f"{place}/{index}.{attribute.name}"
                if attribute.type == onnx.AttributeProto.TENSOR:
                    found[here] = numpy_helper.to_array(attribute.t)
                elif attribute.type == onnx.AttributeProto.GRAPH:
                    visit(here, attribute.g.node, attribute.g.initializer)

    visit("", model.graph.node, model.graph.initializer)
    for function in model.functions:
        visit(function.name, function.node, [])
    return found


@pytest.fixture
def linear() -> Callable[..., onnx.ModelProto]:
    return build_linear


@pytest.fixture
def everything() -> onnx.ModelProto:
    return build_everything()


@pytest.fixture
def arrays_of() -> Callable[[onnx.ModelProto], dict[str, np.ndarray]]:
    return named_arrays
