"""Passes on convolutions, pools and resizing in any order, with tight limits, on random networks."""

import random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphopt.core.onnx_files import from_proto, to_proto
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery import find_pass
from graphopt.surgery.engine.running import run_pass

CHANNELS = 4
PASSES: list[tuple[str, dict[str, Any]]] = [
    ("clip_bounds", {}), ("conv1d_to_conv2d", {}), ("conv1d_to_conv2d", {"length": "height"}),
    ("fold_constants", {}), ("fold_normalization", {}),
    ("fold_normalization", {"pad": True}), ("fuse_affine", {}), ("fuse_batchnorm", {}),
    ("global_pool_to_reduce", {}), ("normalize_resize", {}), ("normalize_resize", {"give": "sizes"}),
    ("pad_into_conv", {}), ("pool3d_to_pool2d", {}), ("prelu_slope", {}),
    ("reflection_pad", {"max_slices": 2}), ("remove_identity", {}), ("resize_5d", {}),
    ("split_avgpool", {"max_area": 3, "max_side": 3}), ("split_batchnorm", {}),
    ("split_maxpool", {"max_area": 3}),
    ("split_large_kernel", {"max_kernel": 2}),
]  # fmt: skip


class Network:
    """Grows one network; every value has four channels and ``rank`` spatial axes."""

    def __init__(self, seed: int) -> None:
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.rank, self.opset = self.rng.choice([1, 2, 2, 3]), self.rng.choice([11, 13, 17])
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.values = ["x"]
        self.sizes = [self.rng.randint(5, 9) for _ in range(self.rank)]
        for _ in range(self.rng.randint(4, 9)):
            kind = self.rng.choice([
                "convolution", "convolution", "pad", "norm", "affine", "affine", "bound", "slope", "pool",
                "whole", "resize", "unary", "join",
            ])  # fmt: skip
            source = self.rng.choice(self.values[-3:])
            self.values.append(getattr(self, kind)(source))

    def model(self) -> onnx.ModelProto:
        ends = dict.fromkeys([self.values[-1], self.rng.choice(self.values[1:])])
        outputs = [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [f"{name}_{axis}" for axis in range(self.rank + 2)]
            )
            for name in ends
        ]
        shape = [2, CHANNELS, *self.sizes]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "network", [x], outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def constant(self, array: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype=dtype), name))
        return name

    def each(self, low: int, high: int) -> list[int]:
        return [self.rng.randint(low, high) for _ in range(self.rank)]

    def convolution(self, source: str) -> str:
        kernel, group = self.each(1, 3), self.rng.choice([1, 2])
        weight = self.constant(self.numbers.normal(size=[CHANNELS, CHANNELS // group, *kernel]) / 2)
        if group == 1 and self.rng.random() < 0.3:
            return self.node("ConvTranspose", source, weight, kernel_shape=kernel)
        bias = [self.constant(self.numbers.normal(size=CHANNELS))] * self.rng.randint(0, 1)
        pads = self.each(0, 2) + self.each(0, 2)
        return self.node("Conv", source, weight, *bias, pads=pads, group=group)

    def pad(self, source: str) -> str:
        mode = self.rng.choice(["constant", "constant", "reflect", "edge"])
        pads = self.constant([0, 0, *self.each(0, 1), 0, 0, *self.each(0, 1)], np.int64)
        value: list[str] = []
        if mode == "constant" and self.rng.random() < 0.4:
            value = [self.constant(self.rng.choice([0, -3e38, 1]))]
        return self.node("Pad", source, pads, *value, mode=mode)

    def norm(self, source: str) -> str:
        numbers = [self.constant(self.numbers.uniform(0.5, 1.5, CHANNELS)) for _ in range(4)]
        return self.node("BatchNormalization", source, *numbers)

    def affine(self, source: str) -> str:
        ones = (1,) * self.rank
        shape = self.rng.choice([(CHANNELS, *ones), (1, CHANNELS, *ones), (), (1,)])
        constant = self.constant(self.numbers.uniform(0.5, 1.5, shape) * self.rng.choice([1, -1]))
        op_type = self.rng.choice(["Add", "Sub", "Mul", "Div"])
        swapped = op_type != "Div" and self.rng.random() < 0.5
        return self.node(op_type, *((constant, source) if swapped else (source, constant)))

    def bound(self, source: str) -> str:
        low, high = self.constant(-0.5), self.constant(0.8)
        if self.rng.random() < 0.5:
            return self.node(*self.rng.choice([("Min", source, high), ("Max", low, source)]))
        return self.node("Clip", source, *self.rng.choice([(low,), ("", high), (low, high), ()]))

    def slope(self, source: str) -> str:
        shape = self.rng.choice([(CHANNELS, *(1,) * self.rank), (1,), (1,) * (self.rank + 1)])
        return self.node("PRelu", source, self.constant(self.numbers.normal(size=shape)))

    def pool(self, source: str) -> str:
        kernel = self.each(1, 4)
        strides = self.rng.choice([kernel, [1] * self.rank])
        options: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
        op_type = self.rng.choice(["AveragePool", "MaxPool"])
        if op_type == "AveragePool":
            options["count_include_pad"] = self.rng.randint(0, 1)
        if self.rng.random() < 0.5:
            options["pads"] = [self.rng.randint(0, taps - 1) for taps in kernel] * 2
        # A window never exceeds its input: onnxruntime rounds a size below zero up to one element.
        two = [2] * self.rank
        grown = self.node("Pad", source, self.constant([0, 0, *two, 0, 0, *two], np.int64))
        return self.node(op_type, grown, **options)

    def whole(self, source: str) -> str:
        pooled = self.node(self.rng.choice(["GlobalAveragePool", "GlobalMaxPool"]), source)
        return self.node("Add", source, pooled)

    def resize(self, source: str) -> str:
        scales = self.constant([1, 1, *(self.rng.choice([1, 2, 1.5]) for _ in range(self.rank))])
        roi = self.constant([]) if self.opset == 11 else ""
        coordinates = self.rng.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
        mode = self.rng.choice(["linear", "nearest"])
        return self.node("Resize", source, roi, scales, mode=mode, coordinate_transformation_mode=coordinates)

    def unary(self, source: str) -> str:
        return self.node(self.rng.choice(["Relu", "Sigmoid", "Tanh", "Identity"]), source)

    def join(self, source: str) -> str:
        return self.node(*self.rng.choice([("Mul", source, source), ("Sub", source, source)]))


def _run(proto: onnx.ModelProto) -> dict[str, Array]:
    onnx.checker.check_model(proto, full_check=True)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        return session.run(structured_feeds(session.inputs, seed=3))


@pytest.mark.parametrize("seed", range(40))
def test_the_numbers_stay_whatever_the_order(seed: int) -> None:
    network = Network(seed)
    proto = network.model()
    expected = _run(proto)
    passes = network.rng.sample(PASSES, len(PASSES))
    model, applied = from_proto(proto), []
    for name, options in passes:
        model, report = run_pass(model, find_pass(name)(**options))
        applied.extend([name] * report.modified)
    got = _run(to_proto(model))
    for name, array in expected.items():
        wide = np.asarray(array, dtype=np.float64)
        peak = max(float(np.abs(wide).max()), 1e-6)
        if np.isfinite(peak) and peak < 1e30:
            found = np.asarray(got[name], dtype=np.float64)
            np.testing.assert_allclose(found, wide, rtol=0, atol=1e-4 * peak, err_msg=str(applied))
