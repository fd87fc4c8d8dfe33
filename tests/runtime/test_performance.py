import json
from pathlib import Path

import pytest

from graphopt.core.errors import DatasetError
from graphopt.runtime.performance import read_performance

# Figures as in the public guides.
FIVE_LINES = """[e2e] throughputRate: 202.23, latency: 37580.9
[data read] throughputRate: 244.002, moduleLatency: 4.00367
[preprocess] throughputRate: 217.543, moduleLatency: 4.50029
[infer] throughputRate: 208.333, Interface throughputRate: 326.049, moduleLatency: 4.45783
[post] throughputRate: 208.332, moduleLatency: 4.196
"""
ONE_LINE = "[inference] throughputRate: 60.5672, Interface throughputRate: 91.434, moduleLatency: 16.1848\n"
PURE = "[INFO] ave_throughputRate: 92.2434samples/s, ave_latency: 11.171ms\n"
PURE_EQUALS = "ave_throughputRate = 92.2434samples/s, ave_latency = 11.171ms,"


def _summary(**changes: object) -> str:
    content: dict[str, object] = {
        "filesinfo": {"0": {"infiles": ["a.bin"], "outfiles": ["a_0.bin"]}},
        "NPU_compute_time": {
            "min": 14.6766,
            "max": 18.6734,
            "mean": 16.0825,
            "median": 15.9988,
            "percentile(99%)": 17.8156,
            "count": 5000,
        },
        "throughput": 62.18,
    }
    return json.dumps({**content, **changes})


@pytest.mark.parametrize(
    ("text", "rate", "latency"), [(FIVE_LINES, 326.049, 4.45783), (ONE_LINE, 91.434, 16.1848)]
)
def test_benchmark_with_one_or_five_lines(tmp_path: Path, text: str, rate: float, latency: float) -> None:
    result = tmp_path / "result"
    (result / "dumpOutput_device0").mkdir(parents=True)
    (result / "perf_vision_batchsize_16_device_0.txt").write_text(text)
    for folder in (tmp_path, result, result / "dumpOutput_device0"):
        (got,) = read_performance(folder)
        assert (got.tool, got.pure, got.batch) == ("benchmark", False, 16)
        assert (got.throughput, got.mean_ms) == (rate, latency)


@pytest.mark.parametrize("text", [PURE, PURE_EQUALS])
def test_benchmark_on_made_up_data(tmp_path: Path, text: str) -> None:
    (tmp_path / "PureInfer_perf_of_RefineNet_910_bs4_in_device_0.txt").write_text(text)
    (got,) = read_performance(tmp_path)
    # The latency is the tool's own figure: it is close to, not equal to, 1000 / throughput.
    assert (got.pure, got.throughput, got.mean_ms, got.batch) == (True, 92.2434, 11.171, 4)


def test_ais_bench_summary_beside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run1"
    folder.mkdir()
    (tmp_path / "run1_summary.json").write_text(_summary())
    (tmp_path / "run2_summary.json").write_text(_summary(throughput=1.0))
    (got,) = read_performance(folder)
    assert (got.tool, got.pure, got.batch) == ("ais_bench", False, 1)
    assert (got.throughput, got.mean_ms, got.median_ms, got.p99_ms) == (62.18, 16.0825, 15.9988, 17.8156)
    assert got.to_json()["source"] == "run1_summary.json"


def test_ais_bench_summary_of_old_and_new_releases(tmp_path: Path) -> None:
    times = {"min": 2.0, "max": 3.0, "mean": 2.604, "median": 2.5, "P99": 2.9, "count": 9}
    (tmp_path / "sumary.json").write_text(_summary(NPU_compute_time=times, throughput=6144.393))
    (got,) = read_performance(tmp_path)
    assert (got.batch, got.p99_ms) == (16, 2.9)
    pure = {"0": {"infiles": ["pure_infer_data"], "outfiles": []}}
    (tmp_path / "sumary.json").write_text(_summary(filesinfo=pure))
    assert read_performance(tmp_path)[0].pure


def test_nothing_measured_is_an_empty_answer(tmp_path: Path) -> None:
    assert read_performance(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sumary.json", "{"),
        ("sumary.json", "[]"),
        ("sumary.json", "{}"),
        ("perf_vision_batchsize_1_device_0.txt", "[e2e] throughputRate: 1, latency: 2"),
        ("perf_vision_batchsize_1_device_0.txt", ""),
        ("PureInfer_perf_of_x_in_device_0.txt", "nothing"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=name.replace(".", r"\.")):
        read_performance(tmp_path)
