"""What is said of a node or a model: a verdict, the reason, and where the fact comes from."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class Verdict(enum.Enum):
    """Whether ATC takes something; from best to worst."""

    FINE = "fine"
    RESTRICTED = "restricted"
    """It compiles as far as is known, but runs slowly, or leaves what the documents promise."""
    UNKNOWN = "unknown"
    """The sources do not cover this release, or say nothing."""
    UNSUPPORTED = "unsupported"
    """ATC refuses it, or makes something else of it."""

    @property
    def severity(self) -> int:
        """0 for fine, more for worse."""
        return list(Verdict).index(self)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to say of a node or of the model.

    Attributes:
        code: short name of the rule, the same in every release of graphopt.
        verdict: how bad it is.
        why: the reason, a clause; equal for nodes that suffer from the same.
        source: keys of ``SOURCES``, separated by blanks.
        recorded: whether a record of the user's own decided it.
    """

    code: str
    verdict: Verdict
    why: str
    source: str
    recorded: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "code": self.code,
            "verdict": self.verdict.value,
            "reason": self.why,
            "sources": self.source.split(),
            "recorded": self.recorded,
        }


def unsupported(code: str, why: str, source: str) -> Finding:
    """Return a finding that ATC refuses something."""
    return Finding(code=code, verdict=Verdict.UNSUPPORTED, why=why, source=source)


def restricted(code: str, why: str, source: str) -> Finding:
    """Return a finding that something is slow, or outside of what the documents promise."""
    return Finding(code=code, verdict=Verdict.RESTRICTED, why=why, source=source)


def unknown(code: str, why: str, source: str) -> Finding:
    """Return a finding that no source decides."""
    return Finding(code=code, verdict=Verdict.UNKNOWN, why=why, source=source)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the worst verdict; fine when there is none."""
    return max((item.verdict for item in findings), key=lambda v: v.severity, default=Verdict.FINE)


SOURCES: dict[str, str] = {
    "C22": "Ascend/canndev at 30 June 2022: operator plugins and kernel tables, the time of CANN 5.1 and 6.0",
    "OPS": "hicann ops-cv 6ae8765, ops-nn e5c3fa9, ops-math c419332: operator plugins, August 2026, CANN 9.2",
    "GE": "hicann/ge ffdcbc9: ONNX parser and ATC guide, August 2026, CANN 9.2",
    "DOC": "pages on supported ONNX operators, hiascend.com, editions 8.x and 9.x",
    "DOC5": "the same pages and the ATC guide, edition 5.0.x",
    "DOC7": "ATC guide of CANN 7.0.0, hiascend.com",
    "MSIT": "Ascend-msit 3558109: rules of its surgeon, and what they say of ATC",
    "MZ": "Ascend/ModelZoo-PyTorch 6a2804a: what its authors change by hand before ATC",
    "ONNX": "the ONNX standard",
    "IEEE": "range of half precision, in which ATC computes unless told otherwise",
    "HERE": "recorded by you in graphopt-support.toml",
}
"""Where facts come from, by the key that tables show."""
