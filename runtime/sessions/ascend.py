"""Run an ``.om`` on an Ascend device, through the same class as the device box's runner."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

from graphopt.core.errors import InvalidModelError, MissingBackendError, ToolFailure, UsageError
from graphopt.core.session import check_feeds
from graphopt.core.tensors import Array, Dim, TensorSpec
from graphopt.runtime.device_runner import AclError, AclModel, RunnerError


class AscendSession:
    """A compiled model on one device.

    ACL is one per process: sessions that overlap are closed in the reverse order of opening, as
    nested ``with`` statements do.

    Args:
        path: the ``.om``.
        device: its number.
        acl: the pyACL module; imported when not given.

    Raises:
        MissingBackendError: pyACL is not installed.
        InvalidModelError: the device refuses the model.
    """

    def __init__(self, path: Path, *, device: int = 0, acl: ModuleType | None = None) -> None:
        try:
            self._model: AclModel | None = AclModel(str(path), device=device, acl=acl)
        except ModuleNotFoundError as error:
            raise MissingBackendError(
                "running an .om needs pyACL, which comes with CANN: source its set_env.sh on the device box, "
                "or make a folder for that box with: graphopt bundle"
            ) from error
        except (AclError, RunnerError) as error:
            raise InvalidModelError(f"{path}: {error}") from error
        self._lock = threading.Lock()
        self._inputs = tuple(_spec(item) for item in self._model.inputs)
        self._outputs = tuple(_spec(item) for item in self._model.outputs)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs, without the one that carries a dynamic batch size."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs, in its own order."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see ``graphopt.core.session.Session.run``.

        Raises:
            UsageError: the feeds do not fit, or the session is closed.
            ToolFailure: a call to the device failed; the message names it and its code.
        """
        if self._model is None:
            raise UsageError("the session is closed")
        check_feeds(self._inputs, feeds)
        try:
            with self._lock:  # one model must not be fed by two threads at once
                values = self._model.run([feeds[spec.name] for spec in self._inputs])
        except AclError as error:
            raise ToolFailure(str(error), argv=(), returncode=error.code) from error
        except RunnerError as error:
            raise UsageError(str(error)) from error
        return {spec.name: value for spec, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Free the model, its memory and the device; a second call does nothing.

        Raises:
            ToolFailure: a call to the device failed; everything else was freed all the same.
        """
        if self._model is None:
            return
        model, self._model = self._model, None
        try:
            model.close()
        except AclError as error:
            raise ToolFailure(str(error), argv=(), returncode=error.code) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _spec(item: "tuple[str, list[int], str]") -> TensorSpec:
    name, dims, dtype = item
    shape: tuple[Dim, ...] = tuple(
        "batch" if dim == -1 and axis == 0 else dim for axis, dim in enumerate(dims)
    )
    return TensorSpec(name=name, shape=shape, dtype=dtype)
