"""What ``new recipe`` writes: it loads, says what it guessed, and the pipeline runs with it at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.core.errors import OutputError, UsageError
from graphopt.core.plugins import plugin_scope
from graphopt.recipes.catalogue import find_recipe, word_for
from graphopt.recipes.new_recipe import NewRecipe, new_recipe
from graphopt.recipes.pipeline import PipelineOptions, run_pipeline


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with plugin_scope():
        yield


def begin(model: Path, **options: Any) -> NewRecipe:
    return new_recipe("mine", model, model.parent, taken=("deepmar",), **options)


@pytest.fixture
def graph(small: Any, tmp_path: Path) -> Path:
    return Path(small.write_onnx(tmp_path / "raw.onnx"))


def test_it_holds_what_the_graph_says_and_what_matches(graph: Path) -> None:
    made = begin(graph)
    recipe = find_recipe(str(made.files[0]))
    assert recipe.name == "mine"
    assert word_for(recipe) == str(made.files[0])
    (image,) = recipe.inputs
    assert (image.name, image.shape, image.dtype, image.layout) == (
        "image",
        (1, 3, 32, 16),
        "float32",
        "NCHW",
    )
    assert [spec.name for spec in recipe.outputs] == ["output1"]
    assert "remove_pad" in [step.name for step in recipe.passes]
    assert tuple(step.name for step in recipe.passes) == made.passes
    assert made.guesses[0] == "the layout of image is NCHW, from its shape [1, 3, 32, 16]"
    assert "ResizePil(width=16, height=32)" in made.files[0].read_text()
    assert "fuse_batchnorm" in made.files[0].read_text()


def test_the_pipeline_runs_with_it_at_once(graph: Path, tmp_path: Path) -> None:
    recipe = find_recipe(str(begin(graph).files[0]))
    options = PipelineOptions(
        folder=tmp_path / "run", onnx=graph, targets=("onnxruntime", "atc"), batches=(1,)
    )
    report = run_pipeline(recipe, options)
    assert report.ok
    assert [row.stage for row in report.stages] == ["raw", "rewritten", "fp16", "onnxruntime", "atc"]
    assert report.metric == ""
    assert "lacks a task or preprocessing" in report.device_note
    assert not any("--data" in command for command in report.commands)


OUTPUTS = {
    "float[n,5] boxes, int64[n] numbers": ["dets", "labels"],
    "float[n,5] boxes, int64[n] numbers, float[1] more": ["", "", ""],
    "float[1,21,5,7] picture": ["masks"],
    "float[1,35] logits": [""],
}


@pytest.mark.parametrize("declared", OUTPUTS)
def test_roles_are_guessed_only_where_dtypes_and_shapes_tell(tmp_path: Path, declared: str) -> None:
    names = [part.split()[-1] for part in declared.split(", ")]
    nodes = "\n".join(f"{name} = vendor.Head (x)" for name in names)
    head = '<ir_version: 8, opset_import: ["" : 13, "vendor" : 1]>'
    text = f"{head} g (float[1,3,5,7] x) => ({declared}) {{ {nodes} }}"
    ir.save(ir.from_onnx_text(text), tmp_path / "m.onnx")
    recipe = find_recipe(str(begin(tmp_path / "m.onnx").files[0]))
    assert [spec.role for spec in recipe.outputs] == OUTPUTS[declared]


def test_odd_names_and_unknown_sizes_are_written_as_python(tmp_path: Path) -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 13]>
        g (float[batch,3,4,M] x) => (float[batch,3,4,M] y) { y = Relu (x) }
    """
    model = ir.from_onnx_text(text)
    model.graph.inputs[0].name = 'in"put\\0'
    model.graph.inputs[0].shape = ir.Shape(["batch", 3, None, 4])
    ir.save(model, tmp_path / "m.onnx")
    recipe = find_recipe(str(begin(tmp_path / "m.onnx").files[0]))
    assert recipe.inputs[0].name == 'in"put\\0'
    assert recipe.inputs[0].shape == ("batch", 3, None, 4)


def test_names_and_files_that_exist_are_refused(graph: Path) -> None:
    with pytest.raises(UsageError, match="there is a recipe called deepmar"):
        new_recipe("deepmar", graph, graph.parent, taken=("deepmar",))
    begin(graph)
    with pytest.raises(OutputError, match="exists; use --force"):
        begin(graph)
    begin(graph, force=True)
    assert (graph.parent / "graphopt.toml").read_text() == 'plugins = ["mine.py"]\n'
