from collections.abc import Callable

import onnx_ir as ir
import pytest

from graphopt.core.operators import operator_of

NODE = "y = {domain}MMCVDeformConv2d <{attributes}> (x, offset, w)"
FULL = (
    "stride: ints = [2, 1], padding: ints = [1, 0], dilation: ints = [1, 3], groups: int = 2, bias: int = 0"
)


@pytest.fixture
def node_of() -> Callable[..., ir.Node]:
    """A function that returns the node written by mmcv, with some attributes."""

    def build(attributes: str = FULL, domain: str = "") -> ir.Node:
        text = f"""<ir_version: 8, opset_import: ["" : 11, "mmcv" : 1]>
            g (float[1,4,9,8] x, float[1,36,5,2] offset, float[6,2,3,3] w) => (float[a,b,c,d] y)
            {{ {NODE.format(domain=domain, attributes=attributes)} }}"""
        return ir.from_onnx_text(text).graph[0]

    return build


@pytest.mark.parametrize("domain", ["", "mmcv."])
def test_its_output_has_the_shape_of_the_plain_convolution(
    node_of: Callable[..., ir.Node], domain: str
) -> None:
    operator = operator_of(node_of(domain=domain))
    assert operator is not None
    (proto,) = operator.shaped_like(node_of(domain=domain)) or ()
    assert (proto.op_type, list(proto.input), list(proto.output)) == ("Conv", ["x", "w"], ["y"])
    found = {item.name: list(item.ints) or item.i for item in proto.attribute}
    assert found == {"strides": [2, 1], "pads": [1, 0, 1, 0], "dilations": [1, 3], "group": 2}


@pytest.mark.parametrize("attributes", ["stride: ints = [2, 1]", FULL.replace("[1, 0]", "[1, 0, 1, 0]"), ""])
def test_attributes_of_another_form_are_not_guessed(node_of: Callable[..., ir.Node], attributes: str) -> None:
    node = node_of(attributes) if attributes else node_of("bias: int = 0")
    operator = operator_of(node)
    assert operator is not None
    assert operator.shaped_like(node) is None


def test_strangers_and_onnx_operators_have_no_entry() -> None:
    text = """<ir_version: 8, opset_import: ["" : 11, "other" : 1]>
        g (float[1] x) => (float[1] y) { a = Relu (x) y = other.MMCVDeformConv2d (a) }"""
    assert [operator_of(node) for node in ir.from_onnx_text(text).graph] == [None, None]
