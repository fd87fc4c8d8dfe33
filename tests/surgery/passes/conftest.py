"""One call that builds a model from text, runs a pass on it, and compares it before and after."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.samples import structured_feeds
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.engine.running import run_pass
from graphopt.surgery.graph_pass import Pass


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """A model after a pass, and what the pass said.

    Attributes:
        model: after the pass.
        applied: what was done, one line each.
        declined: why not, one clause each.
        before: outputs of the model before, on seeded inputs.
        after: outputs of the model after, on the same inputs.
    """

    model: ir.Model
    applied: tuple[str, ...]
    declined: tuple[str, ...]
    before: dict[str, Array]
    after: dict[str, Array]

    @property
    def ops(self) -> list[str]:
        """Operators of the main graph, in order."""
        return [node.op_type for node in self.model.graph]

    def assert_same(self, rtol: float = 0.0) -> None:
        """Outputs have the same names, dtypes, shapes and (up to ``rtol`` of the peak) numbers."""
        assert list(self.before) == list(self.after)
        for name, expected in self.before.items():
            got = self.after[name]
            assert (got.dtype, got.shape) == (expected.dtype, expected.shape), name
            wide = expected.astype(np.float64)
            error = np.abs(got.astype(np.float64) - wide).max(initial=0.0)
            assert error <= rtol * np.abs(wide).max(initial=0.0), name


def build(text: str, weights: tuple[str, ...] = ()) -> ir.Model:
    """Parse ONNX text; the graph inputs named in ``weights`` become seeded random initializers."""
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(7)
    for info in list(proto.graph.input):
        if info.name in weights:
            shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
            if "var" in info.name:
                values = np.abs(values)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(dtype), info.name))
            proto.graph.input.remove(info)
    return ir.from_proto(proto)


def run(model: ir.Model, feeds: dict[str, Array] | None = None, seed: int = 3) -> dict[str, Array]:
    """Run a model in onnxruntime, optimisation off, on the given or on seeded inputs."""
    with attached(model):  # calls of target operators run by their bodies
        proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        return session.run(structured_feeds(session.inputs, seed=seed) if feeds is None else feeds)


@pytest.fixture
def model_of() -> Callable[..., ir.Model]:
    """``build``."""
    return build


@pytest.fixture
def run_model() -> Callable[..., dict[str, Array]]:
    """``run``."""
    return run


@pytest.fixture
def rewrite() -> Callable[..., Rewritten]:
    """A function (text, pass, weights) -> ``Rewritten``; the pass is run through the engine's own loop."""

    def rewrite(text: str, item: Pass, weights: tuple[str, ...] = (), *, compare: bool = True) -> Rewritten:
        before = run(build(text, weights)) if compare else {}
        model, report = run_pass(build(text, weights), item)
        return Rewritten(
            model=model,
            applied=tuple(change.what for change in report.applied),
            declined=tuple(refusal.why for refusal in report.declined),
            before=before,
            after=run(model) if compare else {},
        )

    return rewrite
