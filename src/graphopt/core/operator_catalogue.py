"""All operators that are not ONNX's own, described for lists and pages."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import onnx_ir as ir

from graphopt.core import operators
from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError
from graphopt.core.operators import ForeignOperator, operator_modules

COMMAND = "python -m graphopt operators --markdown > docs/operators.md"
_PARTS = ("Inputs", "Output", "Outputs", "Attributes", "Limits", "Source")


@dataclass(frozen=True, kw_only=True)
class OperatorInfo:
    """One operator.

    Attributes:
        name: operator type in graphs.
        home: domain in memory and in files of graphopt.
        domains: other domains under which it is read; ``""`` is the default one.
        is_target: whether a target reads it; else exporters write it.
        has_body: whether standard operators that compute it are known.
        attributes: name -> type as the target's parser reads it.
        note: what it is, in a line.
        inputs: what goes in, with shapes.
        outputs: what comes out, with shapes.
        limits: what the target cannot do.
        plugin: the user's file that defines it; empty for one of graphopt.
    """

    name: str
    home: str
    domains: tuple[str, ...]
    is_target: bool
    has_body: bool
    attributes: Mapping[str, str]
    note: str
    inputs: str
    outputs: str
    limits: str
    plugin: str

    @property
    def written(self) -> str:
        """The domains under which it is read, home first, in words."""
        return ", ".join(domain or "default" for domain in dict.fromkeys((self.home, *self.domains)))

    @property
    def known_to(self) -> str:
        """``target`` or ``exporters``."""
        return "target" if self.is_target else "exporters"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**vars(self), "attributes": dict(self.attributes), "domains": list(self.domains)}


def describe_operators() -> tuple[OperatorInfo, ...]:
    """Describe every operator, sorted by name.

    Raises:
        UsageError: a plugin cannot be loaded, or defines an operator that exists.
    """
    found = [_describe(operator, module, plugin) for operator, module, plugin in operator_modules()]
    return tuple(sorted(found, key=lambda info: (info.name.lower(), info.home)))


def find_operator(name: str) -> OperatorInfo:
    """Return the operator that users call ``name``, in any case, with or without its domain.

    Raises:
        UsageError: there is none; the message offers the nearest names.
    """
    known = describe_operators()
    wanted = name.rpartition("::")[2].lower()
    for info in known:
        if info.name.lower() == wanted:
            return info
    hint = did_you_mean(name, [info.name for info in known])
    raise UsageError(
        f"unknown operator {name!r}; {hint} "
        "(one of your own: graphopt new operator NAME --from MODEL --node NODE, then --plugin FILE.py)"
    )


def strangers(model: ir.Model) -> tuple[ir.Node, ...]:
    """Return the nodes that are neither ONNX's own, nor known, nor calls of functions in the model."""
    return tuple(
        node
        for node in model.graph.all_nodes()
        if node.op_identifier() not in model.functions
        and operators.operator_of(node) is None
        and not operators.is_standard(node.domain, node.op_type)
    )


def operators_page(infos: Iterable[OperatorInfo]) -> str:
    """Return the operators as one Markdown page; nothing in it depends on the machine."""
    listed = list(infos)
    lines = [
        "# Operators",
        "",
        f"Written by `{COMMAND}`; do not edit.",
        "",
        "Operators that are not ONNX's own. In memory and in every file that graphopt saves, a call stands",
        "in the operator's *home* domain and, where it has a *body*, in the file as a model-local function",
        "of standard operators: the checker and onnxruntime run it. A copy for ATC holds it bare in the",
        "default domain. Types of attributes are those that the target's parser reads; one of another type",
        "it passes over. One of your own: `graphopt new operator NAME --from MODEL --node NODE`.",
        "",
    ]
    for info in listed:
        lines += _section(info)
    lines.append(f"{len(listed)} operators.")
    return "\n".join(lines) + "\n"


def _section(info: OperatorInfo) -> Iterator[str]:
    yield f"## {info.name}"
    yield ""
    yield f"{info.note[:1].upper()}{info.note[1:]}."
    yield ""
    yield f"- Known to: {info.known_to}"
    others = ", ".join(f"`{domain}`" if domain else "the default domain" for domain in info.domains)
    yield f"- Home: `{info.home}`" + (f"; also read in {others}" if others else "")
    yield f"- Body: {'yes' if info.has_body else 'no: it cannot be run here'}"
    for word, text in (("Inputs", info.inputs), ("Outputs", info.outputs), ("Limits", info.limits)):
        if text:
            yield f"- {word}: {text.replace('``', '`')}"
    if info.attributes:
        yield f"- Attributes: {', '.join(f'`{name}` {kind}' for name, kind in info.attributes.items())}"
    yield ""


def _describe(operator: ForeignOperator, module: ModuleType, plugin: str) -> OperatorInfo:
    doc = module.__doc__ or ""
    return OperatorInfo(
        name=operator.op_type,
        home=operator.home,
        domains=operator.domains,
        is_target=operator.is_target,
        has_body=operator.body is not None,
        attributes={name: kind.name for name, kind in operator.attributes.items()},
        note=operator.note,
        inputs=_part(doc, "Inputs"),
        outputs=_part(doc, "Output") or _part(doc, "Outputs"),
        limits=_part(doc, "Limits"),
        plugin=plugin,
    )


def _part(doc: str, word: str) -> str:
    """Return what a docstring says after ``word:``, up to the next such word or an empty line."""
    match = re.search(rf"\b{word}:(.*?)(?=\b(?:{'|'.join(_PARTS)})(?::| are )|\n\s*\n|\Z)", doc, re.S)
    return " ".join(match[1].split()).rstrip(".") if match else ""
