"""Every pass fires on the exported graphs that its docstring names, and the numbers stay."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graphopt.surgery import PassStep, Status, Verify, describe_passes, find_pass, parse_steps, rewrite_file
from graphopt.surgery.catalogue import describe_pass
from graphopt.surgery.catalogue_markdown import COMMAND, catalogue_page

ROOT = Path(__file__).resolve().parents[2]
SPECIMENS = sorted(path.stem for path in (ROOT / "tests" / "specimens").glob("*.py"))
SMALL = ("deepmar_bs1",)
LARGE = ("refinenet", "fcos", "nas_fpn", "faster_rcnn_dcn")


def _sightings() -> Iterator[Any]:
    for info in describe_passes():
        for graph in info.seen_in:
            raw = [pytest.mark.shared] if graph in SMALL else [pytest.mark.shared, pytest.mark.slow]
            marks = [pytest.mark.torch] if graph in SPECIMENS else raw
            yield pytest.param(info.name, graph, marks=marks, id=f"{info.name}-{graph}")


def test_every_sighting_is_a_raw_graph_or_a_specimen() -> None:
    named = {graph for info in describe_passes() for graph in info.seen_in}
    assert named <= {*SMALL, *LARGE, *SPECIMENS}
    assert not set(SPECIMENS) - named, "specimens on which no pass is said to fire"


@pytest.mark.filterwarnings("ignore")  # of the simplifiers, which run in a child outside tests
@pytest.mark.parametrize(("name", "graph"), list(_sightings()))
def test_the_pass_fires_and_the_result_is_proven(
    name: str,
    graph: str,
    exported_graph: Callable[[str], Path],
    pass_case_of: Callable[[str], Any],
    tmp_path: Path,
) -> None:
    if graph in SPECIMENS:
        pytest.importorskip("torch")
    case = pass_case_of(name)
    options = case.options.get(graph, case.required)
    prepare = parse_steps(case.prepare) if case.prepare else ()
    # A large graph takes half a minute to compare: a pass proven on another one need only fire there.
    others = {*SPECIMENS, *SMALL} & set(describe_pass(find_pass(name)).seen_in)
    verify = Verify.OFF if graph in LARGE and others else Verify.FINAL
    steps = [*prepare, PassStep(name, options)]
    report = rewrite_file(exported_graph(graph), tmp_path / "o.onnx", steps, verify=verify)
    assert report.passes[-1].modified, report.passes[-1].declined
    assert report.verification.status is (Status.OFF if verify is Verify.OFF else Status.PROVEN)
    assert "refuses" not in report.verification.reason


def test_the_catalogue_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "passes.md").read_text(encoding="utf-8")
    assert page == catalogue_page(describe_passes()), f"docs/passes.md is stale: {COMMAND}"
