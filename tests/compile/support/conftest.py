"""Small graphs as text, checked with the types that ONNX infers."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from graphopt.compile.atc.soc import normalise_soc
from graphopt.compile.support.check import Support, check_model
from graphopt.compile.support.place import Aim
from graphopt.compile.support.records import Records
from graphopt.compile.support.releases import parse_release


@dataclass(frozen=True)
class Known:
    """What inference found."""

    dtype: ir.DataType | None
    shape: tuple[int | str | None, ...] | None


def known(value: ir.Value) -> Known:
    """Return what the model itself says of a value."""
    if value.shape is None:
        return Known(value.dtype, None)
    return Known(value.dtype, tuple(n if isinstance(n, int) else n.value for n in value.shape))


Parse = Callable[..., ir.Model]
Check = Callable[..., Support]
Codes = Callable[..., list[str]]


@pytest.fixture
def aim() -> Callable[..., Aim]:
    """A function that returns chip and release."""

    def make(soc: str = "310P3", cann: str = "") -> Aim:
        return Aim(soc=normalise_soc(soc), release=parse_release(cann) if cann else None)

    return make


@pytest.fixture
def parsed() -> Parse:
    """A function that returns the model of a body, nodes named ``Type_index``; its last line makes y."""

    def parse(
        body: str, inputs: str = "float[1,3,8,9] x", opset: int = 11, imports: str = "", weights: str = ""
    ) -> ir.Model:
        head = f'<ir_version: 8, opset_import: ["" : {opset}{imports}]>'
        text = f"{head} net ({inputs}) => (y) {weights} {{ {body} }}"
        proto = onnx.parser.parse_model(text.replace("<>", ""))
        for index, node in enumerate(proto.graph.node):
            node.name = f"{node.op_type}_{index}"
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))

    return parse


@pytest.fixture
def checked(aim: Callable[..., Aim]) -> Check:
    """A function that checks a model with the types that it holds."""

    def check(model: ir.Model, soc: str = "310P3", cann: str = "", records: Records | None = None) -> Support:
        return check_model(model, aim(soc, cann), known, records=records)

    return check


@pytest.fixture
def codes(parsed: Parse, checked: Check) -> Codes:
    """A function that returns ``verdict code`` of all that is not fine about the nodes of a body."""

    def find(body: str, soc: str = "310P3", cann: str = "", **how: object) -> list[str]:
        support = checked(parsed(body, **how), soc, cann)
        return sorted(
            {f"{fault.verdict.value} {fault.code}" for item in support.nodes for fault in item.faults}
        )

    return find
