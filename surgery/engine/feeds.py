"""Inputs that fit two models at once, also when a pass changed the batch size between them.

A model with a fixed batch gets a larger feed in pieces of its own size; the outputs of the pieces
are joined along axis 0. So a graph of batch 1 and its rewrite to batch 4 see the same samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.samples import DYNAMIC_SIZE
from graphopt.core.tensors import Array, Dim, TensorSpec

Feeds = Mapping[str, Array]
PICTURE_SIZES = (32, 128)
"""Made up for each unknown height and width; the next when a model cannot run with the one before."""
LONG = 512
"""Made up for the other sizes then: a sound, say, which is cut into windows."""


@dataclass(frozen=True)
class SharedInputs:
    """The inputs of two models, in sizes that both can be run with.

    Attributes:
        specs: static; axis 0 holds whole batches of both models.
        free: inputs of which both models take any size on axis 0.
        guessed: what was made up for each unknown size, by its name.
        open_axes: (input, axis) behind the first of which both models take any size that is given.
    """

    specs: tuple[TensorSpec, ...]
    free: frozenset[str] = frozenset()
    guessed: tuple[tuple[str, int], ...] = ()
    open_axes: frozenset[tuple[str, int]] = frozenset()

    def single(self) -> "SharedInputs":
        """Return the same with one sample where any number will do."""
        specs = tuple(
            replace(spec, shape=(1, *spec.shape[1:])) if spec.name in self.free else spec
            for spec in self.specs
        )
        return replace(self, specs=specs)

    def regroup(self, feeds: Sequence[Feeds]) -> tuple[Feeds, ...]:
        """Return samples given in any batch size as feeds that both models can be run with.

        Samples are joined along axis 0 and cut anew; the last feed is filled up from the first.

        Raises:
            UsageError: an input is missing or of another shape.
        """
        for feed in feeds:
            self._check(feed)
        if all(self._fits(feed) for feed in feeds):
            return tuple(feeds)
        first = feeds[0]
        if any(feed[name].shape[1:] != first[name].shape[1:] for feed in feeds for name in first):
            raise UsageError("the samples differ in more than the batch; give those of one size")
        wanted = {spec.name: _rows(spec) for spec in self.specs if spec.shape}
        joined = {name: _join([feed[name] for feed in feeds], size) for name, size in wanted.items()}
        count = max(len(joined[name]) // size for name, size in wanted.items() if len(feeds[0][name]) % size)
        single = {spec.name: feeds[0][spec.name] for spec in self.specs if not spec.shape}
        return tuple(
            {**single, **{name: _cut(array, wanted[name], i) for name, array in joined.items()}}
            for i in range(count)
        )

    def _check(self, feed: Feeds) -> None:
        for spec in self.specs:
            if spec.name not in feed:
                raise UsageError(f"the samples lack input {spec.name}; they have {sorted(feed)}")
            given = feed[spec.name].shape
            if len(given) != len(spec.shape) or any(
                size != wanted and (spec.name, axis) not in self.open_axes
                for axis, (size, wanted) in enumerate(zip(given[1:], spec.shape[1:], strict=True), start=1)
            ):
                raise UsageError(
                    f"the samples for input {spec.name} are of shape {list(given)}, the model takes "
                    f"{spec.shape_text}"
                )

    def _fits(self, feed: Feeds) -> bool:
        return all(len(feed[spec.name]) % _rows(spec) == 0 for spec in self.specs if spec.shape)


def shared_inputs(
    reference: Sequence[TensorSpec], candidate: Sequence[TensorSpec], *, picture: int = PICTURE_SIZES[0]
) -> SharedInputs:
    """Work out sizes of inputs that both models can be run with.

    An input that the candidate lost is kept for the reference.

    Args:
        reference: inputs of one model.
        candidate: inputs of the other.
        picture: for an unknown height or width.

    Raises:
        PreconditionError: the reference lacks an input, or a size other than the batch differs.
    """
    known = {spec.name: spec for spec in reference}
    present = {spec.name for spec in candidate}
    pairs = []
    for spec in (*candidate, *(spec for spec in reference if spec.name not in present)):
        if spec.name not in known:
            raise PreconditionError(f"input {spec.name} is not an input of the source")
        other = known[spec.name].shape
        if len(other) != len(spec.shape):
            raise PreconditionError(
                f"input {spec.name} has rank {len(spec.shape)}, in the source {len(other)}"
            )
        pairs.append((spec, known[spec.name]))
    sizes = _Sizes(picture)
    for now, then in pairs:
        sizes.learn(now, then)
    specs = tuple(
        TensorSpec(name=now.name, shape=sizes.shape(now, then), dtype=then.dtype) for now, then in pairs
    )
    free = frozenset(now.name for now, then in pairs if sizes.is_free(now, then))
    open_axes = frozenset(
        (now.name, axis)
        for now, then in pairs
        for axis, dims in enumerate(zip(now.shape, then.shape, strict=True))
        if axis and not any(isinstance(dim, int) for dim in dims)
    )
    return SharedInputs(specs, free, tuple(sizes.guessed.items()), open_axes)


@dataclass
class _Sizes:
    """Numbers for symbolic sizes: one name, one number."""

    picture: int
    numbers: dict[str, int] = field(default_factory=dict)
    guessed: dict[str, int] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)
    """Names that must not vary from run to run."""

    def learn(self, now: TensorSpec, then: TensorSpec) -> None:
        for axis, dims in enumerate(zip(now.shape, then.shape, strict=True)):
            for dim, other in (dims, dims[::-1]):
                if not isinstance(dim, str):
                    continue
                if isinstance(other, int):
                    self.numbers[dim] = other
                    self.fixed.add(dim)
                self.numbers.setdefault(dim, self._guess(axis, len(now.shape)))
                if axis:
                    self.fixed.add(dim)

    def shape(self, now: TensorSpec, then: TensorSpec) -> tuple[int, ...]:
        sizes = []
        for axis, (dim, other) in enumerate(zip(now.shape, then.shape, strict=True)):
            size = self._batch(now, dim, other) if axis == 0 else self._size(now, axis, dim, other)
            if size is None:
                raise PreconditionError(
                    f"input {now.name} is {now.shape_text}, in the source {then.shape_text}: "
                    "no input fits both"
                )
            sizes.append(size)
        return tuple(sizes)

    def is_free(self, now: TensorSpec, then: TensorSpec) -> bool:
        dims = (now.shape[:1], then.shape[:1])
        return all(dim and not isinstance(dim[0], int) and dim[0] not in self.fixed for dim in dims)

    def _guess(self, axis: int, rank: int) -> int:
        if rank >= 4 and axis >= 2:
            return self.picture
        return LONG if axis and self.picture > PICTURE_SIZES[0] else DYNAMIC_SIZE

    def _unknown(self, spec: TensorSpec, axis: int, dim: Dim, other: Dim) -> int:
        name = next((d for d in (dim, other) if isinstance(d, str)), None)
        size = self.numbers[name] if name is not None else self._guess(axis, len(spec.shape))
        self.guessed[name or f"axis {axis} of {spec.name}"] = size
        return size

    def _batch(self, spec: TensorSpec, now: Dim, then: Dim) -> int:
        if isinstance(now, int):
            return math.lcm(now, then) if isinstance(then, int) else now
        return math.lcm(then, DYNAMIC_SIZE) if isinstance(then, int) else self._unknown(spec, 0, now, then)

    def _size(self, spec: TensorSpec, axis: int, now: Dim, then: Dim) -> int | None:
        if isinstance(now, int) and isinstance(then, int):
            return now if now == then else None
        if isinstance(now, int):
            return now
        return then if isinstance(then, int) else self._unknown(spec, axis, now, then)


def split_feed(inputs: Sequence[TensorSpec], feed: Feeds) -> tuple[Feeds, ...]:
    """Cut a feed into pieces of a model's own fixed batch, in the model's own dtypes.

    Args:
        inputs: of the model; inputs of the feed that it lacks are left out.
        feed: axis 0 of each array is a multiple of the model's size there.
    """
    feed = {spec.name: _cast(feed[spec.name], spec.dtype) for spec in inputs}
    pieces = 1
    for spec in inputs:
        own = spec.shape[0] if spec.shape else None
        if isinstance(own, int) and own and len(feed[spec.name]) != own:
            pieces = max(pieces, len(feed[spec.name]) // own)
    if pieces == 1:
        return (feed,)
    return tuple(
        {spec.name: _piece(spec, feed[spec.name], i, pieces) for spec in inputs} for i in range(pieces)
    )


def _piece(spec: TensorSpec, array: Array, index: int, pieces: int) -> Array:
    own = spec.shape[0] if spec.shape else None
    if not spec.shape or own == len(array):
        return array  # the same for every piece
    size = len(array) // pieces
    return array[index * size : (index + 1) * size]


def _cast(array: Array, dtype: str) -> Array:
    try:
        return array.astype(np.dtype(dtype), copy=False)
    except TypeError:
        return array  # a type that numpy does not know; the session says so if it matters


def _rows(spec: TensorSpec) -> int:
    return max(1, spec.shape[0]) if spec.shape and isinstance(spec.shape[0], int) else 1


def _join(arrays: list[Array], size: int) -> Array:
    joined = np.concatenate(arrays)
    missing = -len(joined) % size
    return np.concatenate([joined, np.resize(joined, (missing, *joined.shape[1:]))]) if missing else joined


def _cut(array: Array, size: int, index: int) -> Array:
    start = index * size % len(array)
    return array[start : start + size]
