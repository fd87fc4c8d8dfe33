"""A model as ATC's parser reads it: target operators bare in the default domain, an old IR version."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from graphopt.compile.atc.graph_rules import LAST_IR_VERSION
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.foreign_operator import AttributeValue, ForeignOperator, attributes_of
from graphopt.core.lineage import node_label
from graphopt.core.operator_bodies import bare_calls, call_of
from graphopt.core.operators import at_home

SUFFIX = ".atc.onnx"
_LAST_OLD_DTYPE = ir.DataType.BFLOAT16
"""The newest dtype that IR version 8 can hold; float8 came with 9, int4 with 10."""
_SHOWN = 3


RecordTypes = Callable[[ir.Model, Sequence[ir.Value]], None]
"""Works out dtypes and shapes of some values, which no other tool can infer, and writes them into these."""


@dataclass(frozen=True, kw_only=True)
class DeviceCopy:
    """What ATC gets in the place of a file.

    Attributes:
        model: in the form that ATC reads.
        changes: what differs from the file, clauses; empty: ATC can read the file itself.
        notes: limits of the target that its calls break, whole sentences.
    """

    model: ir.Model
    changes: tuple[str, ...]
    notes: tuple[str, ...]


def device_copy(model: ir.Model, source: Path, record: RecordTypes | None = None) -> DeviceCopy:
    """Bring a model, as ``load_model`` returns it, into the form that ATC reads.

    Args:
        model: changed in place.
        source: its file, for messages.
        record: writes down dtypes and shapes; None leaves what the file says.

    Raises:
        UsageError: an operator is left that only an exporter knows, or an attribute of a call cannot be
            given the type that the parser reads.
    """
    calls = [(node, found) for node in model.graph.all_nodes() if (found := at_home(node)) is not None]
    _refuse(calls, source)
    if record is not None:
        record(model, [value for node, _ in calls for value in node.outputs])
    opset = model.opset_imports.get("", 1)
    notes = (*_broken_limits(calls, opset), *_unknown_shapes(calls))
    changes = list(_mend_types(calls, source))
    if calls:
        counts = Counter(node.op_type for node, _ in calls)
        words = " and ".join(f"{count} {name}" for name, count in counts.items())
        changes.append(f"{words} bare in the default domain")
        bare_calls(model)
    used = {node.domain for node in model.graph.all_nodes()} | {name[0] for name in model.functions}
    if unused := sorted(set(model.opset_imports) - used - {""}):
        for domain in unused:
            del model.opset_imports[domain]
        changes.append(f"without the unused {'domains' if len(unused) > 1 else 'domain'} {', '.join(unused)}")
    if model.ir_version > LAST_IR_VERSION and not _new_dtypes(model):
        changes.append(f"IR version {LAST_IR_VERSION} instead of {model.ir_version}")
        model.ir_version = LAST_IR_VERSION
    return DeviceCopy(model=model, changes=tuple(changes), notes=notes)


def _refuse(calls: list[tuple[ir.Node, ForeignOperator]], source: Path) -> None:
    left = [node for node, operator in calls if not operator.is_target]
    if left:
        counts = Counter(node.op_type for node in left)
        words = " and ".join(f"{count} {name}" for name, count in counts.items())
        raise UsageError(
            f"{source} holds {words} (the first is {node_label(left[0])}), which only exporters know: "
            f"rewrite it first; 'graphopt support {source}' says with which pass"
        )


def _mend_types(calls: list[tuple[ir.Node, ForeignOperator]], source: Path) -> tuple[str, ...]:
    """Give attributes the types that the parser reads: it passes others over without a word."""
    mended, wrong = Counter[str](), []
    for node, operator in calls:
        for name, wanted in operator.attributes.items():
            found = node.attributes.get(name)
            if found is None or found.type is wanted:
                continue
            value = attributes_of(node).get(name)
            right = None if value is None else as_type(value, wanted)
            if right is None:
                what = f"{node.op_type} {node_label(node)}: {name} is {found.type.name} {value!r}"
                wrong.append(f"{what}, the parser reads {wanted.name}")
                continue
            node.attributes[name] = ir.Attr(name, wanted, right)
            mended[f"{name} of {node.op_type} as {wanted.name}"] += 1
    if wrong:
        raise UsageError(f"{source}: ATC's parser would pass these attributes over:\n  " + "\n  ".join(wrong))
    return tuple(mended)


def as_type(value: AttributeValue, wanted: ir.AttributeType) -> AttributeValue | None:
    """Return a number, or a list of them, in another type without loss; None when there is none."""
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(item, str) for item in numbers):
        return None
    is_list = wanted in (ir.AttributeType.INTS, ir.AttributeType.FLOATS)
    if not is_list and len(numbers) != 1:
        return None
    if wanted in (ir.AttributeType.INT, ir.AttributeType.INTS):
        if any(float(item) != int(item) for item in numbers):
            return None
        whole = tuple(int(item) for item in numbers)
        return whole if is_list else whole[0]
    if wanted in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
        broken = tuple(float(item) for item in numbers)
        return broken if is_list else broken[0]
    return None


def _broken_limits(calls: list[tuple[ir.Node, ForeignOperator]], opset: int) -> tuple[str, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for node, operator in calls:
        try:
            clauses = tuple(operator.check(call_of(node, opset)))
        except PreconditionError as error:
            clauses = (str(error),)
        for clause in clauses:
            found.setdefault((node.op_type, clause), []).append(node_label(node))
    return tuple(f"{op_type} {_listed(names)}: {clause}." for (op_type, clause), names in found.items())


def _unknown_shapes(calls: list[tuple[ir.Node, ForeignOperator]]) -> tuple[str, ...]:
    unknown = [
        node_label(node)
        for node, _ in calls
        if any(value.type is None or value.shape is None for value in node.outputs if value.name)
    ]
    if not unknown:
        return ()
    return (
        f"The shapes of what {_listed(unknown)} return are not recorded; the pass static_shapes does it.",
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _new_dtypes(model: ir.Model) -> bool:
    tensors = (value.const_value for value in model.graph.initializers.values())
    return any(item is not None and item.dtype.value > _LAST_OLD_DTYPE.value for item in tensors)
