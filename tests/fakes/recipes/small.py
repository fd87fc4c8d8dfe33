"""A recipe that runs in a moment: one convolution on 16 x 32 pixels, with DeepMAR's task.

Found as a shipped one when its folder is added to ``graphopt.recipes.models``; see the fixture
``small``. The weights come from numpy, so that the network and the ONNX file need not meet.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from graphopt.core.comparison import Tolerance
from graphopt.core.peta import PETA_ATTRIBUTES
from graphopt.core.preprocessing import DecodePil, Normalize, ResizePil, ScaleToUnit, ToNchw
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Demo, Published, Recipe
from graphopt.runtime.tasks.attributes import AttributeTask
from graphopt.surgery import PassStep

WIDTH, HEIGHT, CHANNELS = 16, 32, 8
COMMON = 10
"""Attributes that most people have; the classifier's bias says so, too."""


def weights(*, scale: float = 1.0) -> dict[str, Any]:
    """Return a state dict as arrays; ``scale`` is of the classifier."""
    rng = np.random.default_rng(11)
    count = len(PETA_ATTRIBUTES)
    bias = np.where(np.arange(count) < COMMON, 1.0, -1.0)
    arrays = {
        "conv.weight": rng.standard_normal((CHANNELS, 3, 3, 3)) / 5,
        "bn.weight": rng.uniform(0.5, 1.5, CHANNELS),
        "bn.bias": rng.uniform(-0.5, 0.5, CHANNELS),
        "bn.running_mean": rng.uniform(-0.2, 0.2, CHANNELS),
        "bn.running_var": rng.uniform(0.5, 1.5, CHANNELS),
        "classifier.weight": rng.standard_normal((count, CHANNELS)) * 0.4 * scale,
        "classifier.bias": bias * scale,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_onnx(path: Path, *, scale: float = 1.0, batch: int | str = 1, output: str = "output1") -> Path:
    """Write the network as an old exporter would, with a Pad that pads nothing."""
    arrays = {**weights(scale=scale), "pads": np.zeros(8, np.int64)}
    norms = [f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    nodes = [
        helper.make_node("Pad", ["image", "pads"], ["padded"], "Pad_0"),
        helper.make_node(
            "Conv", ["padded", "conv.weight"], ["mixed"], "Conv_1", strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("BatchNormalization", ["mixed", *norms], ["normal"], "BatchNormalization_2"),
        helper.make_node("Relu", ["normal"], ["active"], "Relu_3"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], "GlobalAveragePool_4"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "Flatten_5"),
        helper.make_node(
            "Gemm", ["flat", "classifier.weight", "classifier.bias"], [output], "Gemm_6", transB=1
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, len(PETA_ATTRIBUTES)])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, path)
    return path


def write_deformable_onnx(path: Path) -> Path:
    """Write the network with a deformable convolution of Ascend in the place of its convolution."""
    write_onnx(path)
    proto = onnx.load(path)
    (index,) = [i for i, node in enumerate(proto.graph.node) if node.op_type == "Conv"]
    conv = proto.graph.node[index]
    moves = np.random.default_rng(2).uniform(-1, 1, (1, 27, HEIGHT // 2, WIDTH // 2)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(moves, "moves"))
    call = helper.make_node(
        "DeformableConv2D",
        [*conv.input, "moves"],
        conv.output,
        conv.name,
        domain="npu",
        strides=[2, 2],
        pads=[1, 1],
        dilations=[1, 1],
        groups=1,
        deformable_groups=1,
        modulated=1,
        data_format="NCHW",
    )
    conv.CopyFrom(call)
    proto.opset_import.append(helper.make_opsetid("npu", 1))
    onnx.save(proto, path)
    return path


def write_checkpoint(path: Path, *, scale: float = 1.0) -> Path:
    """Write the weights as public checkpoints are."""
    import torch

    torch.save({"state_dict": {k: torch.from_numpy(v) for k, v in weights(scale=scale).items()}}, path)
    return path


def write_data(folder: Path, *, count: int = 7) -> Path:
    """Write seeded pictures of different brightness with labels that the bias half explains."""
    rng = np.random.default_rng(5)
    (folder / "images").mkdir(parents=True)
    labels = {}
    for number in range(1, count + 1):
        name = f"{number:05d}.png"
        pixels = rng.uniform(0, rng.uniform(50, 255), (13, 11, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        chance = np.where(np.arange(len(PETA_ATTRIBUTES)) < COMMON, 0.8, 0.1)
        labels[name] = (rng.random(len(chance)) < chance).astype(int).tolist()
    (folder / "label.json").write_text(json.dumps(labels))
    return folder


def _build() -> Any:
    import torch

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1, bias=False)
            self.bn = torch.nn.BatchNorm2d(CHANNELS)
            self.classifier = torch.nn.Linear(CHANNELS, len(PETA_ATTRIBUTES))

        def forward(self, image: Any) -> Any:
            active = self.bn(self.conv(image)).relu()
            return self.classifier(torch.nn.functional.adaptive_avg_pool2d(active, 1).flatten(1))

    return Small().eval()


def _load(module: Any, checkpoint: Path) -> Mapping[str, Any]:
    from graphopt.exporters.checkpoint import load_into, read_checkpoint

    content = read_checkpoint(checkpoint)
    load_into(module, content, key="state_dict")
    return content.meta


def _make_demo(folder: Path) -> Demo:
    data = write_data(folder / "data")
    return Demo(checkpoint=write_checkpoint(folder / "checkpoint.pth.tar"), data=data)


RECIPE = Recipe(
    name="small",
    title="Small: a convolution for tests",
    build=_build,
    load=_load,
    make_demo=_make_demo,
    inputs=(TensorSpec(name="image", shape=(1, 3, HEIGHT, WIDTH), dtype="float32", layout="NCHW"),),
    outputs=(
        TensorSpec(name="output1", shape=(1, len(PETA_ATTRIBUTES)), dtype="float32", role="attributes"),
    ),
    preprocessing=(
        DecodePil(),
        ResizePil(width=WIDTH, height=HEIGHT),
        ScaleToUnit(),
        Normalize(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        ToNchw(),
    ),
    passes=(PassStep("remove_pad"), PassStep("fuse_batchnorm"), PassStep("remove_identity")),
    tolerance=Tolerance(atol=1e-4, rtol=1e-4, why="float32 sums in another order"),
    task=AttributeTask(attributes=PETA_ATTRIBUTES, output="output1"),
    batch_sizes=(1, 2),
    atc={"input_format": "NCHW", "log": "error"},
    published=(Published(what="instance accuracy, elsewhere", value=0.5, source="nobody"),),
)
