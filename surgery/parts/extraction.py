"""Cut a part out of a model file, and show on request that it answers as it did inside the whole."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

import graphopt
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import PreconditionError, VerificationError
from graphopt.core.files import atomic_file, check_output, sha256_of
from graphopt.core.lineage import MODEL_RECIPE, LineageStep, stamp_model
from graphopt.core.onnx_files import count_nodes, load_model, write_model
from graphopt.core.tensors import Array
from graphopt.surgery.engine.agreement import agreement
from graphopt.surgery.engine.model_runs import Run, run_files
from graphopt.surgery.graph_queries import constant_of
from graphopt.surgery.lookup import find_node, find_tensors
from graphopt.surgery.parts.checked_saving import checked_model, roles_of, save_sidecar
from graphopt.surgery.parts.cutting import extract_model, inputs_needed, neighbourhood
from graphopt.surgery.report import Samples, Status, Verification


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """A part that was cut out.

    Attributes:
        artefact: the part's file, inputs and outputs.
        nodes: of the part, subgraphs included.
        nodes_before: of the whole.
        values: file with the values of the part's inputs; None when they were not asked for.
        verification: of the part against the whole; None without values.
    """

    artefact: Artefact
    nodes: int
    nodes_before: int
    values: Path | None = None
    verification: Verification | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return {
            "path": str(self.artefact.path),
            "sha256": self.artefact.sha256,
            "parent_sha256": self.artefact.parent_sha256,
            "inputs": [vars(spec) for spec in self.artefact.inputs],
            "outputs": [vars(spec) for spec in self.artefact.outputs],
            "nodes": self.nodes,
            "nodes_before": self.nodes_before,
            "values": str(self.values) if self.values else None,
            "verification": self.verification.to_json() if self.verification else None,
        }


def names_around(source: Path, node: str, radius: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return inputs and outputs of the part around a node of a file; see ``cutting.neighbourhood``.

    Raises:
        UsageError: there is no such node.
        PreconditionError: it is in the body of a function.
    """
    model = load_model(source)
    return neighbourhood(model, find_node(model, node), radius)


def extract_file(
    source: Path,
    output: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    samples: Samples | None = None,
    force: bool = False,
) -> Extraction:
    """Write what lies between some tensors of a model as a model of its own.

    Args:
        source: the whole; never changed.
        output: where the part goes, with a sidecar that names the whole.
        inputs: tensors, each by name or as ``NODE:INDEX``.
        outputs: as ``inputs``.
        samples: inputs of the whole; with them, the values that enter the part are written to
            ``OUTPUT.npz`` (the first sample's), and the part is run on them and compared.
        force: replace existing outputs.

    Raises:
        UsageError: as ``cutting.extract_model``.
        PreconditionError: a dtype is unknown, or the whole cannot be run although samples are given.
        VerificationError: the part answers differently; nothing is written.
        OutputError: the output cannot be written.
    """
    place = output.with_suffix(".npz")
    check_output(output, force=force, inputs=(source,))
    if samples is not None:
        check_output(place, force=force)
    whole = load_model(source)
    part = extract_model(whole, inputs, outputs)
    part.metadata_props.pop(MODEL_RECIPE, None)  # its preprocessing and outputs are those of the whole
    settings = {name: [value.name for value in getattr(part.graph, name)] for name in ("inputs", "outputs")}
    digest = sha256_of(source)
    step = LineageStep(name="extract", options=settings, version=graphopt.__version__)
    stamp_model(part, recipe="", parent_sha256=digest, steps=[step])
    verification = None
    with checked_model(part, output, sources=[source], force=force) as staged:
        if samples is not None:
            values, expected = _values_at(whole, inputs, outputs, samples)
            answer = run_files([staged.path], values)[0]
            names = {name: name for name in settings["outputs"] if name}
            verification = agreement(expected, answer, names=names, kind=samples.kind)
            if verification.status is Status.FAILED:
                raise VerificationError(f"the part differs from the whole: {verification.reason}")
            _write_values(place, values[0], force=force)
    artefact = save_sidecar(
        part, output, parent_sha256=digest, settings={"extract": settings}, roles=roles_of(source)
    )
    return Extraction(
        artefact=artefact,
        nodes=count_nodes(part),
        nodes_before=count_nodes(whole),
        values=place if samples is not None else None,
        verification=verification,
    )


def _values_at(
    whole: ir.Model, inputs: Sequence[str], outputs: Sequence[str], samples: Samples
) -> tuple[tuple[dict[str, Array], ...], Run]:
    """Return the part's inputs per sample, and the run of the whole with its inner tensors."""
    entering = find_tensors(whole, inputs)
    made = [value for value in entering if value.producer() is not None]
    leaving = find_tensors(whole, outputs)
    inner = [value.name or "" for value in dict.fromkeys((*made, *leaving))]
    own = inputs_needed(whole, inner)
    front = extract_model(whole, own, inner)
    with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
        path = Path(folder, "front.onnx")
        write_model(front, path)
        feeds = [{name: array for name, array in feed.items() if name in own} for feed in samples.feeds]
        run = run_files([path], feeds)[0]
    if run.error:
        raise PreconditionError(f"the model does not run, so there are no values to save: {run.error}")
    fixed = {value.name or "": array for value in entering if (array := constant_of(value)) is not None}
    return tuple(
        {value.name or "": _value(value, feed, found, fixed) for value in entering}
        for feed, found in zip(samples.feeds, run.outputs, strict=True)
    ), run


def _value(
    value: ir.Value, feed: Mapping[str, Array], found: Mapping[str, Array], fixed: Mapping[str, Array]
) -> Array:
    name = value.name or ""
    return next(side[name] for side in (found, feed, fixed) if name in side)


def _write_values(path: Path, values: Mapping[str, Array], *, force: bool) -> None:
    with atomic_file(path, force=force) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **values)
