"""Export any network of a user: his file, the shapes of its inputs, and nothing else."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphopt.core.artefacts import Artefact
from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import ExportError, UsageError
from graphopt.core.files import check_free, sha256_of
from graphopt.core.optional import require
from graphopt.core.samples import structured_feeds
from graphopt.core.tensors import Array, Dim, TensorSpec
from graphopt.recipes.module_request import ModuleRequest
from graphopt.recipes.progress import Silent
from graphopt.recipes.samples import feeds_for

if TYPE_CHECKING:
    import torch

_SEEDS = (0, 1)
_NEWER = re.compile(r"operator '([^']+)'.*?opset version (\d+) is not supported(?:.*?version (\d+))?")


def export_user_module(
    request: ModuleRequest,
    folder: Path,
    *,
    data: Path | None = None,
    force: bool = False,
    on_progress: Callable[[str], None] | None = None,
) -> Artefact:
    """Run a user's code, and write the bundle of the network that it makes.

    Args:
        request: what to export.
        folder: of the bundle.
        data: ``.npz`` with golden inputs; None makes up two, integers from 0 to 7.
        force: replace an existing folder.
        on_progress: told what is being done.

    Raises:
        UsageError: the file, the name, a shape, a dtype or an axis makes no sense.
        ExportError: the user's code fails, on the lines named, or torch cannot export it.
        CheckpointError: the checkpoint cannot be read or does not fit.
        OutputError: the folder exists without ``force``, or cannot be written.
        MissingBackendError: torch is not installed.
    """
    require("torch", extra="torch", purpose=f"exporting {request.file}")
    from graphopt.exporters.bundle import write_bundle
    from graphopt.exporters.flat_answers import flat_answers
    from graphopt.exporters.user_module import user_message, user_module

    say = on_progress or Silent().say
    check_free(folder, force=force)
    say(f"running {request.file}")
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # what the user's code prints is no result
        module = stack.enter_context(user_module(request.file, request.build))
        sha256 = _load_weights(module, request)
        inputs = _inputs(module, request)
        say("running the network")
        samples = _samples(inputs, request, data)
        made_up = data is None and not all(spec.dtype.startswith("float") for spec in inputs)
        note = "; integers were made up, see --data" if made_up else ""
        run = partial(_answers, module, request.file, note)
        outputs = _outputs(run, inputs, samples[0])
        stack.enter_context(flat_answers(module))
        say("exporting")
        try:
            return write_bundle(
                folder,
                module=module,
                inputs=inputs,
                outputs=outputs,
                samples=samples,
                recipe="",
                opset=request.opset,
                checkpoint_sha256=sha256,
                force=force,
                settings=_settings(request),
            )
        except ExportError as error:
            if error.__cause__ is None:
                raise
            if match := _NEWER.search(str(error)):
                raise ExportError(_unsupported(match, request)) from error
            what = f"the export of {request.file}:{request.build}"
            raise ExportError(user_message(request.file, what, error.__cause__)) from error


def _load_weights(module: "torch.nn.Module", request: ModuleRequest) -> str:
    if request.checkpoint is None:
        return ""
    from graphopt.exporters import load_into, read_checkpoint

    load_into(module, read_checkpoint(request.checkpoint), key=request.key)
    return sha256_of(request.checkpoint)


def _inputs(module: "torch.nn.Module", request: ModuleRequest) -> tuple[TensorSpec, ...]:
    """Return the inputs in the order of ``forward``, with the sizes that were given."""
    specs = {
        name: TensorSpec(
            name=name, shape=_dims(name, shape, request), dtype=request.dtypes.get(name, "float32")
        )
        for name, shape in request.shapes.items()
    }
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [
        item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
    ]
    known = [item.name for item in positional]
    text = f"forward of {type(module).__name__} takes {', '.join(known) or 'nothing'}"
    open_end = any(item.kind is item.VAR_POSITIONAL for item in parameters)
    if not specs:
        raise UsageError(f"{text}: give the shape of each, e.g. --shape {(known or ['x'])[0]}=1x3x224x224")
    if len(specs) > len(known) and not open_end:
        raise UsageError(f"{text}: {len(specs)} shapes are too many")
    if unknown := [name for name in specs if name not in known]:
        if len(unknown) < len(specs) and not open_end:  # then the others' places say nothing about theirs
            raise UsageError(f"{text}, not {unknown[0]}; {did_you_mean(unknown[0], known)}")
        needed = [item.name for item in positional if item.default is item.empty]
        if len(specs) < len(needed):
            raise UsageError(f"{text}: give --shape for {', '.join(needed)}")
        return tuple(specs.values())  # names of the user's own, by position
    last = max(known.index(name) for name in specs)
    missing = [
        item.name
        for index, item in enumerate(positional)
        if item.name not in specs and (index < last or item.default is item.empty)
    ]
    if missing:
        raise UsageError(f"{text}: --shape is missing for {', '.join(missing)}")
    return tuple(specs[name] for name in known if name in specs)


def _dims(name: str, shape: tuple[int, ...], request: ModuleRequest) -> tuple[Dim, ...]:
    names = request.dynamic.get(name, {})
    return tuple(names.get(axis, size) for axis, size in enumerate(shape))


def _outputs(
    run: Callable[[Mapping[str, Array]], dict[str, Array]],
    inputs: tuple[TensorSpec, ...],
    sample: Mapping[str, Array],
) -> tuple[TensorSpec, ...]:
    """Run the network once, and once more per open size with twice that size: what follows is open, too."""
    feeds = {spec.name: sample[spec.name] for spec in inputs}  # in the order of forward
    sizes = _open_sizes(inputs, feeds)
    plain = run(feeds)
    shapes: dict[str, list[Dim]] = {name: list(array.shape) for name, array in plain.items()}
    for symbol, size in sizes.items():
        what = f"with {symbol} = {2 * size} instead of {size}"
        other = run(_doubled(inputs, feeds, symbol))
        if list(other) != list(plain):
            raise ExportError(f"{what}, the network has other outputs: {symbol} cannot stay open")
        for name, array in other.items():
            if array.ndim != plain[name].ndim:
                raise ExportError(f"{what}, output {name} has another rank: {symbol} cannot stay open")
            for axis, (now, then) in enumerate(zip(array.shape, plain[name].shape, strict=True)):
                if now != then:
                    shapes[name][axis] = symbol if (then, now) == (size, 2 * size) else f"{name}_{axis}"
    taken = {spec.name for spec in inputs}
    return tuple(
        TensorSpec(
            name=f"{name}_out" if name in taken else name, shape=tuple(shapes[name]), dtype=str(array.dtype)
        )
        for name, array in plain.items()
    )


def _open_sizes(inputs: tuple[TensorSpec, ...], feeds: Mapping[str, Array]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for spec in inputs:
        for dim, size in zip(spec.shape, feeds[spec.name].shape, strict=True):
            if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
                raise UsageError(
                    f"{dim} is {sizes[dim]} in one input and {size} in {spec.name}; one name is one size"
                )
    return sizes


def _doubled(inputs: tuple[TensorSpec, ...], feeds: Mapping[str, Array], symbol: str) -> dict[str, Array]:
    doubled = dict(feeds)
    for spec in inputs:
        for axis in (axis for axis, dim in enumerate(spec.shape) if dim == symbol):
            doubled[spec.name] = np.concatenate([doubled[spec.name]] * 2, axis=axis)
    return doubled


def _answers(
    module: "torch.nn.Module", file: Path, note: str, feeds: Mapping[str, Array]
) -> dict[str, Array]:
    torch: Any = require("torch", extra="torch", purpose="running a network")
    from graphopt.exporters.flat_answers import named_answers
    from graphopt.exporters.torch_session import evaluating
    from graphopt.exporters.user_module import naming_user_lines

    given = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in feeds.items())
    what = f"forward of {type(module).__name__} on {given}{note}"
    with evaluating(module), naming_user_lines(file, what):
        answer = named_answers(module(*(torch.from_numpy(np.array(array)) for array in feeds.values())))
        return {name: np.asarray(value.numpy()) for name, value in answer.items()}


def _samples(
    inputs: tuple[TensorSpec, ...], request: ModuleRequest, data: Path | None
) -> tuple[Mapping[str, Array], ...]:
    if data is not None:
        return feeds_for(inputs, data=data, count=len(_SEEDS)).samples
    given = tuple(replace(spec, shape=request.shapes[spec.name]) for spec in inputs)
    return tuple(structured_feeds(given, seed=seed) for seed in _SEEDS)


def _settings(request: ModuleRequest) -> dict[str, Any]:
    return {
        "module": {
            "file": request.file.name,
            "sha256": sha256_of(request.file),
            "build": request.build,
            "checkpoint": request.checkpoint.name if request.checkpoint else "",
        }
    }


def _unsupported(match: re.Match[str], request: ModuleRequest) -> str:
    name, opset, newer = match.groups()
    hint = (
        f"it can at opset {newer}: --opset {newer}, if the target takes that"
        if newer
        else "write it with other operators, or try a newer --opset"
    )
    return f"{request.file}:{request.build}: torch cannot export {name} at opset {opset}; {hint}"
