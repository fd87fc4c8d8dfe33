"""Join the data for a proof to the joining of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from graphopt.core.errors import UsageError
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.samples import feeds_for
from graphopt.surgery.parts.concatenation import Concatenation, join_files
from graphopt.surgery.report import Samples

_COUNT = 2


def concatenate(
    paths: Sequence[Path],
    output: Path,
    *,
    connect: Sequence[str] = (),
    data: Path | None = None,
    force: bool = False,
    allow_unproven: bool = False,
) -> Concatenation:
    """Write one model that runs several one after the other.

    Args:
        paths: at least two, in order.
        output: where the whole goes.
        connect: ``OUTPUT=INPUT`` texts.
        data: ``.npz`` with one array per input of the result.
        force: replace an existing output.
        allow_unproven: write a model that could not be compared.

    Raises:
        GraphoptError: as ``surgery.concatenation.join_files`` and ``recipes.samples.feeds_for``.
    """
    wanted = _parsed(connect)

    def from_data(inputs: tuple[TensorSpec, ...]) -> Samples:
        feeds = feeds_for(inputs, data=data, count=_COUNT)
        return Samples(feeds=feeds.samples, kind=feeds.kind)

    return join_files(
        paths,
        output,
        connect=wanted,
        samples_for=from_data if data is not None else None,
        force=force,
        allow_unproven=allow_unproven,
    )


def _parsed(texts: Sequence[str]) -> Mapping[str, str]:
    wanted: dict[str, str] = {}
    for text in texts:
        source, equals, target = text.rpartition("=")
        if not equals or not source or not target:
            raise UsageError(f"--connect {text}: write OUTPUT=INPUT, e.g. --connect features=image")
        if target in wanted:
            raise UsageError(f"--connect names the input {target} twice")
        wanted[target] = source
    return wanted
