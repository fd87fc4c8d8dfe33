from collections.abc import Callable
from pathlib import Path

import pytest

from graphopt.compile.atc.npu_smi import Chip, detect_soc, parse_chips, soc_of
from graphopt.core.errors import MissingBackendError, ToolFailure, UsageError

INFERENCE_CARD = """\
+--------------------------------------------------------------------------------------------------------+
| npu-smi 23.0.rc3                                   Version: 23.0.rc3                                   |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 0       310P3                 | OK              | 15.8         42                0    / 0              |
| 0       0                     | 0000:82:00.0    | 0            1074 / 21534                            |
+===============================+=================+======================================================+
"""
TWO_OLD_CHIPS = """\
+------------------------------------------------------------------------------+
| npu-smi 22.0.2                    Version: 22.0.2                            |
+-------------------+-----------------+----------------------------------------+
| NPU     Name      | Health          | Power(W)          Temp(C)              |
| Chip    Device    | Bus-Id          | AICore(%)         Memory-Usage(MB)     |
+===================+=================+========================================+
| 3       310       | OK              | 12.8              55                   |
| 0       0         | 0000:04:00.0    | 0                 2621 / 8192          |
+-------------------+-----------------+----------------------------------------+
| 3       310       | Warning         | 12.8              54                   |
| 1       1         | 0000:05:00.0    | 0                 2621 / 8192          |
+===================+=================+========================================+
"""
TRAINING_CARD_WITH_PROCESSES = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 23.0.6                   Version: 23.0.6                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.3        36                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3349 / 65536         |
+===========================+===============+====================================================+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| 0       0                 | 31337         | python                   | 1024                    |
+===========================+===============+====================================================+
"""


def test_inference_card() -> None:
    assert parse_chips(INFERENCE_CARD) == (Chip(npu=0, name="310P3", health="OK"),)
    assert soc_of(parse_chips(INFERENCE_CARD)) == "Ascend310P3"


def test_name_of_digits_is_told_from_the_device_row() -> None:
    assert parse_chips(TWO_OLD_CHIPS) == (
        Chip(npu=3, name="310", health="OK"),
        Chip(npu=3, name="310", health="Warning"),
    )
    assert soc_of(parse_chips(TWO_OLD_CHIPS)) == "Ascend310"


def test_training_card_with_a_process_table() -> None:
    assert parse_chips(TRAINING_CARD_WITH_PROCESSES) == (Chip(npu=0, name="910B3", health="OK"),)
    assert soc_of(parse_chips(TRAINING_CARD_WITH_PROCESSES)) == "Ascend910B3"


def test_column_widths_do_not_matter() -> None:
    squeezed = "\n".join(" ".join(line.split()) for line in INFERENCE_CARD.splitlines())
    assert parse_chips(squeezed) == parse_chips(INFERENCE_CARD)


def test_different_chips_must_be_chosen_from() -> None:
    chips = parse_chips(INFERENCE_CARD) + parse_chips(TWO_OLD_CHIPS)
    with pytest.raises(UsageError, match=r"different chips \(310, 310P3\).*--soc"):
        soc_of(chips)


def test_no_chip() -> None:
    assert parse_chips("No NPU found") == ()
    with pytest.raises(UsageError, match="shows no chip"):
        soc_of(())


def test_family_name_sends_to_the_board_table() -> None:
    with pytest.raises(UsageError, match=r"'Ascend910'.*npu-smi info -t board -i 2"):
        soc_of((Chip(npu=2, name="Ascend910", health="OK"),))


def test_detects_by_asking_the_driver(
    fake_tool: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool("npu-smi")
    table = tmp_path / "table.txt"
    table.write_text(INFERENCE_CARD)
    monkeypatch.setenv("FAKE_NPU_SMI", str(table))
    assert detect_soc() == "Ascend310P3"


def test_failing_driver_is_a_tool_failure(
    fake_tool: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool("npu-smi")
    monkeypatch.setenv("FAKE_NPU_SMI", "255")
    with pytest.raises(ToolFailure, match="exit code 255") as caught:
        detect_soc()
    assert "dcmi module" in caught.value.log_tail
    assert caught.value.argv[1:] == ("info",)


@pytest.mark.usefixtures("no_vendor_tools")
def test_without_driver_the_chip_must_be_given() -> None:
    with pytest.raises(MissingBackendError, match=r"npu-smi.*--soc 310P3") as caught:
        detect_soc()
    assert caught.value.exit_code == 3
