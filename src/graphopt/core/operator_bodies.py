"""Calls of operators that are not ONNX's own: at home in memory, with a body in files.

In memory such a call is a bare node in the operator's home domain, so that no pass ever meets a body.
``attached`` gives a model the bodies while a file is written or a session is made: model-local
functions of standard operators with literal constants, one for each way in which an operator is
called, told apart by ``overload``. ``inline_calls`` and ``bare_calls`` make the forms for targets.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from graphopt.core.errors import PreconditionError
from graphopt.core.foreign_operator import Call, Operand, attributes_of
from graphopt.core.operators import all_operators, at_home, written_as
from graphopt.core.tensors import Array
from graphopt.core.versioned_ops import Attribute, VersionedOps

_MARK = "graphopt: what the operator computes, in standard operators"
"""The note on a function by which it is known to be ours, and may be replaced."""
FIRST_WITH_FUNCTIONS = 8
"""IR version."""
_KEEPS_DTYPE = 64


def call_of(node: ir.Node, opset: int, inputs: Sequence[Operand | None] | None = None) -> Call:
    """Describe the call that a node is.

    Args:
        node: of a known operator.
        opset: version of the standard operators.
        inputs: what is known of them; None reads it off the values.
    """
    if inputs is None:
        inputs = [None if value is None else operand_of(value) for value in node.inputs]
    given = list(inputs)
    while given and given[-1] is None:
        given.pop()
    return Call(
        label=f"{node.op_type} {node.name or (node.outputs[0].name if node.outputs else '')}".strip(),
        attributes=attributes_of(node),
        inputs=tuple(given),
        outputs=len(node.outputs),
        opset=opset,
    )


def operand_of(value: ir.Value) -> Operand:
    """Return dtype and shape of a value as far as the model tells."""
    shape = None
    if value.shape is not None:
        shape = tuple(size if isinstance(size, int) else size.value for size in value.shape)
    return Operand(dtype=_dtype_of(value), shape=shape)


def body_of(node: ir.Node, opset: int) -> ir.Function | None:
    """Return a function that computes a call; None for an operator or a call without a body."""
    operator = at_home(node)
    if operator is None or operator.body is None:
        return None
    call = call_of(node, opset)
    writer = _FunctionWriter(opset)
    inputs = [ir.Value(name=f"input_{index}") for index in range(len(call.inputs))]
    given = [
        value if operand is not None else None for value, operand in zip(inputs, call.inputs, strict=True)
    ]
    try:
        outputs = operator.body(call, writer, given)
    except PreconditionError:
        return None
    graph = ir.Graph(
        inputs,
        list(outputs)[: call.outputs],
        nodes=writer.nodes,
        name=node.op_type,
        opset_imports={"": opset},
    )
    function = ir.Function(operator.home, operator.op_type, "", graph=graph, attributes=[])
    function.doc_string = _MARK
    for node in function:
        for value in node.outputs:
            value.type = None  # files before IR version 10 would list them, and mix up overloads
    text = ir.serde.serialize_function(function).SerializeToString(deterministic=True)
    function.overload = hashlib.sha256(text).hexdigest()[:8]
    return function


def has_bodies(model: ir.Model) -> bool:
    """Whether the model calls an operator whose body is known."""
    return any(body_of(node, opset) is not None for node, opset in _calls(model))


@contextlib.contextmanager
def attached(model: ir.Model) -> Iterator[None]:
    """Give a model the bodies of its calls until the block ends."""
    version = model.ir_version
    attach_bodies(model)
    try:
        yield
    finally:
        detach_bodies(model)
        model.ir_version = version


def attach_bodies(model: ir.Model) -> None:
    """Add a function for each call that has a body; other calls stay bare.

    The IR version rises to the first with functions. A user's own function of that name is kept.
    """
    own, attached_as = set(model.functions), dict[ir.OperatorIdentifier, str]()
    inner, outer = list(_calls(model, in_functions=True)), list(_calls(model, in_functions=False))
    for node, opset in (*inner, *outer):
        function = body_of(node, opset) if node.op_identifier() not in own else None
        if function is None:
            continue
        name = function.identifier()
        if name not in attached_as:
            # From inside a function onnxruntime finds only functions that are not overloaded.
            is_first = (name[0], name[1], "") not in model.functions
            function.overload = "" if inner and is_first else function.overload
            attached_as[name] = function.overload
            model.functions[function.identifier()] = function
        node.overload = attached_as[name]
        model.ir_version = max(model.ir_version, FIRST_WITH_FUNCTIONS)
        import_domain(model, node)


def detach_bodies(model: ir.Model) -> None:
    """Take our functions away; their calls are bare then."""
    ours = {
        name for name, item in model.functions.items() if item.doc_string == _MARK and written_as(*name[:2])
    }
    for name in ours:
        del model.functions[name]
    for node, _ in list(_calls(model)):
        if node.op_identifier() in ours:
            node.overload = ""


def move_home(model: ir.Model) -> None:
    """Move calls that are spelled as exporters and targets do into their operator's home domain."""
    moved = set()
    for root, _ in _roots(model):
        for node in root.all_nodes():
            operator = written_as(node.domain, node.op_type)
            if operator is None or node.domain == operator.home or node.op_identifier() in model.functions:
                continue
            moved.add(node.domain)
            node.domain = operator.home
            import_domain(model, node)
    _forget_domains(model, moved)


def inline_calls(model: ir.Model) -> None:
    """Write the body of every call in its place: what is left are standard operators."""
    attach_bodies(model)
    InlinePass(lambda function: function.doc_string == _MARK)(model)
    detach_bodies(model)
    forget_unused_homes(model)


def bare_calls(model: ir.Model) -> None:
    """Spell calls of target operators as targets read them: in the default domain.

    Raises:
        PreconditionError: an exporter's operator is left, which no target knows.
    """
    for node in list(_nodes(model)):
        operator = at_home(node)
        if operator is None:
            continue
        if not operator.is_target:
            raise PreconditionError(
                f"{node.op_type} {node.name or ''} is known to no target; replace it first "
                "(graphopt support MODEL says with which pass)"
            )
        node.domain = ""
    forget_unused_homes(model)


def import_domain(model: ir.Model, node: ir.Node) -> None:
    """Have the model, and the function around a node, import the node's domain."""
    model.opset_imports.setdefault(node.domain, 1)
    for function in model.functions.values():
        if any(item is node for item in function.all_nodes()):
            function.opset_imports.setdefault(node.domain, 1)


class _FunctionWriter(VersionedOps):
    """Writes the nodes of a body; constants are nodes, as functions have no initializers."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[ir.Node] = []

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, Attribute] | None = None,
        outputs: int = 1,
        like: ir.Value | None = None,
        shape: Sequence[int | str | None] | None = None,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        del shape  # a body is written for calls of many shapes
        node = ir.node(op_type, inputs, dict(attributes or {}), domain=domain, num_outputs=outputs)
        number = len(self.nodes)
        node.name = f"{op_type}_{number}"
        for index, value in enumerate(node.outputs):
            value.name = f"{op_type.lower()}_{number}" + (f"_{index}" if index else "")
        if like is not None:
            node.outputs[0].type = like.type
        self.nodes.append(node)
        return tuple(node.outputs)

    def constant(self, content: Array | ir.TensorProtocol, stem: str = "constant") -> ir.Value:
        tensor = content if isinstance(content, ir.TensorProtocol) else ir.tensor(content)
        made = self.op("Constant", attributes={"value": tensor})
        made.name = f"{stem}_{len(self.nodes) - 1}"
        made.type = ir.TensorType(tensor.dtype)
        return made


def _roots(model: ir.Model) -> Iterator[tuple[ir.Graph, int]]:
    whole = model.opset_imports.get("", 1)
    yield model.graph, whole
    for function in model.functions.values():
        yield function.graph, function.opset_imports.get("", whole)


def _calls(model: ir.Model, *, in_functions: bool | None = None) -> Iterator[tuple[ir.Node, int]]:
    for root, opset in _roots(model):
        if in_functions is not None and in_functions == (root is model.graph):
            continue
        for node in root.all_nodes():
            if node.domain and at_home(node) is not None:
                yield node, opset


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for root, _ in _roots(model):
        yield from root.all_nodes()


def forget_unused_homes(model: ir.Model) -> None:
    """Import no home domain of operators that the model does not call."""
    imported = set[str]().union(model.opset_imports, *(f.opset_imports for f in model.functions.values()))
    if homes := imported.intersection(operator.home for operator in all_operators()):
        _forget_domains(model, homes)


def _forget_domains(model: ir.Model, domains: set[str]) -> None:
    used = {node.domain for node in _nodes(model)} | {name[0] for name in model.functions}
    for domain in domains - used - {""}:
        for imports in (model.opset_imports, *(f.opset_imports for f in model.functions.values())):
            imports.pop(domain, None)


def _dtype_of(value: ir.Value) -> ir.DataType | None:
    """Return the dtype of a value; where it is not declared, that of the first input it stems from."""
    for _ in range(_KEEPS_DTYPE):
        if value.dtype is not None:
            return value.dtype
        if value.const_value is not None:
            return value.const_value.dtype
        node = value.producer()
        if node is None:
            return None
        if node.op_type == "Cast" and (to := node.attributes.get("to")) is not None and not to.is_ref():
            return ir.DataType(to.as_int())
        first = next((item for item in node.inputs if item is not None), None)
        if first is None or node.op_type in _OWN_DTYPE:
            return None
        value = first
    return None


_OWN_DTYPE = frozenset(
    {"Shape", "Size", "NonZero", "ArgMax", "ArgMin", "Equal", "Greater", "Less", "Constant"}
)
"""Operators whose output has another dtype than their first input."""
