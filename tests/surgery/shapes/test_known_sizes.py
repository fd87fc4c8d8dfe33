"""How hard sizes are looked for."""

from typing import Any

import onnx
import onnx_ir as ir
import pytest

from graphopt.surgery.shapes import known_sizes
from graphopt.surgery.shapes.known_sizes import KnownSizes
from graphopt.surgery.shapes.shape_analysis import analyse_sizes


def model_of(x: str) -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 13]>
        g (float[{x}] x, float[1,3,4,6] s) => (float[a,b,c,d] y)
        <float[0] o = {{}}, float[4] f = {{1,1,2,2}}> {{ u = Resize (s, o, f) y = Add (x, u) }}"""
    return ir.from_proto(onnx.parser.parse_model(text))


def test_sizes_are_followed_only_where_inference_does_not_know_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ir.Model] = []

    def analyse(model: ir.Model, *, inputs: Any) -> Any:
        asked.append(model)
        return analyse_sizes(model, inputs=inputs)

    monkeypatch.setattr(known_sizes, "analyse_sizes", analyse)
    model = model_of("1,3,8,12")
    sizes = KnownSizes(model)
    assert sizes.spatial(model.graph[0].outputs[0]) == (8, 12)
    assert sizes.text(model.graph[0].outputs[0]) == "[1, 3, 8, 12]"
    assert not asked
    open_model = model_of("n,3,h,12")
    sizes = KnownSizes(open_model)
    assert sizes.spatial(open_model.graph.inputs[0]) is None
    assert sizes.shape(open_model.graph.inputs[0]) == ("n", 3, "h", 12)
    assert asked == [open_model]
    assert sizes.shape(None) is None
    assert sizes.array(None) is None
