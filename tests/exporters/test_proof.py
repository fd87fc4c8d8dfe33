"""An exported file is refused unless it answers as the network does, for every input."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import pytest

from graphopt.core.comparison import FLOAT32_REORDERED
from graphopt.core.errors import ExportError
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array, TensorSpec
from graphopt.exporters.proof import prove_export

BOXES = np.array([[1, 2, 30, 40, 0.9], [5, 6, 70, 80, 0.8]], np.float32)


class Network:
    """Answers with boxes that move by the mean of the picture, or with what it is told."""

    def __init__(self, answer: Callable[[Array], Array], batch: int | str = 1) -> None:
        self._answer = answer
        self.inputs = (TensorSpec(name="x", shape=(batch, 3, 4), dtype="float32"),)
        self.outputs: tuple[TensorSpec, ...] = (
            TensorSpec(name="dets", shape=(2, 5), dtype="float32", role="dets"),
            TensorSpec(name="labels", shape=(2,), dtype="int64", role="labels"),
        )
        self.runs = 0

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.runs += 1
        return {"dets": self._answer(feeds["x"]), "labels": np.array([3, 7])}

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def moved(x: Array) -> Array:
    return np.asarray(BOXES + np.float32(x.mean()) * np.array([[1, 1, 1, 1, 0]]), np.float32)


@pytest.fixture
def graph(tmp_path: Path) -> Callable[[bool], Path]:
    """A function that writes a file that answers as ``moved`` does, or with its answer to zeros baked in."""

    def write(baked: bool) -> Path:
        path = tmp_path / f"{baked}.onnx"
        used = "zero" if baked else "one"
        model = onnx.parser.parse_model(f"""
            <ir_version: 8, opset_import: ["" : 13]>
            g (float[1,3,4] x) => (float[2,5] dets, int64[2] labels)
            <float zero = {{0}}, float one = {{1}}, int64[2] classes = {{3, 7}},
             float[1,5] sides = {{1, 1, 1, 1, 0}},
             float[2,5] boxes = {{{", ".join(map(str, BOXES.ravel()))}}}>
            {{
                mean = ReduceMean <keepdims = 0> (x)
                used = Mul (mean, {used})
                move = Mul (used, sides)
                dets = Add (boxes, move)
                labels = Identity (classes)
            }}""")
        onnx.save(model, path)
        return path

    return write


def sample(value: float) -> dict[str, Array]:
    return {"x": np.full((1, 3, 4), value, np.float32)}


def prove(path: Path, network: Network, *values: float) -> None:
    golden = [(feeds, network.run(feeds)) for feeds in map(sample, values)]
    prove_export(path, network, golden, FLOAT32_REORDERED)


def test_a_graph_that_answers_as_the_network_does_is_taken(graph: Callable[[bool], Path]) -> None:
    prove(graph(False), Network(moved), 2.0, 6.0)


@pytest.mark.parametrize("values", [(0.0, 8.0), (0.0, 8.0, 4.0)])
def test_baked_detections_are_refused_by_what_they_are(
    graph: Callable[[bool], Path], values: tuple[float, ...]
) -> None:
    with pytest.raises(ExportError, match="answers samples 0 and 1 alike, the network does not"):
        prove(graph(True), Network(moved), *values)


def test_one_sample_is_not_enough_to_see_it_so_another_one_is_made(graph: Callable[[bool], Path]) -> None:
    def by_sign(x: Array) -> Array:  # at this value the baked answer is right
        return moved(np.where(x == 4, 0, x))

    network = Network(by_sign)
    with pytest.raises(ExportError, match="answers samples 0 and 1 alike"):
        prove(graph(True), network, 4.0)
    assert network.runs == 2


def test_a_network_that_answers_alike_itself_may_be_answered_alike(graph: Callable[[bool], Path]) -> None:
    prove(graph(True), Network(lambda _: BOXES), 1.0, 2.0)


def test_other_boxes_are_refused(graph: Callable[[bool], Path]) -> None:
    with pytest.raises(ExportError, match="differs from the network on sample 0, output dets, labels"):
        prove(graph(False), Network(lambda x: moved(x + 3)), 1.0, 2.0)


def test_that_nothing_was_detected_is_said_once(
    graph: Callable[[bool], Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    model = onnx.load(graph(True))
    model.graph.initializer[-1].CopyFrom(onnx.numpy_helper.from_array(np.zeros((2, 5), np.float32), "boxes"))
    onnx.save(model, tmp_path / "nothing.onnx")
    with caplog.at_level(logging.WARNING):
        prove(tmp_path / "nothing.onnx", Network(lambda _: np.zeros((2, 5), np.float32)), 1.0, 2.0)
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "nothing is detected in the golden inputs"
    ]
    with OnnxRuntimeSession(tmp_path / "nothing.onnx") as session:
        assert not session.run(sample(1.0))["dets"].any()


@pytest.mark.parametrize("shift", [0, 1])
def test_an_open_batch_is_run_with_different_samples_in_it(tmp_path: Path, shift: int) -> None:
    # With a shift each sample is moved away from the first one of its batch, which does nothing to one alone.
    onnx.save(
        onnx.parser.parse_model(f"""
            <ir_version: 8, opset_import: ["" : 13]> g (float[N,3,4] x) => (float[N,3,4] y)
            <int64[1] from = {{0}}, int64[1] to = {{1}}, int64[1] axes = {{0}}, float used = {{{shift}}}>
            {{
                first = Slice (x, from, to, axes)
                gap = Sub (x, first)
                moved = Mul (gap, used)
                y = Add (x, moved)
            }}"""),
        tmp_path / "mixed.onnx",
    )

    class Plain(Network):
        def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {"y": feeds["x"]}

    network = Plain(moved, batch="N")
    network.outputs = (TensorSpec(name="y", shape=("N", 3, 4), dtype="float32"),)
    if shift:
        with pytest.raises(ExportError, match="differs from the network on sample 2, output y"):
            prove(tmp_path / "mixed.onnx", network, 1.0, 2.0)
    else:
        prove(tmp_path / "mixed.onnx", network, 1.0, 2.0)
