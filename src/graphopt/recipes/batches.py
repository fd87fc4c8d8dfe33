"""Copies of a model for fixed batch sizes, proven at a cost that does not grow with the batch."""

import dataclasses
import math
import shlex
import tempfile
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from graphopt.core.artefacts import Artefact, sidecar_path
from graphopt.core.errors import GraphoptError, PreconditionError, VerificationError
from graphopt.core.onnx_files import input_specs, load_model
from graphopt.core.roles import Roles
from graphopt.recipes.rewrite import rewrite
from graphopt.surgery import PassStep, RewriteReport, Verify

PROBE = 2
"""Batch of the copy that is proven in place of a large one: the smallest that holds several samples."""
_MOST_ELEMENTS = 2_500_000_000
"""Of all tensors of one run. DeepMAR at batch 64 computes 2.4e9, RefineNet at batch 8 3.3e9, which
takes half a minute on two cores."""


def batch_model(
    source: Path,
    output: Path,
    size: int,
    *,
    recipe_name: str = "",
    roles: Roles | None = None,
    force: bool = False,
) -> RewriteReport:
    """Write the model with another fixed batch size, verified against the source; see ``BatchCopies``."""
    return BatchCopies(source, recipe_name=recipe_name, roles=roles).write(output, size, force=force)


@dataclass(frozen=True)
class _Probe:
    """What was found out about a small copy."""

    report: RewriteReport
    nodes: tuple[Hashable, ...]


@dataclass
class BatchCopies:
    """Writes copies of one model for several batch sizes.

    A copy is run against the source on the same samples. Where that would take too long or too
    much memory, a copy for batch 2, made by the same passes, is run instead (once for all sizes),
    and the large copy must have the same nodes as that one, constants of sizes aside. The report
    and the sidecar say so.

    Args:
        source: ONNX file; never modified.
        recipe_name: of the model; empty reads the sidecar.
        roles: of the outputs, for the sidecar; see ``recipes.roles.resolve``.
        verify: ``Verify.OFF`` proves nothing, for plans.
        most_elements: of all tensors of one run, beyond which the small copy is run.
    """

    source: Path
    recipe_name: str = ""
    roles: Roles | None = None
    verify: Verify = Verify.FINAL
    most_elements: int = _MOST_ELEMENTS
    _probe: _Probe | None = None
    _per_sample: int | None = field(default=None, repr=False)

    def write(self, output: Path, size: int, *, force: bool = False) -> RewriteReport:
        """Write the copy for ``size``.

        Raises:
            PreconditionError: a node bakes the batch in; names it.
            VerificationError: the numbers differ.
            OutputError: ``output`` exists without ``force``, or cannot be written.
        """
        if self.verify is Verify.OFF or size <= PROBE or size * self._elements() <= self.most_elements:
            return self._rewrite(output, size, self.verify, force=force)
        if self._probe is None:
            self._probe = self._make_probe()
        report = self._rewrite(output, size, Verify.OFF, force=force)
        if _signature(load_model(output)) != self._probe.nodes:
            for place in (output, sidecar_path(output)):
                place.unlink(missing_ok=True)
            raise VerificationError(
                f"the copy of {self.source} for batch {size} has other nodes than the one for batch {PROBE}, "
                "so that the proof of that one does not hold for it; export the model with this batch"
            )
        return self._with_proof(report, output, size)

    def _rewrite(self, output: Path, size: int, verify: Verify, *, force: bool) -> RewriteReport:
        self._check_inputs(size)
        steps = [
            *(() if self._has(size) else (PassStep("set_batch", {"size": size}),)),
            PassStep("static_shapes"),  # sizes that followed an open batch are constants now
            PassStep("fold_constants"),
        ]
        return rewrite(
            self.source,
            output,
            steps,
            recipe_name=self.recipe_name,
            roles=self.roles,
            verify=verify,
            force=force,
        )

    def _check_inputs(self, size: int) -> None:
        """Refuse what ``set_batch`` cannot decide by itself, in words for those who did not call it."""
        specs = input_specs(load_model(self.source))
        batches = {spec.shape[0] if spec.shape else None for spec in specs}
        if self._has(size) or len(batches) == 1:
            return
        path = shlex.quote(str(self.source))
        listed = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
        raise PreconditionError(
            f"{self.source}: which inputs follow the batch is not told by their sizes ({listed}), so that no "
            f"copy for batch {size} is made; name them in a copy of your own, and take that with no batch:\n"
            f"  graphopt apply {path} --passes set_batch:size={size}:inputs={specs[0].name},static_shapes"
        )

    def _has(self, size: int) -> bool:
        """Whether the model has this batch, and no open one; then inputs such as regions need not agree."""
        sizes = [spec.shape[0] for spec in input_specs(load_model(self.source)) if spec.shape]
        return bool(sizes) and sizes[0] == size and all(isinstance(item, int) for item in sizes)

    def _make_probe(self) -> _Probe:
        with tempfile.TemporaryDirectory(prefix="graphopt-batch-") as scratch:
            place = Path(scratch) / f"probe_bs{PROBE}.onnx"
            report = self._rewrite(place, PROBE, Verify.FINAL, force=False)
            return _Probe(report=report, nodes=_signature(load_model(place)))

    def _with_proof(self, report: RewriteReport, output: Path, size: int) -> RewriteReport:
        assert self._probe is not None
        found = self._probe.report.verification
        note = f"run at batch {PROBE} in place of {size}; both copies have the same nodes"
        reason = "; ".join(filter(None, (note, found.reason)))
        if artefact := Artefact.load(output):
            settings = {**artefact.settings, "verification": f"{found.status.value}, {note}"}
            dataclasses.replace(artefact, settings=settings).save()
        return dataclasses.replace(report, verification=dataclasses.replace(found, reason=reason))

    def _elements(self) -> int:
        """Return how many elements the model computes per sample; 0 when that cannot be told."""
        if self._per_sample is None:
            self._per_sample = _elements_per_sample(load_model(self.source))
        return self._per_sample


def _elements_per_sample(model: ir.Model) -> int:
    from graphopt.surgery.shapes.shape_analysis import analyse_shapes

    specs = [spec for spec in input_specs(model) if spec.shape]
    shapes = {spec.name: (PROBE, *spec.shape[1:]) for spec in specs if not isinstance(spec.shape[0], int)}
    batch = PROBE if shapes else max((int(spec.shape[0] or 1) for spec in specs), default=1)
    try:
        types, _ = analyse_shapes(model, inputs=shapes)
    except GraphoptError:
        return 0
    sizes = [types[v].static for node in model.graph for v in node.outputs if v in types]
    return sum(math.prod(shape) for shape in sizes if shape is not None) // batch


def _signature(model: ir.Model) -> tuple[Hashable, ...]:
    """Describe the nodes, what they read and what they are set to; not what constants hold."""
    return tuple(
        (
            node.op_identifier(),
            tuple(value.name if value is not None else "" for value in node.inputs),
            tuple(value.name for value in node.outputs),
            tuple(sorted((name, _setting(attribute)) for name, attribute in node.attributes.items())),
        )
        for node in model.graph
    )


def _setting(attribute: ir.Attr) -> str:
    if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return str(attribute.type)
    return str(attribute.value)
