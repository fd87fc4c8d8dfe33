"""Rewrite a file: run the passes, check the result, prove it, write it whole or not at all."""

import contextlib
import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from graphopt.core.artefacts import Artefact
from graphopt.core.detections import detections_of_roles, roles_of_detections
from graphopt.core.files import check_output, sha256_of
from graphopt.core.garbage import rarely_collected
from graphopt.core.lineage import recipe_of
from graphopt.core.onnx_files import atomic_model, checker, input_specs, output_specs
from graphopt.core.tensors import TensorSpec
from graphopt.surgery.engine.model_runs import runner
from graphopt.surgery.engine.plan import Planned, State, make_plan
from graphopt.surgery.engine.proving import Attempt, Prover
from graphopt.surgery.engine.verification import Verifier
from graphopt.surgery.engine.walking import main_graphs
from graphopt.surgery.graph_pass import Pass
from graphopt.surgery.report import RewriteError, RewriteReport, Samples, Status, Verification, Verify
from graphopt.surgery.steps import PassStep


def rewrite_file(
    source: Path,
    output: Path | None,
    steps: Sequence[PassStep | Pass],
    *,
    verify: Verify = Verify.FINAL,
    samples: Samples | None = None,
    force: bool = False,
    keep_proven: bool = False,
    allow_unproven: bool = False,
    recipe: str = "",
    known_outputs: Sequence[TensorSpec] = (),
    on_progress: Callable[[str], None] | None = None,
) -> RewriteReport:
    """Run passes on a model file and write the result, with its sidecar, once it is proven.

    Args:
        source: the model; never changed.
        output: where the result goes; None for a dry run, which writes and verifies nothing.
        steps: passes by name, or pass objects.
        verify: when to compare with the source.
        samples: inputs to compare with; None makes up two seeded structured ones.
        force: replace an existing output.
        keep_proven: leave out a pass that changes the numbers and write the rest; the report names
            it in ``dropped``.
        allow_unproven: write a result that could not be compared.
        recipe: name to record in the model; empty keeps the source's.
        known_outputs: layout, unit and role of tensors of the source; none takes its sidecar's.
        on_progress: called with one line before each piece of work.

    Raises:
        RewriteError: the numbers moved, or nothing proves that they did not; no output is written,
            and the report is attached.
        ExpectedMatchError: a pass did not match as often as its step promises.
        PreconditionError: the model does not meet what a pass needs.
        UsageError: an unknown pass or option, or samples that do not fit.
        InvalidModelError: the source cannot be read.
        OutputError: the output cannot be written.
    """
    started = time.perf_counter()
    known_outputs = known_outputs or _known_outputs(source)
    progress = on_progress or _silent
    plan = make_plan(steps)
    if output is None:
        return _dry_run(source, plan, progress, started)
    check_output(output, force=force, inputs=(source,))
    with contextlib.ExitStack() as stack:
        stack.enter_context(rarely_collected())
        # Both start while the passes run, and are there when they are needed.
        check = stack.enter_context(checker())
        runs = stack.enter_context(runner()) if verify is not Verify.OFF else None
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="graphopt-")))
        state = State.of(source)
        facts = _facts_of(source, state.model)
        prover = Prover(
            source=source,
            source_sha256=facts.sha256,
            mode=verify,
            verifier=Verifier(
                source,
                samples,
                scratch,
                runs,
                detections_of_roles(known_outputs),
                tuple(planned.item for planned in plan),
            ),
            checker=check,
            scratch=scratch,
            recipe=recipe,
            progress=progress,
        )
        with atomic_model(output, force=force, inputs=(source,)) as staged:
            attempt, dropped = prover.run(state, plan, staged, keep_proven=keep_proven)
            report = _report(source, output, facts, attempt, dropped)
            report = dataclasses.replace(report, seconds=time.perf_counter() - started)
            _raise_unless_good(report, allow_unproven=allow_unproven)
            report = dataclasses.replace(
                report, output_sha256=sha256_of(staged.path), bytes_after=staged.path.stat().st_size
            )
    _save_sidecar(report, attempt.state, output, known_outputs)
    return dataclasses.replace(report, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Facts:
    """What is remembered of the source, which is loaded anew whenever it is needed."""

    sha256: str
    size: int
    nodes: int
    ops: Mapping[str, int]


def _facts_of(source: Path, model: ir.Model) -> _Facts:
    ops = _ops(model)
    return _Facts(sha256_of(source), source.stat().st_size, sum(ops.values()), ops)


def _ops(model: ir.Model) -> dict[str, int]:
    counts = Counter(
        f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        for graph in main_graphs(model)
        for node in graph
    )
    return dict(sorted(counts.items()))


def _dry_run(
    source: Path, plan: Sequence[Planned], progress: Callable[[str], None], started: float
) -> RewriteReport:
    state = State.of(source)
    facts = _facts_of(source, state.model)
    for planned in plan:
        progress(planned.item.name)
        done = state.run(planned)
        if promise := planned.broken_promise(done, state.model):
            state.reports[-1] = dataclasses.replace(done, warning=promise)
    off = Verification(mode=Verify.OFF, status=Status.OFF, reason="dry run")
    report = _report(source, None, facts, Attempt(state=state, verification=off), ())
    return dataclasses.replace(report, seconds=time.perf_counter() - started)


def _report(
    source: Path, output: Path | None, facts: _Facts, attempt: Attempt, dropped: tuple[str, ...]
) -> RewriteReport:
    ops = _ops(attempt.state.model)
    return RewriteReport(
        source=source,
        output=output,
        source_sha256=facts.sha256,
        output_sha256="",
        nodes_before=facts.nodes,
        nodes_after=sum(ops.values()),
        bytes_before=facts.size,
        bytes_after=0,
        ops_before=facts.ops,
        ops_after=ops,
        passes=tuple(attempt.state.reports),
        verification=attempt.verification,
        dropped=dropped,
        seconds=0.0,
    )


def _raise_unless_good(report: RewriteReport, *, allow_unproven: bool) -> None:
    verification = report.verification
    if verification.status is Status.FAILED:
        who = verification.guilty or "no pass changed anything, and yet saving"
        raise RewriteError(
            f"{who} is wrong: {verification.reason}. Nothing was written; leave the pass out, "
            "or use --keep-proven to write the model without it",
            report,
        )
    if verification.status is Status.UNPROVEN and not allow_unproven:
        raise RewriteError(
            f"the rewrite is unproven: {verification.reason}. Nothing was written; give other inputs "
            "with --data, or use --allow-unproven to write it as it is",
            report,
        )


def _save_sidecar(report: RewriteReport, state: State, output: Path, known: Sequence[TensorSpec]) -> None:
    parent = Artefact.load(report.source)
    inputs, outputs = input_specs(state.model), output_specs(state.model)
    if parent is not None:
        inputs = _with_roles(inputs, parent.inputs, {})
    outputs = _with_roles(outputs, [*known, *roles_of_detections(state.detections, known)], state.names)
    first = inputs[0].shape[0] if inputs and inputs[0].shape else None
    Artefact(
        path=output,
        stage="rewritten",
        target="onnx",
        sha256=report.output_sha256,
        recipe=recipe_of(state.model) or (parent.recipe if parent else ""),
        inputs=inputs,
        outputs=outputs,
        batch=first if isinstance(first, int) else None,
        parent_sha256=report.source_sha256,
        settings={
            "passes": [
                {"name": item.name, "options": dict(item.options)}
                | ({"plugin": item.plugin} if item.plugin else {})
                | {"nodes": [change.node for change in item.applied]}  # so that a diff can say who did what
                for item in report.passes
            ],
            "dropped": list(report.dropped),
            "verification": report.verification.status.value,
        },
    ).save()


def _known_outputs(source: Path) -> tuple[TensorSpec, ...]:
    parent = Artefact.load(source)
    return () if parent is None else parent.outputs


def _with_roles(
    specs: Sequence[TensorSpec], known: Sequence[TensorSpec], names: Mapping[str, str]
) -> tuple[TensorSpec, ...]:
    """Return ``specs`` with layout, unit and role of the tensors that they stand for."""
    by_name = {spec.name: spec for spec in known}
    pairs = [(spec, by_name.get(names.get(spec.name, spec.name))) for spec in specs]
    return tuple(
        dataclasses.replace(spec, layout=old.layout, unit=old.unit, role=old.role) if old else spec
        for spec, old in pairs
    )


def _silent(line: str) -> None:
    del line
