"""From a request to a delivered artefact: what is asked for, where it is made, what it is."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import UsageError
from graphopt.core.files import sha256_of
from graphopt.core.tensors import TensorSpec


def check_request(
    model: Path,
    found: tuple[TensorSpec, ...],
    wanted: tuple[TensorSpec, ...],
    *,
    kind: str,
) -> None:
    """Raise ``UsageError`` unless every wanted input (or output, see ``kind``) exists as asked for.

    Args:
        model: for the message.
        found: what the graph has.
        wanted: what the caller asks for; empty: nothing in particular. A size that is not an
            int asks for nothing.
        kind: ``"input"`` or ``"output"``.
    """
    by_name = {spec.name: spec for spec in found}
    for spec in wanted:
        if spec.name not in by_name:
            raise UsageError(f"{model} has no {kind} {spec.name}; it has {', '.join(by_name)}")
        have = by_name[spec.name].shape
        asked = [(want, got) for want, got in zip(spec.shape, have, strict=False) if isinstance(want, int)]
        if len(spec.shape) != len(have) or any(want != got for want, got in asked):
            raise UsageError(
                f"{kind} {spec.name} of {model} is {by_name[spec.name].shape_text}, not {spec.shape_text}; "
                "this target compiles a graph as it is: set the shape first (passes static_shapes, set_batch)"
            )


def compiled_artefact(
    model: Path,
    output: Path,
    *,
    target: str,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    recipe: str,
    parent: Artefact | None,
    settings: Mapping[str, Any],
    stage: str = "compiled",
    soc: str = "",
) -> Artefact:
    """Describe ``output``, made from ``model``, and save its sidecar.

    Args:
        model: the ONNX file it was made from.
        output: the finished file.
        target: name of the target.
        inputs: names, shapes and dtypes as compiled.
        outputs: as ``inputs``.
        recipe: empty: the parent's.
        parent: what ``model`` is; None: read from its sidecar. Roles and units come from there.
        settings: what was asked for, plain data.
        stage: of the artefact.
        soc: chip it was built for.
    """
    parent = parent or Artefact.load(model)
    artefact = Artefact(
        path=output,
        stage=stage,
        target=target,
        sha256=sha256_of(output),
        recipe=recipe or (parent.recipe if parent else ""),
        inputs=_with_roles(inputs, parent.inputs if parent else ()),
        outputs=_with_roles(outputs, parent.outputs if parent else ()),
        batch=_fixed_batch(inputs),
        soc=soc,
        parent_sha256=sha256_of(model),
        settings=dict(settings),
    )
    artefact.save()
    return artefact


def unwritable(folder: Path, error: Exception) -> str:
    """Return the message for a native library that could not write into ``folder``."""
    free = shutil.disk_usage(folder).free
    return (
        f"the result could not be written into {folder} ({error}); {free >> 20} MiB are free there: "
        "free some space, or choose another place with -o"
    )


@contextlib.contextmanager
def work_folder(temporary: Path) -> Iterator[Path]:
    """Make a folder beside ``temporary`` for tools that write several files; it is removed after.

    Args:
        temporary: what ``core.files.atomic_file`` yielded. The folder's name follows the same
            rule, so that the next write to the same place also clears it after a kill.
    """
    folder = temporary.with_name(f"{temporary.name.removesuffix('.tmp')}work.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_roles(found: tuple[TensorSpec, ...], known: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    by_name = {spec.name: spec for spec in known}
    return tuple(
        dataclasses.replace(spec, layout=source.layout, unit=source.unit, role=source.role)
        if (source := by_name.get(spec.name)) is not None
        else spec
        for spec in found
    )


def _fixed_batch(inputs: tuple[TensorSpec, ...]) -> int | None:
    sizes = {spec.shape[0] for spec in inputs if spec.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None
