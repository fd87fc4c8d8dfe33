"""A folder of results as a stage: outputs that were recorded elsewhere, replayed in order."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.session import check_feeds
from graphopt.core.tensors import Array, TensorSpec


class RecordedSession:
    """Outputs per sample, returned one after the other; follows ``core.session.Session``.

    Args:
        recorded: outputs by name, one mapping per sample, in the order the samples are fed.
        inputs: of the model that was recorded; sizes along axis 0 are not fixed by a recording,
            so give a symbolic batch when samples differ in size.
        outputs: with roles, if known; else made from the first sample's arrays.

    Raises:
        DatasetError: nothing was recorded.
    """

    def __init__(
        self,
        recorded: Sequence[Mapping[str, Array]],
        *,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...] = (),
    ) -> None:
        if not recorded:
            raise DatasetError("the recording holds no samples; nothing can be compared with it")
        self._recorded = recorded
        self._inputs = inputs
        self._outputs = outputs or tuple(
            TensorSpec(name=name, shape=array.shape, dtype=str(array.dtype))
            for name, array in recorded[0].items()
        )
        self._next = 0

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of the recorded model."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What each sample holds."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the next sample's outputs; the values of ``feeds`` are checked, not used.

        Raises:
            UsageError: ``feeds`` do not fit the recorded model's inputs, or the session is closed.
            DatasetError: more samples are fed than were recorded.
        """
        if self._next < 0:
            raise UsageError("the recording is closed")
        check_feeds(self._inputs, feeds)
        if self._next >= len(self._recorded):
            raise DatasetError(
                f"sample {self._next + 1} was not recorded, the recording ends after "
                f"{len(self._recorded)}; feed the same samples in the same order"
            )
        outputs = dict(self._recorded[self._next])
        self._next += 1
        return outputs

    def close(self) -> None:
        """Forget the place; later runs are refused."""
        self._next = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
