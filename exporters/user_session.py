"""Run a network of the user's own behind the protocol of all backends."""

import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from graphopt.core.tensors import TensorSpec
from graphopt.exporters.checkpoint import load_into, read_checkpoint
from graphopt.exporters.flat_answers import flat_answers
from graphopt.exporters.torch_session import TorchSession
from graphopt.exporters.user_module import user_module


class UserModuleSession(TorchSession):
    """The network that a name in a Python file makes; the user's code runs until ``close``.

    Args:
        file: of the user.
        build: name in it; see ``exporters.user_module``.
        inputs: what ``run`` must be fed, in the order of ``forward``.
        outputs: what it returns; checked at every run.
        checkpoint: weights to load; None keeps those that the code makes.
        key: where they are in the checkpoint.

    Raises:
        UsageError, ExportError: as ``user_module``.
        CheckpointError: the checkpoint cannot be read or does not fit.
    """

    def __init__(
        self,
        file: Path,
        build: str,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        *,
        checkpoint: Path | None = None,
        key: str = "state_dict",
    ) -> None:
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(sys.stderr))
            module = stack.enter_context(user_module(file, build))
            if checkpoint is not None:
                load_into(module, read_checkpoint(checkpoint), key=key)
            stack.enter_context(flat_answers(module))
            super().__init__(module, inputs, outputs)
            self._code = stack.pop_all()

    def close(self) -> None:
        """Let go of the module and of the user's code."""
        super().close()
        self._code.close()
