"""The three real detectors: rewritten, fully static, and proven; with any one mistake, refused.

Their weights are seeded noise, calibrated so that they detect on structured pictures.
"""

import functools
import importlib.util
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from graphopt.core.comparison import OWN_INPUTS
from graphopt.core.detections import DetectionComparison, Detections
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.recipes.catalogue import find_recipe
from graphopt.surgery import RewriteReport, Samples, Status, rewrite_file
from graphopt.surgery.engine.plan import make_plan
from graphopt.surgery.engine.verdicts import Verdict
from graphopt.surgery.engine.verification import Verifier
from graphopt.surgery.shapes.shape_analysis import analyse_shapes

pytestmark = [pytest.mark.shared, pytest.mark.slow]

HERE = Path(__file__).resolve().parent
GRAPHS = ("fcos", "nas_fpn", "faster_rcnn_dcn")
"""Their recipes have the same names."""
TARGET_CALLS = {
    "fcos": {"npu::BatchMultiClassNMS": 1},
    "nas_fpn": {"npu::BatchMultiClassNMS": 1},
    "faster_rcnn_dcn": {
        "npu::BatchMultiClassNMS": 2,
        "npu::DeformableConv2D": 13,
        "npu::RoiExtractor": 1,
    },
}
GONE = ("NonZero", "NonMaxSuppression", "ScatterND", "Shape", "Loop", "If", "MMCVDeformConv2d")
MISTAKES = {
    "fcos": ("nms_dropped", "nms_threshold_changed", "labels_shifted"),
    "nas_fpn": ("nms_dropped", "nms_threshold_changed", "labels_shifted", "pooling_wrong"),
    "faster_rcnn_dcn": (
        "nms_dropped",
        "nms_threshold_changed",
        "proposals_not_suppressed",
        "labels_shifted",
        "offsets_swapped",
        "mask_zeroed",
        "one_roi_level",
    ),
}
UNSEEN = ("offsets_swapped", "mask_zeroed")
"""No detection moves: the scale behind each deformable convolution of this graph is zero."""
CUTS = Detections(dets="", limit=100, score_threshold=0.05, iou_threshold=0.5)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Proven:
    """One graph's rewrite.

    Attributes:
        source: the raw graph with weights.
        output: the result.
        report: of the rewrite, proven on three pictures.
        picture: the first of them.
    """

    source: Path
    output: Path
    report: RewriteReport
    picture: dict[str, Any]

    @property
    def found(self) -> DetectionComparison:
        """The detections, compared."""
        (found,) = self.report.verification.detections
        return found


@pytest.fixture(scope="module")
def proven(
    shared_dir: Path, filled: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Proven]:
    """A function that rewrites a graph, each once."""
    folder = tmp_path_factory.mktemp("proven")
    image = _load(shared_dir / "tools" / "weights.py").image

    @functools.cache
    def prove(graph: str) -> Proven:
        source, output = filled(graph), folder / f"{graph}.onnx"
        (spec,) = input_specs(load_model(source))
        pictures = [{spec.name: image(*spec.shape[2:], seed)} for seed in range(3)]
        samples = Samples(feeds=tuple(pictures), kind="structured pictures")
        report = rewrite_file(source, output, find_recipe(graph).passes, samples=samples)
        return Proven(source, output, report, pictures[0])

    return prove


@pytest.fixture(scope="module")
def refused(
    proven: Callable[[str], Proven], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, Verdict]]:
    """A function that judges all mutants of a graph on one picture, each graph once."""
    mutants = _load(HERE / "detector_mutants.py")

    @functools.cache
    def judge(graph: str) -> dict[str, Verdict]:
        done = proven(graph)
        result = load_model(done.output)
        models = mutants.mutants(result)
        names = mutants.outputs_of(load_model(done.source), result)
        samples = Samples(feeds=(done.picture,), kind="a structured picture")
        passes = [planned.item for planned in make_plan(find_recipe(graph).passes)]
        verifier = Verifier(done.source, samples, tmp_path_factory.mktemp("mutants"), passes=passes)
        verdicts = verifier.judge([mutants.candidate(model, names, CUTS) for model in models.values()])
        return dict(zip(models, verdicts, strict=True))

    return judge


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_result_has_only_what_the_target_takes(proven: Callable[[str], Proven], graph: str) -> None:
    done = proven(graph)
    counts = done.report.ops_after
    assert {name: count for name, count in counts.items() if "::" in name} == TARGET_CALLS[graph]
    assert not [name for name in counts if name.rpartition("::")[2] in GONE]
    assert {value.name for value in load_model(done.output).graph.outputs} == {"dets", "labels"}


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_size_is_fixed(proven: Callable[[str], Proven], graph: str) -> None:
    model = load_model(proven(graph).output)
    types, _ = analyse_shapes(model, inputs={spec.name: spec.shape for spec in input_specs(model)})
    values = [value for node in model.graph for value in node.outputs]
    made = [value for value in values if value.uses() or value.is_graph_output()]
    assert not [value.name for value in made if value not in types or types[value].static is None]


@pytest.mark.parametrize("graph", GRAPHS)
def test_its_detections_are_the_same_sets(proven: Callable[[str], Proven], graph: str) -> None:
    done = proven(graph)
    assert done.report.verification.status is Status.PROVEN
    found = done.found
    assert (found.images, found.reference) == (3, 300)
    assert found.paired + len(found.near_ties) >= 300
    assert found.paired > 290
    assert found.box is not None
    assert found.box <= 0.05
    assert found.score is not None
    assert found.score <= 1e-4
    assert found.dirty_padding == 0


def test_each_target_call_of_the_backbone_is_compared_on_its_own(proven: Callable[[str], Proven]) -> None:
    comparisons = proven("faster_rcnn_dcn").report.verification.comparisons
    own = [item for item in comparisons if item.detail == OWN_INPUTS]
    names = Counter(item.name.split()[0] for item in own)
    assert names == {"npu::DeformableConv2D": 13, "npu::RoiExtractor": 1}
    assert max(item.max_abs or 0 for item in own) < 1e-5


def test_regions_below_one_cell_are_counted(proven: Callable[[str], Proven]) -> None:
    reason = proven("faster_rcnn_dcn").report.verification.reason
    count, _, clause = reason.partition(" ")
    assert int(count) > 0
    assert clause.startswith("regions are smaller than one cell")


@pytest.mark.parametrize(
    ("graph", "mistake"), [(graph, mistake) for graph, names in MISTAKES.items() for mistake in names]
)
def test_with_a_mistake_it_is_refused(
    refused: Callable[[str], dict[str, Verdict]], graph: str, mistake: str
) -> None:
    verdict = refused(graph)[mistake]
    assert verdict.status is Status.FAILED
    if mistake in UNSEEN:
        assert verdict.reason.startswith("npu::DeformableConv2D")
        assert "computes something else, given the source's inputs" in verdict.reason
        assert verdict.detections[0].passed
    else:
        assert verdict.reason.startswith("the detections")


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_mistake_with_a_place_is_tried(
    refused: Callable[[str], dict[str, Verdict]], graph: str
) -> None:
    assert set(refused(graph)) == set(MISTAKES[graph])
