from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import UsageError
from graphopt.core.onnx_files import load_model
from graphopt.surgery import RewriteError, Status, parse_steps, rewrite_file
from graphopt.surgery.engine.output_dtypes import with_source_dtypes
from graphopt.surgery.graph_pass import Site
from graphopt.surgery.passes.cast_outputs import CastOutputs, OutputDtype

NO_SUITABLE = "it changes the dtype of outputs"
PREPARE = "static_shapes"

Rewrite = Callable[..., Any]
Write = Callable[[str, str], Path]
TEXT = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[2,7] x, int64[3] free) => (int64[2] labels, float[2,7] scores, int64[3] more, bool[2,7] mask) {
        labels = ArgMax <axis = 1, keepdims = 0> (x) scores = Exp (x) more = Neg (free)
        mask = Less (x, scores) }"""


def outputs(model: ir.Model) -> dict[str, str]:
    return {value.name or "": value.dtype.name if value.dtype else "" for value in model.graph.outputs}


def test_bounded_int64_outputs_become_int32_and_keep_their_names(rewrite: Rewrite) -> None:
    result = rewrite(TEXT, CastOutputs())
    assert outputs(result.model) == {"labels": "INT32", "scores": "FLOAT", "more": "INT64", "mask": "BOOL"}
    assert result.declined == ("more: nothing bounds it; trust=true casts it all the same",)
    for name in result.before:
        assert (result.before[name] == result.after[name]).all()


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (CastOutputs(trust=True), {"labels": "INT32", "more": "INT32"}),
        (CastOutputs(outputs=("mask",), to=OutputDtype.UINT8), {"mask": "UINT8"}),
        (CastOutputs(outputs=("labels",), to=OutputDtype.FLOAT), {"labels": "FLOAT"}),
        (CastOutputs(outputs=("labels",), to=OutputDtype.UINT8), {"labels": "UINT8"}),
        (CastOutputs(outputs=("mask",), to=OutputDtype.INT64), {"mask": "INT64"}),
    ],
)
def test_outputs_and_dtype_may_be_chosen(rewrite: Rewrite, item: CastOutputs, expected: Any) -> None:
    result = rewrite(TEXT, item)
    before = {"labels": "INT64", "scores": "FLOAT", "more": "INT64", "mask": "BOOL"}
    assert outputs(result.model) == before | expected


def test_what_does_not_fit_is_declined(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,700] x) => (int64[2] y)
        { y = ArgMax <axis = 1, keepdims = 0> (x) }"""
    result = rewrite(text, CastOutputs(to=OutputDtype.UINT8))
    assert result.declined == ("y: it may reach 699; trust=true casts it all the same",)
    floats = rewrite(TEXT, CastOutputs(outputs=("scores",)))
    assert floats.declined == ("scores: nothing bounds it; trust=true casts it all the same",)


def test_one_tensor_under_one_name_that_others_read_keeps_its_dtype_inside(rewrite: Rewrite) -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]> g (float[2,7] x) => (int64[2] y, int64[2] z)
        { y = ArgMax <axis = 1, keepdims = 0> (x) z = Add (y, y) }"""
    result = rewrite(text, CastOutputs(outputs=("y",)))
    assert outputs(result.model) == {"y": "INT32", "z": "INT64"}
    assert (result.before["z"] == result.after["z"]).all()


def test_an_unknown_output_is_a_usage_error(rewrite: Rewrite) -> None:
    with pytest.raises(UsageError, match="there is no output 'label'; did you mean labels"):
        rewrite(TEXT, CastOutputs(outputs=("label",)))


def test_the_numbers_are_compared_and_the_sidecar_says_the_dtype(write_text: Write, tmp_path: Path) -> None:
    source = write_text(TEXT, "m.onnx")
    steps = parse_steps("cast_outputs,pin_outputs:names=labels+scores:rename=classes+scores")
    report = rewrite_file(source, tmp_path / "o.onnx", steps)
    assert report.verification.status is Status.PROVEN
    artefact = Artefact.load(tmp_path / "o.onnx")
    assert artefact is not None
    dtypes = [(spec.name, spec.dtype) for spec in artefact.outputs]
    assert dtypes == [("classes", "int32"), ("scores", "float32")]


def test_numbers_that_wrap_are_found(write_text: Write, tmp_path: Path) -> None:
    wide = TEXT.replace(") {\n", ") <int64 big = {4294967299}> {\n", 1)
    source = write_text(wide.replace("Neg (free)", "Mul (free, big)"), "m.onnx")
    with pytest.raises(RewriteError, match="cast_outputs is wrong: output more"):
        rewrite_file(source, tmp_path / "o.onnx", parse_steps("cast_outputs:trust=true"))


def test_only_outputs_of_another_dtype_are_cast_back(write_text: Write) -> None:
    source = load_model(write_text(TEXT, "m.onnx"))
    names = {name: name for name in outputs(source)}
    assert with_source_dtypes(source, source, names) is source
    other = load_model(write_text(TEXT, "m.onnx"))
    for site in list(CastOutputs().sites(other)):
        if isinstance(site, Site):
            CastOutputs().rewrite(other, site)
    restored = with_source_dtypes(other, source, names)
    assert restored is not other
    assert outputs(restored) == outputs(source)
    assert outputs(other)["labels"] == "INT32"
