from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from graphopt.compile.support import records as module
from graphopt.compile.support.check import Support
from graphopt.compile.support.place import Aim
from graphopt.compile.support.records import (
    RECORDS_FILE,
    Record,
    Records,
    add_records,
    find_records,
    place_for_records,
    read_records,
)
from graphopt.compile.support.verdicts import Verdict
from graphopt.core.errors import OutputError, UsageError

CONV = Record(
    operator="Conv", opset=11, soc="Ascend310P3", cann="5.0.4", verdict=Verdict.FINE, note='by "me" é'
)


def without(item: Record, **changes: object) -> Record:
    return Record(**{**vars(item), **changes})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    place = tmp_path / RECORDS_FILE
    bad = without(CONV, operator="mmcv::Thing", verdict=Verdict.UNSUPPORTED, limit="einsum", note="a\nb\\c")
    assert add_records(place, [CONV, bad]) == (CONV, bad)
    assert read_records(place) == Records((CONV, bad), place)
    assert place.read_text(encoding="utf-8").startswith("# What compiles here")


def test_the_same_is_not_written_twice_and_comments_stay(tmp_path: Path) -> None:
    place = tmp_path / RECORDS_FILE
    add_records(place, [CONV])
    place.write_text(place.read_text(encoding="utf-8") + "# mine", encoding="utf-8")
    before = place.read_text(encoding="utf-8")
    assert add_records(place, [CONV]) == ()
    assert place.read_text(encoding="utf-8") == before
    worse = without(CONV, verdict=Verdict.UNSUPPORTED)
    assert add_records(place, [worse]) == (worse,)
    assert "# mine\n" in place.read_text(encoding="utf-8")
    assert read_records(place).items == (CONV, worse)


def test_a_folder_that_cannot_be_written_is_said_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        add_records(tmp_path / "missing" / RECORDS_FILE, [CONV])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("record = ", "is not TOML"),
        ("a = 1", "nothing else"),
        ("record = 3", "nothing else"),
        ("record = [3]", "record 1 is no table"),
        ("[[record]]\nopset = 11", "lacks operator, soc, cann, verdict"),
        ('[[record]]\noperater = "Conv"', "unknown key 'operater'"),
        ('[[record]]\nopset = "11"', "opset is '11', not int"),
        ("[[record]]\nopset = true", "opset is True, not int"),
        (
            '[[record]]\noperator = "Conv"\nopset = 11\nsoc = "x"\ncann = "6.0"\nverdict = "ok"',
            "verdict is fine or unsupported",
        ),
        (
            '[[record]]\noperator = "Conv"\nopset = 11\nsoc = "x"\ncann = "six"\nverdict = "fine"',
            "not 'six'",
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    place = tmp_path / RECORDS_FILE
    place.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_records(place)


def test_the_nearest_file_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert find_records(inner) == Records()
    assert place_for_records(inner) == inner / RECORDS_FILE
    (tmp_path / "graphopt.toml").write_text("", encoding="utf-8")
    assert place_for_records(inner) == tmp_path / RECORDS_FILE
    add_records(tmp_path / "a" / RECORDS_FILE, [CONV])
    assert find_records(inner).items == (CONV,)
    assert place_for_records(inner) == tmp_path / "a" / RECORDS_FILE
    monkeypatch.setattr(module, "is_foreign", lambda path, folder: True)
    assert find_records(inner) == Records()


Parse = Callable[..., ir.Model]
Check = Callable[..., Support]


def verdicts(support: Support) -> list[str]:
    return [f"{fault.verdict.value} {fault.code}" for item in support.nodes for fault in item.faults]


def test_a_record_decides_where_sources_are_silent(parsed: Parse, checked: Check) -> None:
    model = parsed("y = Conv(x, w)", inputs="float[1,3,8,9] x, float[5,3,2,4] w")
    assert verdicts(checked(model, cann="5.0.4")) == ["unknown release"]
    support = checked(model, cann="5.0.4", records=Records((CONV,)))
    assert verdicts(support) == []
    assert support.nodes[0].findings[0].why.startswith('recorded here: compiles (by "me" é)')
    assert support.nodes[0].findings[0].recorded


@pytest.mark.parametrize(
    "change", [{"opset": 12}, {"soc": "Ascend310"}, {"cann": "5.0.3"}, {"operator": "Gemm"}]
)
def test_a_record_speaks_of_nothing_else(parsed: Parse, checked: Check, change: dict[str, object]) -> None:
    model = parsed("y = Conv(x, w)", inputs="float[1,3,8,9] x, float[5,3,2,4] w")
    support = checked(model, cann="5.0.4", records=Records((without(CONV, **change),)))
    assert verdicts(support) == ["unknown release"]


def test_a_limit_that_compiled_here_is_restricted_and_not_unsupported(parsed: Parse, checked: Check) -> None:
    model = parsed("y = Gather(x, i)", weights="<int64 i = {-1}>")
    item = without(CONV, operator="Gather", cann="6.0", limit="negative_index")
    assert verdicts(checked(model, cann="6.0", records=Records((item,)))) == ["restricted negative_index"]
    operator_only = without(item, limit="")
    assert verdicts(checked(model, cann="6.0", records=Records((operator_only,)))) == [
        "unsupported negative_index"
    ]


def test_what_did_not_compile_here_is_unsupported_and_the_last_record_counts(
    parsed: Parse, checked: Check
) -> None:
    model = parsed("y = Relu(x)")
    bad = without(CONV, operator="Relu", cann="6.0", verdict=Verdict.UNSUPPORTED, note="")
    support = checked(model, cann="6.0", records=Records((bad,)))
    assert verdicts(support) == ["unsupported registered"]
    assert support.nodes[0].faults[0].why == "recorded here: does not compile"
    again = without(bad, verdict=Verdict.FINE)
    assert verdicts(checked(model, cann="6.0", records=Records((bad, again)))) == []


def test_without_a_release_no_record_speaks(aim: Callable[..., Aim]) -> None:
    assert Records((CONV,)).find("Conv", 11, aim()) is None
