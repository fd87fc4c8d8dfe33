"""What goes into a file comes out of it, at the price of its structure and not of its weights."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from graphopt.core import onnx_files
from graphopt.core.errors import InvalidModelError, OutputError
from graphopt.core.file_tensors import FileTensor
from graphopt.core.onnx_files import check_model_file, load_model, save_model, write_model
from graphopt.core.tensors import TensorSpec

Linear = Callable[..., onnx.ModelProto]
ArraysOf = Callable[[onnx.ModelProto], dict[str, np.ndarray]]


def _same_arrays(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        assert array.shape == right[name].shape, name
        assert array.tobytes() == right[name].tobytes() or np.array_equal(array, right[name]), name


def test_everything_in_a_model_survives(
    tmp_path: Path, everything: onnx.ModelProto, arrays_of: ArraysOf
) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(everything, source)

    save_model(load_model(source), target, force=False)

    result = onnx.load(target)
    onnx.checker.check_model(result, full_check=True)
    _same_arrays(arrays_of(everything), arrays_of(result))
    for field in ("ir_version", "producer_name", "producer_version", "model_version", "doc_string"):
        assert getattr(result, field) == getattr(everything, field)
    assert {p.key: p.value for p in result.metadata_props} == {"author": "me", "graphopt.recipe": "none"}
    assert {item.domain: item.version for item in result.opset_import} == {"": 18, "local": 1}
    assert [node.op_type for node in result.graph.node] == [node.op_type for node in everything.graph.node]
    assert result.graph.node[0].metadata_props[0].value == "Twice"
    assert result.functions[0].attribute == ["by"]
    weight = next(t for t in result.graph.initializer if t.name == "main_large")
    assert weight.doc_string == "a weight"
    assert weight.metadata_props[0].value == "layer1"


def test_large_weights_stay_in_the_file(tmp_path: Path, everything: onnx.ModelProto) -> None:
    source = tmp_path / "in.onnx"
    onnx.save(everything, source)

    model = load_model(source)

    graph = model.graph
    in_file = {name for name, v in graph.initializers.items() if isinstance(v.const_value, FileTensor)}
    assert in_file == {"main_large", "main_float_data"}
    assert any(
        isinstance(n.attributes.get_tensor("value"), FileTensor) for n in graph if n.op_type == "Constant"
    )
    body = next(model.graph.subgraphs())
    assert sum(isinstance(v.const_value, FileTensor) for v in body.initializers.values()) == 2


def test_a_saved_file_is_what_protobuf_itself_writes(tmp_path: Path, everything: onnx.ModelProto) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    onnx.save(everything, source)
    model = load_model(source)

    write_model(model, target)

    whole = onnx_files.to_proto(model)
    assert target.read_bytes() == whole.SerializeToString(deterministic=True)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path, everything: onnx.ModelProto) -> None:
    onnx.save(everything, tmp_path / "in.onnx")
    model = load_model(tmp_path / "in.onnx")

    save_model(model, tmp_path / "a.onnx", force=False)
    save_model(model, tmp_path / "b.onnx", force=False)
    save_model(load_model(tmp_path / "a.onnx"), tmp_path / "c.onnx", force=False)

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


def test_saving_leaves_the_model_as_it_was(tmp_path: Path, everything: onnx.ModelProto) -> None:
    onnx.save(everything, tmp_path / "in.onnx")
    model = load_model(tmp_path / "in.onnx")
    tensors = [v.const_value for v in model.graph.initializers.values()]
    attributes = [a for n in model.graph.all_nodes() for a in n.attributes.values()]

    save_model(model, tmp_path / "out.onnx", force=False)

    assert all(a is b.const_value for a, b in zip(tensors, model.graph.initializers.values(), strict=True))
    after = [a for n in model.graph.all_nodes() for a in n.attributes.values()]
    assert all(a is b for a, b in zip(attributes, after, strict=True))


def test_a_new_large_weight_is_written(tmp_path: Path, linear: Linear) -> None:
    onnx.save(linear(), tmp_path / "in.onnx")
    model = load_model(tmp_path / "in.onnx")
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * 2, name="w")

    save_model(model, tmp_path / "out.onnx", force=False)

    written = numpy_helper.to_array(onnx.load(tmp_path / "out.onnx").graph.initializer[0])
    np.testing.assert_array_equal(written, 2 * np.arange(1500, dtype=np.float32))


def test_references_to_other_files_are_never_saved(tmp_path: Path, linear: Linear) -> None:
    (tmp_path / "weights.bin").write_bytes(np.ones(3, np.float32).tobytes())
    onnx.save(linear(elements=3), tmp_path / "in.onnx")
    model = load_model(tmp_path / "in.onnx")
    model.graph.initializers["w"].const_value = ir.ExternalTensor(
        "weights.bin", 0, 12, ir.DataType.FLOAT, shape=ir.Shape([3]), name="w", base_dir=tmp_path
    )

    save_model(model, tmp_path / "out.onnx", force=False)

    (tmp_path / "weights.bin").unlink()
    tensor = onnx.load(tmp_path / "out.onnx").graph.initializer[0]
    assert numpy_helper.to_array(tensor).tolist() == [1, 1, 1]


def test_the_source_may_be_removed_or_replaced_after_loading(tmp_path: Path, linear: Linear) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(linear(), source)
    model = load_model(source)

    save_model(model, source, force=True)
    save_model(model, source, force=True)
    source.unlink()

    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), np.arange(1500, dtype=np.float32))


def test_a_source_that_was_written_over_is_an_error(tmp_path: Path, linear: Linear) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(linear(), source)
    model = load_model(source)
    source.write_bytes(b"\0" * 100)

    with pytest.raises(InvalidModelError, match=r"model\.onnx changed while it was in use"):
        save_model(model, tmp_path / "out.onnx", force=False)

    assert not (tmp_path / "out.onnx").exists()


def test_arrays_are_read_only_and_models_can_be_copied(tmp_path: Path, linear: Linear) -> None:
    onnx.save(linear(), tmp_path / "model.onnx")
    model = load_model(tmp_path / "model.onnx")
    weight = model.graph.initializers["w"].const_value
    assert weight is not None

    with pytest.raises(ValueError, match="read-only"):
        weight.numpy()[0] = 1
    assert np.asarray(weight)[3] == 3
    assert copy.deepcopy(weight).numpy()[3] == 3
    assert model.clone().graph.initializers["w"].const_value is not None


# numpy has these, ml_dtypes the rest; (name, values in one byte) of all that a tensor can hold.
_NUMPY = ("FLOAT", "DOUBLE", "FLOAT16", "COMPLEX64", "COMPLEX128", "BOOL")
_INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_EXOTIC = [
    name
    for name in ir.DataType.__members__
    if name not in (*_NUMPY, *_INTEGERS, "UNDEFINED", "STRING") and hasattr(TensorProto, name)
]


@pytest.mark.parametrize("count", [5, 9001])
@pytest.mark.parametrize("name", [*_NUMPY, *_INTEGERS, *_EXOTIC])
def test_every_dtype_survives(tmp_path: Path, name: str, count: int) -> None:
    dtype = ir.DataType[name]
    raw = np.random.default_rng(3).integers(0, 2, -(-count * dtype.bitwidth // 8), np.uint8).tobytes()
    tensor = TensorProto(name="w", data_type=getattr(TensorProto, name), dims=[count], raw_data=raw)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "typed",
        [],
        [helper.make_tensor_value_info("y", tensor.data_type, [count])],
        [tensor],
    )
    onnx.save(helper.make_model(graph), tmp_path / "in.onnx")

    model = load_model(tmp_path / "in.onnx")
    save_model(model, tmp_path / "out.onnx", force=False)

    weight = model.graph.initializers["w"].const_value
    assert weight is not None
    assert isinstance(weight, FileTensor) == (len(raw) > 4096)
    expected = numpy_helper.to_array(tensor)
    assert weight.numpy().dtype == expected.dtype
    assert np.array_equal(weight.numpy(), expected)
    assert onnx.load(tmp_path / "out.onnx").graph.initializer[0].raw_data == raw
    assert onnx_files.output_specs(model)[0].dtype == str(expected.dtype)


@pytest.mark.parametrize("ir_version", range(3, onnx.IR_VERSION + 1))
def test_every_ir_version_is_kept(tmp_path: Path, linear: Linear, ir_version: int) -> None:
    proto = linear(ir_version=ir_version)
    if ir_version == 3:
        proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1500]))
    onnx.save(proto, tmp_path / "in.onnx")

    save_model(load_model(tmp_path / "in.onnx"), tmp_path / "out.onnx", force=False)

    result = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(result, full_check=True)
    assert result.ir_version == max(4, ir_version)
    assert [value.name for value in result.graph.input] == ["x"]


def test_initializers_among_the_inputs_are_demoted_and_reported(
    tmp_path: Path, linear: Linear, caplog: pytest.LogCaptureFixture
) -> None:
    proto = linear(ir_version=3)
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1500]))
    onnx.save(proto, tmp_path / "old.onnx")

    with caplog.at_level("INFO"):
        model = load_model(tmp_path / "old.onnx")

    assert [spec.name for spec in onnx_files.input_specs(model)] == ["x"]
    assert model.ir_version == 4
    assert "old.onnx: 1 initializers were also graph inputs and are no more" in caplog.text


def test_the_other_name_of_the_default_domain_is_understood(tmp_path: Path, linear: Linear) -> None:
    proto = linear()
    proto.opset_import[0].domain = proto.graph.node[0].domain = "ai.onnx"
    onnx.save(proto, tmp_path / "in.onnx")
    model = load_model(tmp_path / "in.onnx")
    assert dict(model.opset_imports) == {"": 13}
    save_model(model, tmp_path / "out.onnx", force=False)
    assert check_model_file(tmp_path / "out.onnx") is None


def test_specs_name_dtypes_and_symbolic_sizes(tmp_path: Path) -> None:
    model = onnx_files.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 13]>
            g (float16[N, 3, ?] image, string[1] text, int64 scalar) => (bool[2] y) {
              a = Cast <to = 9> (image)
              y = Identity (a)
            }"""
        )
    )
    assert onnx_files.input_specs(model) == (
        TensorSpec(name="image", shape=("N", 3, None), dtype="float16"),
        TensorSpec(name="text", shape=(1,), dtype="str"),
        TensorSpec(name="scalar", shape=(), dtype="int64"),
    )
    assert onnx_files.output_specs(model) == (TensorSpec(name="y", shape=(2,), dtype="bool"),)


def test_nodes_of_subgraphs_count_and_those_of_functions_do_not(everything: onnx.ModelProto) -> None:
    model = onnx_files.from_proto(everything)
    assert onnx_files.count_nodes(model) == 6 + 2 + 3


def test_a_message_in_memory_goes_there_and_back(everything: onnx.ModelProto, arrays_of: ArraysOf) -> None:
    back = onnx_files.to_proto(onnx_files.from_proto(everything))
    _same_arrays(arrays_of(everything), arrays_of(back))


@pytest.mark.parametrize("one_file", [True, False])
def test_external_data_are_read_and_end_up_inside(
    tmp_path: Path, everything: onnx.ModelProto, arrays_of: ArraysOf, one_file: bool
) -> None:
    source = tmp_path / "in.onnx"
    expected = arrays_of(everything)
    proto = copy.deepcopy(everything)
    convert_model_to_external_data(
        proto, all_tensors_to_one_file=one_file, location="data.bin" if one_file else None, size_threshold=0
    )
    onnx.save(proto, source)
    data_files = [path for path in tmp_path.iterdir() if path != source]
    assert len(data_files) == (1 if one_file else 8)

    model = load_model(source)
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "out.onnx"
    save_model(model, target, force=False)

    assert [path.name for path in target.parent.iterdir()] == ["out.onnx"]
    _same_arrays(expected, arrays_of(onnx.load(target)))


def test_more_data_files_than_a_process_may_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    nodes, weights = [], []
    for index in range(80):
        (tmp_path / f"w{index}").write_bytes(np.array([index], np.float32).tobytes())
        tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"w{index}")
        weights.append(tensor)
        nodes.append(helper.make_node("Identity", [f"w{index}"], [f"y{index}"]))
    outputs = [helper.make_tensor_value_info("y79", TensorProto.FLOAT, [1])]
    onnx.save_model(
        helper.make_model(helper.make_graph(nodes, "many", [], outputs, weights)), tmp_path / "m.onnx"
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 60
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(opened + 45, soft), hard))
    try:
        model = load_model(tmp_path / "m.onnx")
        values = [float(v.const_value.numpy()[0]) for v in model.graph.initializers.values() if v.const_value]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert values == list(range(80))


def test_existing_files_and_inputs_are_not_replaced(tmp_path: Path, linear: Linear) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(linear(), source)
    before = source.read_bytes()
    with pytest.raises(OutputError, match=r"exists; use --force"):
        save_model(load_model(source), source, force=False)
    with pytest.raises(OutputError, match="an input is never overwritten"):
        save_model(load_model(source), source, force=True, inputs=(source,))
    assert source.read_bytes() == before


@st.composite
def _models(draw: st.DrawFn) -> onnx.ModelProto:
    """Chains of additions over weights of any size, dtype, and way of being stored."""
    kinds = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
    kind = draw(st.sampled_from(sorted(kinds)))
    count = draw(st.sampled_from([0, 1, 7, 511, 512, 513, 1024, 1025]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weights, nodes = [], []
    for index in range(draw(st.integers(1, 4))):
        values = rng.integers(-9, 9, count).astype(kind)
        if draw(st.booleans()):
            weights.append(helper.make_tensor(f"w{index}", kinds[kind], [count], values))
        else:
            weights.append(numpy_helper.from_array(values, f"w{index}"))
        nodes.append(helper.make_node("Add", [f"v{index}" if index else "x", f"w{index}"], [f"v{index + 1}"]))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", kinds[kind], [count])],
        [helper.make_tensor_value_info(nodes[-1].output[0], kinds[kind], [count])],
        weights,
    )
    opset = draw(st.integers(7, 20))
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=draw(st.integers(4, 10))
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(proto=_models(), external=st.booleans())
def test_round_trips_equal_onnx_own_loader(
    tmp_path: Path, arrays_of: ArraysOf, proto: onnx.ModelProto, external: bool
) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    for path in tmp_path.iterdir():
        path.unlink()
    expected = arrays_of(proto)
    onnx.save(proto, source, save_as_external_data=external, size_threshold=16)

    save_model(load_model(source), target, force=True)

    result = onnx.load(target)
    _same_arrays(expected, arrays_of(result))
    assert result.ir_version == proto.ir_version
    assert list(result.graph.node) == list(proto.graph.node)
    assert list(result.opset_import) == list(proto.opset_import)


@pytest.mark.shared
def test_the_real_graph_survives(tmp_path: Path, filled_deepmar: Path, arrays_of: ArraysOf) -> None:
    save_model(load_model(filled_deepmar), tmp_path / "out.onnx", force=False)
    _same_arrays(arrays_of(onnx.load(filled_deepmar)), arrays_of(onnx.load(tmp_path / "out.onnx")))
    assert check_model_file(tmp_path / "out.onnx") is None
