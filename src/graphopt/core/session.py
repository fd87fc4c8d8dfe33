"""Run a model: the protocol every backend follows, and onnxruntime behind it."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from graphopt.core.complete_files import with_bodies
from graphopt.core.errors import InvalidModelError, UsageError
from graphopt.core.optional import require
from graphopt.core.tensors import Array, TensorSpec

_NUMPY_NAMES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


class Session(Protocol):
    """A model that is ready to run. Outputs are bound by name, never by position."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` must be fed."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What ``run`` returns."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            feeds: one array per input, by name; not modified.

        Raises:
            UsageError: an input is missing, unknown, or of the wrong dtype or shape.
        """
        ...

    def close(self) -> None:
        """Release what the backend holds; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_feeds(inputs: tuple[TensorSpec, ...], feeds: Mapping[str, Array]) -> None:
    """Raise ``UsageError`` unless ``feeds`` are exactly ``inputs``."""
    missing = [spec.name for spec in inputs if spec.name not in feeds]
    unknown = sorted(set(feeds) - {spec.name for spec in inputs})
    if missing or unknown:
        raise UsageError(f"inputs missing: {missing or 'none'}, unknown: {unknown or 'none'}")
    for spec in inputs:
        if reason := spec.mismatch(feeds[spec.name]):
            raise UsageError(f"input {spec.name}: {reason}")


class OnnxRuntimeSession:
    """An ONNX file on the CPU.

    Args:
        model: path, or the serialized bytes of a model without external data.
        optimize: let onnxruntime rewrite the graph. Off by default: a comparison must run the
            graph as it is. Timings and deployments want it on.
        threads: intra-op threads; 0 lets onnxruntime choose.
        weights: onnxruntime's own values for initializers of the model, used in place and not copied.
        frugal: spend less memory and, for that, a little time: no arena, no repacked weights.

    Raises:
        InvalidModelError: onnxruntime refuses the model; its reason is in the message.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        optimize: bool = False,
        threads: int = 0,
        weights: Mapping[str, Any] | None = None,
        frugal: bool = False,
    ) -> None:
        runtime: Any = require("onnxruntime", extra="onnxruntime", purpose="running an ONNX model")
        options = runtime.SessionOptions()
        level = runtime.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what matters is raised; the rest is noise on stderr
        if frugal:
            options.enable_cpu_mem_arena = False
            options.enable_mem_pattern = False
            options.add_session_config_entry("session.disable_prepacking", "1")
            # Threads that wait for work leave the cores to others.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._weights = dict(weights or {})  # onnxruntime reads them as long as the session lives
        for initializer, value in self._weights.items():
            options.add_initializer(initializer, value)
        name = str(model) if isinstance(model, Path) else "the model in memory"
        try:
            self._session = _open(runtime, model, options)
        except Exception as error:
            raise InvalidModelError(f"onnxruntime cannot load {name}: {error}") from error
        self._inputs = tuple(_spec(node) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(node) for node in self._session.get_outputs())

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; see ``Session.run``.

        Raises:
            InvalidModelError: a node failed while running.
        """
        check_feeds(self._inputs, feeds)
        names = [spec.name for spec in self._outputs]
        try:
            values = self._session.run(names, dict(feeds))
        except Exception as error:
            raise InvalidModelError(f"onnxruntime failed while running: {error}") from error
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Drop the native session."""
        self._session = None
        self._weights = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(runtime: Any, model: Path | bytes, options: Any) -> Any:
    def start(content: str | bytes) -> Any:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    if not isinstance(model, Path):
        return start(model)
    try:
        return start(str(model))
    except Exception:
        # Its operators may be ones whose bodies we know (a raw export, a copy for a target).
        with with_bodies(model) as complete:
            if complete is None:
                raise
            return start(str(complete))


def _spec(node: Any) -> TensorSpec:
    return TensorSpec(
        name=node.name,
        shape=tuple(node.shape),
        dtype=_NUMPY_NAMES.get(node.type, node.type),
    )
