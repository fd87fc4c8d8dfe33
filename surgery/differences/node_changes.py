"""What is different about one node that both sides have."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.surgery.differences.alignment import Alignment
from graphopt.surgery.differences.content import Contents, tensor_text
from graphopt.surgery.differences.side import Slot, operator
from graphopt.surgery.graph_queries import constant_tensor, label

_TEXT_LENGTH = 60
_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


@dataclass(frozen=True)
class Pair:
    """A node that both sides have.

    Attributes:
        before: on one side.
        after: on the other.
        changes: differences of its own, as clauses: attributes, weights, wiring.
        rewired: inputs that read something else because of an added or removed node.
    """

    before: ir.Node
    after: ir.Node
    changes: tuple[str, ...]
    rewired: tuple[str, ...]


def compare_nodes(alignment: Alignment, before: ir.Node, after: ir.Node) -> Pair:
    """Return what differs between two nodes that are lined up; nothing when they are the same."""
    changes = list(_attribute_changes(before, after, alignment.contents))
    rewired: list[str] = []
    mine, theirs = alignment.before.slots[before], alignment.after.slots[after]
    for index in range(max(len(mine), len(theirs))):
        old = mine[index] if index < len(mine) else (theirs[index][0], None)
        new = theirs[index] if index < len(theirs) else (mine[index][0], None)
        if alignment.same(old[1], new[1]):
            continue
        text = _slot_change(old, new)
        (rewired if _is_explained(alignment, old[1], new[1]) else changes).append(text)
    if len(before.outputs) != len(after.outputs):
        changes.append(f"{len(after.outputs)} outputs, were {len(before.outputs)}")
    return Pair(before, after, tuple(changes), tuple(rewired))


def attribute_texts(node: ir.Node) -> dict[str, str]:
    """Return the attributes of a node as short texts, by name."""
    return {name: attribute_text(attribute) for name, attribute in node.attributes.items()}


def attribute_text(attribute: ir.Attr) -> str:
    """Return an attribute's value as a short text."""
    if attribute.is_ref():
        return f"the function's {attribute.ref_attr_name}"
    value = attribute.value
    if attribute.type == ir.AttributeType.TENSOR:
        return tensor_text(value)
    if attribute.type == ir.AttributeType.GRAPH:
        return f"a graph of {len(value)} nodes"
    if attribute.type == ir.AttributeType.GRAPHS:
        return f"{len(value)} graphs"
    if attribute.type == ir.AttributeType.FLOAT:
        return f"{value:.6g}"
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS):
        items = (f"{item:.6g}" if isinstance(item, float) else str(item) for item in value)
        return _short(f"[{', '.join(items)}]")
    return _short(str(value))


def value_text(value: ir.Value | None) -> str:
    """Return what a node reads: a tensor's name, or the constant."""
    if value is None:
        return "nothing"
    tensor = constant_tensor(value)
    if tensor is None:
        return value.name or "(unnamed)"
    return tensor_text(tensor) if value.producer() is not None else f"{value.name} ({tensor_text(tensor)})"


def _attribute_changes(before: ir.Node, after: ir.Node, contents: Contents) -> Iterator[str]:
    if operator(before) != operator(after):
        yield f"is {operator(after)}, was {operator(before)}"
    for name in dict.fromkeys((*before.attributes, *after.attributes)):
        old, new = before.attributes.get(name), after.attributes.get(name)
        if old is None and new is not None:
            yield f"{name} {attribute_text(new)} (new)"
        elif new is None and old is not None:
            yield f"{name} gone (was {attribute_text(old)})"
        elif old is not None and new is not None and not _same_attribute(old, new, contents):
            texts = attribute_text(old), attribute_text(new)
            yield f"{name} {texts[1]}, was {texts[0]}" if texts[0] != texts[1] else f"{name}: other values"


def _same_attribute(old: ir.Attr, new: ir.Attr, contents: Contents) -> bool:
    if old.type != new.type or old.ref_attr_name != new.ref_attr_name:
        return False
    if old.is_ref():
        return True
    if old.type in _GRAPHS:
        return True  # their nodes are compared one by one, and their outputs as what the node reads
    if old.type == ir.AttributeType.TENSOR:
        return contents.equal(old.value, new.value)
    if old.type == ir.AttributeType.TENSORS:
        return len(old.value) == len(new.value) and all(map(contents.equal, old.value, new.value))
    return repr(_plain(old)) == repr(_plain(new))  # by text: NaN equals itself


def _plain(attribute: ir.Attr) -> object:
    return tuple(attribute.value) if isinstance(attribute.value, (list, tuple)) else attribute.value


def _slot_change(old: Slot, new: Slot) -> str:
    mine, theirs = constant_tensor(old[1]), constant_tensor(new[1])
    if mine is not None and theirs is not None:
        name = (new[1].name if new[1] is not None and new[1].producer() is None else "") or ""
        what = f"{new[0]} {name}".rstrip()
        texts = tensor_text(mine), tensor_text(theirs)
        return f"{what}: {texts[1]}, was {texts[0]}" if texts[0] != texts[1] else f"{what}: other values"
    return f"{new[0]} reads {_source_text(new[1])}, was {_source_text(old[1])}"


def _source_text(value: ir.Value | None) -> str:
    maker = value.producer() if value is not None and constant_tensor(value) is None else None
    return f"{value_text(value)} of {label(maker)}" if maker is not None else value_text(value)


def _is_explained(alignment: Alignment, old: ir.Value | None, new: ir.Value | None) -> bool:
    """Whether a source was removed or added, so that its readers had to change."""
    gone = old.producer() if old is not None else None
    made = new.producer() if new is not None else None
    return (gone is not None and gone not in alignment.nodes) or (
        made is not None and made not in alignment.back
    )


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else text[: _TEXT_LENGTH - 1] + "…"
