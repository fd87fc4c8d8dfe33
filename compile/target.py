"""What a compile target is: a plan that can be read before anything runs, then an artefact."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from graphopt.core.artefacts import Artefact
from graphopt.core.discovery import find_class, names_in
from graphopt.core.tensors import TensorSpec

_PACKAGE = "graphopt.compile.targets"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What compiling would do; making one writes and starts nothing.

    Attributes:
        target: name of the target.
        steps: what happens, one line each, for ``--dry-run``.
        argv: the external command, paths relative to the output's folder; empty when none runs.
        script: the same as a shell script; empty when no external command runs.
        files: name -> content of what is written beside the output before the command runs.
        notes: warnings that do not stop the plan, whole sentences.
    """

    target: str
    steps: tuple[str, ...]
    argv: tuple[str, ...] = ()
    script: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json`` and sidecars."""
        return {
            "target": self.target,
            "steps": list(self.steps),
            "argv": list(self.argv),
            "script": self.script,
            "files": sorted(self.files),
            "notes": list(self.notes),
        }


class Target(ABC):
    """Something that turns an ONNX file into what a runtime loads.

    Subclasses are frozen dataclasses in a file of their ``name``; their fields are the options.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Of the artefact's file, with the dot."""

    def check(self) -> None:  # noqa: B027  most targets have nothing to check
        """Raise what is wrong with the options alone, before there is a model.

        Raises:
            UsageError: an option that no model could be compiled with.
        """

    @abstractmethod
    def plan(
        self,
        model: Path,
        output: Path,
        *,
        inputs: tuple[TensorSpec, ...] = (),
        outputs: tuple[TensorSpec, ...] = (),
    ) -> Plan:
        """Check everything that can be checked before running, and say what would be done.

        Args:
            model: an ONNX file; never modified.
            output: where the artefact would stand.
            inputs: fixed shapes for a graph whose sizes are dynamic; empty: as in the graph.
            outputs: names the artefact must offer; empty: as in the graph.

        Raises:
            InvalidModelError: the model cannot be read.
            UsageError: the target would refuse this combination; names the rule and the remedy.
        """

    @abstractmethod
    def compile(
        self,
        model: Path,
        output: Path,
        *,
        force: bool,
        recipe: str = "",
        parent: Artefact | None = None,
    ) -> Artefact:
        """Make the artefact, prove that it loads where that is possible, and save its sidecar.

        Args:
            model: an ONNX file; never modified.
            output: where the artefact will stand; its folder must exist.
            force: replace an existing file.
            recipe: name of the recipe; empty: the parent's.
            parent: what ``model`` is; None: read from its sidecar, if it has one.

        Raises:
            InvalidModelError: the model cannot be read or compiled.
            UsageError: as ``plan``.
            OutputError: the output exists without ``force``, or cannot be written.
            MissingBackendError: the compiler is not installed.
            ToolFailure: an external compiler ran and failed.
        """


def list_targets() -> tuple[str, ...]:
    """Return the names of all targets, sorted."""
    return names_in(_PACKAGE)


def find_target(name: str) -> type[Target]:
    """Return the target class of that name.

    Raises:
        UsageError: there is none; the message offers the nearest names.
    """
    # mypy takes an abstract base for a class that will be instantiated.
    return find_class(_PACKAGE, name, Target, kind="target")  # type: ignore[type-abstract]
