"""Every pass fires on the exported graphs that its docstring names, and the numbers stay."""

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from graphopt.surgery import PassStep, Status, Verify, describe_passes, find_pass, parse_steps, rewrite_file
from graphopt.surgery.catalogue import describe_pass
from graphopt.surgery.catalogue_markdown import COMMAND, catalogue_page

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "specimens"
SPECIMENS = sorted(path.stem for path in FOLDER.glob("*.py"))
SMALL = ("deepmar_bs1",)
LARGE = ("refinenet", "fcos", "nas_fpn", "faster_rcnn_dcn")


@pytest.fixture(scope="session")
def exported_graph(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    import_file: Callable[[Path], ModuleType],
) -> Callable[[str], Path]:
    """A function that makes an exported graph by name, once: a raw one refilled, or a specimen."""
    folder = tmp_path_factory.mktemp("exported")

    @functools.cache
    def make(name: str) -> Path:
        target = folder / f"{name}.onnx"
        if name in SPECIMENS:
            _export(import_file(FOLDER / f"{name}.py"), target)
            return target
        filled: Callable[[str], Path] = request.getfixturevalue("filled")  # skips where they are not
        return filled(name)

    return make


def _export(specimen: ModuleType, target: Path) -> None:
    """Export a specimen with seeded weights; see ``tests/specimens``."""
    import torch

    torch.manual_seed(11)
    module = specimen.build()
    training = getattr(specimen, "TRAINING", False)
    module.train(training)
    dtypes = getattr(specimen, "DTYPES", {})
    inputs = tuple(
        torch.ones(shape, dtype=getattr(torch, dtypes[name])) if name in dtypes else torch.randn(shape)
        for name, shape in specimen.INPUTS.items()
    )
    modes = torch.onnx.TrainingMode
    # Exporters warn about what they deprecate and about traced sizes, which is what specimens are for.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            target,
            dynamo=getattr(specimen, "DYNAMO", False),
            opset_version=getattr(specimen, "OPSET", 11),
            input_names=list(specimen.INPUTS),
            dynamic_axes=getattr(specimen, "DYNAMIC_AXES", None),
            do_constant_folding=getattr(specimen, "FOLD", True),
            training=modes.TRAINING if training else modes.EVAL,
            verbose=False,
        )


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
