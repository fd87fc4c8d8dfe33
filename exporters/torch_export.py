"""From a module to an ONNX file that is what was asked for, by torch's TorchScript exporter.

The newer exporter of torch answers opset 18 whatever is asked, so it is not used.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import ExportError
from graphopt.core.files import atomic_file
from graphopt.core.onnx_files import input_specs, load_model, output_specs, write_model
from graphopt.core.operator_catalogue import strangers
from graphopt.core.optional import require
from graphopt.core.tensors import Array, Dim, TensorSpec
from graphopt.exporters.torch_session import evaluating

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

DynamicAxes = Mapping[str, Mapping[int, str]]
"""Tensor name to axis to the name of its size, e.g. ``{"image": {0: "batch"}}``."""


def export_module(
    module: "torch.nn.Module",
    feeds: Mapping[str, Array],
    output_names: Sequence[str],
    path: Path,
    *,
    opset: int = 11,
    dynamic_axes: DynamicAxes | None = None,
    known_sizes: Mapping[str, tuple[Dim, ...]] | None = None,
    keep_batchnorm: bool = False,
    fixed_sizes: bool = False,
    force: bool = False,
) -> None:
    """Write a module as ONNX and check that the file is what was asked for.

    The module is exported in eval mode; its modes, weights and gradients are as before afterwards.

    Args:
        module: takes the feeds by position; its method ``exporting``, where it has one, is a context manager
            under which it can be traced.
        feeds: one example per input, by the name it gets, in the order of ``forward``.
        output_names: what the outputs are called, in order.
        path: of the ONNX file.
        opset: of the default domain.
        dynamic_axes: sizes that stay open; all others are those of the feeds.
        known_sizes: shapes of outputs by name, recorded where torch cannot derive them (behind a Resize
            whose sizes are computed, for one).
        keep_batchnorm: keep batch norms as nodes, as old exporters did.
        fixed_sizes: the module takes sizes as constants on purpose, so torch need not warn of it.
        force: replace an existing file.

    Raises:
        ExportError: torch cannot export the module, or the file has another opset, other names or
            shapes than asked for.
        OutputError: the file exists without ``force``, or cannot be written.
        MissingBackendError: torch is not installed.
    """
    torch: Any = require("torch", extra="torch", purpose="exporting a network")
    axes = {name: dict(sizes) for name, sizes in (dynamic_axes or {}).items()}
    if unknown := sorted(set(axes) - {*feeds, *output_names}):
        raise ExportError(f"dynamic sizes are asked for {', '.join(unknown)}, which are no inputs or outputs")
    # Copies, because tracing runs the module and torch refuses read-only arrays.
    examples = tuple(torch.from_numpy(np.array(array)) for array in feeds.values())
    with (
        atomic_file(path, force=force) as temporary,
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=temporary.parent) as scratch,
    ):
        traced = Path(scratch) / "traced.onnx"
        own: Any = getattr(module, "exporting", contextlib.nullcontext)
        with evaluating(module), _quiet_stdout(), own(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                torch.onnx.export(
                    module,
                    examples,
                    str(traced),
                    dynamo=False,
                    opset_version=opset,
                    input_names=list(feeds),
                    output_names=list(output_names),
                    dynamic_axes=axes,
                    do_constant_folding=not keep_batchnorm,
                )
            except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
                # Its own errors are RuntimeErrors; odd networks make it stumble in any way.
                raise ExportError(f"torch cannot export {type(module).__name__}: {_brief(error)}") from error
        _log_warnings([] if fixed_sizes else caught, torch)
        model = load_model(traced)
        sized = _record_sizes(model, known_sizes or {})
        _check(model, feeds, output_names, opset, axes)
        if sized:
            write_model(model, temporary)
        else:
            traced.replace(temporary)


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Drop what native code prints: on errors torch prints the whole graph where results are expected."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere, contextlib.redirect_stdout(sys.stderr):
            os.dup2(nowhere.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _record_sizes(model: ir.Model, known: Mapping[str, tuple[Dim, ...]]) -> bool:
    """Put known sizes where an output has open ones; return whether there were any."""
    changed = False
    for value in model.graph.outputs:
        sizes = known.get(value.name or "")
        if value.shape is None or sizes is None or len(sizes) != len(value.shape):
            continue
        pairs = list(zip(value.shape, sizes, strict=True))
        if any(isinstance(size, int) and not isinstance(found, int) for found, size in pairs):
            value.shape = ir.Shape(
                size if isinstance(size, int) and not isinstance(found, int) else found
                for found, size in pairs
            )
            changed = True
    return changed


def _check(
    model: ir.Model, feeds: Mapping[str, Array], output_names: Sequence[str], opset: int, axes: DynamicAxes
) -> None:
    found = model.opset_imports.get("")
    if found != opset:
        raise ExportError(f"the export has opset {found}, asked for {opset}; use another torch version")
    if foreign := sorted({f"{node.domain}.{node.op_type}" for node in strangers(model)}):
        raise ExportError(
            f"the export has the operators {', '.join(foreign)}, which neither ONNX nor graphopt defines"
        )
    inputs, outputs = input_specs(model), output_specs(model)
    for side, specs, names in (("inputs", inputs, list(feeds)), ("outputs", outputs, list(output_names))):
        if [spec.name for spec in specs] != names:
            raise ExportError(f"the export has {side} {[spec.name for spec in specs]}, asked for {names}")
    for spec in inputs:
        _check_input(spec, feeds[spec.name], axes.get(spec.name, {}))
    for spec in outputs:
        _check_open_sizes(spec, axes.get(spec.name, {}))


def _check_input(spec: TensorSpec, example: Array, open_sizes: Mapping[int, str]) -> None:
    wanted = tuple(open_sizes.get(axis, size) for axis, size in enumerate(example.shape))
    if spec.shape != wanted or spec.dtype != str(example.dtype):
        raise ExportError(
            f"input {spec.name} of the export is {spec.dtype} {spec.shape_text}, "
            f"asked for {example.dtype} {list(wanted)}"
        )


def _check_open_sizes(spec: TensorSpec, open_sizes: Mapping[int, str]) -> None:
    for axis in range(len(spec.shape)):
        if (axis in open_sizes) == isinstance(spec.shape[axis], int):
            state = "fixed" if axis in open_sizes else "open"
            raise ExportError(
                f"output {spec.name} of the export is {spec.shape_text}: size {axis} must not be {state}"
            )


def _log_warnings(caught: list[warnings.WarningMessage], torch: Any) -> None:
    for warning in caught:
        # Of all that torch says here, only this is about the user's network.
        is_tracing = issubclass(warning.category, torch.jit.TracerWarning)
        text = _brief(warning.message)
        where = f"{Path(warning.filename).name}:{warning.lineno}"
        _log.log(logging.WARNING if is_tracing else logging.DEBUG, "torch, at %s: %s", where, text)


def _brief(message: object) -> str:
    return " ".join(str(message).split())[:400]
