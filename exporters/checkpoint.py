"""Read weights from a checkpoint without running what is in it, and put them into a network."""

import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphopt.core.errors import CheckpointError
from graphopt.core.files import sha256_of
from graphopt.core.optional import require
from graphopt.core.tensors import Array
from graphopt.exporters.containers import Contents, open_contents
from graphopt.exporters.numpy_records import NumpyRecord
from graphopt.exporters.pickle_machine import Stub
from graphopt.exporters.plain_meta import described, plain_key, plain_meta
from graphopt.exporters.tensor_records import TensorRecord

if TYPE_CHECKING:
    import torch

LISTED = 10
"""Keys of each kind that a message lists; the count of all stands before them."""

PARALLEL_PREFIX = "module."
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Checkpoint:
    """A file that ``torch.save`` wrote, read as data.

    Attributes:
        path: the file.
        format: ``zip`` (torch 1.6 and later) or ``stream`` (before).
        sha256: of the file.
        meta: what it holds besides tensors (epoch, class names, configuration text), as plain data.
            Objects of unknown classes are given as ``"<module.Class>"``.
        keys: names in the saved mapping; empty when the file holds something else.
    """

    path: Path
    format: str
    sha256: str
    meta: Mapping[str, Any] = field(repr=False)
    keys: tuple[str, ...] = field(repr=False)

    @property
    def state_dict(self) -> dict[str, Array]:
        """The tensors under ``state_dict``, or those of the file itself; see ``tensors``."""
        return self.tensors("state_dict")

    def tensors(self, key: str = "state_dict") -> dict[str, Array]:
        """Read the tensors under ``key``; each call reads the file.

        A file that is itself a mapping of names to tensors needs no key.

        Returns:
            Contiguous arrays by name, names as saved. bfloat16 comes as float32, which is exact.

        Raises:
            CheckpointError: there is no such mapping, an entry is no dense tensor (quantised,
                sparse, an object), or the file is damaged or was changed meanwhile.
        """
        with _opened(self.path) as contents:
            if sha256_of(self.path) != self.sha256:
                raise CheckpointError("it was changed after it was opened; try again")
            return _arrays(_entries(contents.root, key), contents, self.path.stat().st_size)


@dataclass(frozen=True)
class LoadReport:
    """What ``load_into`` did.

    Attributes:
        loaded: number of tensors copied.
        missing: keys the checkpoint lacks and that were allowed to be missing.
        cast: keys whose floating-point type was changed to the network's.
        not_finite: keys with NaN or infinite values.
    """

    loaded: int
    missing: tuple[str, ...]
    cast: tuple[str, ...]
    not_finite: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the structure of a checkpoint; tensors are read when they are asked for.

    Nothing that the pickle names is imported or called: a closed list of tensor builders is
    replaced by our own, every other class becomes an inert stub. There is no way to switch this off.

    Raises:
        CheckpointError: the file is missing, no checkpoint, damaged, or beyond a budget.
    """
    with _opened(path) as contents:
        root = contents.root if isinstance(contents.root, dict) else {}
        return Checkpoint(
            path=path,
            format=contents.format,
            sha256=sha256_of(path),
            meta=plain_meta(root),
            keys=tuple(key for key in root if isinstance(key, str)),
        )


def load_into(
    module: "torch.nn.Module",
    checkpoint: Checkpoint,
    *,
    key: str = "state_dict",
    allow_missing: Collection[str] = (),
    adapt: Callable[[dict[str, Array], Collection[str]], dict[str, Array]] | None = None,
) -> LoadReport:
    """Copy a checkpoint's tensors into a network: all of them, or none and an error.

    A prefix ``module.`` (data-parallel training) is taken off. The counters
    ``num_batches_tracked`` may be missing: torch before 0.4.1 had none, and inference needs none.

    Args:
        module: filled in place; its mode and devices stay.
        checkpoint: from ``read_checkpoint``.
        key: where the weights are in the saved mapping.
        allow_missing: keys of the network that the checkpoint may lack.
        adapt: given the checkpoint's tensors and the network's keys, returns the tensors under these keys.

    Raises:
        CheckpointError: keys are missing or unexpected, or shapes or kinds of numbers differ; the
            network is untouched then.
    """
    torch: Any = require("torch", extra="torch", purpose="loading a checkpoint into a network")
    targets: dict[str, Any] = module.state_dict()
    arrays = _without_prefix(checkpoint.tensors(key), targets)
    if adapt is not None:
        arrays = adapt(arrays, targets)
    missing = [name for name in targets if name not in arrays and not _is_counter(name)]
    pairs = {name: (targets[name], array) for name, array in arrays.items() if name in targets}
    problems = (
        _listed("missing", [name for name in missing if name not in allow_missing]),
        _listed("unexpected", [name for name in arrays if name not in targets and not _is_counter(name)]),
        _listed(
            "of another shape", [_shapes(name, *pair) for name, pair in pairs.items() if _reshaped(*pair)]
        ),
        _listed("of another kind", [_kinds(name, *pair) for name, pair in pairs.items() if _unlike(*pair)]),
    )
    if any(problems):
        raise CheckpointError(
            f"{checkpoint.path} does not fit {type(module).__name__}: {'; '.join(filter(None, problems))}. "
            "Give the checkpoint of this very network"
        )
    with torch.no_grad():
        for target, array in pairs.values():
            target.copy_(torch.from_numpy(array))
    return LoadReport(
        loaded=len(pairs),
        missing=tuple(missing),
        cast=tuple(name for name, (target, array) in pairs.items() if _dtype(target) != str(array.dtype)),
        not_finite=tuple(name for name, (_, array) in pairs.items() if not np.isfinite(array).all()),
    )


@contextmanager
def _opened(path: Path) -> Iterator[Contents]:
    """Open ``path`` and put its name before every complaint about it."""
    try:
        found = path.stat()
        _check_regular(found.st_mode)
        with path.open("rb") as stream:
            yield open_contents(stream, found.st_size)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}") from error


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise CheckpointError("it is not a regular file; give the file of weights itself")


def _entries(root: object, key: str) -> Mapping[object, object]:
    if isinstance(root, Stub):
        raise CheckpointError(f"it holds a whole object of class {root.name}; save its state_dict() instead")
    if not isinstance(root, dict):
        raise CheckpointError(f"it holds a {type(root).__name__}, not a mapping of names to tensors")
    found = root.get(key)
    if isinstance(found, dict):
        return found
    if isinstance(found, Stub):
        raise CheckpointError(f"{key!r} is an object of class {found.name}, not a mapping to tensors")
    if any(isinstance(value, TensorRecord) for value in root.values()):
        return root
    names = ", ".join(repr(name[:80]) for name in list(root)[:LISTED] if isinstance(name, str))
    raise CheckpointError(f"it has no weights under {key!r}; it holds: {names or 'nothing'}")


def _arrays(entries: Mapping[object, object], contents: Contents, size: int) -> dict[str, Array]:
    declared = sum(value.nbytes for value in entries.values() if isinstance(value, TensorRecord))
    # Shared and bfloat16 tensors take more than they do in the file; a stride of 0 takes anything.
    if declared > 4 * size + (1 << 20):
        raise CheckpointError(f"its tensors would take {declared} bytes, the file has {size}")
    blocks: dict[str, bytearray] = {}
    arrays: dict[str, Array] = {}
    strange: list[str] = []
    for name, value in entries.items():
        array: Array | None = None
        if isinstance(value, TensorRecord):
            if value.storage.key not in blocks:
                blocks[value.storage.key] = contents.block(value.storage)
            array = value.to_array(blocks[value.storage.key])
        elif isinstance(value, NumpyRecord):
            array = value.array
        if isinstance(name, str) and array is not None:
            arrays[name] = array
        else:
            strange.append(f"{plain_key(name)}: {described(value)}")
    if strange:
        raise CheckpointError(_listed("entries are no dense tensors", strange))
    return arrays


def _without_prefix(arrays: dict[str, Array], targets: Mapping[str, Any]) -> dict[str, Array]:
    result: dict[str, Array] = {}
    for name, array in arrays.items():
        short = name if name in targets else name.removeprefix(PARALLEL_PREFIX)
        if short in result:
            raise CheckpointError(
                f"the checkpoint holds {short} with and without the prefix {PARALLEL_PREFIX}"
            )
        result[short] = array
    return result


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTER


def _reshaped(target: Any, array: Array) -> bool:
    return list(target.shape) != list(array.shape)


def _shapes(name: str, target: Any, array: Array) -> str:
    return f"{name} {list(array.shape)}, network {list(target.shape)}"


def _unlike(target: Any, array: Array) -> bool:
    if _dtype(target) == str(array.dtype):
        return False
    return array.dtype.kind != "f" if target.is_floating_point() else array.dtype.kind not in "iu"


def _kinds(name: str, target: Any, array: Array) -> str:
    return f"{name} {array.dtype}, network {_dtype(target)}"


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(name[:160] for name in names[:LISTED])
    return f"{len(names)} {what} ({shown}{', ...' if len(names) > LISTED else ''})"
