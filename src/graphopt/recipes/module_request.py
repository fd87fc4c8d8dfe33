"""What a user says about a network of his own, understood and checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
_SCALAR = "scalar"


@dataclass(frozen=True, kw_only=True)
class ModuleRequest:
    """What to export.

    Attributes:
        file: Python file of the user.
        build: name in it of a function, a class, or a module.
        shapes: input -> its sizes, in the order of ``forward``.
        dtypes: input -> numpy's name of its dtype; ``float32`` where it is left out.
        dynamic: input -> axis -> name of the size; these sizes stay open.
        opset: of the graph.
        checkpoint: weights to load; None keeps those that the code makes.
        key: where the weights are in the checkpoint.
    """

    file: Path
    build: str
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    opset: int = 11
    checkpoint: Path | None = None
    key: str = "state_dict"


def parse_request(
    what: str,
    *,
    shapes: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    dynamic: Sequence[str] = (),
    opset: int = 11,
    checkpoint: Path | None = None,
    key: str = "state_dict",
) -> ModuleRequest:
    """Understand what was typed.

    Args:
        what: ``FILE:BUILD``.
        shapes: ``NAME=1x3x224x224`` texts; ``NAME=scalar`` for a single number.
        dtypes: ``NAME=int64`` texts.
        dynamic: ``NAME:AXIS=SIZE`` texts.
        opset: as in the request.
        checkpoint: as in the request.
        key: as in the request.

    Raises:
        UsageError: a text is not of its form, or names an input that has no shape.
    """
    file, colon, build = what.rpartition(":")
    if not colon or not file or not build.isidentifier():
        raise UsageError(f"{what!r} is not FILE:BUILD; write net.py:build, with build a function in net.py")
    sizes = dict(_shape(text) for text in shapes)
    if len(sizes) < len(shapes):
        raise UsageError("--shape names an input twice")
    kinds = dict(_pair(text, "--dtype", "NAME=int64") for text in dtypes)
    axes: dict[str, dict[int, str]] = {}
    for text in dynamic:
        name, axis, size = _axis(text)
        axes.setdefault(name, {})[axis] = size
    for option, names in (("--dtype", kinds), ("--dynamic", axes)):
        for name in names:
            if name not in sizes:
                raise UsageError(f"{option}: no --shape for {name!r}; {did_you_mean(name, sizes)}")
    for name, dtype in kinds.items():
        if dtype not in DTYPES:
            raise UsageError(f"--dtype {name}={dtype}: {did_you_mean(dtype, DTYPES)}")
    for name, named in axes.items():
        for axis in named:
            if axis >= len(sizes[name]):
                raise UsageError(f"--dynamic {name}:{axis}: it has {len(sizes[name])} axes, counted from 0")
    return ModuleRequest(
        file=Path(file),
        build=build,
        shapes=sizes,
        dtypes=kinds,
        dynamic=axes,
        opset=opset,
        checkpoint=checkpoint,
        key=key,
    )


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise UsageError(f"{option} {text}: write {option} {form}")
    return name.strip(), value.strip()


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, value = _pair(text, "--shape", "NAME=1x3x224x224")
    if value == _SCALAR:
        return name, ()
    sizes = re.split(r"[x,]", value.strip("[]()"))
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise UsageError(
            f"--shape {text}: sizes are whole numbers from 1, written 1x3x224x224; an open size gets the "
            "number to trace with, and --dynamic NAME:AXIS=SIZE"
        )
    return name, tuple(int(size) for size in sizes)


def _axis(text: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"(.+):(\d+)=([A-Za-z_]\w*)", text.strip())
    if match is None:
        raise UsageError(f"--dynamic {text}: write --dynamic NAME:0=batch")
    return match[1], int(match[2]), match[3]
