"""Save a model that was made from others: checked, with its sidecar, whole or not at all."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import InvalidModelError
from graphopt.core.files import sha256_of
from graphopt.core.onnx_files import StagedModel, atomic_model, check_model_file, input_specs, output_specs
from graphopt.core.tensors import TensorSpec

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def checked_model(
    model: ir.Model, output: Path, *, sources: Sequence[Path], force: bool
) -> Iterator[StagedModel]:
    """Write ``model`` beside its place and check it; it gets there when the block ends well.

    What the checker has against a source too is logged and no reason to refuse the result.

    Raises:
        OutputError: it cannot be written.
        InvalidModelError: the checker refuses it, and none of the sources.
    """
    with atomic_model(output, force=force, inputs=tuple(sources)) as staged:
        staged.write(model)
        if complaint := check_model_file(staged.path):
            reason = " ".join(complaint.split())[:300]
            if not any(check_model_file(source) for source in sources):
                raise InvalidModelError(f"the ONNX checker refuses the result: {reason}; nothing was written")
            _log.warning("the ONNX checker refuses the result, and a source too: %s", reason)
        yield staged


def save_sidecar(
    model: ir.Model,
    output: Path,
    *,
    parent_sha256: str,
    settings: Mapping[str, Any],
    roles: Mapping[str, TensorSpec],
) -> Artefact:
    """Write the sidecar of a saved model and return what it says.

    Args:
        model: what stands at ``output``.
        output: the file.
        parent_sha256: of the (first) source.
        settings: what was asked for.
        roles: tensor name -> what is known of its layout, unit and role.
    """
    inputs = tuple(_described(spec, roles) for spec in input_specs(model))
    outputs = tuple(_described(spec, roles) for spec in output_specs(model))
    first = inputs[0].shape[0] if inputs and inputs[0].shape else None
    artefact = Artefact(
        path=output,
        stage="rewritten",
        target="onnx",
        sha256=sha256_of(output),
        inputs=inputs,
        outputs=outputs,
        batch=first if isinstance(first, int) else None,
        parent_sha256=parent_sha256,
        settings=dict(settings),
    )
    artefact.save()
    return artefact


def roles_of(path: Path) -> dict[str, TensorSpec]:
    """Return what the sidecar of a model file says about its inputs and outputs, by name."""
    known = Artefact.load(path)
    return {} if known is None else {spec.name: spec for spec in (*known.inputs, *known.outputs)}


def _described(spec: TensorSpec, roles: Mapping[str, TensorSpec]) -> TensorSpec:
    old = roles.get(spec.name)
    return spec if old is None else dataclasses.replace(spec, layout=old.layout, unit=old.unit, role=old.role)
