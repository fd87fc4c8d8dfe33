"""The table against the standard, and what it means for a release."""

import json
from pathlib import Path

import onnx
import pytest

from graphopt.compile.support.registrations import opset_text, registration_finding, registrations
from graphopt.compile.support.releases import parse_release
from graphopt.compile.support.verdicts import SOURCES

SCHEMAS = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""]


def test_standard_operators_of_the_table_are_in_the_standard() -> None:
    standard = {schema.name for schema in SCHEMAS}
    for op, entry in registrations().items():
        assert (op in standard) == entry.standard, op


def test_every_standard_operator_that_an_exporter_may_write_is_in_the_table() -> None:
    old = {schema.name for schema in SCHEMAS if schema.since_version <= 18 and not schema.deprecated}
    assert old - registrations().keys() <= {"ImageDecoder"}


def test_every_opset_is_real() -> None:
    for op, entry in registrations().items():
        opsets = entry.mid_2022 | entry.august_2026
        assert all(1 <= number <= 22 for number in opsets), op
        assert not entry.standard or max(opsets, default=0) <= 18, op
        assert entry.ascend_name != op


@pytest.mark.shared
def test_the_table_says_what_its_source_says(shared_dir: Path) -> None:
    source = json.loads((shared_dir / "ascend/op_support.json").read_text(encoding="utf-8"))
    source.pop("_about")
    assert source.keys() == registrations().keys()
    for op, entry in registrations().items():
        for opsets, key in ((entry.mid_2022, "opsets_2022"), (entry.august_2026, "opsets_2026")):
            written = source[op][key] or "no opset"
            assert opset_text(opsets).replace(" ", "") == written.replace(" ", ""), op
        assert (entry.ascend_name or op) == source[op].get("ascend_op", op)


@pytest.mark.parametrize(
    ("op", "opset", "cann", "verdict", "part"),
    [
        # covered by the sources of mid-2022
        ("Conv", 11, "6.0.1", "fine", "in mid-2022"),
        ("Conv", 15, "6.0.1", "fine", "in mid-2022"),
        ("Conv", 15, "5.1", "unknown", "May 2022"),
        ("Conv", 16, "6.0.1", "unsupported", "registered for 8-15"),
        ("GridSample", 11, "6.0.1", "unsupported", "registered for no opset"),
        ("GreaterOrEqual", 11, "6.0.1", "unsupported", "8, 12-15"),
        # in between: both dates decide
        ("Conv", 11, "7.0", "fine", "in mid-2022 and in August 2026"),
        ("Conv", 17, "8.0.RC2", "fine", "documents of CANN 8.0.RC2 name opsets to 18"),
        ("Conv", 17, "6.3", "unknown", "not yet in mid-2022"),
        ("GridSample", 16, "8.0", "unknown", "not yet in mid-2022"),
        ("TfIdfVectorizer", 11, "7.0", "unknown", "not in 2026"),
        ("Conv", 19, "7.0", "unsupported", "not for opset 19"),
        ("DeformConv", 19, "7.0", "unsupported", "neither in mid-2022 nor in August 2026"),
        # the sources of August 2026
        ("Conv", 18, "9.2", "fine", "in August 2026"),
        ("ReduceL2", 18, "9.2", "unsupported", "registered for 8-17"),
        ("TfIdfVectorizer", 11, "9.2", "unsupported", "no opset"),
        ("BatchMultiClassNMS", 17, "9.2", "unsupported", "8-16"),
        # not covered
        ("Conv", 11, "9.3", "unknown", "do not cover CANN 9.3"),
        ("Conv", 11, "4.0", "unknown", "do not cover"),
        ("Conv", 11, "5.0.4", "unknown", "do not cover"),
        ("Conv", 14, "5.0.4", "unsupported", "9-13"),
        ("Gelu", 20, "10.0", "unknown", "do not cover"),
        # any release
        ("Conv", 11, "", "fine", "mid-2022 and in August 2026"),
        ("Conv", 16, "", "unknown", "say which with --cann"),
        ("TfIdfVectorizer", 11, "", "unknown", "no more in August 2026"),
        ("Upsample", 10, "", "unsupported", "not for opset 10"),
        ("Loop", 11, "", "unsupported", "not registered at any opset"),
        ("Nonsense", 11, "6.0.1", "unsupported", "custom operator package"),
        ("mmcv::MMCVDeformConv2d", 1, "", "unsupported", "custom operator package"),
    ],
)
def test_a_release_takes_an_operator(op: str, opset: int, cann: str, verdict: str, part: str) -> None:
    found = registration_finding(op, opset, parse_release(cann) if cann else None)
    assert (found.verdict.value, part in found.why) == (verdict, True), found.why
    assert set(found.source.split()) <= SOURCES.keys()
