import onnx
import onnx_ir as ir
import pytest

from graphopt.core.onnx_files import from_proto
from graphopt.surgery.semantics.channel_sources import Channels, channels_of
from graphopt.surgery.shapes.shape_inference import infer_types

TEXT = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1,6,2,3] x, float[1,6,2,3] u) => (float[a,b,c,d] y)
<int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] five = {{5}}, int64[3] picks = {{4,0,2}},
 int64[2] back = {{-1,0}}> {{ s = Relu (x) {body} }}"""


def found(body: str) -> Channels | None:
    model = from_proto(onnx.parser.parse_model(TEXT.format(body=body)))
    return channels_of(model, model.graph.outputs[0], infer_types(model))


@pytest.mark.parametrize(
    ("body", "picks"),
    [
        ("y = Identity (s)", (0, 1, 2, 3, 4, 5)),
        ("y = Gather <axis = 1> (s, picks)", (4, 0, 2)),
        ("y = Gather <axis = -3> (s, picks)", (4, 0, 2)),
        ("y = Slice (s, one, five, one, two)", (1, 3)),
        ("a, b, y = Split <axis = 1> (s)", (4, 5)),
        ("a, b, c = Split <axis = 1> (s) y = Concat <axis = 1> (c, a)", (4, 5, 0, 1)),
        (
            "a, b, c = Split <axis = 1> (s) d = Concat <axis = 1> (c, a) y = Slice (d, one, five, one)",
            (5, 0, 1),
        ),
        (
            "d = Gather <axis = 1> (s, picks) e = Slice (d, one, five, one) y = Concat <axis = 1> (d, e)",
            (4, 0, 2, 0, 2),
        ),
    ],
)
def test_channels_are_followed_to_where_they_are_made(body: str, picks: tuple[int, ...]) -> None:
    channels = found(body)
    assert channels is not None
    assert channels.picks == picks
    assert channels.source.name == "s"
    assert {node.op_type for node in channels.nodes} == {
        word for word in ("Identity", "Gather", "Slice", "Split", "Concat") if word in body
    }


@pytest.mark.parametrize(
    "body",
    [
        "y = Neg (s)",
        "y = Gather <axis = 2> (s, back)",
        "y = Gather <axis = 1> (s, back)",
        "y = Slice (s, one, two, two)",
        "y = Concat <axis = 1> (s, u)",
        "y = Concat <axis = 2> (s, s)",
        "a, y = Split <axis = 2> (s)",
    ],
)
def test_a_node_that_does_more_is_the_source_itself(body: str) -> None:
    channels = found(body)
    assert channels is not None
    assert channels.source.name == "y"
    assert not channels.nodes
    assert channels.picks == tuple(range(len(channels.picks)))


def test_nothing_is_known_of_a_tensor_of_unknown_channels() -> None:
    text = """<ir_version: 8, opset_import: ["" : 13]>
        g (float[1,n,2,3] x) => (float[a,b,c,d] y) { y = Relu (x) }"""
    model = ir.from_onnx_text(text)
    assert channels_of(model, model.graph.outputs[0], infer_types(model)) is None
