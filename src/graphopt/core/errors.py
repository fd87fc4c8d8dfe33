"""The one family of errors a user can meet; each carries the exit code of its kind.

A message says what was wrong, where (file, node, tensor), and what to do next. A bug is not
wrapped: it keeps its traceback and the command line exits with 70.
"""

from typing import ClassVar


class GraphoptError(Exception):
    """Root of the family.

    Attributes:
        exit_code: what the command line returns: 1 bad verdict, 2 bad input or usage,
            3 tool or package missing, 4 external tool failed.
    """

    exit_code: ClassVar[int] = 2


class UsageError(GraphoptError, ValueError):
    """An argument or option makes no sense: unknown name, wrong type, impossible combination."""


class InvalidModelError(GraphoptError, ValueError):
    """A model file is missing, damaged, unsafe, or holds what graphopt cannot represent."""


class CheckpointError(GraphoptError, ValueError):
    """A checkpoint cannot be read safely or does not fit the network."""


class DatasetError(GraphoptError, ValueError):
    """A data set or a results folder is incomplete or not in the declared format."""


class OutputError(GraphoptError, OSError):
    """An output cannot be written: it exists, the folder is read-only, the disk is full."""


class PreconditionError(GraphoptError):
    """A model does not meet what a pass, target or verb requires (opset, static shape, ...)."""


class ExportError(GraphoptError):
    """The exporter ran, but its result is not what the recipe promised."""


class ExpectedMatchError(GraphoptError):
    """A recipe promised that a pass matches, and it did not."""

    exit_code: ClassVar[int] = 1


class VerificationError(GraphoptError):
    """The model's numbers changed beyond the bound, or could not be proven unchanged."""

    exit_code: ClassVar[int] = 1


class UnsupportedError(GraphoptError):
    """A target would refuse the model, as far as is known of it."""

    exit_code: ClassVar[int] = 1


class MissingBackendError(GraphoptError):
    """An optional package or an external program is not installed."""

    exit_code: ClassVar[int] = 3


class ToolFailure(GraphoptError):
    """An external program ran and failed.

    Args:
        message: what failed and what to do next.
        argv: the command as it was started.
        returncode: its exit code; None when it was killed at the time limit.
        log_tail: last lines of its output.
    """

    exit_code: ClassVar[int] = 4

    def __init__(
        self, message: str, *, argv: tuple[str, ...], returncode: int | None, log_tail: str = ""
    ) -> None:
        super().__init__(message)
        self.argv = argv
        self.returncode = returncode
        self.log_tail = log_tail
