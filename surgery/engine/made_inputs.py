"""Make up inputs of a model from how it uses them, and say what was made up."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.samples import structured_feeds
from graphopt.core.tensors import Array, TensorSpec
from graphopt.surgery.engine.feeds import Feeds, SharedInputs
from graphopt.surgery.graph_queries import attribute_int, constant_tensor, input_of, label

SEEDED = "seeded structured"
SEEDS = (0, 1)
INTEGERS_BELOW = (8, 2)
"""Bound of integers that look up no table; the next when a model cannot run with the one before."""
_MOVES = ("Expand", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")
_PASSED_ON = frozenset(("Cast", "Concat", "Identity", *_MOVES))
_LOOKUPS = frozenset(("Gather", "GatherElements", "GatherND"))
_SIZES = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "TopK": (1,),
}
"""Inputs that are sizes, places or counts: a made-up value there is rather wrong than right."""


@dataclass(frozen=True)
class MadeInputs:
    """Inputs without a source.

    Attributes:
        feeds: one mapping per seed.
        kind: what they are, for reports.
        free_integers: whether integers were made up that look up no table of known size.
    """

    feeds: tuple[Feeds, ...]
    kind: str
    free_integers: bool = False


def make_inputs(
    model: ir.Model, inputs: SharedInputs, seeds: Sequence[int] = SEEDS, *, below: int = INTEGERS_BELOW[0]
) -> MadeInputs:
    """Make up one feed per seed; the later ones have a single sample where any number will do.

    Floats are structured pictures, integers that look up a table stay inside it, a mask is zeros and
    ones, other integers are small.

    Args:
        model: whose inputs they are.
        inputs: their sizes.
        seeds: one per feed.
        below: what integers stay below when they look up no table of known size.

    Raises:
        PreconditionError: an input cannot be made up: strings, sizes, counts.
    """
    uses: dict[str, _Use] = defaultdict(lambda: _Use(below=below))
    uses.update((value.name or "", _Use.of(value, below)) for value in model.graph.inputs)
    notes = [f"{name} = {size}" for name, size in inputs.guessed]
    free = False
    for spec in inputs.specs:
        use = uses[spec.name]
        if use.size_of:
            raise PreconditionError(
                f"input {spec.name} says a size or a place ({use.size_of}), "
                "which cannot be made up; give --data"
            )
        if _is_integer(spec):
            notes.append(f"{spec.name}: {_range_text(spec, use)}")
            free = free or not (use.bound or _is_mask(spec))
    feeds = tuple(
        _feed(inputs if place == 0 else inputs.single(), uses, seed) for place, seed in enumerate(seeds)
    )
    feeds = (*feeds[:1], *(_unlike(feeds[0], feed, inputs, uses) for feed in feeds[1:]))
    return MadeInputs(feeds, SEEDED + (f"; {', '.join(notes)}" if notes else ""), free)


@dataclass(frozen=True)
class _Use:
    """What an input is used for.

    Attributes:
        bound: size of the smallest table that it looks up; 0 for none.
        size_of: the node that takes it for a size; empty for none.
        below: the bound where no table is looked up.
    """

    bound: int = 0
    size_of: str = ""
    below: int = INTEGERS_BELOW[0]

    @property
    def high(self) -> int:
        """What its numbers stay below."""
        return self.bound or self.below

    @classmethod
    def of(cls, value: ir.Value, below: int) -> "_Use":
        bound, pending, seen = 0, [value], {value}
        while pending:
            for node, index in pending.pop().uses():
                if node.domain != "":
                    continue
                if index in _SIZES.get(node.op_type, ()):
                    return cls(size_of=label(node))
                if node.op_type in _LOOKUPS and index == 1:
                    table = _table_size(node)
                    bound = min(bound, table) if bound and table else bound or table
                elif node.op_type in _PASSED_ON:
                    pending.extend(found for found in node.outputs if found not in seen)
                    seen.update(node.outputs)
        return cls(bound=bound, below=below)


def _table_size(node: ir.Node) -> int:
    data = input_of(node, 0)
    tensor = constant_tensor(data)
    shape = list(tensor.shape) if tensor is not None else list(data.shape or ()) if data is not None else []
    axis = 0 if node.op_type == "GatherND" else attribute_int(node, "axis", 0)
    size = shape[axis] if -len(shape) <= axis < len(shape) else 0
    return size if isinstance(size, int) else 0


def _is_integer(spec: TensorSpec) -> bool:
    try:
        return np.dtype(spec.dtype).kind in "iu"
    except TypeError:  # strings, sequences and their like
        return False


def _is_mask(spec: TensorSpec) -> bool:
    return "mask" in spec.name.lower()


def _range_text(spec: TensorSpec, use: _Use) -> str:
    if use.bound:
        return f"0 to {use.bound - 1}"
    return "0 and 1" if _is_mask(spec) or use.below == 2 else f"0 to {use.below - 1}"


def _feed(inputs: SharedInputs, uses: dict[str, _Use], seed: int) -> Feeds:
    try:
        feed = structured_feeds(inputs.specs, seed=seed)
    except UsageError as error:
        raise PreconditionError(str(error)) from error
    for place, spec in enumerate(inputs.specs):
        if _is_integer(spec):
            rng = np.random.default_rng([seed, place, 1])
            feed[spec.name] = _integers(spec, uses[spec.name], rng)
    return feed


def _unlike(first: Feeds, feed: Feeds, inputs: SharedInputs, uses: dict[str, _Use]) -> Feeds:
    """Return a feed of which no small input is by chance the same as in the first one."""
    changed = dict(feed)
    for spec in inputs.specs:
        array = feed[spec.name]
        if array.size == 0 or not np.array_equal(array.ravel(), first[spec.name].ravel()[: array.size]):
            continue
        if array.dtype.kind == "b":
            changed[spec.name] = np.asarray(np.logical_not(array))
        elif array.dtype.kind in "iu" and not _is_mask(spec):
            high = uses[spec.name].high
            changed[spec.name] = np.asarray((array.astype(np.int64) + 1) % high, dtype=spec.dtype)
    return changed


def _integers(spec: TensorSpec, use: _Use, rng: np.random.Generator) -> Array:
    shape = tuple(size for size in spec.shape if isinstance(size, int))
    if not use.bound and _is_mask(spec):
        mask = rng.integers(0, 2, shape)
        mask[..., :1] = 1  # a row of nothing but zeros makes a softmax of nothing
        return np.asarray(mask, dtype=spec.dtype)
    high = min(use.high, int(np.iinfo(np.dtype(spec.dtype)).max) + 1)
    return np.asarray(rng.integers(0, high, shape), dtype=spec.dtype)
