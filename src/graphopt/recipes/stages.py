"""Open whatever a user may name as a stage: a file, a run's stage, a torch module, a results folder.

``torch:RECIPE[@CHECKPOINT]`` · ``torch:FILE.py:BUILD[@CHECKPOINT]`` ·
``FILE.onnx`` · ``FILE.xml`` · ``FILE.om`` · ``openvino:FILE.onnx`` ·
``fp16:FILE.onnx`` · ``fp16-nms:FILE.onnx``, estimates of half precision (FILE may be ``RUN#rewritten``) ·
``RUN#raw|rewritten|onnxruntime|openvino|compiled`` · a folder or a ``.json`` file of results.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from graphopt.core.artefacts import Artefact
from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import (
    CheckpointError,
    GraphoptError,
    InvalidModelError,
    UsageError,
)
from graphopt.core.lineage import recipe_of
from graphopt.core.onnx_files import load_model
from graphopt.core.session import Session
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.half_estimate import ESTIMATES, open_estimate
from graphopt.recipes.recipe import Recipe

RUN_STAGES = {
    "raw": "raw/model.onnx",
    "rewritten": "rewritten/model.onnx",
    "onnxruntime": "compiled/onnxruntime/*.onnx",
    "openvino": "compiled/openvino/*.xml",
}
"""Where a run keeps what can run here; ``compiled`` is the first compiled one that is there."""
_MODULE = re.compile(r".+\.py:[^\W\d]\w*")
_MODEL_SUFFIXES = (".onnx", ".ort", ".xml", ".om")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage that a user named, not yet opened.

    Attributes:
        label: as the user wrote it; names the column in tables. An estimate is called one.
        kind: ``torch``, ``model``, ``openvino``, ``results``, or a key of ``ESTIMATES``.
        path: model file, checkpoint or results; None for a torch stage without checkpoint.
        recipe: of the model; None when unknown.
        artefact: its sidecar; None when graphopt did not make the file. A user's own module has none:
            it takes over that of its export (``with_specs_of``).
        module: ``FILE.py:BUILD`` of a user's own module; empty elsewhere.
    """

    label: str
    kind: str
    path: Path | None
    recipe: Recipe | None
    artefact: Artefact | None = None
    module: str = ""

    @property
    def known_outputs(self) -> tuple[TensorSpec, ...]:
        """What its sidecar says of its outputs."""
        return self.artefact.outputs if self.artefact is not None else ()

    @property
    def is_estimate(self) -> bool:
        """Whether its numbers stand for those of a chip that was not asked."""
        return self.kind in ESTIMATES

    def with_specs_of(self, others: Sequence["Stage"]) -> "Stage":
        """Return this stage; a user's own module gets inputs and outputs of its export in ``others``."""
        if not self.module:
            return self
        known = next((item.artefact for item in others if item.artefact is not None), None)
        return replace(self, artefact=known)

    def open(self, *, optimize: bool = False) -> Session:
        """Open a session.

        Args:
            optimize: let onnxruntime rewrite the graph; on for timing, off for comparing.

        Raises:
            GraphoptError: the model cannot be loaded, or is a results folder.
        """
        if self.module:
            return _open_module(self)
        if self.kind == "torch":
            return _open_torch(self)
        assert self.path is not None
        if self.kind == "results":
            raise UsageError(f"{self.label} holds results, not a model that can run")
        if self.kind == "openvino":
            load_model(self.path)
            from graphopt.runtime.sessions.openvino import OpenVinoSession

            return OpenVinoSession(self.path)
        if self.is_estimate:
            return open_estimate(self.path, self.kind, optimize=optimize)
        if self.path.suffix == ".onnx":
            load_model(
                self.path
            )  # says what is wrong better than a backend, and keeps data inside its folder
        from graphopt.runtime.sessions import open_session

        return open_session(self.path, optimize=optimize)


def parse_stage(text: str, *, recipe_name: str = "") -> Stage:
    """Understand what ``text`` names.

    Args:
        text: as in the module's first lines.
        recipe_name: for files that have no sidecar.

    Raises:
        UsageError: nothing of that kind; the message says what is possible.
        InvalidModelError: the file does not exist.
        CheckpointError: the checkpoint does not exist.
    """
    given = find_recipe(recipe_name) if recipe_name else None
    prefix, _, rest = text.partition(":")
    if prefix == "torch" and rest:
        name, _, checkpoint = rest.partition("@")
        module = name if _MODULE.fullmatch(name) else ""
        recipe = None if module else find_recipe(name)
        path = Path(checkpoint) if checkpoint else None
        if path is not None and not path.is_file():
            raise CheckpointError(f"the checkpoint {path} does not exist, or is not a file")
        return Stage(label=text, kind="torch", path=path, recipe=recipe, module=module)
    if prefix == "openvino" and rest:
        return _file_stage(text, Path(rest), "openvino", given)
    if prefix in ESTIMATES and rest:
        return _estimate_stage(text, prefix, parse_stage(rest, recipe_name=recipe_name))
    run, hash_mark, stage = text.rpartition("#")
    if hash_mark and run:
        return _run_stage(text, Path(run), stage, given)
    path = Path(text)
    if path.is_dir():
        return _folder_stage(text, path, given)
    if path.suffix == ".json" and path.is_file():
        return Stage(label=text, kind="results", path=path, recipe=given)
    return _file_stage(text, path, "model", given)


def _file_stage(label: str, path: Path, kind: str, given: Recipe | None) -> Stage:
    if not path.exists():
        raise InvalidModelError(
            f"{path} does not exist; a stage is a model file, a results folder, torch:RECIPE[@CHECKPOINT], "
            "openvino:FILE, fp16:FILE or RUN#raw|rewritten|compiled"
        )
    if path.suffix not in _MODEL_SUFFIXES:
        raise UsageError(f"{path}: a model file ends in {', '.join(_MODEL_SUFFIXES)}")
    artefact = Artefact.load(path)
    recipe = given
    if recipe is None and artefact is not None and artefact.recipe:
        recipe = find_recipe(artefact.recipe)
    if recipe is None and artefact is None and path.suffix == ".onnx":
        recipe = _recipe_inside(path)
    return Stage(label=label, kind=kind, path=path, recipe=recipe, artefact=artefact)


def _estimate_stage(label: str, kind: str, stage: Stage) -> Stage:
    if stage.kind != "model" or stage.path is None or stage.path.suffix != ".onnx":
        raise UsageError(f"{label}: half precision is estimated of an ONNX file: {kind}:FILE.onnx")
    return replace(stage, label=f"{label} (estimate)", kind=kind)


def _recipe_inside(path: Path) -> Recipe | None:
    """Return the recipe that the model itself names, as the copy for ATC does; None when nobody knows it."""
    try:
        name = recipe_of(load_model(path))
        return find_recipe(name) if name else None
    except GraphoptError:
        return None  # opening the model says what is wrong with it


def _run_stage(label: str, run: Path, stage: str, given: Recipe | None) -> Stage:
    if not (run / "run.json").is_file():
        raise UsageError(f"{run} is not a run folder (it has no run.json); make one with: graphopt pipeline")
    known = [*RUN_STAGES, "compiled"]
    if stage not in known:
        raise UsageError(f"unknown stage {stage!r} of a run; {did_you_mean(stage, known)}")
    names = ("onnxruntime", "openvino") if stage == "compiled" else (stage,)
    found = [path for name in names for path in sorted(run.glob(RUN_STAGES[name]))]
    if not found:
        raise InvalidModelError(f"{run} has no {stage} model yet; run: graphopt pipeline")
    return _file_stage(label, found[0], "model", given)


def _folder_stage(label: str, path: Path, given: Recipe | None) -> Stage:
    if (path / "manifest.json").is_file() and (path / "model.onnx").is_file():
        return _file_stage(label, path / "model.onnx", "model", given)
    if (path / "run.json").is_file():
        raise UsageError(f"{label} is a run; name one of its stages: {label}#raw, {label}#rewritten, ...")
    return Stage(label=label, kind="results", path=path, recipe=given)


def _open_torch(stage: Stage) -> Session:
    from graphopt.exporters.torch_session import TorchSession

    recipe = stage.recipe
    assert recipe is not None
    if stage.path is None:
        raise UsageError(f"{stage.label}: name the checkpoint too: torch:{recipe.name}@FILE")
    module = recipe.needed_module(stage.label, stage.path)
    return TorchSession(module, recipe.inputs, recipe.answers_of(module))


def _open_module(stage: Stage) -> Session:
    from graphopt.exporters.user_session import UserModuleSession

    if stage.artefact is None:
        raise UsageError(
            f"{stage.label}: its inputs and outputs are those of its export; compare it with a model that "
            "graphopt export module or graphopt apply wrote"
        )
    file, _, build = stage.module.rpartition(":")
    specs = stage.artefact.inputs, stage.artefact.outputs
    return UserModuleSession(Path(file), build, *specs, checkpoint=stage.path)
