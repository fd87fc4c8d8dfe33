"""Graphs in the form of torch 1.6: same numbers, and the peculiarities of that time."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.errors import OutputError, PreconditionError
from graphopt.core.onnx_files import save_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.exporters.legacy_torch16 import to_torch16_form, write_torch16_form

WEIGHT = ", ".join(str((7 * k % 11 - 5) / 4) for k in range(36))

POOLED = f"""
<ir_version: 6, opset_import: ["" : 11], producer_name: "pytorch", producer_version: "2.13.0">
main_graph (float[batch,3,10,15] image) => (float[batch,2] logits)
<float[3] scale = {{1, 2, 3}}, float[2,18] weight = {{{WEIGHT}}}, float[2] bias = {{0.5, -0.5}}>
{{
  mean = Identity (scale)
  normed = BatchNormalization (image, scale, scale, mean, scale)
  big = MaxPool <kernel_shape = [1, 1], dilations = [1, 1]> (normed)
  pooled = AveragePool <kernel_shape = [5, 5], strides = [5, 5], count_include_pad = 1> (big)
  flat = Flatten <axis = 1> (pooled)
  logits = Gemm <transB = 1> (flat, weight, bias)
}}
"""


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    save_model(ir.from_onnx_text(POOLED), tmp_path / "new.onnx", force=False)
    return tmp_path / "new.onnx"


def test_it_gets_the_pad_the_chain_and_the_names_of_that_time(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "old.onnx"
    write_torch16_form(source, target)

    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    assert (model.producer_name, model.producer_version) == ("pytorch", "1.6")
    assert model.opset_import[0].version == 11
    assert kinds(target) == [
        *("BatchNormalization", "MaxPool", "Constant", "Pad", "AveragePool"),
        *("Shape", "Constant", "Gather", "Unsqueeze", "Concat", "Reshape", "Gemm"),
    ]
    nodes = {node.op_type: node for node in model.graph.node}
    assert nodes["Pad"].name == "Pad_3"
    assert nodes["AveragePool"].input == nodes["Pad"].output
    pads = next(node for node in model.graph.node if node.output[0] == nodes["Pad"].input[1])
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(pads.attribute[0].t), np.zeros(8, np.int64))
    assert "count_include_pad" not in {a.name for a in nodes["AveragePool"].attribute}
    # image, four parameters of its own each, one counter: values are numbered from 6
    assert nodes["BatchNormalization"].output == ["6"]
    assert {tensor.name for tensor in model.graph.initializer} >= {"scale", "mean", "weight", "bias"}
    assert model.graph.output[0].name == "logits"


@pytest.mark.parametrize("batch", [1, 4])
def test_the_numbers_stay_the_same(tmp_path: Path, source: Path, batch: int) -> None:
    write_torch16_form(source, tmp_path / "old.onnx")
    feeds = {"image": np.random.default_rng(2).standard_normal((batch, 3, 10, 15), np.float32)}
    with OnnxRuntimeSession(source) as new, OnnxRuntimeSession(tmp_path / "old.onnx") as old:
        np.testing.assert_array_equal(old.run(feeds)["logits"], new.run(feeds)["logits"])


def test_padding_that_pads_moves_into_the_pad(tmp_path: Path) -> None:
    padded = POOLED.replace("strides = [5, 5]", "strides = [5, 5], pads = [1, 2, 3, 4]").replace(
        "2,18", "2,24"
    )
    weight = ", ".join(str((5 * k % 13 - 6) / 4) for k in range(48))
    save_model(ir.from_onnx_text(padded.replace(WEIGHT, weight)), tmp_path / "new.onnx", force=False)
    write_torch16_form(tmp_path / "new.onnx", tmp_path / "old.onnx")

    pads = onnx.load(tmp_path / "old.onnx").graph.node[2].attribute[0].t
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(pads), [0, 0, 1, 2, 0, 0, 3, 4])
    feeds = {"image": np.random.default_rng(2).standard_normal((2, 3, 10, 15), np.float32)}
    with OnnxRuntimeSession(tmp_path / "new.onnx") as new, OnnxRuntimeSession(tmp_path / "old.onnx") as old:
        expected: Any = new.run(feeds)["logits"]
        np.testing.assert_allclose(old.run(feeds)["logits"].astype(np.float32), expected, rtol=1e-5)


def test_the_source_stays_and_the_target_is_not_overwritten(tmp_path: Path, source: Path) -> None:
    before = source.read_bytes()
    (tmp_path / "old.onnx").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_torch16_form(source, tmp_path / "old.onnx")
    with pytest.raises(OutputError, match="is the input"):
        write_torch16_form(source, source, force=True)
    write_torch16_form(source, tmp_path / "old.onnx", force=True)
    assert source.read_bytes() == before


def test_another_opset_or_no_pool_is_refused() -> None:
    newer = ir.from_onnx_text(POOLED.replace('"" : 11', '"" : 13'))
    with pytest.raises(PreconditionError, match="opset 11, the model has 13"):
        to_torch16_form(newer)
    without = ir.from_onnx_text(
        '<ir_version: 6, opset_import: ["" : 11]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
    )
    with pytest.raises(PreconditionError, match="no AveragePool"):
        to_torch16_form(without)


@pytest.mark.torch
@pytest.mark.shared
def test_full_size_deepmar_is_the_real_graph_node_by_node(tmp_path: Path, shared_dir: Path) -> None:
    pytest.importorskip("torch")
    from graphopt.exporters.models.deepmar import build_deepmar
    from graphopt.exporters.torch_export import export_module

    feeds = {"actual_input_1": np.zeros((1, 3, 224, 224), np.float32)}
    export_module(build_deepmar(), feeds, ["output1"], tmp_path / "new.onnx", keep_batchnorm=True)
    write_torch16_form(tmp_path / "new.onnx", tmp_path / "old.onnx")
    real = onnx.load(shared_dir / "raw" / "deepmar_bs1.onnx")
    ours = onnx.load(tmp_path / "old.onnx")

    assert [node.name for node in ours.graph.node] == [node.name for node in real.graph.node]
    for node, model in zip(ours.graph.node, real.graph.node, strict=True):
        assert sorted(a.name for a in node.attribute) == sorted(a.name for a in model.attribute), node.name
        assert [name for name in node.input if "." in name] == [name for name in model.input if "." in name]
    assert (ours.ir_version, ours.graph.name) == (real.ir_version, real.graph.name)
    assert (ours.producer_name, ours.producer_version) == (real.producer_name, real.producer_version)
