"""The proof of a detector finds every mistake that a rewrite to target operators could make."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from graphopt.core.detections import Detections
from graphopt.core.onnx_files import load_model
from graphopt.surgery import Status
from graphopt.surgery.engine.verdicts import Verdict
from graphopt.surgery.engine.verification import Verifier

HERE = Path(__file__).resolve().parent
MISTAKES = (
    "nms_dropped",
    "nms_threshold_changed",
    "proposals_not_suppressed",
    "labels_shifted",
    "offsets_swapped",
    "mask_zeroed",
    "one_roi_level",
    "pooling_wrong",
)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CUTS = Detections(dets="", limit=15, score_threshold=0.4)
OUTPUTS = {"dets": "dets", "labels": "labels"}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """What is found of the detector itself (``""``) and of each mutant, in one run."""
    folder = tmp_path_factory.mktemp("teeth")
    source = folder / "detector.onnx"
    _load("small_detector").write_small_detector(source)
    model = load_model(source)
    mutants = _load("detector_mutants")
    models = {"": model, **mutants.mutants(model)}
    candidates = [mutants.candidate(item, OUTPUTS, CUTS) for item in models.values()]
    found = Verifier(source, None, folder).judge(candidates)
    return dict(zip(models, found, strict=True))


def test_the_detector_itself_is_proven(verdicts: dict[str, Verdict]) -> None:
    assert verdicts[""].status is Status.PROVEN
    (found,) = verdicts[""].detections
    assert found.paired > 15
    assert found.box == found.score == 0


def test_every_mistake_has_its_place(verdicts: dict[str, Verdict]) -> None:
    assert set(verdicts) == {"", *MISTAKES}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_detector_with_a_mistake_is_refused(verdicts: dict[str, Verdict], mistake: str) -> None:
    verdict = verdicts[mistake]
    assert verdict.status is Status.FAILED
    assert verdict.reason.startswith("the detections dets, labels differ")
