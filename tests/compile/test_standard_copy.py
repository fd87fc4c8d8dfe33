from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from graphopt.compile.standard_copy import needs_inlining, write_standard_copy
from graphopt.core.errors import UsageError
from graphopt.core.onnx_files import from_proto, load_model, save_model
from graphopt.core.session import OnnxRuntimeSession

NMS = """<ir_version: 8, opset_import: ["" : 11, "npu" : 1]>
g (float[1,9,1,4] b, float[1,9,2] s) => (float[1,5,4] boxes)
{ boxes, scores, classes, count = npu.BatchMultiClassNMS <iou_threshold = 0.5, score_threshold = 0.1,
      max_size_per_class = 5, max_total_size = 5> (b, s) }"""
OWN = """<ir_version: 8, opset_import: ["" : 11, "mine" : 1]>
g (float[2] x) => (float[2] y) { y = mine.F (x) }
<domain: "mine", opset_import: ["" : 11]> F (v) => (w) { w = Neg (v) }"""


def saved(text: str, path: Path) -> Path:
    save_model(from_proto(onnx.parser.parse_model(text)), path, force=False)
    return path


def test_calls_become_standard_operators_with_the_same_numbers(tmp_path: Path) -> None:
    source = saved(NMS, tmp_path / "m.onnx")
    write_standard_copy(source, tmp_path / "copy.onnx")
    proto = onnx.load(tmp_path / "copy.onnx")
    assert not proto.functions
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", 11)]
    assert proto.ir_version == 6  # of opset 11: onnxruntime 1.8 reads up to 7
    onnx.checker.check_model(proto, full_check=True)
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 50, (1, 9, 1, 2))
    feeds = {
        "b": np.concatenate([corners, corners + 20], axis=-1).astype(np.float32),
        "s": rng.uniform(0, 1, (1, 9, 2)).astype(np.float32),
    }
    found: list[Any] = []
    for path in (source, tmp_path / "copy.onnx"):
        with OnnxRuntimeSession(path) as session:
            found.append(session.run(feeds)["boxes"])
    np.testing.assert_array_equal(found[1], found[0])
    assert np.abs(found[0]).max() > 1


def test_a_users_own_functions_are_inlined_too(tmp_path: Path) -> None:
    source = saved(OWN, tmp_path / "m.onnx")
    write_standard_copy(source, tmp_path / "copy.onnx")
    proto = onnx.load(tmp_path / "copy.onnx")
    assert [node.op_type for node in proto.graph.node] == ["Neg"]
    assert not proto.functions


def test_a_call_that_is_not_understood_is_named(tmp_path: Path) -> None:
    source = saved(NMS.replace("max_total_size = 5", "max_total_size = -5"), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="BatchMultiClassNMS boxes is no standard operator, and its call"):
        write_standard_copy(source, tmp_path / "copy.onnx")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (NMS, True),
        (OWN, True),
        ('<ir_version: 8, opset_import: ["" : 11]> g (float[2] x) => (float[2] y) { y = Neg (x) }', False),
    ],
)
def test_what_needs_inlining(text: str, expected: bool, tmp_path: Path) -> None:
    assert needs_inlining(load_model(saved(text, tmp_path / "m.onnx"))) is expected
