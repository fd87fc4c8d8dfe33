"""Read the speed that device tools measured from the files they leave behind."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.core.errors import DatasetError

_NUMBER = r"([-+0-9.eE]+)"
_INFER = re.compile(rf"^\[(?:infer|inference)\].*?Interface throughputRate:\s*{_NUMBER}", re.MULTILINE)
_LATENCY = re.compile(rf"^\[(?:infer|inference)\].*?moduleLatency:\s*{_NUMBER}", re.MULTILINE)
_PURE = re.compile(rf"throughputRate\s*[=:]\s*{_NUMBER}\s*samples/s")
_PURE_LATENCY = re.compile(rf"latency\s*[=:]\s*{_NUMBER}\s*ms")
_BATCH = re.compile(r"(?:batchsize_|_bs)(\d+)")


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One measurement of one tool on one device.

    Attributes:
        source: the file it was read from.
        tool: ``ais_bench`` or ``benchmark``.
        pure: whether it ran on made-up data instead of a data set.
        throughput: samples per second of one device (a card may have several).
        mean_ms: mean time; of a batch for ais_bench, of a sample for benchmark. None when not said.
        median_ms: as ``mean_ms``.
        p99_ms: as ``mean_ms``.
        min_ms: as ``mean_ms``.
        max_ms: as ``mean_ms``.
        batch: None when the file and its name do not say.
    """

    source: Path
    tool: str
    pure: bool
    throughput: float
    mean_ms: float | None = None
    median_ms: float | None = None
    p99_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    batch: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**dataclasses.asdict(self), "source": self.source.name}


def read_performance(folder: Path) -> tuple[Performance, ...]:
    """Read every timing file in or beside a folder of results, in the order of their names.

    Known are ``NAME_summary.json`` beside a folder NAME and the older ``sumary.json`` inside it
    (ais_bench, graphopt's runner), ``perf_*.txt`` of one or five lines and ``PureInfer_*.txt``
    (benchmark).

    Returns:
        One entry per file; empty when there is none.

    Raises:
        DatasetError: a file is damaged.
    """
    beside = folder.parent
    files = {
        *folder.glob("sumary.json"),
        *folder.glob("*summary.json"),
        *beside.glob(f"{folder.name}_summary.json"),
        *_benchmark_files(folder),
    }
    if folder.name.startswith(("dumpOutput_device", "device")):
        files |= {*beside.glob("sumary.json"), *_benchmark_files(beside)}
    else:
        files |= _benchmark_files(folder / "result")
    return tuple(_read(path) for path in sorted(files))


def _benchmark_files(folder: Path) -> set[Path]:
    return {*folder.glob("perf_*.txt"), *folder.glob("PureInfer_*.txt")}


def _read(path: Path) -> Performance:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return _from_summary(path, json.loads(text))
        return _from_pure(path, text) if path.name.startswith("PureInfer_") else _from_perf(path, text)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{path} is not a timing file of ais_bench or benchmark ({error}); copy it again or remove it"
        ) from error


def _from_summary(path: Path, content: dict[str, Any]) -> Performance:
    times = content["NPU_compute_time"]
    throughput = float(content["throughput"])
    mean = float(times["mean"])
    late = times.get("P99", times.get("percentile(99%)"))
    inputs = [item["infiles"] for item in content.get("filesinfo", {}).values()]
    return Performance(
        source=path,
        tool="ais_bench",
        pure=not inputs or any("pure_infer_data" in str(names) for names in inputs),
        throughput=throughput,
        mean_ms=mean,
        median_ms=float(times["median"]),
        p99_ms=None if late is None else float(late),
        min_ms=float(times["min"]),
        max_ms=float(times["max"]),
        # The tool computes throughput as 1000 * batch / mean.
        batch=round(throughput * mean / 1000) or None,
    )


def _from_perf(path: Path, text: str) -> Performance:
    rate = _INFER.search(text)
    if rate is None:
        raise DatasetError(f"{path} has no line [infer] or [inference] with an Interface throughputRate")
    latency = _LATENCY.search(text)
    return Performance(
        source=path,
        tool="benchmark",
        pure=False,
        throughput=float(rate[1]),
        mean_ms=float(latency[1]) if latency else None,
        batch=_batch_in(path),
    )


def _from_pure(path: Path, text: str) -> Performance:
    rate = _PURE.search(text)
    if rate is None:
        raise DatasetError(f"{path} names no throughputRate in samples/s")
    latency = _PURE_LATENCY.search(text)
    return Performance(
        source=path,
        tool="benchmark",
        pure=True,
        throughput=float(rate[1]),
        mean_ms=float(latency[1]) if latency else None,
        batch=_batch_in(path),
    )


def _batch_in(path: Path) -> int | None:
    found = _BATCH.search(path.name)
    return int(found[1]) if found else None
