"""The call of ATC that a recipe makes is the one that its guide publishes: options, values, shapes."""

import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.compilation import CompileOptions, make_target
from graphopt.recipes.rewrite import rewrite
from graphopt.surgery import Verify

CALLS = {
    "deepmar": (
        "atc --model=deepmar_bs1_nopad.onnx --framework=5 --output=deepmar_bs1 --input_format=NCHW "
        '--input_shape="actual_input_1:1,3,224,224" --log=error --soc_version=${chip_name}'
    ),
    "refinenet": (
        "atc --framework=5 --model=model/RefineNet_910.onnx --output=model/RefineNet_910_bs1 "
        '--input_format=NCHW --input_shape="input:1,3,500,500" --log=debug --soc_version=Ascend${chip_name}'
    ),
    "nas_fpn": (
        "atc --model=./nas_fpn.onnx --framework=5 --output=nas_fpn_bs1 --input_format=NCHW "
        '--input_shape="input:1,3,640,640" --log=error --soc_version=${chip_name} '
        '--out_nodes="Concat_1487:0;Reshape_1489:0"'
    ),
    "fcos": (
        "atc --framework=5 --model=./fcos.onnx --output=fcos_bs1 --input_format=NCHW "
        '--input_shape="input:1,3,800,1333" --log=error --soc_version=Ascend${chip_name} '
        '--out_node="labels;dets"'
    ),
    "faster_rcnn_dcn": (
        "atc --framework=5 --model=./faster_rcnn_r50_fpn_1x_coco.onnx "
        "--output=./faster_rcnn_r50_fpn_1x_coco_bs1 --input_format=NCHW "
        '--input_shape="input:1,3,1216,1216" --log=debug --soc_version=Ascend${chip_name}'
    ),
}
"""As the guides have them."""
LAST = {"dets": "Concat_1487", "labels": "Reshape_1489"}
"""Node names in the export that the guide of NAS-FPN was written for."""


def options(call: str) -> dict[str, str]:
    """Return options and values; files, which everybody names himself, and the chip left out."""
    words = (word.removeprefix("--").split("=", 1) for word in shlex.split(call)[1:])
    found = {re.sub("^out_node$", "out_nodes", name): value for name, value in words}
    return {name: value for name, value in found.items() if name not in ("model", "output", "soc_version")}


def write_stand_in(name: str, path: Path) -> Path:
    """Write a graph with the recipe's inputs and outputs, which are made by nodes of known names."""
    recipe = find_recipe(name)
    (image,) = recipe.inputs
    sizes = [1, *image.shape[1:]]
    made = {spec.name: LAST.get(spec.name, f"Last_{spec.name}") for spec in recipe.outputs}
    nodes = [onnx.helper.make_node("Shape", [image.name], [name], made[name]) for name in made]
    graph = onnx.helper.make_graph(
        nodes,
        name,
        [onnx.helper.make_tensor_value_info(image.name, onnx.TensorProto.FLOAT, sizes)],
        [onnx.helper.make_tensor_value_info(output, onnx.TensorProto.INT64, [4]) for output in made],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=6), path
    )
    return path


@pytest.mark.parametrize("name", CALLS)
def test_a_recipe_makes_the_published_call(name: str, tmp_path: Path) -> None:
    model = write_stand_in(name, tmp_path / f"{name}.onnx")
    target = make_target(CompileOptions(target="atc", soc="310P3"), find_recipe(name))
    plan = target.plan(model, tmp_path / f"{name}_bs1.om")
    assert plan.argv is not None
    assert options(shlex.join(plan.argv)) == options(CALLS[name])
    assert f"--output={name}_bs1" in plan.argv


COPIES = {
    "fcos": {"BatchMultiClassNMS": 1},
    "nas_fpn": {"BatchMultiClassNMS": 1},
    "faster_rcnn_dcn": {"BatchMultiClassNMS": 2, "DeformableConv2D": 13, "RoiExtractor": 1},
}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", COPIES)
def test_the_call_reads_a_bare_copy_of_the_rewritten_graph(
    name: str, filled: Callable[[str], Path], tmp_path: Path
) -> None:
    model = tmp_path / f"{name}.onnx"
    rewrite(filled(name), model, None, recipe_name=name, verify=Verify.OFF)
    request = CompileOptions(target="atc", soc="310P3", script_only=True)
    target = make_target(request, find_recipe(name))
    artefact = target.compile(model, tmp_path / f"{name}_bs1.om", force=False)
    call = options(artefact.settings["command"])
    published = options(CALLS[name])
    if name == "nas_fpn":  # that call names the nodes of another export
        nodes = {node.output[0]: node.name for node in onnx.load(model).graph.node}
        published["out_nodes"] = f"{nodes['dets']}:0;{nodes['labels']}:0"
    assert call == published
    proto = onnx.load(tmp_path / f"{name}_bs1.atc.onnx", load_external_data=False)
    assert not proto.functions
    assert proto.ir_version <= 8
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", 11)]
    calls = [node for node in proto.graph.node if node.op_type in COPIES[name]]
    assert Counter(node.op_type for node in calls) == COPIES[name]
    assert {node.domain for node in proto.graph.node} == {""}
    described = {item.name: item.type.tensor_type for item in proto.graph.value_info}
    for output in (output for node in calls for output in node.output if output in described):
        assert all(dim.dim_value > 0 for dim in described[output].shape.dim)
    assert {output for node in calls for output in node.output} <= set(described)
