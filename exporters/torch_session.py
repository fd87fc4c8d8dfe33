"""The original network behind the protocol of all backends: numpy in, numpy out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from graphopt.core.errors import ExportError
from graphopt.core.optional import require
from graphopt.core.session import check_feeds
from graphopt.core.tensors import Array, TensorSpec

if TYPE_CHECKING:
    import torch


@contextmanager
def evaluating(module: "torch.nn.Module") -> Iterator[None]:
    """Switch a module to eval mode without gradients; each part gets its own mode back."""
    torch: Any = require("torch", extra="torch", purpose="running the original network")
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training


class TorchSession:
    """A module in eval mode; its own mode comes back after each run.

    Args:
        module: takes the inputs by position; returns a tensor, a sequence of tensors in the order of
            ``outputs``, or a mapping by name.
        inputs: what ``run`` must be fed.
        outputs: what it returns; checked at every run.
    """

    def __init__(
        self, module: "torch.nn.Module", inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
    ) -> None:
        self._module: torch.nn.Module | None = module
        self._inputs = inputs
        self._outputs = outputs

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As declared."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """As declared."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see ``Session.run``.

        Raises:
            UsageError: an input is missing, unknown, or of the wrong dtype or shape.
            ExportError: the network answers something else than ``outputs``.
        """
        check_feeds(self._inputs, feeds)
        if self._module is None:
            raise RuntimeError("the session is closed")
        torch: Any = require("torch", extra="torch", purpose="running the original network")
        with evaluating(self._module):
            # A copy: torch refuses read-only arrays, and a network may write into its input.
            answer = self._module(*(torch.from_numpy(np.array(feeds[spec.name])) for spec in self._inputs))
        results = {name: torch.as_tensor(value).numpy() for name, value in self._named(answer).items()}
        for spec in self._outputs:
            if reason := spec.mismatch(results[spec.name]):
                raise ExportError(f"output {spec.name} of {type(self._module).__name__}: {reason}")
        return results

    def close(self) -> None:
        """Let go of the module."""
        self._module = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _named(self, answer: Any) -> dict[str, Any]:
        names = [spec.name for spec in self._outputs]
        if isinstance(answer, Mapping):
            found = dict(answer)
        else:
            values = answer if isinstance(answer, (tuple, list)) else (answer,)
            found = dict(zip(names, values, strict=False)) if len(values) == len(names) else {}
        if set(found) != set(names):
            raise ExportError(
                f"{type(self._module).__name__} does not return the {len(names)} outputs {', '.join(names)}; "
                "correct the outputs that were declared"
            )
        return {name: found[name] for name in names}
