"""Join model files end to end, and prove that the whole answers as its parts one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import graphopt
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import UsageError, VerificationError
from graphopt.core.files import check_output, sha256_of
from graphopt.core.lineage import MODEL_RECIPE, LineageStep, stamp_model
from graphopt.core.onnx_files import count_nodes, input_specs, load_model
from graphopt.core.samples import structured_feeds
from graphopt.core.tensors import Array, TensorSpec
from graphopt.surgery.engine.agreement import agreement
from graphopt.surgery.engine.feeds import Feeds
from graphopt.surgery.engine.made_inputs import SEEDED, SEEDS
from graphopt.surgery.engine.model_runs import Run, run_files
from graphopt.surgery.parts.checked_saving import checked_model, roles_of, save_sidecar
from graphopt.surgery.parts.connections import Part
from graphopt.surgery.parts.joining import Joined, join_models
from graphopt.surgery.report import Samples, Status, Verification


@dataclass(frozen=True, kw_only=True)
class Concatenation:
    """Models that were joined.

    Attributes:
        artefact: the whole's file, inputs and outputs.
        nodes: of the whole, subgraphs included.
        links: ``(tensor, input)`` of each connection, as ``MODEL:NAME``.
        renamed: model -> old name -> new name of tensors whose names clashed.
        raised: opset conversions, as sentences.
        verification: of the whole against its parts.
    """

    artefact: Artefact
    nodes: int
    links: tuple[tuple[str, str], ...]
    renamed: Mapping[str, Mapping[str, str]]
    raised: tuple[str, ...]
    verification: Verification

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return {
            "path": str(self.artefact.path),
            "sha256": self.artefact.sha256,
            "inputs": [vars(spec) for spec in self.artefact.inputs],
            "outputs": [vars(spec) for spec in self.artefact.outputs],
            "nodes": self.nodes,
            "connections": [{"tensor": tensor, "input": target} for tensor, target in self.links],
            "renamed": {name: dict(names) for name, names in self.renamed.items()},
            "opsets_raised": list(self.raised),
            "verification": self.verification.to_json(),
        }


def join_files(
    paths: Sequence[Path],
    output: Path,
    *,
    connect: Mapping[str, str],
    samples_for: Callable[[tuple[TensorSpec, ...]], Samples] | None = None,
    force: bool = False,
    allow_unproven: bool = False,
) -> Concatenation:
    """Write one model that runs several one after the other; see ``joining.join_models``.

    Args:
        paths: at least two, in order; the same file may come twice.
        output: where the whole goes.
        connect: input of a later model -> output of an earlier one.
        samples_for: returns what to feed to the inputs of the whole; None makes up two seeded
            structured samples.
        force: replace an existing output.
        allow_unproven: write a model that could not be compared.

    Raises:
        UsageError, PreconditionError: as ``join_models``.
        VerificationError: the whole answers differently, or nothing proves that it does not.
        OutputError: it cannot be written.
    """
    if len(paths) < 2:
        raise UsageError("concat joins at least two models: graphopt concat A B -o OUT")
    check_output(output, force=force, inputs=tuple(paths))
    names = _part_names(paths)
    joined = join_models([Part(name, load_model(p)) for name, p in zip(names, paths, strict=True)], connect)
    digests = [sha256_of(path) for path in paths]
    links = tuple(
        (f"{names[source]}:{tensor}", f"{names[target]}:{name}")
        for (target, name), (source, tensor) in joined.links.items()
    )
    settings = {
        "models": [{"name": path.name, "sha256": sha} for path, sha in zip(paths, digests, strict=True)],
        "connections": [f"{tensor}={target}" for tensor, target in links],
    }
    joined.model.metadata_props.pop(MODEL_RECIPE, None)  # of one part only
    step = LineageStep(name="concat", options=settings, version=graphopt.__version__)
    stamp_model(joined.model, recipe="", parent_sha256=digests[0], steps=[step])
    with checked_model(joined.model, output, sources=paths, force=force) as staged:
        samples = samples_for(input_specs(joined.model)) if samples_for else None
        verification = _verify(joined, paths, staged.path, samples)
        if verification.status is Status.FAILED:
            raise VerificationError(
                f"the joined model differs from its parts: {verification.reason}; nothing was written"
            )
        if verification.status is not Status.PROVEN and not allow_unproven:
            raise VerificationError(
                f"the joined model is unproven: {verification.reason}. Nothing was written; give inputs with "
                "--data, or use --allow-unproven to write it as it is"
            )
    artefact = save_sidecar(
        joined.model,
        output,
        parent_sha256=digests[0],
        settings={"concat": settings, "verification": verification.status.value},
        roles=_roles(joined, paths),
    )
    return Concatenation(
        artefact=artefact,
        nodes=count_nodes(joined.model),
        links=links,
        renamed={name: dict(new) for name, new in zip(names, joined.renamed, strict=True) if new},
        raised=joined.raised,
        verification=verification,
    )


def _part_names(paths: Sequence[Path]) -> list[str]:
    names: list[str] = []
    for path in paths:
        stem, count = path.stem, 2
        while stem in names:
            stem, count = f"{path.stem}_{count}", count + 1
        names.append(stem)
    return names


def _verify(joined: Joined, paths: Sequence[Path], whole: Path, samples: Samples | None) -> Verification:
    names = {name: name for name in joined.outputs}
    kind = samples.kind if samples else SEEDED
    found = None
    for feeds in _attempts(input_specs(joined.model), samples):
        expected = _run_parts(joined, paths, feeds)
        answer = run_files([whole], feeds)[0] if not expected.error else Run()
        found = agreement(expected, answer, names=names, kind=kind)
        if found.status is not Status.UNPROVEN:
            break
    assert found is not None
    return found


def _attempts(specs: tuple[TensorSpec, ...], samples: Samples | None) -> list[tuple[Feeds, ...]]:
    """Return feeds to try: where sizes are open, 2 shows most, but a fixed part may want 1."""
    if samples is not None:
        return [samples.feeds]
    ones = tuple(
        replace(spec, shape=tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape)) for spec in specs
    )
    choices = [specs] if ones == specs else [specs, ones]
    return [tuple(structured_feeds(choice, seed=seed) for seed in SEEDS) for choice in choices]


def _run_parts(joined: Joined, paths: Sequence[Path], feeds: Sequence[Feeds]) -> Run:
    """Run the parts one after the other; the outputs have their names in the whole."""
    known: list[dict[tuple[int, str], Array]] = [
        {where: feed[name] for name, where in joined.inputs.items()} for feed in feeds
    ]
    for index, path in enumerate(paths):
        places = _places(joined, index)
        run = run_files([path], [{name: values[where] for name, where in places.items()} for values in known])
        if run[0].error:
            return Run(error=f"{path.name}: {run[0].error}")
        for values, outputs in zip(known, run[0].outputs, strict=True):
            values.update({(index, name): array for name, array in outputs.items()})
    return Run(
        outputs=tuple({name: values[where] for name, where in joined.outputs.items()} for values in known)
    )


def _places(joined: Joined, index: int) -> dict[str, tuple[int, str]]:
    """Return where the value of each input of a part comes from: a link, or an input of the whole."""
    linked = {name: source for (target, name), source in joined.links.items() if target == index}
    return {name: (part, name) for part, name in joined.inputs.values() if part == index} | linked


def _roles(joined: Joined, paths: Sequence[Path]) -> dict[str, TensorSpec]:
    known = [roles_of(path) for path in paths]
    places = {**joined.inputs, **joined.outputs}
    return {name: known[i][own] for name, (i, own) in places.items() if own in known[i]}
