"""Run models in onnxruntime, optimisation off, in a process of their own."""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphopt.core import child
from graphopt.core.errors import GraphoptError
from graphopt.core.onnx_files import load_model
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.engine.feeds import Feeds, split_feed
from graphopt.surgery.engine.lean_model import LeanModel, lean_model, runtime_values

TIMEOUT_S = 3600.0
_REASON_LENGTH = 300


@dataclass(frozen=True)
class Run:
    """What a model answered.

    Attributes:
        outputs: one mapping per feed; empty when it failed.
        error: why it did not run, in one line; empty when it did.
    """

    outputs: tuple[dict[str, Array], ...] = ()
    error: str = ""


def runner() -> contextlib.AbstractContextManager[child.Child]:
    """Start a process for a later ``run_models``; it is killed when the block ends."""
    return child.started(__name__, "onnxruntime")


def run_models(
    models: Sequence[LeanModel], feeds: Sequence[Feeds], folder: Path, *, waiting: child.Child | None = None
) -> tuple[Run, ...]:
    """Run each model on each feed; a model that fails or crashes yields its reason instead.

    Args:
        models: one at a time is in memory.
        feeds: inputs of all of them.
        folder: where ``lean_model`` spilled weights to.
        waiting: a process of ``runner``; used once.

    Raises:
        MissingBackendError: onnxruntime is not installed.
    """
    try:
        return child.call(
            _run_all,
            tuple(models),
            tuple(feeds),
            str(folder),
            timeout_s=TIMEOUT_S * len(models),
            waiting=waiting,
        )
    except child.ChildCrashed as error:
        if len(models) == 1:
            return (Run(error=one_line(str(error))),)
    # Which of them killed the process?
    return tuple(run for model in models for run in run_models([model], feeds, folder))


def run_files(paths: Sequence[Path], feeds: Sequence[Feeds]) -> tuple[Run, ...]:
    """Run each file on each feed, as ``run_models`` does.

    Raises:
        MissingBackendError: onnxruntime is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="graphopt-") as name:
        folder = Path(name)
        models = [lean_model(load_model(path), folder / f"weights-{i}") for i, path in enumerate(paths)]
        return run_models(models, feeds, folder)


def one_line(text: str) -> str:
    """Return a message of native code as one line of bounded length: what it says, not where in the C++."""
    text = text.split("==>")[0]  # where the checker begins to print its context
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = " ".join(lines[:2]).rstrip(". :")
    return line if len(line) <= _REASON_LENGTH else f"{line[: _REASON_LENGTH - 3]}..."


def _run_all(models: tuple[LeanModel, ...], feeds: tuple[Feeds, ...], folder: str) -> tuple[Run, ...]:
    with contextlib.chdir(folder):  # a model given as bytes names its data from here
        return tuple(_run_model(model, feeds) for model in models)


def _run_model(model: LeanModel, feeds: tuple[Feeds, ...]) -> Run:
    try:
        weights = runtime_values(model.weights)
        with OnnxRuntimeSession(model.structure, weights=weights, frugal=True) as session:
            return Run(outputs=tuple(_run_feed(session, feed) for feed in feeds))
    except GraphoptError as error:
        if error.exit_code == 3:
            raise
        return Run(error=one_line(str(error)))


def _run_feed(session: OnnxRuntimeSession, feed: Feeds) -> dict[str, Array]:
    answers = [session.run(piece) for piece in split_feed(session.inputs, feed)]
    if len(answers) == 1:
        return answers[0]
    # An output without a batch axis has one value per piece: stacked, it shows as another shape.
    return {name: np.concatenate([np.atleast_1d(answer[name]) for answer in answers]) for name in answers[0]}
