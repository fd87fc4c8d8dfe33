"""Join a model file and its data to the cutting of parts."""

from collections.abc import Sequence
from pathlib import Path

from graphopt.core.artefacts import Artefact
from graphopt.core.golden import GOLDEN_FILE
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.samples import feeds_for
from graphopt.surgery.parts.extraction import Extraction, extract_file, names_around
from graphopt.surgery.report import Samples

_COUNT = 1


def extract(
    source: Path,
    output: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    node: str = "",
    radius: int = 1,
    values: bool = False,
    data: Path | None = None,
    force: bool = False,
) -> Extraction:
    """Write a part of a model: between tensors, or around a node.

    Args:
        source: the whole.
        output: where the part goes.
        inputs: see ``surgery.extraction.extract_file``; left out when ``node`` is given.
        outputs: as ``inputs``.
        node: cut around this one instead.
        radius: how many nodes around it.
        values: also save the values of the part's inputs, and compare the part with the whole.
        data: inputs of the whole for that; see ``recipes.samples.feeds_for``.
        force: replace existing outputs.

    Raises:
        GraphoptError: as ``extract_file`` and ``feeds_for``.
    """
    if node:
        inputs, outputs = names_around(source, node, radius)
    samples = None
    if values:
        artefact = Artefact.load(source)
        recipe = find_recipe(artefact.recipe) if artefact and artefact.recipe else None
        specs = input_specs(load_model(source))
        golden = source.with_name(GOLDEN_FILE)
        feeds = feeds_for(specs, data=data, recipe=recipe, golden=golden, count=_COUNT)
        samples = Samples(feeds=feeds.samples, kind=feeds.kind)
    return extract_file(source, output, inputs, outputs, samples=samples, force=force)
