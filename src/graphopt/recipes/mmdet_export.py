"""Export any detector of mmdet: its configuration, its checkpoint and the size of its input."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.core.artefacts import Artefact
from graphopt.core.comparison import Tolerance
from graphopt.core.errors import ExportError, UsageError
from graphopt.core.files import check_free, sha256_of
from graphopt.core.tensors import Dim, TensorSpec
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.drawn_inputs import drawn_feeds
from graphopt.recipes.progress import Silent
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.samples import feeds_for

if TYPE_CHECKING:
    import torch

_LOGGER = logging.getLogger(__name__)
_SAMPLES = 2
_FETCHED = ("init_cfg", "pretrained", "teacher_ckpt")
_BATCH = "batch"
_TOLERANCE = Tolerance(atol=1e-4, rtol=1e-4, peak=1e-5, why="detections are compared as sets")


@dataclass(frozen=True, kw_only=True)
class DetectorRequest:
    """What to export.

    Attributes:
        config: name of one of mmdet's configurations, or a file.
        shape: batch, channels, height and width of the input.
        checkpoint: trained weights; None keeps random ones, seeded.
        execute: run the configuration's file, see ``exporters.mmdet.configs``.
        batched: leave the number of images open.
        partial: accept a checkpoint that lacks weights or has others.
        opset: of the graph.
    """

    config: str
    shape: tuple[int, int, int, int]
    checkpoint: Path | None = None
    execute: bool = False
    batched: bool = False
    partial: bool = False
    opset: int = 11

    def __post_init__(self) -> None:
        batch, channels, *size = self.shape
        if batch != 1 or channels != 3 or min(size) < 1:
            raise UsageError(
                f"the shape is {','.join(map(str, self.shape))}; give 1,3,HEIGHT,WIDTH"
                + (" and --dynamic-batch for more images" if batch > 1 else "")
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[2], self.shape[3]


def build_detector(
    config: str,
    size: tuple[int, int],
    *,
    changes: Mapping[str, Any] | None = None,
    execute: bool = False,
    batched: bool = False,
    order: Sequence[str] = ("dets", "labels"),
) -> "torch.nn.Module":
    """Return a detector as it is exported, with random weights.

    Its attribute ``model`` is mmdet's own, ``rows`` the number of detections (None: it varies), and
    ``settings`` what an export records of it.

    Args:
        config: name or file of the configuration.
        size: height and width of the input.
        changes: settings of the network by dotted name, e.g. ``{"bbox_head.norm_cfg": None}``.
        execute: run the configuration's file.
        batched: see ``exporters.mmdet.detector``.
        order: as there.

    Raises:
        UsageError: there is no such configuration, or it cannot be read.
        ExportError: a part of it is not exported.
        MissingBackendError: mmdet is not installed.
    """
    from graphopt.exporters.mmdet.configs import needed, read_config
    from graphopt.exporters.mmdet.detector import exportable
    from graphopt.exporters.mmdet.mmcv_ops import use_mmcv_operators
    from graphopt.exporters.mmdet.packages import STUMBLES, brief, mmdet_packages, quiet

    settings = needed(read_config(config, execute=execute), "model", config)
    for name, value in (changes or {}).items():
        *path, last = name.split(".")
        place = settings
        for part in path:
            place = place[part]
        place[last] = value
    divisor = int((settings.get("data_preprocessor") or {}).get("pad_size_divisor") or 1)
    with redirect_stdout(sys.stderr), quiet():
        model = mmdet_packages().build(_untrained(settings))
        try:
            module: Any = exportable(model, size, batched=batched, order=order)
        except STUMBLES as error:
            given = "x".join(map(str, size))
            fitting = _next_size(divisor, size)
            advice = f"; its inputs are multiples of {divisor}: try {fitting}" if fitting != given else ""
            raise ExportError(
                f"{config} cannot be run with an input of {given}: {brief(error)}{advice}"
            ) from error
    module.settings = {"config": config, "mmcv_operators": use_mmcv_operators(), "divisor": divisor}
    found: torch.nn.Module = module
    return found


def load_detector_weights(
    module: "torch.nn.Module", checkpoint: Path, *, partial: bool = False
) -> Mapping[str, Any]:
    """Read a checkpoint into what ``build_detector`` made and return its meta data.

    Raises:
        CheckpointError: it cannot be read or does not fit.
    """
    from graphopt.exporters.checkpoint import read_checkpoint
    from graphopt.exporters.mmdet.weights import load_detector

    content = read_checkpoint(checkpoint)
    load_detector(module.model, content, partial=partial)
    return content.meta


def export_detector(
    request: DetectorRequest,
    folder: Path,
    *,
    data: Path | None = None,
    force: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Artefact:
    """Write the bundle of a detector of mmdet.

    Its recipe is ``mmdet:CONFIG:HxW``, by which all verbs know how to go on; there is none where the
    configuration had to be run, prepares images in a way of its own, or the batch is open.

    Args:
        request: what to export.
        folder: of the bundle.
        data: golden inputs: ``.npz``, or a data set folder where there is a recipe; None draws two scenes,
            or makes up two inputs where there is none.
        force: replace an existing folder.
        on_progress: told what is being done.

    Raises:
        UsageError: the configuration or the data makes no sense.
        CheckpointError: the checkpoint cannot be read or does not fit.
        ExportError: the detector is not exported, or its graph answers differently.
        OutputError: the folder exists without ``force``, or cannot be written.
        MissingBackendError: mmdet is not installed.
    """
    from graphopt.exporters.bundle import write_bundle
    from graphopt.exporters.mmdet.mmcv_ops import use_mmcv_operators

    say = on_progress or Silent().say
    check_free(folder, force=force)
    recipe = _recipe_of(request)
    say("importing mmdet")
    use_mmcv_operators()
    say(f"building {request.config}")
    module: Any = build_detector(
        request.config, request.size, execute=request.execute, batched=request.batched
    )
    warn_of_odd_size(int(module.settings["divisor"]), *request.size)
    sha256 = ""
    if request.checkpoint is not None:
        say(f"reading {request.checkpoint}")
        load_detector_weights(module, request.checkpoint, partial=request.partial)
        sha256 = sha256_of(request.checkpoint)
    else:
        _LOGGER.warning("no checkpoint: the weights are random, the detections mean nothing")
    first: Dim = _BATCH if request.batched else 1
    inputs = (TensorSpec(name="input", shape=(first, 3, *request.size), dtype="float32", layout="NCHW"),)
    if recipe is not None and recipe.outputs[0].shape[0] != (module.rows or recipe.outputs[0].shape[0]):
        recipe = None  # an input so small that there are fewer candidates than detections
    feeds = drawn_feeds(recipe, _SAMPLES) if recipe is not None and data is None else None
    samples = (feeds or feeds_for(inputs, data=data, recipe=recipe, count=_SAMPLES)).samples
    say("exporting")
    with redirect_stdout(sys.stderr):
        return write_bundle(
            folder,
            module=module,
            inputs=inputs,
            outputs=detector_outputs(module, batched=request.batched),
            samples=samples,
            recipe=recipe.name if recipe else "",
            opset=request.opset,
            checkpoint_sha256=sha256,
            force=force,
            tolerance=_TOLERANCE,
            fixed_sizes=True,
            settings=module.settings,
        )


def warn_of_odd_size(divisor: int, height: int, width: int) -> None:
    """Log that mmdet itself would not give such an input to a network."""
    above = _next_size(divisor, (height, width))
    if above == f"{height}x{width}":
        return
    _LOGGER.warning(
        "mmdet pads images to multiples of %d, and %dx%d is none: results at the lower and right border "
        "differ from its own; %s is the next",
        divisor,
        height,
        width,
        above,
    )


def _recipe_of(request: DetectorRequest) -> Recipe | None:
    if request.execute or request.batched:
        return None
    height, width = request.size
    try:
        return find_recipe(f"mmdet:{request.config}:{height}x{width}")
    except UsageError as error:
        _LOGGER.info("no recipe: %s", error)
        return None


def detector_outputs(module: "torch.nn.Module", *, batched: bool = False) -> tuple[TensorSpec, ...]:
    """Return what a detector made by ``build_detector`` answers."""
    front: tuple[Dim, ...] = (_BATCH,) if batched else ()
    found: Any = module.rows
    rows: Dim = "detections" if found is None else found
    unit = "x1, y1, x2, y2 in pixels of the input, then score"
    return (
        TensorSpec(name="dets", shape=(*front, rows, 5), dtype="float32", unit=unit, role="dets"),
        TensorSpec(name="labels", shape=(*front, rows), dtype="int64", unit="class", role="labels"),
    )


def _next_size(divisor: int, size: tuple[int, int]) -> str:
    return "x".join(str(-(-side // divisor) * divisor) for side in size)


def _untrained(settings: Any) -> Any:
    """Return the settings without weights that mmdet would fetch from the network."""
    if isinstance(settings, dict):
        return {key: _untrained(value) for key, value in settings.items() if key not in _FETCHED}
    if isinstance(settings, (list, tuple)):
        return type(settings)(map(_untrained, settings))
    return settings
