"""Run a model over a data set and keep what it said, so that an evaluation can go on later."""

import contextlib
import itertools
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from graphopt.core.errors import DatasetError, UsageError
from graphopt.core.files import atomic_file
from graphopt.core.mapped import blocks
from graphopt.core.preprocessing import Step
from graphopt.core.session import Session
from graphopt.core.tensors import Array, Dim, TensorSpec
from graphopt.runtime.ahead import in_order
from graphopt.runtime.prediction_files import read_npz, write_npz
from graphopt.runtime.preprocess import preprocess
from graphopt.runtime.row_spool import RowSpool

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in total)."""

DEFAULT_BATCH = 8
"""At most, for models whose batch size is free."""

_BATCH_BYTES = 5_000_000
"""Of the input, for such models: a CPU gains little from more, and activations cost memory."""

_SAVE_EVERY = 30.0
"""Seconds between two saves of unfinished predictions, at least."""

_SAVE_SHARE = 50
"""How much longer than a save the time to the next one is: large outputs take seconds to save."""

_HEADER = "__predictions__"

_log = logging.getLogger(__name__)


class Sample(Protocol):
    """What ``predict`` needs of a data set's samples."""

    @property
    def name(self) -> str:
        """Unique within the data set."""
        ...

    @property
    def path(self) -> Path:
        """The image file."""
        ...


class Samples(Protocol):
    """A data set: sized, and iterated in a fixed order."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sample]: ...


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What one model said about the samples of one data set.

    Large outputs may be mapped from a file: walk them with ``core.mapped.blocks``.

    Attributes:
        names: of the samples, in the order of the rows.
        outputs: by output name; axis 0 is the sample, the model's batch axis is gone.
        model_sha256: of the model file; empty when unknown.
        data_digest: of the data set; empty when unknown.
        steps: the preprocessing in words; empty when unknown.
    """

    names: tuple[str, ...]
    outputs: Mapping[str, Array]
    model_sha256: str = ""
    data_digest: str = ""
    steps: str = ""

    def __post_init__(self) -> None:
        wrong = [name for name, value in self.outputs.items() if len(value) != len(self.names)]
        if wrong:
            raise DatasetError(
                f"{len(self.names)} samples, but {', '.join(wrong)} has another number of rows"
            )
        if len(set(self.names)) != len(self.names):
            raise DatasetError("sample names repeat: predictions could not be matched to labels")

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file atomically, replacing an older one.

        Raises:
            OutputError: it cannot be written.
        """
        header = {
            "version": 1,
            "names": list(self.names),
            "outputs": list(self.outputs),
            "model_sha256": self.model_sha256,
            "data_digest": self.data_digest,
            "steps": self.steps,
        }
        # Arrays are numbered in the archive: output names may hold characters that a zip entry must not.
        arrays: dict[str, Array] = {f"output_{i}": value for i, value in enumerate(self.outputs.values())}
        arrays[_HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        with atomic_file(path, force=True) as temporary, temporary.open("wb") as stream:
            write_npz(stream, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote; large outputs stay in the file until they are used.

        Raises:
            DatasetError: the file is missing, damaged or something else.
        """
        try:
            arrays = read_npz(path)
            header = json.loads(arrays[_HEADER].tobytes())
            outputs = {name: arrays[f"output_{i}"] for i, name in enumerate(header["outputs"])}
            return cls(
                names=tuple(header["names"]),
                outputs=outputs,
                model_sha256=header["model_sha256"],
                data_digest=header["data_digest"],
                steps=header["steps"],
            )
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            raise DatasetError(
                f"{path} holds no predictions of graphopt ({error}); delete it and evaluate again"
            ) from error


def predict(
    session: Session,
    samples: Samples,
    steps: Sequence[Step],
    *,
    batch: int | None = None,
    on_progress: Progress | None = None,
    store: Path | None = None,
    model_sha256: str = "",
    data_digest: str = "",
    rows: Mapping[str, tuple[int, ...]] | None = None,
    workers: int | None = None,
    prepare: Callable[[Sample], Array] | None = None,
) -> Predictions:
    """Run every sample through a model with one input; threads preprocess ahead.

    A fixed batch size is kept: the last partial batch is filled with copies of its first sample,
    whose results are dropped. An output whose first axis is not the batch is taken whole, which
    only a batch size of 1 allows.

    Args:
        session: an open session; left open.
        samples: a data set or a list; names are unique.
        steps: preprocessing of the recipe.
        batch: samples per run for a model with a free batch size; must agree with a fixed one.
        on_progress: called after each batch.
        store: ``.npz`` that keeps the predictions. When it holds the first samples of the same
            model and data set already, only the rest runs. An interrupted call leaves what is done.
        model_sha256: names the model in ``store``.
        data_digest: names the data set in ``store``.
        rows: by output, the shape that a sample's answer is filled up to with zeros, where their number
            varies from sample to sample.
        workers: number of threads; None for one per processor.
        prepare: makes a sample's input instead of ``steps``.

    Raises:
        UsageError: the model has several inputs, ``batch`` contradicts it, or an answer is larger than
            ``rows`` says.
        DatasetError: no samples, a repeated name, a broken image.
    """
    runner = _Runner(session, steps, batch, rows, prepare)
    listed = list(samples)
    names = tuple(sample.name for sample in listed)
    if not names:
        raise DatasetError("the data set has no samples to run")
    if len(set(names)) != len(names):
        raise DatasetError("the data set repeats sample names; predictions could not be matched to labels")
    resumable = store if store is not None and model_sha256 and data_digest else None
    kept = _Kept(model_sha256, data_digest, repr(tuple(steps)))
    earlier = kept.find(resumable, names, runner.output_names) if resumable is not None else None
    if earlier is not None and len(earlier) == len(names):
        return earlier
    with RowSpool(store.parent if store is not None else None) as spool:
        if earlier is not None:
            for _, values in blocks(tuple(earlier.outputs.values())):
                spool.append(dict(zip(earlier.outputs, values, strict=True)))
        due = time.monotonic() + _SAVE_EVERY
        try:
            for outputs in runner.run(listed, start=len(spool), workers=workers):
                spool.append(outputs)
                if on_progress is not None:
                    on_progress(len(spool), len(names))
                if resumable is not None and time.monotonic() > due:
                    before = time.monotonic()
                    kept.predictions(names, spool).save(resumable)
                    now = time.monotonic()
                    due = now + max(_SAVE_EVERY, _SAVE_SHARE * (now - before))
        finally:
            # Also after Ctrl-C or a broken image: what is done need not run again.
            if store is not None and len(spool) and (resumable is not None or len(spool) == len(names)):
                kept.predictions(names, spool).save(store)
        return kept.predictions(names, spool)


@dataclass(frozen=True)
class _Kept:
    """Whose predictions a file keeps."""

    model_sha256: str
    data_digest: str
    steps: str

    def find(self, path: Path, names: tuple[str, ...], outputs: set[str]) -> Predictions | None:
        """Return what an interrupted call left, if it is of the same everything."""
        if not path.is_file():
            return None
        try:
            found = Predictions.load(path)
        except DatasetError as error:
            _log.warning("%s", error)
            return None
        same = (found.model_sha256, found.data_digest, found.steps) == (
            self.model_sha256,
            self.data_digest,
            self.steps,
        )
        fits = same and found.names == names[: len(found)] and set(found.outputs) == outputs
        return found if fits else None

    def predictions(self, names: tuple[str, ...], spool: RowSpool) -> Predictions:
        return Predictions(
            names=names[: len(spool)],
            outputs=spool.outputs(),
            model_sha256=self.model_sha256,
            data_digest=self.data_digest,
            steps=self.steps,
        )


class _Runner:
    def __init__(
        self,
        session: Session,
        steps: Sequence[Step],
        batch: int | None,
        rows: Mapping[str, tuple[int, ...]] | None = None,
        prepare: Callable[[Sample], Array] | None = None,
    ) -> None:
        if len(session.inputs) != 1:
            names = ", ".join(spec.name for spec in session.inputs)
            raise UsageError(
                f"an image data set feeds one input, the model has {len(session.inputs)}: {names}"
            )
        self._session = session
        self._input = session.inputs[0]
        self._steps = steps
        self._rows = rows or {}
        self._made = prepare
        size = self._input.shape[0] if self._input.shape else None
        self._fixed = size if isinstance(size, int) else None
        if batch is not None and batch < 1:
            raise UsageError(f"a batch of {batch} makes no sense; use 1 or more")
        if batch is not None and self._fixed is not None and batch != self._fixed:
            raise UsageError(
                f"the model's batch size is fixed at {self._fixed}, asked for {batch}; "
                f"drop the option, or make a model of batch {batch}"
            )
        self.batch = self._fixed or batch or _default_batch(self._input)

    @property
    def output_names(self) -> set[str]:
        return {spec.name for spec in self._session.outputs}

    def run(
        self, samples: Sequence[Sample], *, start: int, workers: int | None
    ) -> Iterator[dict[str, Array]]:
        due = samples[start:]
        # While one batch runs, the next one is made: as many results may lie ready.
        ready = in_order(self._prepare, due, workers=workers, waiting=self.batch)
        with contextlib.closing(ready):
            while rows := list(itertools.islice(ready, self.batch)):
                fed = self._batched(rows)
                values = self._session.run({self._input.name: fed})
                yield self._per_sample(values, len(fed), len(rows))

    def _prepare(self, sample: Sample) -> Array:
        made = preprocess(sample.path, self._steps) if self._made is None else self._made(sample)
        return made.astype(self._input.dtype, copy=False)

    def _batched(self, rows: Sequence[Array]) -> Array:
        if (self._fixed or len(rows)) == 1:
            return rows[0][np.newaxis]  # a view: the sample of a large model is not copied
        missing = self._fixed - len(rows) if self._fixed is not None else 0
        return np.stack([*rows, *(rows[0] for _ in range(missing))])

    def _per_sample(self, values: Mapping[str, Array], fed: int, wanted: int) -> dict[str, Array]:
        specs = {spec.name: spec for spec in self._session.outputs}
        outputs = {}
        for name, value in values.items():
            if name in self._rows:
                outputs[name] = _filled(name, value, self._rows[name], fed)[:wanted]
            elif _is_batched(specs[name], value, self._input.shape[0], fed):
                outputs[name] = value[:wanted]
            else:
                outputs[name] = value[None]
        return outputs


def _filled(name: str, value: Array, shape: tuple[int, ...], fed: int) -> Array:
    """Return an answer of as many rows as there are as [batch, *shape], zeros behind the rows."""
    if value.ndim == len(shape) and fed == 1:
        value = value[None]
    fits = value.ndim == len(shape) + 1 and len(value) == fed
    if not fits or any(size > most for size, most in zip(value.shape[1:], shape, strict=True)):
        raise UsageError(
            f"output {name} has shape {list(value.shape)} for a batch of {fed}; expected were at most "
            f"{list(shape)} for each sample"
        )
    filled = np.zeros((fed, *shape), value.dtype)
    filled[tuple(slice(size) for size in value.shape)] = value
    return filled


def _default_batch(spec: TensorSpec) -> int:
    sizes = [dim for dim in spec.shape[1:] if isinstance(dim, int)]
    sample = int(np.prod(sizes, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
    return max(1, min(DEFAULT_BATCH, _BATCH_BYTES // max(1, sample)))


def _is_batched(spec: TensorSpec, value: Array, batch_dim: Dim, fed: int) -> bool:
    declared = spec.shape[0] if spec.shape else 0
    same_symbol = isinstance(declared, str) and declared == batch_dim
    batched = value.ndim > 0 and len(value) == fed and (not isinstance(declared, int) or declared == fed)
    if not batched and (fed != 1 or same_symbol):
        raise UsageError(
            f"output {spec.name} has shape {list(value.shape)} for a batch of {fed}: its rows cannot be told "
            "apart; run the model with a batch of 1"
        )
    return batched
