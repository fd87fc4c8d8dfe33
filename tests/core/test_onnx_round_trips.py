"""Whatever ONNX can hold survives a load and a save, or is refused; judged by ONNX's own loader."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import Message  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper
from onnx.parser import parse_model

from graphopt.core.errors import InvalidModelError
from graphopt.core.onnx_files import load_model, save_model

DTYPES = sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED})
FIRST_WITH_FUNCTIONS = 8
FIRST_WITHOUT_INPUTS = 4
NESTED = """<ir_version: 8, opset_import: ["" : 13, "local" : 1], metadata_props: ["author": "me"]>
g (float[N,3] x, bool flag) => (float[N,3] y, float[M,3] steps) {
    [call] f = local.Twice <by = 2.5> (x)
    [branch] b = If (flag) <
        then_branch = yes () => (float[N,3] p) { p = Identity (f) },
        else_branch = no () => (float[N,3] q) {
            [inner] q = If (flag) <
                then_branch = yes2 () => (float[N,3] p2) { p2 = Neg (f) },
                else_branch = no2 () => (float[N,3] q2) { q2 = Exp (x) }
            >
        }
    >
    trips = Constant <value = int64 {4}> ()
    [loop] l = Loop (trips, , b) <
        body = step (int64 i, bool go, float[N,3] state) => (bool go_on, float[N,3] next) {
            go_on = Identity (go) next = Add (state, state)
        }
    >
    [scan] y, steps = Scan <
        num_scan_inputs = 1,
        body = row (float[N,3] s, float[3] r) => (float[N,3] t, float[3] u) { t = Add (s, r) u = Neg (r) }
    > (l, x)
}
<domain: "local", opset_import: ["" : 13], doc_string: "twice">
Twice <by> (a) => (c) { factor = Constant <value_float: float = @by> () c = Mul (a, factor) }"""


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model, wherever it is."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Any) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors_of_graph(graph)


def canonical(path: Path) -> ModelProto:
    """A model as ONNX reads it, every tensor with its values in the one form that ``from_array`` gives."""
    model = onnx.load(path)
    for tensor in tensors_of(model):
        if tensor.data_type == TensorProto.STRING:
            continue
        plain = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = plain.raw_data
    return model


UNORDERED = ("metadata_props", "opset_import", "value_info", "quantization_annotation")


def difference(one: Message, other: Message, place: str = "model") -> str:
    """Name the first field in which two messages differ; empty when they are the same."""
    for field in one.DESCRIPTOR.fields:
        here = f"{place}.{field.name}"
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if not field.is_repeated:  # a scalar that is left out is one that is 0 or empty
            whole = field.message_type is None
            mine = [mine] if whole or one.HasField(field.name) else []
            theirs = [theirs] if whole or other.HasField(field.name) else []
        elif field.name in (
            "metadata_props",
            "opset_import",
            "value_info",
            "quantization_annotation",
        ):  # their order means nothing
            mine, theirs = sorted(mine, key=str), sorted(theirs, key=str)
        if len(mine) != len(theirs):
            return f"{here}: {list(mine)} became {list(theirs)}"
        for index, (left, right) in enumerate(zip(mine, theirs, strict=True)):
            if field.message_type is not None:
                if found := difference(left, right, f"{here}[{index}]"):
                    return found
            elif left != right and not (left != left and right != right):  # NaN is NaN
                return f"{here}[{index}]: {left!r} became {right!r}"
    return ""


def round_trip(model: ModelProto, folder: Path) -> tuple[ModelProto, ModelProto]:
    """Return a model, and what is left of it after a load and a save; its data files are gone by then."""
    source, target = folder / "in" / "m.onnx", folder / "out" / "m.onnx"
    target.parent.mkdir(exist_ok=True)
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(model.SerializeToString())
    expected = canonical(source)
    save_model(load_model(source), target, force=True)
    for path in source.parent.iterdir():
        path.unlink()
    return expected, canonical(target)


@st.composite
def tensors(draw: st.DrawFn, name: str) -> TensorProto:
    """Tensors of every dtype and every form inside the file, empty ones and large ones among them."""
    dtype = draw(st.sampled_from(DTYPES))
    dims = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 0, 3), (5, 7), (3, 3000), (4097,)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    count = int(np.prod(dims))
    if dtype == TensorProto.STRING:
        texts = [b"a", "\u00e9".encode(), b"", b"long " * 30]
        tensor = helper.make_tensor(name, dtype, dims, [texts[i] for i in rng.integers(0, 4, count)])
    else:
        kind = helper.tensor_dtype_to_np_dtype(dtype)
        array = rng.integers(0, 2, count).astype(np.float32).astype(kind).reshape(dims)
        if draw(st.booleans()):
            tensor = numpy_helper.from_array(array, name)
            assert tensor.data_type == dtype
        else:
            tensor = helper.make_tensor(name, dtype, dims, array.ravel())
    if draw(st.booleans()):
        tensor.doc_string = "what it is"
        tensor.metadata_props.add(key="from", value="layer 1")
    return tensor


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    """Graphs in graphs and a function, with tensors of all kinds in all of them."""
    model = parse_model(NESTED)
    model.ir_version = draw(st.integers(3, onnx.IR_VERSION))
    model.opset_import[0].version = draw(st.integers(9, onnx.defs.onnx_opset_version()))
    if model.ir_version < FIRST_WITH_FUNCTIONS or draw(st.booleans()):
        del model.functions[:], model.opset_import[1:]
        model.graph.node[0].CopyFrom(helper.make_node("Tanh", ["x"], ["f"], name="call"))
    branches = [node.attribute[1].g for node in model.graph.node if node.op_type == "If"]
    for graph in (model.graph, *branches):
        for index in range(draw(st.integers(0, 3))):
            graph.initializer.append(draw(tensors(f"{graph.name}_{index}")))
        constant = draw(tensors("" if draw(st.booleans()) else "its own name"))
        graph.node.insert(0, helper.make_node("Constant", [], [f"{graph.name}_c"], value=constant))
    for node in model.graph.node:
        if draw(st.booleans()):
            node.doc_string = "a node"
            node.metadata_props.add(key="graphopt.origin", value=node.name)
    model.graph.input[0].metadata_props.add(key="layout", value="NC")
    model.graph.doc_string = draw(st.sampled_from(["", "a graph"]))
    if model.ir_version < FIRST_WITHOUT_INPUTS or draw(st.booleans()):  # as old exporters must
        for tensor in model.graph.initializer:
            model.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return model


def move_out(model: ModelProto, folder: Path, files: int) -> None:
    """Put the raw data of a model into 1 to ``files`` files, one after the other or with gaps."""
    for index, tensor in enumerate(tensors_of(model)):
        if not tensor.raw_data:
            continue
        path = folder / f"data{index % files}"
        with path.open("ab") as stream:
            stream.write(bytes(index % 5))
            place = {"location": path.name, "offset": stream.tell(), "length": len(tensor.raw_data)}
            stream.write(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=models(), files=st.integers(0, 3))
def test_random_models_survive(tmp_path: Path, model: ModelProto, files: int) -> None:
    (tmp_path / "in").mkdir(exist_ok=True)
    if files:
        move_out(model, tmp_path / "in", files)
    expected, result = round_trip(model, tmp_path)
    # The declared changes, and no other.
    constants = {tensor.name for tensor in expected.graph.initializer}
    kept = [value for value in expected.graph.input if value.name not in constants]
    if len(kept) < len(expected.graph.input):
        del expected.graph.input[:]
        expected.graph.input.extend(kept)
        expected.ir_version = max(expected.ir_version, FIRST_WITHOUT_INPUTS)
    assert difference(expected, result) == ""


@pytest.mark.parametrize("dtype", DTYPES, ids=TensorProto.DataType.Name)
def test_every_dtype_survives_in_every_form(tmp_path: Path, dtype: int) -> None:
    model = parse_model(NESTED)
    kind = None if dtype == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(dtype)
    for count in (1, 3, 5000):  # odd: the last byte of packed elements is half empty
        values = np.array([b"a"] * count) if kind is None else np.ones(count, np.float32).astype(kind)
        model.graph.initializer.append(helper.make_tensor(f"typed{count}", dtype, [count], values))
        if kind is not None:
            model.graph.initializer.append(numpy_helper.from_array(values, f"raw{count}"))
    expected, result = round_trip(model, tmp_path)
    assert difference(expected, result) == ""


def small() -> ModelProto:
    return parse_model("""<ir_version: 13, opset_import: ["" : 21, "local" : 1]>
        g (float[N,3] x) => (float[N,3] y) <float[3] w = {1,2,3}, float[N,3] a> {
            [call] a = local.F <by = 2.0> (x) [add] b = Add (a, w) [end] y = Neg (b)
        }
        <domain: "local", opset_import: ["" : 21]>
        F <by> (p) => (q) { f = Constant <value_float: float = @by> () q = Mul (p, f) }""")


def value_type(kind: str) -> onnx.TypeProto:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [3, "n"])
    described = onnx.TypeProto()
    if kind == "map":
        described.map_type.key_type = TensorProto.INT64
        described.map_type.value_type.CopyFrom(tensor)
    elif kind == "opaque":
        described.opaque_type.name = "thing"
    elif kind == "sequence":
        described.sequence_type.elem_type.CopyFrom(tensor)
    elif kind == "sequence of maps":
        described.sequence_type.elem_type.CopyFrom(value_type("map"))
    elif kind == "optional sequence":
        described.optional_type.elem_type.CopyFrom(value_type("sequence"))
    else:
        described.sparse_tensor_type.elem_type = TensorProto.FLOAT
        described.sparse_tensor_type.shape.dim.add(dim_value=3)
    return described


def _device(model: ModelProto) -> None:
    model.configuration.add(name="two", num_devices=2).device.extend(["a", "b"])
    for node in (model.graph.node[1], model.functions[0].node[1]):
        node.device_configurations.add(configuration_id="two", pipeline_stage=1)


def _quantization(model: ModelProto) -> None:
    for name in ("x", "a", "w", "y"):
        annotation = model.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")


def _attributes(model: ModelProto) -> None:
    tensors = [numpy_helper.from_array(np.arange(size), f"t{size}") for size in (3, 2000)]
    contents = {
        "fs": [1.5, -0.0],
        "is": [1, -(2**63)],
        "ss": ["a", "b"],
        "s": b"\xff",
        "ts": tensors,
        "f": 2.5,
    }
    contents["tp"] = value_type("sequence")
    node = model.graph.node[0]
    node.attribute.extend(helper.make_attribute(key, content) for key, content in contents.items())
    for name in ("INTS", "FLOATS", "STRINGS", "TENSORS", "GRAPHS", "TYPE_PROTOS"):
        node.attribute.add(name=f"no {name}", type=AttributeProto.AttributeType.Value(name))


def _overload(model: ModelProto) -> None:
    model.graph.node[0].overload = model.functions[0].overload = "o"


def _denotations(model: ModelProto) -> None:
    model.graph.input[0].type.denotation = "IMAGE"
    model.graph.output[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"


def _notes(model: ModelProto) -> None:
    graph, function = model.graph, model.functions[0]
    places = [model, graph, graph.node[0], graph.input[0], graph.output[0], graph.value_info[0]]
    for item in (*places, function, function.node[0], graph.initializer[0]):
        item.doc_string = "doc"
        item.metadata_props.add(key="a", value="b")


def _model_facts(model: ModelProto) -> None:
    model.domain, model.model_version = "d.e", 7


def _function_facts(model: ModelProto) -> None:
    model.functions[0].value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, []))
    model.functions[0].attribute_proto.append(helper.make_attribute("other", 3))


def _odd_ends(model: ModelProto) -> None:
    model.graph.node[1].input.insert(1, "")
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3]))
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3]))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(3), "unused"))


def _unknown_shapes(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    model.graph.value_info[0].type.tensor_type.ClearField("shape")
    model.graph.output[0].ClearField("type")


def _input_type(kind: str) -> Callable[[ModelProto], None]:
    return lambda model: model.graph.input[0].type.CopyFrom(value_type(kind))


KEPT: dict[str, Callable[[ModelProto], None]] = {
    "devices": _device,
    "quantization": _quantization,
    "attributes": _attributes,
    "overload": _overload,
    "denotations": _denotations,
    "notes": _notes,
    "model facts": _model_facts,
    "function facts": _function_facts,
    "odd ends": _odd_ends,
    "unknown shapes": _unknown_shapes,
    **{kind: _input_type(kind) for kind in ("sequence", "optional sequence", "sparse")},
}


@pytest.mark.parametrize("what", KEPT)
def test_rare_fields_survive(tmp_path: Path, what: str) -> None:
    model = small()
    KEPT[what](model)
    expected, result = round_trip(model, tmp_path)
    assert difference(expected, result) == ""


def sparse() -> onnx.SparseTensorProto:
    values, indices = (numpy_helper.from_array(np.array([2]), name) for name in ("sparse", "indices"))
    return helper.make_sparse_tensor(values, indices, [3])


REFUSED: dict[str, tuple[Callable[[ModelProto], Any], str]] = {
    "training": (lambda m: m.training_info.add(), "training information"),
    "sparse initializer": (lambda m: m.graph.sparse_initializer.append(sparse()), "the sparse initializer"),
    "sparse attribute": (
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("s", sparse())),
        "the sparse attribute 's'",
    ),
    "map": (lambda m: m.graph.output[0].type.CopyFrom(value_type("map")), "'y' is of a map type"),
    "opaque": (
        lambda m: m.graph.value_info[0].type.CopyFrom(value_type("opaque")),
        "'a' is of an opaque type",
    ),
    "sequence of maps": (
        lambda m: m.graph.output[0].type.CopyFrom(value_type("sequence of maps")),
        "'y' is of a map type",
    ),
    "map as attribute": (
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("kind", value_type("map"))),
        "'kind' is of a map type",
    ),
    "function with an opaque value": (
        lambda m: m.functions[0].value_info.add(name="f").type.CopyFrom(value_type("opaque")),
        "'f' is of an opaque type",
    ),
    "bytes among texts": (
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("ss", [b"\xff"])),
        "cannot be read",
    ),
    "a newer IR": (lambda m: setattr(m, "ir_version", onnx.IR_VERSION + 1), "install a newer onnx"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_held_is_refused(tmp_path: Path, what: str) -> None:
    model = small()
    change, reason = REFUSED[what]
    change(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModelError, match=reason):
        load_model(tmp_path / "m.onnx")


def test_the_comparison_sees_a_difference() -> None:
    one, other = small(), small()
    other.functions[0].node[0].attribute[0].ref_attr_name = "of"
    assert difference(one, small()) == ""
    assert "ref_attr_name" in difference(one, other)


@pytest.mark.slow
def test_weights_beyond_protobuf_limit_come_and_go_in_little_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    model = small()
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[(2 << 30) // 12 + 99, 3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="m.data")
    del model.graph.initializer[:]
    model.graph.initializer.append(weight)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    ends = (b"\x00\x00\x80?", b"\x00\x00\x00@")  # 1 and 2; a hole between them
    with (tmp_path / "m.data").open("wb") as stream:
        stream.write(ends[0])
        stream.seek(int(np.prod(weight.dims, dtype=np.int64)) * 4 - 4)
        stream.write(ends[1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    save_model(load_model(tmp_path / "m.onnx"), tmp_path / "copy.onnx", force=False)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kilobytes
    (tmp_path / "m.data").unlink()
    tensor = load_model(tmp_path / "copy.onnx").graph.initializers["w"].const_value
    assert tensor is not None
    array = tensor.numpy()
    assert (array[0, 0], array[1, 0], array[-1, -1]) == (1, 0, 2)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "copy.onnx", "copy.onnx.data"}
