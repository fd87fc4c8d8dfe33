"""Which operators ATC's parser has registered for which opset, and what that means for a release."""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

from graphopt.compile.support.releases import (
    DEVELOPMENT_2026,
    FIRST_2022,
    LAST_2022,
    Release,
    named_opsets,
)
from graphopt.compile.support.verdicts import Finding, Verdict, unknown, unsupported

_SHOWN_TO = 15
"""The highest opset that the sources of mid-2022 register, since 26 May 2022."""
_ADDED_LATE = (14, 15)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One operator.

    Attributes:
        standard: whether it is ONNX's own.
        mid_2022: opsets in the sources of mid-2022.
        august_2026: opsets in the sources of August 2026.
        ascend_name: of the operator that the plugin makes; empty where it is the same.
    """

    standard: bool
    mid_2022: frozenset[int]
    august_2026: frozenset[int]
    ascend_name: str = ""


@functools.cache
def registrations() -> dict[str, Registration]:
    """Return the table by operator; standard and Ascend's own names live in the default domain."""
    text = resources.files("graphopt.compile.support").joinpath("registrations.toml").read_text("utf-8")
    content = tomllib.loads(text)
    names = {op: name for name, ops in content["ascend_names"].items() for op in ops.split()}
    return {
        op: Registration(
            standard=group["standard"],
            mid_2022=_opsets(group["mid_2022"]),
            august_2026=_opsets(group["august_2026"]),
            ascend_name=names.get(op, ""),
        )
        for group in content["registered"]
        for op in group["operators"].split()
    }


def registration_finding(op: str, opset: int, release: Release | None) -> Finding:
    """Say whether a release has an operator registered for an opset.

    Args:
        op: as the file for ATC spells it; with ``DOMAIN::`` unless that is the default one.
        opset: of its domain.
        release: None asks for all releases from 5.1 to 9.2.

    Returns:
        A finding, also when all is well.
    """
    entry = registrations().get(op)
    if entry is None:
        return unsupported(
            "not_registered",
            "no source names such an operator; only a custom operator package can bring it",
            "C22 OPS",
        )
    old, new = opset in entry.mid_2022, opset in entry.august_2026
    if not entry.mid_2022 and not entry.august_2026:
        return _absent(release)
    if release is None:
        return _anywhere(entry, opset, old=old, new=new)
    if FIRST_2022 <= release <= LAST_2022:
        return _mid_2022(entry, opset, release)
    if release == DEVELOPMENT_2026:
        return _dated(entry.august_2026, opset, "in August 2026", "OPS")
    if LAST_2022 < release < DEVELOPMENT_2026:
        return _between(entry, opset, release, old=old, new=new)
    return _outside(opset, release, standard=entry.standard)


def opset_text(opsets: frozenset[int]) -> str:
    """Write opsets as ``8, 12-15``; ``no opset`` when there is none."""
    parts: list[tuple[int, int]] = []
    for number in sorted(opsets):
        if parts and parts[-1][1] == number - 1:
            parts[-1] = (parts[-1][0], number)
        else:
            parts.append((number, number))
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in parts) or "no opset"


def _fine(why: str, source: str) -> Finding:
    return Finding(code="registered", verdict=Verdict.FINE, why=why, source=source)


def _absent(release: Release | None) -> Finding:
    why = "not registered at any opset, neither in mid-2022 nor in August 2026"
    if release is None or FIRST_2022 <= release <= DEVELOPMENT_2026:
        return unsupported("not_registered", why, "C22 OPS")
    return unknown("release", f"{why}; the tables do not cover CANN {release}", "C22 OPS")


def _dated(opsets: frozenset[int], opset: int, when: str, source: str) -> Finding:
    if opset in opsets:
        return _fine(f"registered for opset {opset} {when}", source)
    return unsupported("opset", f"{when} registered for {opset_text(opsets)}, not for opset {opset}", source)


def _mid_2022(entry: Registration, opset: int, release: Release) -> Finding:
    if release == FIRST_2022 and opset in _ADDED_LATE and opset in entry.mid_2022:
        return unknown("release", f"opset {opset} came in May 2022, within the life of CANN {release}", "C22")
    return _dated(entry.mid_2022, opset, "in mid-2022", "C22")


def _between(entry: Registration, opset: int, release: Release, *, old: bool, new: bool) -> Finding:
    if old and new:
        return _fine(f"registered for opset {opset} in mid-2022 and in August 2026, so in between", "C22 OPS")
    if not old and not new:
        return unsupported("opset", _neither(entry, opset), "C22 OPS")
    named = named_opsets(release)
    if new and entry.mid_2022 and opset > _SHOWN_TO and named and opset <= named.high:
        why = f"documents of CANN {release} name opsets to {named.high}, and August 2026 registers {opset}"
        return _fine(why, f"{named.source} OPS")
    since = "registered in August 2026, not yet in mid-2022" if new else "registered in mid-2022, not in 2026"
    return unknown("release", f"for opset {opset} {since}; no source says for CANN {release}", "C22 OPS")


def _anywhere(entry: Registration, opset: int, *, old: bool, new: bool) -> Finding:
    if old and new:
        return _fine(f"registered for opset {opset} in mid-2022 and in August 2026", "C22 OPS")
    if not old and not new:
        return unsupported("opset", _neither(entry, opset), "C22 OPS")
    since = "since some release after mid-2022" if new else "in mid-2022, no more in August 2026"
    return unknown("release", f"for opset {opset} registered {since}; say which with --cann", "C22 OPS")


def _neither(entry: Registration, opset: int) -> str:
    return f"registered for {opset_text(entry.mid_2022 | entry.august_2026)}, not for opset {opset}"


def _outside(opset: int, release: Release, *, standard: bool) -> Finding:
    named = named_opsets(release)
    if named and standard and not named.low <= opset <= named.high:
        why = f"documents of CANN {release} name opsets {named.low}-{named.high}, not {opset}"
        return unsupported("opset", why, named.source)
    return unknown("release", f"the tables do not cover CANN {release}", "C22 OPS")


def _opsets(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)
