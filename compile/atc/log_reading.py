"""Read what ATC printed or logged, line by line, into causes and their consequences."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from graphopt.compile.atc import log_messages as messages
from graphopt.compile.atc.errors import CASES, Case, explanation_of
from graphopt.compile.atc.log_messages import Named, named_in
from graphopt.compile.atc.log_report import Finding, LogReport

_INNER = "E19999"
_TEXT = 400
"""Letters of a message that are kept."""
_DETAILS = 8
_FINDINGS = 200
_NODES = 1000
_UNEXPLAINED = 10
_ANSI = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
_CASES = tuple((case, re.compile(case.pattern)) for case in CASES)
_CODE_LIKE = re.compile(r"[EW][A-Z\d]\d{4}")
_TELLING = (
    *(
        "err",
        "fail",
        "excep",
        "fatal",
        "abort",
        "cannot",
        "unable",
        "invalid",
        "unsupp",
        "not ",
        "no p",
        "no s",
    ),
    *("no m", "no o", "kill", "memory", "denied", "alloc", "atc run", "option", "removed", "attribute"),
    *("segment", "dumped", "only one", "shape", " op"),
)
"""What every line has something of that says anything; the others are passed over quickly."""
_SKIPPED_LEVELS = {"INFO", "DEBUG", "EVENT", "TRACE", "WARNING"}


def read_log(lines: Iterable[str]) -> LogReport:
    """Read a log as it comes: what ATC printed, a plog, or both; only what matters is kept."""
    reader = _Reader()
    for line in lines:
        reader.read(line)
    return reader.report()


def read_check_report(text: str) -> LogReport | None:
    """Read the JSON that ATC writes with ``--mode=3``; None for another text."""
    try:
        content = json.loads(text)
    except ValueError:
        return None
    operators = content.get("op") if isinstance(content, dict) else None
    if not isinstance(operators, list):
        return None
    reader = _Reader()
    for item in operators:
        for cause in _causes(item):
            reader.checked(Named(node=str(item.get("name", "")), op_type=str(item.get("type", ""))), cause)
    if content.get("result") == "success" and not reader.found:
        reader.outcome = "success"
    elif content.get("result"):
        reader.outcome = "failed" if reader.found or content["result"] != "success" else "success"
    return reader.report()


def _causes(item: Any) -> Iterator[str]:
    for cause in item.get("cause", ()) if isinstance(item, dict) else ():
        if isinstance(cause, dict):
            yield f"{cause.get('code', '')} {cause.get('message', '')}".strip()


class _Reader:
    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Finding] = {}
        self.outcome = ""
        self._block: Finding | None = None
        self._unexplained: list[tuple[int, str]] = []
        self._unexplained_count = 0
        self._line = 0

    def read(self, line: str) -> None:
        self._line += 1
        level = messages.PLOG.match(line)
        if level and level["level"] in _SKIPPED_LEVELS:
            return
        if self._block is None and not _may_matter(line):
            return
        text = _ANSI.sub("", line.rstrip()) if "\x1b" in line else line.rstrip()
        if not text:
            return
        if messages.FAILED in text or messages.SUCCEEDED in text:
            self.outcome = "failed" if messages.FAILED in text else "success"
        for part in filter(None, messages.HEADED.split(text)):
            self._read_part(part, is_error=bool(level))

    def _read_part(self, text: str, *, is_error: bool) -> None:
        codes = list(messages.CODE.finditer(text))
        if codes:
            last = codes[-1] if codes[-1]["code"] == codes[0]["code"] else codes[0]
            self._coded(codes[0]["code"], _cut(messages.PREFIX.sub("", text[last.end() :])))
            return
        advice = messages.ADVICE.match(text) is not None
        inside = self._block is not None and (
            advice or text[0].isspace() or messages.EXCEPTION.match(text) is not None
        )
        if advice and inside:
            return
        if is_error and (match := messages.PLOG_TEXT.search(text)):
            text = match["text"]
        self._uncoded(_cut(text), inside=inside, is_error=is_error)

    def _coded(self, code: str, text: str) -> None:
        hit = named_in(text)
        named = hit[1] if hit else None
        case = _case_of(text, anywhere=False)
        if _is_vague_code(code):
            if hit and hit[0] != _INNER:
                code = hit[0]  # it quotes a message that has a code of its own
                key = (code, hit[1].op_type)
            else:
                key = self._vague_key(code, case)
        else:
            key = (code, named.op_type if named else text)
        self._block = self._add(key, text, named, case)

    def _vague_key(self, code: str, case: Case | None) -> tuple[str, str]:
        """Return under what to collect an inner error: one finding, unless it has several causes."""
        known = self.found.get((code, ""))
        other = known is not None and known.case is not None and case is not None and known.case is not case
        return (code, case.word if other and case is not None else "")

    def _uncoded(self, text: str, *, inside: bool, is_error: bool) -> None:
        hit = named_in(text)
        case = _case_of(text, anywhere=not inside)
        block = self._block if inside else None
        if block is not None and hit is not None and hit[0] == _INNER and _collects(block):
            self._detail(block, text, case, named=hit[1])
        elif hit is not None and hit[1].op_type:
            code, named = hit
            if block is not None and code == _message_code(block):
                code = block.code
            self._add((code, named.op_type), text, named, case, in_block=block)
        elif block is not None:
            self._detail(block, text, case, named=hit[1] if hit else None)
        elif case is not None:
            self._add((case.word, ""), text, None, case)
        else:
            self._block = None
            if is_error or (messages.SUSPICIOUS.search(text) and messages.FAILED not in text):
                self._unexplained_count += 1
                if len(self._unexplained) < _UNEXPLAINED:
                    self._unexplained.append((self._line, text))

    def _add(
        self,
        key: tuple[str, str],
        text: str,
        named: Named | None,
        case: Case | None,
        *,
        in_block: Finding | None = None,
    ) -> Finding:
        finding = self.found.get(key)
        if finding is None and len(self.found) >= _FINDINGS:
            finding = next(reversed(self.found.values()))
        if finding is None:
            finding = self.found[key] = Finding(code=key[0], text=text, line=self._line, case=case)
        else:
            finding.count += 1
            finding.case = finding.case or case
            if _is_empty(finding.text):
                finding.text = text
            elif text != finding.text:
                _keep(finding.details, text if named is None else named.reason)
        if named is not None and len(finding.nodes) < _NODES:
            finding.nodes.setdefault((named.node, named.op_type), named)
        if in_block is not None and in_block.code != finding.code:
            finding.consequence = True
        return finding

    def _detail(self, block: Finding, text: str, case: Case | None, *, named: Named | None) -> None:
        if named is not None:
            block.nodes.setdefault((named.node, named.op_type), named)
        exception = messages.EXCEPTION.search(text)
        vague = _collects(block)
        if vague and _is_empty(block.text):
            block.text = text
        if case is not None and block.case is None:
            block.case = case
            _keep(block.details, text)
        elif exception is not None:
            _keep(block.details, exception["text"])
        elif vague and len(block.details) < _DETAILS:
            _keep(block.details, text.strip())

    def checked(self, named: Named, cause: str) -> None:
        """Take one node of a check report."""
        self._line += 1
        coded = messages.CODE.search(cause)
        hit = named_in(cause)
        code = coded["code"] if coded else hit[0] if hit else "pre-check"
        self._add((code, named.op_type), cause, named, _case_of(cause, anywhere=False))

    def report(self) -> LogReport:
        findings = list(self.found.values())
        _join_kernels(findings)
        _join_cases(findings)
        definite = [f for f in findings if not f.warning and not f.consequence and not _is_vague(f)]
        for item in findings:
            item.consequence = bool(definite) and item not in definite and not item.warning
        order = sorted(findings, key=lambda item: (item.warning, item.consequence, item.line))
        return LogReport(
            findings=tuple(order),
            unexplained=tuple(self._unexplained),
            unexplained_count=self._unexplained_count,
            outcome=self.outcome,
            lines=self._line,
        )


def _may_matter(line: str) -> bool:
    lower = line.lower()
    return any(word in lower for word in _TELLING) or _CODE_LIKE.search(line) is not None


def _is_vague_code(code: str) -> bool:
    explanation, _ = explanation_of(code)
    return explanation is not None and explanation.vague


def _collects(block: Finding) -> bool:
    """Whether the lines below a finding are what it has to say."""
    return _is_vague_code(block.code)


def _is_empty(text: str) -> bool:
    return text.rstrip("! ").lower() in ("", "inner error")


def _is_vague(finding: Finding) -> bool:
    return finding.explanation is not None and finding.explanation.vague


def _join_kernels(findings: list[Finding]) -> None:
    """Let EZ3002, which has the reason but no node, and EZ3003, which has the node, be one finding."""
    for without in [item for item in findings if item.code == "EZ3003"]:
        op_types = set(without.op_types)
        reasons = next((f for f in findings if f.code == "EZ3002" and op_types & set(f.op_types)), None)
        if reasons is None:
            continue
        reasons.nodes = {**without.nodes, **{key: n for key, n in reasons.nodes.items() if n.node}}
        reasons.consequence = False
        findings.remove(without)


def _join_cases(findings: list[Finding]) -> None:
    """Let what was said without a code, and again with one, be one finding."""
    for bare in [item for item in findings if item.case is not None and item.case.word == item.code]:
        coded = next((f for f in findings if f is not bare and f.case is bare.case), None)
        if coded is not None:
            coded.line = min(coded.line, bare.line)
            _keep(coded.details, bare.text)
            findings.remove(bare)


def _message_code(finding: Finding) -> str:
    """Return under which code the message of a finding is listed: old and new codes share messages."""
    hit = named_in(finding.text)
    return hit[0] if hit else ""


def _case_of(text: str, *, anywhere: bool) -> Case | None:
    return next(
        (case for case, pattern in _CASES if (case.anywhere or not anywhere) and pattern.search(text)), None
    )


def _keep(details: list[str], text: str) -> None:
    text = _cut(text)
    if text and text not in details and len(details) < _DETAILS:
        details.append(text)


def _cut(text: str) -> str:
    text = messages.SUFFIX.sub("", text).strip()
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."
