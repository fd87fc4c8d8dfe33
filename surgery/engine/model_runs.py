"""Run model files in onnxruntime, optimisation off, in a process of their own."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphopt.core import child
from graphopt.core.errors import GraphoptError
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import Array
from graphopt.surgery.engine.feeds import Feeds, split_feed

TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Run:
    """What a model answered.

    Attributes:
        outputs: one mapping per feed; empty when it failed.
        error: why it did not run; empty when it did.
    """

    outputs: tuple[dict[str, Array], ...] = ()
    error: str = ""


def runner() -> contextlib.AbstractContextManager[child.Child]:
    """Start a process for a later ``run_files``; it is killed when the block ends."""
    return child.started(__name__, "onnxruntime")


def run_files(
    paths: Sequence[Path], feeds: Sequence[Feeds], *, waiting: child.Child | None = None
) -> tuple[Run, ...]:
    """Run each file on each feed; a model that fails or crashes yields its reason instead.

    Args:
        paths: the models.
        feeds: inputs of all of them.
        waiting: a process of ``runner``; used once.

    Raises:
        MissingBackendError: onnxruntime is not installed.
    """
    try:
        return child.call(
            _run_all, tuple(paths), tuple(feeds), timeout_s=TIMEOUT_S * len(paths), waiting=waiting
        )
    except child.ChildCrashed as error:
        if len(paths) == 1:
            return (Run(error=str(error)),)
    # Which of them killed the process?
    return tuple(run for path in paths for run in run_files([path], feeds))


def _run_all(paths: tuple[Path, ...], feeds: tuple[Feeds, ...]) -> tuple[Run, ...]:
    # One session at a time: two copies of the weights need not be in memory.
    return tuple(_run_file(path, feeds) for path in paths)


def _run_file(path: Path, feeds: tuple[Feeds, ...]) -> Run:
    try:
        with OnnxRuntimeSession(path) as session:
            return Run(outputs=tuple(_run_feed(session, feed) for feed in feeds))
    except GraphoptError as error:
        if error.exit_code == 3:
            raise
        return Run(error=str(error))


def _run_feed(session: OnnxRuntimeSession, feed: Feeds) -> dict[str, Array]:
    answers = [session.run(piece) for piece in split_feed(session.inputs, feed)]
    if len(answers) == 1:
        return answers[0]
    # An output without a batch axis has one value per piece: stacked, it shows as another shape.
    return {name: np.concatenate([np.atleast_1d(answer[name]) for answer in answers]) for name in answers[0]}
