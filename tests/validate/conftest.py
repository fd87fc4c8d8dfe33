"""Sessions on models given as ONNX text."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx.parser
import pytest

from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array

OpenSession = Callable[..., OnnxRuntimeSession]


@pytest.fixture
def open_session() -> Iterator[OpenSession]:
    """Open a session on ``x[n,3,5] -> logits, probability``, with parts replaced.

    ``body`` makes both outputs from ``x``; ``n`` is the batch as it stands in the shapes.
    """
    opened: list[OnnxRuntimeSession] = []

    def open_one(
        body: str = "logits = Mul(x, w)  probability = Sigmoid(logits)",
        *,
        n: str = "n",
        outputs: str = "float[{n},3,5] logits, float[{n},3,5] probability",
        inputs: str = "float[{n},3,5] x",
        constants: str = "float[1,3,1] w = {1.0, -2.0, 0.5}, float scale = {1.01}",
    ) -> OnnxRuntimeSession:
        text = (
            '<ir_version: 8, opset_import: ["" : 11]>\n'
            f"tiny ({inputs.format(n=n)}) => ({outputs.format(n=n)}) <{constants}> {{ {body} }}"
        )
        session = OnnxRuntimeSession(onnx.parser.parse_model(text).SerializeToString())
        opened.append(session)
        return session

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def samples() -> list[dict[str, Array]]:
    """Four samples of two rows each, all values different."""
    rng = np.random.default_rng(7)
    return [{"x": rng.standard_normal((2, 3, 5)).astype(np.float32)} for _ in range(4)]
