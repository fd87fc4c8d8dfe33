"""Write the folder for the device box: models, golden tensors, inputs, and the one-file runner."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.core.comparison import Tolerance
from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.files import atomic_folder, sha256_of
from graphopt.core.preprocessing import Step
from graphopt.core.tensors import Array, TensorSpec
from graphopt.runtime import device_runner
from graphopt.runtime.prepare import INDEX_NAME, PreparedInputs
from graphopt.runtime.preprocess import steps_to_json

GoldenSample = tuple[Mapping[str, Array], Mapping[str, Array]]
"""Feeds and outputs of one run, by name, with the batch axis."""

RUNNER_NAME = "device_runner.py"
GOLDEN_NAME = "golden.npz"
PREPARED_FOLDER = "inputs"


@dataclass(frozen=True, kw_only=True)
class BundleModel:
    """A model of the bundle.

    Attributes:
        backend: ``acl`` or ``onnxruntime``.
        name: file name inside the bundle.
        path: the file to copy; None when it is compiled on the box, by a script in the bundle.
        tolerance: allowed difference from the golden outputs.
        agreement: where the tolerance is exceeded: the share of pixels that must keep their class (outputs
            with role ``masks``), or of detections that must be found again (roles ``dets`` and ``labels``);
            None leaves it to the tolerance.
    """

    backend: str
    name: str
    path: Path | None
    tolerance: Tolerance
    agreement: float | None = None


def write_bundle(
    folder: Path,
    *,
    name: str,
    models: Sequence[BundleModel],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    batch: int,
    golden: Sequence[GoldenSample],
    steps: Sequence[Step],
    prepared: PreparedInputs | None = None,
    scripts: Sequence[Path] = (),
    force: bool = False,
) -> Path:
    """Write a bundle; it appears whole or not at all.

    Args:
        folder: to write; with ``force`` an old one is replaced.
        name: of the recipe.
        models: one per backend.
        inputs: of the model; a free first size becomes ``batch``.
        outputs: as ``inputs``; one without the batch as first size is per run, for a batch of 1.
        batch: rows per run of the compiled model.
        golden: recorded from the module that was exported.
        steps: preprocessing, as information for people.
        prepared: inputs to take along (linked where the file system allows, else copied).
        scripts: further files, such as the one that compiles the model.
        force: replace an existing folder.

    Returns:
        The path of ``bundle.json``.

    Raises:
        UsageError: two models for a backend, or an output that a batch cannot split.
        DatasetError: the golden tensors do not fit.
        OutputError: the folder exists, or cannot be written.
    """
    if not models or len({model.backend for model in models}) != len(models):
        raise UsageError("a bundle takes one model per backend, at least one")
    batched = [_is_batched(spec, batch) for spec in outputs]
    arrays = _golden_arrays(inputs, outputs, batched, golden)
    content = {
        "bundle_version": device_runner.BUNDLE_VERSION,
        "name": name,
        "batch": batch,
        "models": [
            {
                "backend": model.backend,
                "file": model.name,
                "sha256": sha256_of(model.path) if model.path is not None else "",
            }
            for model in models
        ],
        "inputs": [_spec(spec, batch, batched=True) for spec in inputs],
        "outputs": [
            {**_spec(spec, batch, batched=rows), "role": spec.role, "batched": rows}
            for spec, rows in zip(outputs, batched, strict=True)
        ],
        "golden": GOLDEN_NAME,
        "tolerance": {model.backend: _bounds(model) for model in models},
        "prepared": f"{PREPARED_FOLDER}/{INDEX_NAME}" if prepared is not None else None,
        "preprocessing": steps_to_json(steps),
    }
    with atomic_folder(folder, force=force) as temporary:
        for model in models:
            if model.path is not None:
                shutil.copyfile(model.path, temporary / model.name)
        for script in scripts:
            shutil.copy(script, temporary / script.name)
        with (temporary / GOLDEN_NAME).open("wb") as stream:
            np.savez(stream, **arrays)
        if prepared is not None:
            shutil.copytree(prepared.folder, temporary / PREPARED_FOLDER, copy_function=_link_or_copy)
        shutil.copyfile(str(device_runner.__file__), temporary / RUNNER_NAME)
        text = json.dumps(content, indent=1) + "\n"
        (temporary / "bundle.json").write_text(text, encoding="utf-8")
    return folder / "bundle.json"


def _is_batched(spec: TensorSpec, batch: int) -> bool:
    if spec.shape and (spec.shape[0] == batch or not isinstance(spec.shape[0], int)):
        return True
    if batch != 1:
        raise UsageError(f"output {spec.name} {spec.shape_text} has no axis of the batch size {batch}")
    return False


def _spec(spec: TensorSpec, batch: int, *, batched: bool) -> dict[str, Any]:
    shape = [batch, *spec.shape[1:]] if batched else list(spec.shape)
    free = [dim for dim in shape if not isinstance(dim, int)]
    if free:
        raise UsageError(f"{spec.name} {spec.shape_text} has free sizes; a device needs fixed ones")
    return {"name": spec.name, "shape": shape, "dtype": spec.dtype}


def _bounds(model: BundleModel) -> dict[str, Any]:
    allowed = model.tolerance
    bounds = {"atol": allowed.atol, "rtol": allowed.rtol, "peak": allowed.peak, "why": allowed.why}
    return bounds if model.agreement is None else {**bounds, "agreement": model.agreement}


def _golden_arrays(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    batched: Sequence[bool],
    golden: Sequence[GoldenSample],
) -> dict[str, Any]:
    """Return one row per sample: ``input_0``, ..., ``output_0``, ... (numbered, for any names)."""
    if not golden:
        raise DatasetError("a bundle needs golden inputs and outputs; export the model again")
    try:
        arrays = {
            f"input_{i}": np.concatenate([feeds[spec.name] for feeds, _ in golden])
            for i, spec in enumerate(inputs)
        }
        for i, (spec, rows) in enumerate(zip(outputs, batched, strict=True)):
            values = [results[spec.name] for _, results in golden]
            arrays[f"output_{i}"] = np.concatenate(values) if rows else np.stack(values)
    except KeyError as error:
        raise DatasetError(f"the golden tensors lack {error}; export the model again") from error
    except ValueError as error:
        raise DatasetError(f"the golden tensors do not fit each other: {error}") from error
    lengths = {name: len(value) for name, value in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise DatasetError(f"the golden tensors have different numbers of samples: {lengths}")
    return arrays


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return target
