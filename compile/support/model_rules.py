"""What ATC wants of a model as a whole."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from graphopt.compile.support.place import Aim, TypeOf
from graphopt.compile.support.releases import named_opsets
from graphopt.compile.support.verdicts import Finding, restricted, unsupported
from graphopt.core.operators import at_home
from graphopt.core.words import counted

LAST_OPSET = 18
LAST_IR_VERSION = 8
_LIMIT_BYTES = 2 << 30
_USUAL_INPUTS = ("f16", "f32", "u8", "i32", "i64")
"""The guide names the first three; int32 and int64 are common in models that compile."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A model as these rules look at it.

    Attributes:
        model: never changed.
        aim: what it is checked for.
        type_of: dtype and shape of a tensor.
        size_bytes: of the file, or of its weights where these lie elsewhere.
        open_at: places where sizes begin to be unknown, whole clauses.
    """

    model: ir.Model
    aim: Aim
    type_of: TypeOf
    size_bytes: int
    open_at: tuple[str, ...] = ()


def opset_is_in_range(whole: Whole) -> Iterator[Finding]:
    """The opset is one that the release names."""
    opset = whole.model.opset_imports.get("", 0)
    if opset > LAST_OPSET:
        why = f"opset {opset}: no source registers a standard operator above {LAST_OPSET}"
        yield unsupported("model_opset", why, "OPS")
        return
    named = named_opsets(whole.aim.release) if whole.aim.release is not None else None
    if named and opset and not named.low <= opset <= named.high:
        why = f"opset {opset}: documents of CANN {whole.aim.release} name {named.low}-{named.high}"
        yield restricted("model_opset", why, named.source)


def ir_version_is_old(whole: Whole) -> Iterator[Finding]:
    """ATC was built with the schema of ONNX 1.12."""
    version = whole.model.ir_version
    if version > LAST_IR_VERSION:
        why = f"IR version {version}: ATC is built for {LAST_IR_VERSION} at most, newer is unproven"
        yield restricted("ir_version", why, "GE")


def names_are_unique(whole: Whole) -> Iterator[Finding]:
    """Node names are unique, also against inputs, which become nodes."""
    graph = whole.model.graph
    names = Counter([node.name for node in graph if node.name] + [value.name for value in graph.inputs])
    twice = sorted(str(name) for name, count in names.items() if count > 1)
    if twice:
        shown = ", ".join(twice[:3]) + (", ..." if len(twice) > 3 else "")
        why = f"{counted(len(twice), 'name')} of nodes or inputs stand twice: {shown} (E13009)"
        yield unsupported("names", why, "GE")


def graph_has_ends(whole: Whole) -> Iterator[Finding]:
    """One input and one output at least."""
    ends = {"input": whole.model.graph.inputs, "output": whole.model.graph.outputs}
    for kind, values in ends.items():
        if not values:
            yield unsupported("ends", f"the graph has no {kind} (E16001)", "GE")


def size_fits(whole: Whole) -> Iterator[Finding]:
    """Beyond 2 GB the weights of an om lie outside."""
    if whole.size_bytes > _LIMIT_BYTES:
        size = f"{whole.size_bytes / 2**30:.1f} GiB"
        yield restricted("size", f"{size}: an om beyond 2 GiB needs --option external_weight=1", "GE")


def inputs_have_usual_dtypes(whole: Whole) -> Iterator[Finding]:
    """The guide names few data types of inputs."""
    for value in whole.model.graph.inputs:
        kind = whole.type_of(value).dtype
        if kind is not None and kind.short_name() not in _USUAL_INPUTS:
            name = kind.name.lower()
            why = f"input {value.name} is {name}; float32, float16, uint8, int32 or int64 are usual"
            yield restricted("input_dtype", why, "GE")


def sizes_are_known(whole: Whole) -> Iterator[Finding]:
    """Sizes that are open in the file come from the call of ATC; what data decide stays dynamic."""
    for value in whole.model.graph.inputs:
        shape = whole.type_of(value).shape
        if shape is None or not all(isinstance(size, int) for size in shape):
            text = "unknown" if shape is None else "x".join("?" if n is None else str(n) for n in shape)
            why = f"input {value.name} is {text}: ATC needs --option input_shape=... or profiles"
            yield restricted("dynamic_input", why, "GE")
    if whole.open_at:
        count = counted(len(whole.open_at), "place")
        why = f"sizes stay open from {count} on, so the om is dynamic; first {whole.open_at[0]}"
        yield restricted("dynamic", why, "GE DOC")


def domains_have_versions(whole: Whole) -> Iterator[Finding]:
    """A domain that nodes use has an opset."""
    used = {node.domain for node in whole.model.graph.all_nodes() if at_home(node) is None}
    missing = sorted(used - set(whole.model.opset_imports))
    if missing:
        names = ", ".join(name or "ai.onnx" for name in missing)
        yield unsupported("domain", f"no opset is given for the domain {names} (E19999)", "GE")


RULES: tuple[Callable[[Whole], Iterator[Finding]], ...] = (
    opset_is_in_range,
    ir_version_is_old,
    names_are_unique,
    graph_has_ends,
    size_fits,
    inputs_have_usual_dtypes,
    sizes_are_known,
    domains_have_versions,
)
