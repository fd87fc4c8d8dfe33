"""Ask the driver which chip this machine has."""

import re
import shutil
import subprocess
from dataclasses import dataclass

from graphopt.compile.atc.soc import normalise_soc
from graphopt.core.errors import MissingBackendError, ToolFailure, UsageError

_HEALTH = ("ok", "warning", "alarm", "critical", "unknown")
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip of ``npu-smi info``.

    Attributes:
        npu: card number.
        name: as printed, e.g. ``"310P3"``.
        health: as printed, e.g. ``"OK"``.
    """

    npu: int
    name: str
    health: str


def parse_chips(text: str) -> tuple[Chip, ...]:
    """Return the chips in the table that ``npu-smi info`` prints.

    Column widths differ between driver versions, so cells are cut at ``|`` and at blanks. A chip
    has two rows; the first has its name, and its second cell is the health. Rows of the process
    table have a process id there.
    """
    chips = []
    for line in text.splitlines():
        cells = [cell.split() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 3 or len(cells[0]) < 2 or len(cells[1]) != 1:
            continue
        number, name, health = cells[0][0], cells[0][1], cells[1][0]
        if re.fullmatch(r"\d+", number) and health.lower() in _HEALTH:
            chips.append(Chip(npu=int(number), name=name, health=health))
    return tuple(chips)


def detect_soc() -> str:
    """Return the ``--soc_version`` of this machine's chips.

    Raises:
        MissingBackendError: there is no ``npu-smi`` here.
        ToolFailure: it fails or hangs.
        UsageError: it shows no chip, different ones, or one whose name is not enough.
    """
    program = shutil.which("npu-smi")
    if program is None:
        raise MissingBackendError(
            "--soc auto asks npu-smi, which is not on the PATH: this machine has no Ascend driver; "
            "give the chip of the device box, e.g. --soc 310P3"
        )
    argv = (program, "info")
    try:
        done = subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailure(
            f"npu-smi info did not answer within {_TIMEOUT_S} s; check the driver, or give --soc",
            argv=argv,
            returncode=None,
        ) from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        tail = (text + done.stderr.decode("utf-8", "replace")).strip()[-2000:]
        raise ToolFailure(
            f"npu-smi info failed with exit code {done.returncode}; check the driver, or give --soc",
            argv=argv,
            returncode=done.returncode,
            log_tail=tail,
        )
    return soc_of(parse_chips(text))


def soc_of(chips: tuple[Chip, ...]) -> str:
    """Return the one ``--soc_version`` of all chips.

    Raises:
        UsageError: none, different ones, or a name that fits several chips.
    """
    names = sorted({chip.name for chip in chips})
    if not names:
        raise UsageError("npu-smi info shows no chip; give it, e.g. --soc 310P3")
    if len(names) > 1:
        raise UsageError(f"this machine has different chips ({', '.join(names)}); choose one with --soc")
    try:
        return normalise_soc(names[0])
    except UsageError as error:
        raise UsageError(
            f"npu-smi info calls the chip {names[0]!r}, which is not enough for ATC; give --soc: "
            f"'npu-smi info -t board -i {chips[0].npu}' prints Chip Name and NPU Name, "
            "newer chips are called Ascend<chip>_<npu>"
        ) from error
