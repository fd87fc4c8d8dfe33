"""What a log of ATC says: findings with their nodes, their meaning and what to do."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

from graphopt.compile.atc.errors import Case, Explanation, explanation_of
from graphopt.compile.atc.log_messages import Named
from graphopt.compile.atc.options import OPTIONS
from graphopt.core.discovery import did_you_mean


@dataclass(kw_only=True)
class Finding:
    """One thing that ATC complains about.

    Attributes:
        code: of ATC, or a word of ours where it has none.
        text: the first line that says it.
        line: its number, from 1.
        count: how often it was said.
        nodes: what it names, each once.
        details: what else stands with it: reasons, exceptions.
        case: what the text says beyond the code.
        consequence: whether another finding is the cause.
    """

    code: str
    text: str
    line: int
    count: int = 1
    nodes: dict[tuple[str, str], Named] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    case: Case | None = None
    consequence: bool = False

    @property
    def warning(self) -> bool:
        """Whether the model was compiled all the same."""
        return self.code.startswith("W")

    @property
    def explanation(self) -> Explanation | None:
        """What is known of it; None for nothing."""
        return self.case.explanation if self.case else explanation_of(self.code)[0]

    @property
    def is_familiar(self) -> bool:
        """Whether just this is known, not only codes of its kind."""
        return self.case is not None or explanation_of(self.code)[1]

    @property
    def op_types(self) -> tuple[str, ...]:
        """The operators that it names, each once."""
        return tuple(dict.fromkeys(item.op_type for item in self.nodes.values() if item.op_type))

    @property
    def opset(self) -> int | None:
        """The version of the operators that it names, where it does."""
        return next((item.opset for item in self.nodes.values() if item.opset is not None), None)

    def say(self, clause: str) -> str:
        """Return a clause of the explanation with what the text says filled in."""
        if self.case is None or "{" not in clause:
            return clause
        match = next(
            (m for text in (*self.details, self.text) if (m := re.search(self.case.pattern, text))), None
        )
        groups = {key: value for key, value in match.groupdict().items() if value} if match else {}
        name = groups.get("name") or groups.get("name2") or "it"
        return clause.format_map(defaultdict(lambda: "it", groups | {"name": name.strip("'\"")}))

    @property
    def remedy(self) -> str:
        """What to do, a clause; empty when nothing is known."""
        if self.explanation is None:
            return ""
        if self.code == "unknown-option":
            known = [option.name for option in OPTIONS]
            return (
                f"correct its name; {did_you_mean(self.say('{option}').lstrip('-').replace('-', '_'), known)}"
            )
        return self.say(self.explanation.remedy)

    @property
    def meaning(self) -> str:
        """What it means, a clause; empty when nothing is known."""
        return self.say(self.explanation.meaning) if self.explanation else ""

    def __str__(self) -> str:
        """Return code, meaning and remedy in one line."""
        if self.explanation is None:
            return f"{self.code}: {self.text}"
        return f"{self.code}: {self.meaning}; {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class LogReport:
    """What a log says.

    Attributes:
        findings: causes in the order of the log, then consequences, then warnings.
        unexplained: (line number, text) of the first lines that look like errors and are not known.
        unexplained_count: how many such lines there are.
        outcome: ``success`` or ``failed`` where ATC says so, else empty.
        lines: how many were read.
    """

    findings: tuple[Finding, ...]
    unexplained: tuple[tuple[int, str], ...]
    unexplained_count: int
    outcome: str
    lines: int

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are no warnings."""
        return tuple(item for item in self.findings if not item.warning)
