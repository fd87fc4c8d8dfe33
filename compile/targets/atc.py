"""Compile for Ascend chips: a checked call of ATC, its script, and the ``.om`` where ATC is installed."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from graphopt.compile.atc.check import check_call, notes
from graphopt.compile.atc.device_copy import SUFFIX, DeviceCopy, RecordTypes, device_copy
from graphopt.compile.atc.invocation import AtcInvocation
from graphopt.compile.atc.log_reading import read_log
from graphopt.compile.atc.npu_smi import detect_soc
from graphopt.compile.atc.script import script_of
from graphopt.compile.atc.shape_request import (
    compiled_inputs,
    compiled_outputs,
    requested_shapes,
    resolved_outputs,
)
from graphopt.compile.atc.soc import normalise_soc
from graphopt.compile.delivery import check_request, compiled_artefact, work_folder
from graphopt.compile.graph_facts import GraphFacts, facts_of
from graphopt.compile.process import ToolRun, run_tool
from graphopt.compile.target import Plan, Target
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import MissingBackendError, ToolFailure, UsageError
from graphopt.core.files import atomic_file, check_output, write_text
from graphopt.core.onnx_files import load_model, save_model
from graphopt.core.tensors import TensorSpec

_LOGGER = logging.getLogger(__name__)
_FAILED = "ATC run failed"
_EXPLAINED = 5
"""Findings of a failed run that its message lists."""


@dataclass(frozen=True, kw_only=True)
class AtcTarget(Target):
    """An ``.om`` for one Ascend chip, or the script that makes it on a machine with CANN.

    Attributes:
        soc: chip: ``310P3``, ``Ascend310P3``, or ``auto`` to ask this machine's driver.
        log: level of ATC's own log; ``options`` may say otherwise.
        options: more options of ATC, name -> value. ``input_shape`` is made from the graph unless
            given; ``out_nodes`` may name tensors, ``node:index`` or roles of the sidecar, and
            ``auto`` writes the graph's outputs as ``node:index``.
        script_only: write the script and stop.
        timeout_s: limit for one run of ATC.
        record_types: writes down what calls of target operators return, for a copy that holds them bare.
    """

    name: ClassVar[str] = "atc"
    suffix: ClassVar[str] = ".om"

    soc: str
    log: str = "error"
    options: Mapping[str, str] = field(default_factory=dict)
    script_only: bool = False
    timeout_s: float = 3600.0
    record_types: RecordTypes | None = None

    def check(self) -> None:
        """Refuse a chip that does not exist; see ``Target.check``."""
        self._soc_version()

    def _soc_version(self) -> str:
        return detect_soc() if self.soc.lower() == "auto" else normalise_soc(self.soc)

    def plan(
        self,
        model: Path,
        output: Path,
        *,
        inputs: tuple[TensorSpec, ...] = (),
        outputs: tuple[TensorSpec, ...] = (),
    ) -> Plan:
        """Build and check the call; see ``Target.plan``.

        Raises:
            UsageError: ATC would refuse the call; every broken rule with its error code and remedy.
            MissingBackendError: ``soc`` is ``auto`` and there is no driver here.
        """
        return self._plan(*self._call(model, output, inputs=inputs, outputs=outputs), output)

    def compile(
        self,
        model: Path,
        output: Path,
        *,
        force: bool,
        recipe: str = "",
        parent: Artefact | None = None,
    ) -> Artefact:
        """Write the script, run ATC where it is installed; see ``Target.compile``.

        With ``script_only`` the artefact is the script, its stage ``script``.

        Raises:
            MissingBackendError: there is no ``atc`` here; the script is written, and the message says
                what to run where.
            ToolFailure: ATC failed, hung, or left no result; the message explains its error codes.
        """
        call, facts, copy = self._call(model, output)
        plan = self._plan(call, facts, copy, output)
        script = output.with_name(_script_name(output))
        if not self.script_only:
            check_output(output, force=force, inputs=(model,))
        if copy.changes:
            save_model(copy.model, call.model, force=force, inputs=(model,))
        self._write_files(plan, output.parent, force=force)

        def described(path: Path, stage: str) -> Artefact:
            return compiled_artefact(
                model,
                path,
                target=self.name,
                inputs=compiled_inputs(call, facts),
                outputs=compiled_outputs(call, facts),
                recipe=recipe,
                parent=parent,
                settings=plan.to_json() | call.seen_from(output.parent).to_json(),
                stage=stage,
                soc=call.soc_version,
            )

        scripted = described(script, "script")
        if self.script_only:
            return scripted
        program = shutil.which("atc")
        if program is None:
            raise MissingBackendError(
                f"atc is not on the PATH, so nothing was compiled; the call is in {script.name}. Run "
                f"'bash {script.name}' on a machine with CANN for {call.soc_version}, with the files it "
                "names in the same places, and bring the .om back; or source CANN's set_env.sh here. "
                "--script-only asks for just the script"
            )
        with (
            atomic_file(output, force=force, inputs=(model,)) as temporary,
            work_folder(temporary) as work,
        ):
            self._run(program, call, work, log_file=output.with_suffix(".atc.log")).replace(temporary)
            _deliver_weights(work, output.parent)
        return described(output, "compiled")

    def _call(
        self,
        model: Path,
        output: Path,
        *,
        inputs: tuple[TensorSpec, ...] = (),
        outputs: tuple[TensorSpec, ...] = (),
    ) -> tuple[AtcInvocation, GraphFacts, DeviceCopy]:
        if output.suffix != self.suffix:
            raise UsageError(f"ATC writes .om files: name the output {output.with_suffix('.om')}")
        soc = self._soc_version()
        copy = device_copy(load_model(model), model, self.record_types)
        facts = facts_of(copy.model, size_bytes=model.stat().st_size)
        read = output.with_name(f"{output.stem}{SUFFIX}") if copy.changes else model
        check_request(model, facts.outputs, outputs, kind="output")
        options = {"log": self.log, **{name.lstrip("-"): value for name, value in self.options.items()}}
        if options.get("out_nodes"):
            options["out_nodes"] = resolved_outputs(options["out_nodes"], facts, _roles(model))
        call = AtcInvocation.from_options(read, output.with_suffix(""), soc_version=soc, options=options)
        if not call.input_shape and "input_shape_range" not in call.extra:
            call = dataclasses.replace(call, input_shape=requested_shapes(facts, inputs))
        check_call(call, facts, folder=output.parent)
        return call, facts, copy

    def _plan(self, call: AtcInvocation, facts: GraphFacts, copy: DeviceCopy, output: Path) -> Plan:
        seen = call.seen_from(output.parent)
        script = script_of(seen)
        run = () if self.script_only else (f"run it where atc is installed, at most {self.timeout_s:g} s",)
        written = (
            (f"write {call.model.name}, the model with {', '.join(copy.changes)}",) if copy.changes else ()
        )
        return Plan(
            target=self.name,
            steps=(*written, f"write {_script_name(output)}: {seen.command_line()}", *run),
            argv=seen.argv(),
            script=script,
            files={_script_name(output): script},
            notes=(*notes(call, facts), *copy.notes),
        )

    def _write_files(self, plan: Plan, folder: Path, *, force: bool) -> None:
        for name, content in plan.files.items():
            path = folder / name
            if not (path.is_file() and path.read_text(encoding="utf-8") == content):
                write_text(path, content, force=force)
            path.chmod(0o755)

    def _run(self, program: str, call: AtcInvocation, work: Path, *, log_file: Path) -> Path:
        # ATC leaves kernel_meta, fusion_result.json and the like in its folder: an own one keeps
        # them away, and whatever .om is in it was made by this very run.
        stem = call.output.name
        here = dataclasses.replace(call, output=work / stem).seen_from(work)
        argv = (program, *here.argv()[1:])
        _LOGGER.info("running %s", here.command_line())
        done = run_tool(argv, cwd=work, log_file=log_file, timeout_s=self.timeout_s)
        if done.returncode is None:
            raise _failure(f"atc did not finish within {self.timeout_s:g} s and was stopped", done, log_file)
        if done.returncode != 0:
            raise _failure(f"atc failed with exit code {done.returncode}", done, log_file)
        if _FAILED in done.log:
            raise _failure("atc returned 0, but says that it failed", done, log_file)
        # A cross build names the machine in the file: NAME_linux_aarch64.om.
        made = [p for p in (work / f"{stem}.om", *sorted(work.glob(f"{stem}_*.om"))) if p.is_file()]
        if not made:
            raise _failure(f"atc returned 0, but did not write {stem}.om", done, log_file)
        if made[0].stat().st_size == 0:
            raise _failure(f"atc returned 0, but {stem}.om is empty", done, log_file)
        return made[0]


def _roles(model: Path) -> dict[str, str]:
    artefact = Artefact.load(model)
    return {spec.role: spec.name for spec in artefact.outputs if spec.role} if artefact else {}


def _script_name(output: Path) -> str:
    return f"{output.stem}.atc.sh"


def _deliver_weights(work: Path, folder: Path) -> None:
    """Move the files of external weights, which must stay beside the om, in ``weight/``."""
    source = work / "weight"
    for file in sorted(source.rglob("*")) if source.is_dir() else ():
        if file.is_file():
            place = folder / "weight" / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)


def _failure(what: str, run: ToolRun, log_file: Path) -> ToolFailure:
    findings = read_log(run.log.splitlines()).errors[:_EXPLAINED]
    explained = "".join(f"\n  {finding}" for finding in findings)
    tail = run.tail()
    message = f"{what}{explained}\n'graphopt explain {log_file.name}' may say more; its last lines:\n{tail}"
    return ToolFailure(message, argv=run.argv, returncode=run.returncode, log_tail=tail)
