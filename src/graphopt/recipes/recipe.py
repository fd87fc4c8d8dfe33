"""What a model needs from checkpoint to metric, as one typed constant per file.

A file of ``recipes/models`` defines ``RECIPE: Recipe``. The pipeline and every verb read it; no
other file changes when a model is added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphopt.core.comparison import Tolerance
from graphopt.core.preprocessing import Step
from graphopt.core.tensors import TensorSpec

if TYPE_CHECKING:
    import torch

    from graphopt.runtime.task import Task
    from graphopt.surgery import PassStep


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

    Attributes:
        name: the word users type; equals the file's name.
        title: one line for lists and reports.
        build: makes the module in eval mode, uninitialised (imports torch inside).
        load: reads a checkpoint file into a module that ``build`` made and returns its meta data.
        make_demo: writes ``checkpoint`` and a data set for ``--demo`` into a folder.
        inputs: of the exported graph; symbolic sizes are dynamic.
        outputs: of the exported graph, with roles.
        preprocessing: image file to one input sample without the batch axis.
        passes: what ``apply`` and ``pipeline`` run, in order.
        tolerance: rewritten and compiled stages against PyTorch.
        task: data set, decoding, metric and pictures.
        batch_sizes: the published batch matrix.
        atc: options of the published ATC call.
        published: reference figures.
    """

    name: str
    title: str
    build: Callable[[], "torch.nn.Module"]
    load: Callable[["torch.nn.Module", Path], Mapping[str, Any]]
    make_demo: Callable[[Path], "Demo"]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: tuple[Step, ...]
    passes: tuple["PassStep", ...]
    tolerance: Tolerance
    task: "Task"
    batch_sizes: tuple[int, ...] = (1,)
    opset: int = 11
    atc: Mapping[str, str] = field(default_factory=dict)
    published: tuple[Published, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What ``--demo`` works on.

    Attributes:
        checkpoint: seeded, in the public layout.
        data: data set folder in the task's real format.
    """

    checkpoint: Path
    data: Path
