"""Join what a compiler's log says with the passes that mend it, and with the model it is about."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from graphopt.compile.atc.graph_rules import LAST_OPSET
from graphopt.compile.atc.log_messages import Named
from graphopt.compile.atc.log_report import Finding, LogReport
from graphopt.core.errors import GraphoptError
from graphopt.core.onnx_files import load_model
from graphopt.recipes.mending import BY_OPERATOR, ORDER, mends
from graphopt.surgery import GraphPass, PassStep, make_pass
from graphopt.surgery.explaining import Candidate, candidates_of
from graphopt.surgery.node_facts import facts_of

_SURE_OPSET = 11
"""Every release reads it: lower than that is nothing to advise."""
_SHORT = 2
"""A name of so few letters is found inside of any other."""
_PLACES = 20
"""Nodes of one finding that are looked up in the model."""
_ABOUT_INPUTS = ("E10001", "E10002", "E10011", "E10016", "E10017", "E10049", "unknown-shape")
_ABOUT_OUTPUTS = ("no-such-output", "mixed-outputs")

ONNX_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "AvgPool3D": "AveragePool",
        "AvgPool": "AveragePool",
        "BNInference": "BatchNormalization",
        "BatchMatMul": "MatMul",
        "BatchMultiClassNonMaxSuppression": "BatchMultiClassNMS",
        "ClipByValue": "Clip",
        "Conv2D": "Conv",
        "Conv3D": "Conv",
        "DeformableOffsets": "DeformableConv2D",
        "DepthwiseConv2D": "Conv",
        "DynamicGRU": "GRU",
        "DynamicRNN": "LSTM",
        "MaxPool3D": "MaxPool",
        "MirrorPad": "Pad",
        "ROIAlign": "RoiAlign",
        "ResizeBicubic": "Resize",
        "ResizeBilinear": "Resize",
        "ResizeNearestNeighbor": "Resize",
        "ScatterNdUpdate": "ScatterND",
        "StridedSlice": "Slice",
        "TensorScatterUpdate": "ScatterND",
    }
)
"""Ascend's operators, without the version at the end, that graphs know by another name."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node that the log names, in the model.

    Attributes:
        named: what the log says.
        node: its name in the model; empty when it is not there.
        op_type: in the model, with the domain.
        facts: its tensors, a clause each.
    """

    named: Named
    node: str = ""
    op_type: str = ""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A pass to try.

    Attributes:
        name: of the pass.
        sites: how often it would match in the model; None when there is no model to ask.
        here: whether it would at a node that the log names.
        reason: why it does not match, or cannot be asked.
    """

    name: str
    sites: int | None = None
    here: bool = False
    reason: str = ""

    @property
    def may_help(self) -> bool:
        """Whether it matches, as far as that is known."""
        return self.sites is None or self.sites > 0


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One finding, and what mends it.

    Attributes:
        finding: of the log.
        mends: passes to try, those that match first.
        passes: those to apply; the others are alternatives.
        places: the nodes that it names, when there is a model.
        command: to type; empty when no pass mends it.
        hint: what the model has instead of a name that is wrong.
    """

    finding: Finding
    mends: tuple[Mend, ...] = ()
    passes: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    command: str = ""
    hint: str = ""

    @property
    def kind(self) -> str:
        """``cause``, ``consequence`` or ``warning``."""
        return "warning" if self.finding.warning else "consequence" if self.finding.consequence else "cause"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        item = self.finding
        return {
            "code": item.code,
            "kind": self.kind,
            "meaning": item.meaning,
            "remedy": item.remedy,
            "exact": item.is_familiar,
            "text": item.text,
            "line": item.line,
            "count": item.count,
            "details": item.details,
            "nodes": [vars(named) for named in item.nodes.values()],
            "places": [{**vars(place), "named": place.named.node} for place in self.places],
            "passes": [{**vars(mend), "advised": mend.name in self.passes} for mend in self.mends],
            "command": self.command,
            "hint": self.hint,
        }


def advise(report: LogReport, model: Path | None = None) -> tuple[Advice, ...]:
    """Say for each finding of a log which passes mend it.

    Args:
        report: of the log.
        model: the file that was compiled, to look the nodes up and to ask the passes.

    Raises:
        InvalidModelError: the model cannot be read.
    """
    subject = _Subject(model) if model is not None else None
    return tuple(_advice(finding, subject) for finding in report.findings)


def command_for(passes: Iterable[str], model: Path | None) -> str:
    """Return the line that applies some passes, in the order of ``ORDER``; empty for none."""
    rank = {name: place for place, name in enumerate(ORDER)}
    names = ",".join(sorted(dict.fromkeys(passes), key=lambda name: rank.get(name, len(rank))))
    return f"graphopt apply {shlex.quote(str(model)) if model else 'MODEL'} --passes {names}" if names else ""


def onnx_name(op_type: str) -> str:
    """Return how graphs call an operator that ATC names, as far as passes know it."""
    if op_type in BY_OPERATOR or op_type in ONNX_NAMES:
        return ONNX_NAMES.get(op_type, op_type)
    plain = re.sub(r"(?:V\d+)?D?$", "", op_type)
    return ONNX_NAMES.get(plain, plain if plain in BY_OPERATOR else op_type)


def _advice(finding: Finding, subject: "_Subject | None") -> Advice:
    places = subject.places(finding) if subject else ()
    explanation = finding.explanation
    hint = subject.hint(finding) if subject else ""
    if explanation is None or finding.consequence:
        return Advice(finding=finding, places=places, hint=hint)
    in_model = [place.op_type.rpartition("::")[2] for place in places if place.op_type]
    named = [onnx_name(op_type) for op_type in finding.op_types]
    op_types = dict.fromkeys([*in_model, *named]) if explanation.rewrites else ()
    opset = finding.opset or (subject.opset if subject else None)
    aspects = [
        word for word in explanation.aspects if word != "opset" or opset is None or opset > _SURE_OPSET
    ]
    if opset is not None and opset > LAST_OPSET and explanation.rewrites:
        aspects = ["opset"]  # nothing is registered there, whatever the operator
        op_types = ()
    general = mends((), aspects)
    special = [tuple(name for name in mends([op_type]) if name not in general) for op_type in op_types]
    names = dict.fromkeys([*general, *(name for group in special for name in group)])
    nodes = {place.node for place in places if place.node}
    tried = {name: subject.ask(name, nodes) if subject else Mend(name=name) for name in names}
    passes = [name for name in general if tried[name].may_help]
    for group in special:
        passes += _choice([tried[name] for name in group])
    return Advice(
        finding=finding,
        mends=tuple(sorted(tried.values(), key=_usefulness)),
        passes=tuple(dict.fromkeys(passes)),
        places=places,
        command=command_for(passes, subject.path if subject else None),
        hint=hint,
    )


def _choice(group: Sequence[Mend]) -> list[str]:
    """Return what to apply of passes that rewrite one operator: the first that does it, here if it can."""
    fitting = [item for item in group if item.may_help]
    here = [item for item in fitting if item.here]
    known = any(item.sites is not None for item in group)
    chosen = here[:1] if here else fitting if known else fitting[:1]
    return [item.name for item in chosen]


def _usefulness(item: Mend) -> tuple[bool, bool]:
    return (not item.here, not item.sites)


class _Subject:
    """The model that a log is about."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = load_model(path)
        self._asked: dict[str, tuple[Candidate, ...] | str] = {}

    @property
    def opset(self) -> int | None:
        return self.model.opset_imports.get("")

    @cached_property
    def _by_name(self) -> dict[str, ir.Node]:
        names: dict[str, ir.Node] = {}
        for node in self.model.graph.all_nodes():
            for name in (node.name, *(value.name for value in node.outputs)):
                if name:
                    names.setdefault(name, node)
        return names

    def hint(self, finding: Finding) -> str:
        word = finding.case.word if finding.case else finding.code
        if word not in (*_ABOUT_INPUTS, *_ABOUT_OUTPUTS):
            return ""
        kind, values = "input", self.model.graph.inputs
        if word in _ABOUT_OUTPUTS or "out_nodes" in finding.text:
            kind, values = "output", self.model.graph.outputs
        specs = ", ".join(f"{value.name} {value.type or ''}{value.shape or ''}" for value in values)
        return f"the {kind}s of {self.path}: {specs}"

    def places(self, finding: Finding) -> tuple[Place, ...]:
        named = [item for item in finding.nodes.values() if item.node]
        return tuple(self._place(item) for item in named[:_PLACES])

    def _place(self, named: Named) -> Place:
        node = self._find(named.node)
        if node is None:
            return Place(named=named)
        facts = facts_of(self.model, node)
        return Place(
            named=named,
            node=facts.name,
            op_type=facts.op_type,
            facts=tuple(
                f"{port.side}: {port.tensor} {port.dtype}{port.shape}".strip()
                for port in facts.ports
                if port.tensor
            ),
        )

    def _find(self, name: str) -> ir.Node | None:
        """Find a node by ATC's name for it, which may be longer: fused, split, or in a subgraph."""
        if name in self._by_name:
            return self._by_name[name]
        within = [node for node in self._named if _contains(name, node.name or "")]
        return max(within, key=lambda node: len(node.name or ""), default=None)

    @cached_property
    def _named(self) -> list[ir.Node]:
        names = ((node, node.name or "") for node in self.model.graph.all_nodes())
        return [node for node, name in names if len(name) > _SHORT and not name.isdecimal()]

    def ask(self, name: str, nodes: set[str]) -> Mend:
        if name not in self._asked:
            self._asked[name] = self._candidates(name)
        candidates = self._asked[name]
        if isinstance(candidates, str):
            return Mend(name=name, sites=0, reason=candidates)
        fitting = [item for item in candidates if item.applies]
        refused = [item for item in candidates if not item.applies]
        here = any(item.node in nodes for item in fitting)
        about = next((item for item in refused if item.node in nodes), refused[0] if refused else None)
        reason = (
            ""
            if fitting
            else f"{about.node}: {about.reason}"
            if about
            else "nothing in the model is what it looks for"
        )
        return Mend(name=name, sites=len(fitting), here=here, reason=reason)

    def _candidates(self, name: str) -> tuple[Candidate, ...] | str:
        try:
            item = make_pass(PassStep(name))
            fresh = isinstance(item, GraphPass)  # whose sites() changes nothing
            return candidates_of((lambda: self.model) if fresh else (lambda: load_model(self.path)), item)
        except GraphoptError as error:
            return str(error)


def _contains(text: str, name: str) -> bool:
    """Whether a name stands in a text as a whole."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text) is not None
