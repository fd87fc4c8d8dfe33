from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import to_proto
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.versioned_builder import VersionedBuilder

X = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)

CASES: dict[str, tuple[Callable[[VersionedBuilder, ir.Value], ir.Value], Array]] = {
    "slice": (lambda new, x: new.slice(x, axes=[3, 2], starts=[1, 0], ends=[3, -1]), X[:, :, 0:2, 1:3]),
    "pad": (lambda new, x: new.pad(x, [0, 0, 1, 0, 0, 0, 0, 2]), np.pad(X, [(0, 0), (0, 0), (1, 0), (0, 2)])),
    "fill": (
        lambda new, x: new.pad(x, [0, 0, 1, 0, 0, 0, 0, 0], ir.Tensor(np.array(5, np.float32))),
        np.pad(X, [(0, 0), (0, 0), (1, 0), (0, 0)], constant_values=5),
    ),
    "unsqueeze": (lambda new, x: new.unsqueeze(x, [2]), X[:, :, None]),
    "squeeze": (lambda new, x: new.squeeze(x, [0]), X[0]),
    "mean": (lambda new, x: new.reduce("ReduceMean", x, [2, 3]), X.mean(axis=(2, 3), keepdims=True)),
    "max": (lambda new, x: new.reduce("ReduceMax", x, [1]), X.max(axis=1, keepdims=True)),
    "reshape": (lambda new, x: new.reshape(x, [0, -1, 2]), X.reshape(1, 12, 2)),
}


@pytest.mark.parametrize("opset", [9, 10, 11, 12, 13, 17, 18, 21])
@pytest.mark.parametrize("name", CASES)
def test_each_opset_has_its_own_spelling_and_the_same_numbers(name: str, opset: int) -> None:
    build, expected = CASES[name]
    dims = ",".join("abcde"[: expected.ndim])
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : {opset}]>
        g (float[1,2,3,4] x) => (float[{dims}] y) {{ y = Identity (x) }}""")
    new = VersionedBuilder(model, model.graph.node(0))
    new.replace(build(new, model.graph.inputs[0]))
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        np.testing.assert_array_equal(session.run({"x": X})["y"], expected)
