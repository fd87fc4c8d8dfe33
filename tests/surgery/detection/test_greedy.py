import numpy as np
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import to_proto
from graphopt.core.operator_bodies import attached
from graphopt.core.session import OnnxRuntimeSession
from graphopt.surgery.detection.greedy import best_of_classes


@pytest.mark.parametrize(("per_class", "above"), [(None, 0.3), (2, 0.3), (None, 0.99)])
def test_it_keeps_what_the_operator_keeps(per_class: int | None, above: float) -> None:
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 60, (40, 2))
    boxes = np.concatenate((low, low + rng.uniform(5, 40, (40, 2))), axis=1, dtype=np.float32)
    scores = rng.uniform(0, 1, (40, 3)).astype(np.float32)
    text = f"""<ir_version: 8, opset_import: ["" : 13, "npu" : 1]>
        g (float[1,40,1,4] b, float[1,40,3] s)
            => (float[1,30,4] y, float[1,30] t, float[1,30] c, int32[1] n) {{
            y, t, c, n = npu.BatchMultiClassNMS <iou_threshold = 0.4, score_threshold = {above},
                max_size_per_class = {per_class or 30}, max_total_size = 30> (b, s) }}"""
    model = ir.from_onnx_text(text)
    with attached(model):
        proto = to_proto(model)
    with OnnxRuntimeSession(proto.SerializeToString(), threads=1) as session:
        found = session.run({"b": boxes[None, :, None], "s": scores[None]})
    rows = int(found["n"][0])
    expected = best_of_classes(boxes, scores, 0.4, above, per_class)[:30]
    assert rows == len(expected)
    table = np.concatenate((found["y"][0], found["t"][0][:, None], found["c"][0][:, None]), axis=1)
    np.testing.assert_array_equal(table[:rows], expected)
