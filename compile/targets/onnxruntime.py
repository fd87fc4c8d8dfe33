"""Compile for onnxruntime: the graph optimised once, offline, saved as ONNX."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from graphopt.compile.delivery import check_request, compiled_artefact, unwritable, work_folder
from graphopt.compile.graph_facts import GraphFacts, read_facts
from graphopt.compile.standard_copy import write_standard_copy
from graphopt.compile.target import Plan, Target
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import InvalidModelError, OutputError, UsageError
from graphopt.core.files import atomic_file
from graphopt.core.optional import require
from graphopt.core.session import OnnxRuntimeSession
from graphopt.core.tensors import TensorSpec

LEVELS = ("basic", "extended", "all")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OnnxRuntimeTarget(Target):
    """An ONNX file that onnxruntime has already optimised; it starts without that work.

    Attributes:
        level: ``basic`` keeps to standard operators; ``extended`` adds onnxruntime's own fused
            ones; ``all`` also changes the memory layout for the very processor of this machine,
            so such a file is slow or refused elsewhere.
    """

    name: ClassVar[str] = "onnxruntime"
    suffix: ClassVar[str] = ".ort.onnx"

    level: str = "extended"

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise UsageError(f"unknown level {self.level!r} for onnxruntime; known: {', '.join(LEVELS)}")

    def plan(
        self,
        model: Path,
        output: Path,
        *,
        inputs: tuple[TensorSpec, ...] = (),
        outputs: tuple[TensorSpec, ...] = (),
    ) -> Plan:
        """Say what would be done; see ``Target.plan``.

        Raises:
            UsageError: other input shapes are asked for than the graph has.
        """
        return self._plan(read_facts(model), model, output, inputs=inputs, outputs=outputs)

    def compile(
        self,
        model: Path,
        output: Path,
        *,
        force: bool,
        recipe: str = "",
        parent: Artefact | None = None,
    ) -> Artefact:
        """Optimise, save, load the result once; see ``Target.compile``."""
        facts = read_facts(model)
        plan = self._plan(facts, model, output)
        with (
            atomic_file(output, force=force, inputs=(model,)) as temporary,
            work_folder(temporary) as work,
        ):
            source = model
            if facts.calls:  # standard operators run everywhere, functions only in a new onnxruntime
                source = work / "inlined.onnx"
                write_standard_copy(model, source)
            self._optimize(source, temporary)
            with OnnxRuntimeSession(temporary) as session:
                found = session.inputs, session.outputs
        return compiled_artefact(
            model,
            output,
            target=self.name,
            inputs=found[0],
            outputs=found[1],
            recipe=recipe,
            parent=parent,
            settings=plan.to_json() | {"level": self.level},
        )

    def _plan(
        self,
        facts: GraphFacts,
        model: Path,
        output: Path,
        *,
        inputs: tuple[TensorSpec, ...] = (),
        outputs: tuple[TensorSpec, ...] = (),
    ) -> Plan:
        check_request(model, facts.inputs, inputs, kind="input")
        check_request(model, facts.outputs, outputs, kind="output")
        notes: tuple[str, ...] = ()
        if self.level == "all":
            notes = ("The level 'all' fits the processor of this machine; on another one use 'extended'.",)
        inline = (f"inline {', '.join(facts.calls)}",) if facts.calls else ()
        return Plan(
            target=self.name,
            steps=(
                *inline,
                f"optimise {model.name} with onnxruntime at level {self.level}",
                f"write {output.name}",
                "load it once on the CPU",
            ),
            notes=notes,
        )

    def _optimize(self, model: Path, output: Path) -> None:
        runtime: Any = require("onnxruntime", extra="onnxruntime", purpose="compiling for onnxruntime")
        levels = runtime.GraphOptimizationLevel
        options = runtime.SessionOptions()
        options.graph_optimization_level = {
            "basic": levels.ORT_ENABLE_BASIC,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "all": levels.ORT_ENABLE_ALL,
        }[self.level]
        options.optimized_model_filepath = str(output)
        options.log_severity_level = 4  # what matters is raised
        _LOGGER.info("optimising %s at level %s", model, self.level)
        try:
            runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            # It reports a full disk as a protobuf error: the model is at fault if it fails unsaved too.
            try:
                OnnxRuntimeSession(model, optimize=True).close()
            except InvalidModelError as reason:
                raise InvalidModelError(f"onnxruntime cannot compile {model}: {error}") from reason
            raise OutputError(unwritable(output.parent, error)) from error
