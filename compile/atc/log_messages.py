"""The messages of ATC that name nodes and operators, over all its releases, and the lines around them."""

import re
from dataclasses import dataclass

_WORD = r"[^\[\]\s,]+"
_NODE = rf"(?P<node>{_WORD})"
_REASON = r"Reason: ?(?P<reason>.*)"
_TYPE = rf"\[?(?P<type>{_WORD})\]*"


@dataclass(frozen=True, kw_only=True)
class Named:
    """A node or an operator that a message names.

    Attributes:
        node: its name as ATC knows it; empty where only the operator is named.
        op_type: as ATC writes it: ONNX's, or its own; empty where only the node is named.
        opset: version of the operator's domain, where it is named.
        reason: why ATC refuses it, where it says so.
    """

    node: str = ""
    op_type: str = ""
    opset: int | None = None
    reason: str = ""


MESSAGES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(pattern))
    for code, pattern in (
        ("E19010", rf"No parser is registered for Op \[(?P<node>[^\]]*?), optype {_TYPE}"),
        ("E13010", rf"No operator plugin is registered for Op:? ?\[?(?P<node>{_WORD})\]?, optype:? ?{_TYPE}"),
        ("E16002", rf"No ONNX parser is registered for optype {_TYPE}"),
        ("EZ0501", rf"IR for Op \[(?P<node>[^\]]*?), optype {_TYPE}"),
        ("E10501", rf"IR for Op (?P<node>\S+) with optype {_TYPE}"),
        ("EZ3002", rf"Optype {_TYPE} of Ops kernel \[?(?P<kernel>\w+)\]? is unsupported\. {_REASON}"),
        ("EZ3003", rf"No supported Ops kernel and engine are found for \[?{_NODE}\]?, optype {_TYPE}"),
        ("E14001", rf"Argument .*? for Op (?P<node>\S+) with optype {_TYPE} is invalid\. {_REASON}"),
        ("E40021", r"Failed to compile Op \[(?P<node>[^\]]+)\]"),
        ("W11001", r"Op ?\[(?P<node>[^\]]+)\] does not hit the high-priority"),
        ("E19999", r"Call InferShapeAndType for node:(?P<node>[^\s(]+)\((?P<type>\w+)\)"),
        ("E13009", r"Operator \[?(?P<node>[^\s\]]+)\]? already exists"),
        ("E10016", r"Op ?name \[?(?P<node>[^\s\]]+)\]? specified in \[?-*(?P<option>\w+)"),
        ("E70009", r"\b[Ii]n op ?\[(?P<node>[^\]]+)\]|\b[Oo]p ?\[(?P<node2>[^\],]+)\]"),
        ("EZ0009", r"of operator (?P<type>\w+) (?:has|have) incorrect"),
    )
)  # fmt: skip
"""Code that the message belongs to where none stands beside it, and what it looks like."""

CODE = re.compile(r"(?<![\w./-])(?P<code>E[A-Z]\d{4}|[EW]\d{5})(?!\w)")
"""An error or warning code."""
HEADED = re.compile(r"(?=(?<![\w.(-])(?:E[A-Z]\d{4}|[EW]\d{5})(?::|\[PID))")
"""Where a new message begins inside a line."""
PREFIX = re.compile(
    r"^[\s:\])]*(?:\[PID:\s*\d+\])?[\s:\])]*(?:\d{4}-\d\d-\d\d-[\d:.]+)?\s*(?:\((?:E|W)\w+\):)?\s*"
)
"""What stands between a code and its text: process, time, the code again."""
SUFFIX = re.compile(r"\s*\[FUNC: ?[^\]]*\].*$")
"""Where in ATC's source a message comes from."""
PLOG = re.compile(r"^\s*\[(?P<level>[A-Z]+)\]\s*\w+ ?\(\d+,")
"""The beginning of a line of a plog."""
PLOG_TEXT = re.compile(r"ErrorNo: ?\d+\([^)]*\) ?(?:\[[A-Z_]+\])*(?P<text>.*)$")
EXCEPTION = re.compile(r"(?P<text>\b\w*(?:Error|Exception): .+)$")
"""The last line of a Python traceback."""
ADVICE = re.compile(r"^\s*(?:Possible Cause|Solution|TraceBack|Traceback|\d+\. )")
SUSPICIOUS = re.compile(
    r"\berrors?\b|fail(?:ed|ure)?\b|exception|fatal|abort|cannot|unable to|invalid|unsupported|"
    r"not (?:found|supported|registered|exist)",
    re.IGNORECASE,
)
"""What an unknown line looks like that reports an error."""
FAILED = "ATC run failed"
SUCCEEDED = "ATC run success"


def named_in(text: str) -> tuple[str, Named] | None:
    """Return the code that a message belongs to and what it names; None for one that is not known."""
    for code, pattern in MESSAGES:
        if match := pattern.search(text):
            groups = match.groupdict()
            node = groups.get("node") or groups.get("node2") or ""
            op_type, opset = _operator(groups.get("type") or "")
            kernel, reason = groups.get("kernel"), (groups.get("reason") or "").strip()
            said = f"{kernel}: {reason}" if kernel else reason
            return code, Named(node=node.strip(" ,."), op_type=op_type, opset=opset, reason=said)
    return None


def _operator(text: str) -> tuple[str, int | None]:
    """Split ``ai.onnx::11::Conv``."""
    *before, name = text.strip(" .").split("::")
    version = before[-1] if before else ""
    return name, int(version) if version.isdecimal() else None
