"""What a model needs from checkpoint to metric, as one typed constant per file.

A file of ``recipes/models`` defines ``RECIPE: Recipe``. The pipeline and every verb read it; no
other file changes when a model is added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from graphopt.core.comparison import Tolerance
from graphopt.core.errors import PreconditionError
from graphopt.core.preprocessing import Step
from graphopt.core.tensors import TensorSpec

if TYPE_CHECKING:
    import torch

    from graphopt.runtime.task import Task
    from graphopt.surgery import PassStep

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure from a public source, shown beside ours and never as ours.

    Attributes:
        what: e.g. ``"instance accuracy, Ascend 310"``.
        value: in the metric's own unit.
        source: where it was published.
    """

    what: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model, from checkpoint to metric.

    A recipe may lack what nobody has written yet: without ``build`` and ``load`` it starts from an
    ONNX file, without ``task`` stages are compared but not scored. Whoever needs a field that may
    be missing asks with ``needed_...``, which says what to add.

    Attributes:
        name: the word users type; equals the file's name.
        title: one line for lists and reports.
        inputs: of the exported graph; symbolic sizes are dynamic.
        outputs: of the exported graph, with roles.
        passes: what ``apply`` and ``pipeline`` run, in order.
        tolerance: rewritten and compiled stages against PyTorch.
        preprocessing: image file to one input sample without the batch axis.
        build: makes the module in eval mode, uninitialised (imports torch inside).
        load: reads a checkpoint file into a module that ``build`` made and returns its meta data.
        make_demo: writes ``checkpoint`` and a data set for ``--demo`` into a folder.
        task: data set, decoding, metric and pictures.
        batch_sizes: the published batch matrix.
        atc: options of the published ATC call.
        published: reference figures.
        digest: hex sha256 of what outside of graphopt defines the network; a run whose recipe has another
            starts anew. Empty for graphopt's own.
    """

    name: str
    title: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    passes: tuple["PassStep", ...]
    tolerance: Tolerance
    preprocessing: tuple[Step, ...] = ()
    build: Callable[[], "torch.nn.Module"] | None = None
    load: Callable[["torch.nn.Module", Path], Mapping[str, Any]] | None = None
    make_demo: Callable[[Path], "Demo"] | None = None
    task: "Task | None" = None
    batch_sizes: tuple[int, ...] = (1,)
    opset: int = 11
    atc: Mapping[str, str] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    digest: str = ""

    @property
    def stem(self) -> str:
        """What files and folders made for it are called: the name, of ``FAMILY:...`` the parts behind it."""
        first, *rest = self.name.split(":")
        return "_".join(PurePath(part).name.removesuffix(".py") for part in rest) or first

    def needed_task(self, purpose: str) -> "Task":
        """Return the task.

        Args:
            purpose: what it is needed for, as a subject: ``"scoring"``, ``"--data"``.

        Raises:
            PreconditionError: the recipe has none.
        """
        return self._needed(self.task, "task", purpose)

    def needed_steps(self, purpose: str) -> tuple[Step, ...]:
        """Return the preprocessing; see ``needed_task``."""
        return self._needed(self.preprocessing or None, "preprocessing", purpose)

    def needed_module(self, purpose: str, checkpoint: Path) -> "torch.nn.Module":
        """Return the network with a checkpoint's weights; see ``needed_task``.

        Raises:
            PreconditionError: the recipe has no ``build`` or no ``load``.
            CheckpointError: the checkpoint does not fit.
        """
        load = self._needed(self.load, "load", purpose)
        module = self.needed_build(purpose)()
        load(module, checkpoint)
        return module

    def answers_of(self, module: "torch.nn.Module") -> tuple[TensorSpec, ...]:
        """Return what a module that ``build`` made answers itself, in its own order.

        A detector (``exporters.mmdet.detector``) answers dets and labels as its attribute ``order`` says, and
        where ``rows`` is None, as many rows as it finds; later stages fill them up. Other modules answer
        ``outputs``.
        """
        if not hasattr(module, "rows"):
            return self.outputs
        found = {spec.role: spec for spec in self.outputs}
        answers = tuple(found[str(role)] for role in module.order)
        if module.rows is not None:
            return answers
        return tuple(replace(spec, shape=("detections", *spec.shape[1:])) for spec in answers)

    def needed_build(self, purpose: str) -> Callable[[], "torch.nn.Module"]:
        """Return what makes the untrained network; see ``needed_task``."""
        return self._needed(self.build, "build", purpose)

    def needed_demo(self, purpose: str) -> Callable[[Path], "Demo"]:
        """Return what makes the demo; see ``needed_task``."""
        return self._needed(self.make_demo, "make_demo", purpose)

    def check_has(self, *fields: str, purpose: str) -> None:
        """Refuse early what ``needed_...`` would refuse late.

        Raises:
            PreconditionError: one of the fields is not there.
        """
        for name in fields:
            self._needed(getattr(self, name) or None, name, purpose)

    def _needed(self, value: T | None, field_name: str, purpose: str) -> T:
        if value is None:
            raise PreconditionError(
                f"{purpose} needs what the recipe {self.name} lacks: {field_name}, {_MISSING[field_name]}"
            )
        return value


_MISSING = {
    "task": "a data set with its metric (runtime/tasks has them); without it leave --data out: stages are "
    "compared, but not scored",
    "preprocessing": "the steps from an image file to an input (core/preprocessing.py has them)",
    "build": "a function that makes the torch module; without it start from a graph: "
    "graphopt pipeline RECIPE --onnx MODEL",
    "load": "a function that reads a checkpoint into the module that build made",
    "make_demo": "a function that makes a seeded checkpoint and data set; give a model instead, with "
    "--onnx or --checkpoint",
}
"""Per field: what it is, and what to do without it."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What ``--demo`` works on.

    Attributes:
        checkpoint: seeded, in the public layout.
        data: data set folder in the task's real format.
    """

    checkpoint: Path
    data: Path
