from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import OutputError, PreconditionError, VerificationError
from graphopt.core.files import sha256_of
from graphopt.core.lineage import read_lineage, recipe_of
from graphopt.core.onnx_files import load_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.parts import extraction
from graphopt.surgery.parts.extraction import extract_file, names_around
from graphopt.surgery.report import Samples, Status

TEXT = """<ir_version: 8, opset_import: ["" : 13], metadata_props: ["graphopt.recipe" : "small"]>
whole (float[N,3,5] x, float[N,3,5] other) => (float[N,3,5] y) <float[5] w = {1,2,3,4,5}> {
    [a] a = Mul (x, w)
    [b] b = Exp (a)
    [c] c = Add (b, w)
    [d] y = Sub (c, other)
}"""


@pytest.fixture
def whole(write_text: Callable[[str, str], Path]) -> Path:
    return write_text(TEXT, "whole.onnx")


def samples() -> Samples:
    rng = np.random.default_rng(5)
    shape = (2, 3, 5)
    feed = {name: rng.standard_normal(shape).astype(np.float32) for name in ("x", "other")}
    return Samples(feeds=(feed,), kind="given")


def test_the_sidecar_names_the_whole_and_no_recipe(whole: Path, tmp_path: Path) -> None:
    found = extract_file(whole, tmp_path / "part.onnx", ["a"], ["c"])
    assert (found.nodes, found.nodes_before) == (2, 4)
    sidecar = Artefact.load(tmp_path / "part.onnx")
    assert sidecar is not None
    assert sidecar.parent_sha256 == sha256_of(whole)
    assert sidecar.settings == {"extract": {"inputs": ["a"], "outputs": ["c"]}}
    model = load_model(tmp_path / "part.onnx")
    assert recipe_of(model) == ""
    assert [step.name for step in read_lineage(model)] == ["extract"]


def test_saved_values_let_the_part_run_alone(whole: Path, tmp_path: Path) -> None:
    feed = samples()
    found = extract_file(whole, tmp_path / "part.onnx", ["a", "w", "other"], ["y"], samples=feed)
    assert found.values == tmp_path / "part.npz"
    assert found.verification is not None
    assert found.verification.status is Status.PROVEN
    with np.load(tmp_path / "part.npz") as values, OnnxRuntimeSession(tmp_path / "part.onnx") as part:
        assert set(values.files) == {"a", "w", "other"}
        answer = part.run(dict(values))["y"]
    x, other = (np.asarray(feed.feeds[0][name], dtype=np.float64) for name in ("x", "other"))
    w = np.arange(1.0, 6.0)
    assert np.allclose(np.asarray(answer, dtype=np.float64), np.exp(x * w) + w - other, rtol=1e-5)


def test_a_part_that_answers_differently_is_not_written(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: object) -> object:
        values, expected = values_at(*args)  # type: ignore[arg-type]
        return [{"a": np.ones_like(value["a"])} for value in values], expected

    values_at = extraction._values_at
    monkeypatch.setattr(extraction, "_values_at", wrong)
    with pytest.raises(VerificationError, match="part differs from the whole: output c"):
        extract_file(whole, tmp_path / "part.onnx", ["a"], ["c"], samples=samples())
    assert not list(tmp_path.glob("part*"))


def test_values_of_a_model_that_does_not_run_are_refused(
    write_text: Callable[[str, str], Path], tmp_path: Path
) -> None:
    text = TEXT.replace("Mul (x, w)", "MatMul (x, x)").replace("[N,3,5]", "[N,M]")
    path = write_text(text, "w.onnx")
    feed = {"x": np.ones((2, 3), np.float32), "other": np.ones((1, 1), np.float32)}
    with pytest.raises(PreconditionError, match="does not run"):
        extract_file(path, tmp_path / "part.onnx", ["b"], ["c"], samples=Samples(feeds=(feed,), kind="odd"))


def test_existing_outputs_are_kept(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "part.npz").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"part\.npz exists"):
        extract_file(whole, tmp_path / "part.onnx", ["a"], ["c"], samples=samples())
    with pytest.raises(OutputError, match="is the input"):
        extract_file(whole, whole, ["a"], ["c"], force=True)


def test_names_around_a_node_of_a_file(whole: Path) -> None:
    assert names_around(whole, "b", 1) == (("x",), ("c",))
