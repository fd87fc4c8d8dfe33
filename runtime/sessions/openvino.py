"""Run a model on the CPU with OpenVINO."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from graphopt.core.errors import InvalidModelError, UsageError
from graphopt.core.openvino import load_openvino
from graphopt.core.session import check_feeds
from graphopt.core.tensors import Array, Dim, TensorSpec


class OpenVinoSession:
    """An OpenVINO IR (``.xml``) or an ONNX file, compiled for the CPU in full float32.

    Without the precision hint a CPU with bf16 or fp16 units would compute in those and differ
    from the model it is compared with.

    Args:
        path: ``.xml`` with its ``.bin`` beside it, or ``.onnx``.
        threads: of inference; 0 lets OpenVINO choose.

    Raises:
        MissingBackendError: OpenVINO is not installed.
        InvalidModelError: OpenVINO refuses the model; its reason is in the message.
    """

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        openvino: Any = load_openvino(purpose="running a model with OpenVINO")
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = openvino.Core().compile_model(str(path), "CPU", config)
        except RuntimeError as error:
            raise InvalidModelError(f"OpenVINO cannot load {path}: {_first_line(error)}") from error
        self._request = self._compiled.create_infer_request()
        self._inputs = tuple(_spec(port, "input", i) for i, port in enumerate(self._compiled.inputs))
        self._outputs = tuple(_spec(port, "output", i) for i, port in enumerate(self._compiled.outputs))

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see ``graphopt.core.session.Session.run``.

        Raises:
            UsageError: the feeds do not fit, or the session is closed.
            InvalidModelError: OpenVINO failed while running.
        """
        if self._request is None:
            raise UsageError("the session is closed")
        check_feeds(self._inputs, feeds)
        contiguous = [np.ascontiguousarray(feeds[spec.name]) for spec in self._inputs]
        try:
            self._request.infer(dict(enumerate(contiguous)))
        except RuntimeError as error:
            raise InvalidModelError(f"OpenVINO failed while running: {_first_line(error)}") from error
        # Copies: the request reuses its output memory in the next run.
        return {
            spec.name: np.array(self._request.get_output_tensor(index).data)
            for index, spec in enumerate(self._outputs)
        }

    def close(self) -> None:
        """Drop the compiled model."""
        self._request = None
        self._compiled = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _spec(port: Any, kind: str, index: int) -> TensorSpec:
    # A model made by hand may leave ports without names.
    name = port.any_name if port.names else f"{kind}_{index}"
    shape: tuple[Dim, ...] = tuple(
        dim.get_length() if dim.is_static else None for dim in port.get_partial_shape()
    )
    return TensorSpec(name=name, shape=shape, dtype=np.dtype(port.element_type.to_dtype()).name)


def _first_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
