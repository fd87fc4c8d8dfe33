"""Outputs chosen and described by role, from apply to the sidecar to ATC's call."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import UsageError
from graphopt.core.onnx_files import load_model
from graphopt.core.roles import parse_roles
from graphopt.recipes.compilation import CompileOptions, compile_into, in_order, plan_for
from graphopt.recipes.rewrite import rewrite
from graphopt.surgery import PassStep, Verify

HEADS = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,4] x) => (float[1,4] boxes, float[1,4] classes) {
    [stem] h = Relu (x)
    [box_head] boxes = Exp (h)
    [class_head] classes = Sigmoid (h)
}"""
DETECTION = parse_roles("detection:dets,labels")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ir.save(ir.from_onnx_text(HEADS), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def pin(model: Path, names: str, output: str = "out.onnx", **options: Any) -> Path:
    path = model.with_name(output)
    steps = [PassStep("pin_outputs", {"names": names})]
    rewrite(model, path, steps, verify=Verify.OFF, **options)
    return path


def roles_of(path: Path) -> list[tuple[str, str]]:
    artefact = Artefact.load(path)
    assert artefact is not None
    return [(spec.name, spec.role) for spec in artefact.outputs]


def test_roles_follow_the_outputs_into_the_sidecar(model: Path) -> None:
    out = model.with_name("out.onnx")
    rewrite(model, out, [PassStep("remove_pad")], verify=Verify.OFF, roles=DETECTION)
    assert roles_of(out) == [("boxes", "dets"), ("classes", "labels")]


def test_outputs_are_picked_by_role_and_roles_stay(model: Path) -> None:
    first = pin(model, "labels+dets", roles=DETECTION)
    assert roles_of(first) == [("classes", "labels"), ("boxes", "dets")]
    second = pin(first, "dets", "second.onnx")
    assert roles_of(second) == [("boxes", "dets")]
    assert [value.name for value in load_model(second).graph.outputs] == ["boxes"]


def test_roles_describe_what_pin_outputs_leaves_when_it_names_tensors(model: Path) -> None:
    out = pin(model, "class_head:0+stem:0", roles=parse_roles("detection:labels,dets"))
    assert roles_of(out) == [("classes", "labels"), ("h", "dets")]


def test_roles_may_name_their_tensors(model: Path) -> None:
    out = pin(model, "dets", roles=parse_roles("detection:labels=boxes,dets=stem:0"))
    assert roles_of(out) == [("h", "dets")]


def test_a_tensor_comes_before_a_role_of_its_name(model: Path) -> None:
    text = HEADS.replace("boxes", "labels")
    ir.save(ir.from_onnx_text(text), model)
    out = pin(model, "labels", roles=parse_roles("detection:labels=classes"))
    assert roles_of(out) == [("labels", "")]


def test_a_recipe_knows_the_roles_too(model: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tuple(
        dataclasses.replace(small.RECIPE.outputs[0], name=name, role=role)
        for name, role in (("boxes", "dets"), ("classes", "labels"))
    )
    monkeypatch.setattr(small, "RECIPE", dataclasses.replace(small.RECIPE, outputs=outputs))
    assert roles_of(pin(model, "labels", recipe_name="small")) == [("classes", "labels")]


@pytest.mark.parametrize(
    ("names", "roles", "said"),
    [
        ("lables", "detection:dets,labels", "no tensor or role 'lables'; did you mean labels"),
        ("box", "detection:dets", "no tensor 'box'; did you mean boxes"),
        ("dets", "detection:dets", "names 1 role "),
        ("dets", "detection:dets=bxes", "no tensor 'bxes'; did you mean boxes"),
    ],
)
def test_a_name_that_is_nothing_is_said(model: Path, names: str, roles: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        pin(model, names, roles=parse_roles(roles))
    assert not model.with_name("out.onnx").exists()


def out_nodes(model: Path, **options: Any) -> str:
    request = CompileOptions(target="atc", soc="310P3", script_only=True, **options)
    (plan,) = plan_for(model, request)
    return next((word.partition("=")[2] for word in plan.argv if word.startswith("--out_nodes")), "")


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("labels;dets", "classes;boxes"),
        ("classes;boxes", "classes;boxes"),
        ("auto", "box_head:0;class_head:0"),
        ("dets;h", "box_head:0;stem:0"),
        ("boxes;stem:0", "box_head:0;stem:0"),
    ],
)
def test_out_nodes_take_roles_tensors_and_nodes(model: Path, given: str, made: str) -> None:
    out = model.with_name("out.onnx")
    rewrite(model, out, [PassStep("remove_pad")], verify=Verify.OFF, roles=DETECTION)
    assert out_nodes(out, options={"out_nodes": given}) == made


def test_out_nodes_are_left_out_where_the_graph_says_it_all(model: Path) -> None:
    assert out_nodes(pin(model, "classes+boxes")) == ""


def test_a_recipes_order_is_asked_of_atc(model: Path, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = tuple(dataclasses.replace(small.RECIPE.outputs[0], name=name) for name in ("classes", "boxes"))
    recipe = dataclasses.replace(small.RECIPE, outputs=outputs, atc={})
    monkeypatch.setattr(small, "RECIPE", recipe)
    request = CompileOptions(target="atc", soc="310P3", script_only=True)
    (plan,) = plan_for(model, request, recipe_name="small")
    assert "--out_nodes=classes;boxes" in plan.argv
    assert [spec.name for spec in in_order(outputs[::-1], recipe)] == ["classes", "boxes"]
    assert in_order(outputs[:1], recipe) == outputs[:1]


def test_compile_writes_roles_into_every_sidecar(model: Path, tmp_path: Path) -> None:
    request = CompileOptions(target="onnxruntime", batches=(1, 2), roles=DETECTION)
    compiled = compile_into(tmp_path / "ort", model, request)
    for path in (*compiled.models, *(item.path for item in compiled.artefacts)):
        content = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert [spec["role"] for spec in content["outputs"]] == ["dets", "labels"]


def test_compile_without_batches_writes_roles_too(model: Path, tmp_path: Path) -> None:
    request = CompileOptions(target="onnxruntime", roles=parse_roles("detection:labels=box_head:0"))
    (artefact,) = compile_into(tmp_path / "ort", model, request).artefacts
    assert roles_of(artefact.path) == [("boxes", "labels"), ("classes", "")]
