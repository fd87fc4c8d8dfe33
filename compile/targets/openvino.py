"""Compile for OpenVINO: the intermediate representation, a ``.xml`` beside a ``.bin``."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from graphopt.compile.delivery import check_request, compiled_artefact, unwritable, work_folder
from graphopt.compile.graph_facts import GraphFacts, read_facts
from graphopt.compile.standard_copy import needs_inlining, write_standard_copy
from graphopt.compile.target import Plan, Target
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import InvalidModelError, OutputError, UsageError
from graphopt.core.files import atomic_file, check_output, sha256_of
from graphopt.core.onnx_files import load_model
from graphopt.core.openvino import load_openvino
from graphopt.core.tensors import TensorSpec

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenVinoTarget(Target):
    """OpenVINO IR, compiled once on the CPU to prove that it loads.

    Attributes:
        compress_to_fp16: store weights in half precision; off, because it changes the numbers.
    """

    name: ClassVar[str] = "openvino"
    suffix: ClassVar[str] = ".xml"

    compress_to_fp16: bool = False

    def plan(
        self,
        model: Path,
        output: Path,
        *,
        inputs: tuple[TensorSpec, ...] = (),
        outputs: tuple[TensorSpec, ...] = (),
    ) -> Plan:
        """Say what would be done; see ``Target.plan``."""
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
        """Convert, save, compile the result once; see ``Target.compile``."""
        facts = read_facts(model)
        plan = self._plan(facts, model, output)
        weights = output.with_suffix(".bin")
        check_output(weights, force=force, inputs=(model,))
        openvino: Any = load_openvino(purpose="compiling for OpenVINO")
        with (
            atomic_file(output, force=force, inputs=(model,)) as temporary,
            work_folder(temporary) as work,
        ):
            made = work / output.name
            self._convert(openvino, model, made)
            made.replace(temporary)
            # Never an old file beside a new one: the old description goes before the new weights come.
            output.unlink(missing_ok=True)
            made.with_suffix(".bin").replace(weights)
        return compiled_artefact(
            model,
            output,
            target=self.name,
            inputs=facts.inputs,
            outputs=facts.outputs,
            recipe=recipe,
            parent=parent,
            settings=plan.to_json()
            | {"compress_to_fp16": self.compress_to_fp16, "weights_sha256": sha256_of(weights)},
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
        if output.suffix != self.suffix:
            raise UsageError(f"OpenVINO writes .xml and .bin: name the output {output.with_suffix('.xml')}")
        check_request(model, facts.inputs, inputs, kind="input")
        check_request(model, facts.outputs, outputs, kind="output")
        weights = "half precision" if self.compress_to_fp16 else "their own precision"
        called = facts.functions or facts.calls
        inline = (f"inline {', '.join(called)}, which OpenVINO does not know",) if called else ()
        return Plan(
            target=self.name,
            steps=(
                *inline,
                f"convert {model.name} with OpenVINO, weights in {weights}",
                f"write {output.name} and {output.with_suffix('.bin').name}",
                "compile it once for the CPU",
            ),
        )

    def _convert(self, openvino: Any, model: Path, made: Path) -> None:
        source = model
        if needs_inlining(load_model(model)):
            source = made.with_name("inlined.onnx")
            write_standard_copy(model, source)
        core = openvino.Core()
        _LOGGER.info("converting %s with OpenVINO %s", model, openvino.__version__)
        try:
            graph = core.read_model(str(source))
            # The weights are in the other file: this makes the hash of the .xml follow them.
            graph.set_rt_info(sha256_of(model), ["graphopt", "parent_sha256"])
        except RuntimeError as error:
            raise InvalidModelError(f"OpenVINO cannot compile {model}: {error}") from error
        try:
            openvino.save_model(graph, str(made), compress_to_fp16=self.compress_to_fp16)
        except RuntimeError as error:
            raise OutputError(unwritable(made.parent.parent, error)) from error
        try:
            core.compile_model(str(made), "CPU")
        except RuntimeError as error:
            raise InvalidModelError(f"OpenVINO cannot load what it made of {model}: {error}") from error
