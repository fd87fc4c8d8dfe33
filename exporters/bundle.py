"""The folder an export leaves: the model, what the original network answers, and where it came from."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

import graphopt
from graphopt.core.artefacts import Artefact
from graphopt.core.comparison import FLOAT32_REORDERED, Tolerance
from graphopt.core.errors import UsageError
from graphopt.core.files import atomic_folder, sha256_of, write_json
from graphopt.core.golden import GOLDEN_FILE, write_golden
from graphopt.core.lineage import stamp_model
from graphopt.core.onnx_files import load_model, save_model
from graphopt.core.optional import require
from graphopt.core.tensors import Array, TensorSpec
from graphopt.exporters.legacy_torch16 import to_torch16_form
from graphopt.exporters.proof import prove_export
from graphopt.exporters.torch_export import export_module
from graphopt.exporters.torch_session import TorchSession

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
MANIFEST_VERSION = 1
_EXPORTED_FILE = "exported.onnx"


def write_bundle(
    folder: Path,
    *,
    module: "torch.nn.Module",
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    samples: Sequence[Mapping[str, Array]],
    recipe: str,
    opset: int,
    checkpoint_sha256: str,
    force: bool,
    legacy_torch16: bool = False,
    tolerance: Tolerance = FLOAT32_REORDERED,
    settings: Mapping[str, Any] | None = None,
    fixed_sizes: bool = False,
) -> Artefact:
    """Export a network with proof: the file is run on the samples and must answer as the network.

    The folder holds ``model.onnx`` with its sidecar, ``golden.npz`` (samples and the network's own
    answers, see ``graphopt.core.golden``) and ``manifest.json``. It appears whole or not at all.

    Args:
        folder: of the bundle.
        module: the network with its weights.
        inputs: of the graph, in the order of ``forward``; sizes given as names stay open.
        outputs: of the graph, in order.
        samples: at least one set of inputs, each with its batch axis.
        recipe: name of the recipe.
        opset: of the graph.
        checkpoint_sha256: of the file the weights came from; empty when there was none.
        force: replace an existing folder.
        legacy_torch16: write the graph in the form of torch 1.6, for demonstrations.
        tolerance: of the exported graph against the network.
        settings: what else to record of the export, as plain data.
        fixed_sizes: see ``export_module``.

    Raises:
        UsageError: there are no samples, or they do not fit ``inputs``.
        ExportError: the export failed, is not what was asked for, or answers differently.
        OutputError: the folder exists without ``force``, or cannot be written.
    """
    if not samples:
        raise UsageError("a bundle needs at least one sample of inputs")
    with atomic_folder(folder, force=force) as scratch:
        model = scratch / MODEL_FILE
        original = TorchSession(module, inputs, outputs)
        golden = [(sample, original.run(sample)) for sample in samples]
        exported = _export(module, scratch, inputs, outputs, samples[0], opset=opset, fixed_sizes=fixed_sizes)
        if legacy_torch16:
            to_torch16_form(exported)
        stamp_model(exported, recipe=recipe, parent_sha256=checkpoint_sha256, steps=())
        save_model(exported, model, force=False)
        (scratch / _EXPORTED_FILE).unlink()
        prove_export(model, original, golden, tolerance)
        write_golden(scratch / GOLDEN_FILE, golden, force=False)
        recorded = {"opset": opset, "exporter": "torchscript", "torch16_form": legacy_torch16}
        artefact = Artefact(
            path=model,
            stage="raw",
            target="onnx",
            sha256=sha256_of(model),
            recipe=recipe,
            inputs=inputs,
            outputs=outputs,
            batch=_fixed_batch(inputs),
            parent_sha256=checkpoint_sha256,
            settings=recorded | dict(settings or {}),
        )
        artefact.save()
        _write_manifest(scratch, artefact, len(golden))
    return replace(artefact, path=folder / MODEL_FILE)


def _export(
    module: "torch.nn.Module",
    folder: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    sample: Mapping[str, Array],
    *,
    opset: int,
    fixed_sizes: bool,
) -> ir.Model:
    axes = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in (*inputs, *outputs)
        if not spec.is_static
    }
    feeds = {spec.name: sample[spec.name] for spec in inputs}
    names = [spec.name for spec in outputs]
    path = folder / _EXPORTED_FILE
    export_module(
        module,
        feeds,
        names,
        path,
        opset=opset,
        dynamic_axes=axes,
        known_sizes={spec.name: spec.shape for spec in outputs},
        fixed_sizes=fixed_sizes,
        keep_batchnorm=True,  # fusing them is a pass's work, where it is proven and recorded
    )
    return load_model(path)


def _fixed_batch(inputs: tuple[TensorSpec, ...]) -> int | None:
    first = inputs[0].shape[0] if inputs and inputs[0].shape else None
    return first if isinstance(first, int) else None


def _write_manifest(folder: Path, artefact: Artefact, samples: int) -> None:
    names = ("torch", "onnx", "onnxruntime", "numpy")
    modules = {name: require(name, extra="torch", purpose="exporting a network") for name in names}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    content = {
        "manifest_version": MANIFEST_VERSION,
        "recipe": artefact.recipe,
        "checkpoint_sha256": artefact.parent_sha256,
        "settings": artefact.settings,
        "inputs": [_plain(spec) for spec in artefact.inputs],
        "outputs": [_plain(spec) for spec in artefact.outputs],
        "golden_samples": samples,
        "versions": {
            "graphopt": graphopt.__version__,
            "python": platform.python_version(),
            **{name: str(module.__version__) for name, module in modules.items()},
        },
        "files": {path.name: sha256_of(path) for path in files},
    }
    write_json(folder / MANIFEST_FILE, content)


def _plain(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype, "role": spec.role}
