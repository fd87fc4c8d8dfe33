"""Let a network answer with a flat tuple of tensors, whatever its forward returns, and name them."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graphopt.core.errors import ExportError
from graphopt.core.optional import require

if TYPE_CHECKING:
    import torch


def named_answers(answer: Any) -> dict[str, Any]:
    """Return the tensors of an answer by name, in order.

    A mapping gives its keys, a named tuple its fields, other sequences ``output_0``, ``output_1``; a
    single tensor is ``output``. Nested ones join their names with ``_``; None is left out.

    Raises:
        ExportError: it holds something that is no tensor, or no tensor at all.
    """
    found = dict(_named(answer, ""))
    if not found:
        raise ExportError("forward returns no tensor; return a tensor, a tuple, or a dict of tensors")
    return found


@contextlib.contextmanager
def flat_answers(module: "torch.nn.Module") -> Iterator[None]:
    """Have ``module`` return a tensor or a tuple of tensors while the block lasts.

    Its weights, their names and its modes are left alone; its own ``forward`` comes back on any way out.
    """
    own = module.__dict__.get("forward")
    original = module.forward

    def forward(*inputs: Any) -> Any:
        values = tuple(named_answers(original(*inputs)).values())
        return values[0] if len(values) == 1 else values

    try:
        module.forward = forward
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


def _named(answer: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    torch: Any = require("torch", extra="torch", purpose="running a network")
    if answer is None:
        return
    if isinstance(answer, torch.Tensor):
        yield prefix or "output", answer
    elif isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from _named(value, f"{prefix}_{key}" if prefix else str(key))
    elif isinstance(answer, (tuple, list)):
        names = getattr(answer, "_fields", None)
        for index, value in enumerate(answer):
            name = names[index] if names else (str(index) if prefix else f"output_{index}")
            yield from _named(value, f"{prefix}_{name}" if prefix else name)
    else:
        where = f" under {prefix}" if prefix else ""
        raise ExportError(
            f"forward returns a {type(answer).__name__}{where}; graphs return tensors: return them in a "
            "tuple or a dict"
        )
