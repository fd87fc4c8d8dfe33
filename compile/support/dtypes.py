"""Data types that operators take: the kernels of the chip, not ATC's parser, decide."""

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
import onnx_ir as ir

from graphopt.compile.support.place import Place
from graphopt.compile.support.verdicts import Finding, restricted

_WORDS = {
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i8": "int8",
    "u8": "uint8",
    "i32": "int32",
    "i64": "int64",
}
_LARGEST_HALF = 65504.0
_BOUNDS = frozenset(("Clip", "NonMaxSuppression"))  # a bound beyond the range bounds nothing there either


@dataclass(frozen=True, kw_only=True)
class _Limits:
    documented: Mapping[str, tuple[int, tuple[str, ...]]]
    no_int64: frozenset[str]
    no_int64_on_310: frozenset[str]


@functools.cache
def _limits() -> _Limits:
    text = resources.files("graphopt.compile.support").joinpath("dtypes.toml").read_text("utf-8")
    content = tomllib.loads(text)
    return _Limits(
        documented={
            op: (entry["input"], tuple(entry["dtypes"].split()))
            for op, entry in content["documented"].items()
        },
        no_int64=frozenset(content["no_int64"]["everywhere"].split()),
        no_int64_on_310=frozenset(content["no_int64"]["ascend310"].split()),
    )


def limited_operators() -> frozenset[str]:
    """Return the operators of which some limit of dtypes is known."""
    limits = _limits()
    return frozenset(limits.documented) | limits.no_int64 | limits.no_int64_on_310


def dtype_findings(place: Place) -> Iterator[Finding]:
    """Say which data types leave the fast kernels, and which numbers leave half precision."""
    limits = _limits()
    slow = place.op in limits.no_int64 or (place.aim.family == "310" and place.op in limits.no_int64_on_310)
    if slow and _reads(place, ir.DataType.INT64):
        yield restricted("int64", "int64 arithmetic: no kernel of 2022 has it, the chip's CPU runs it", "C22")
        return
    found = limits.documented.get(place.op)
    if found is not None:
        yield from _documented(place, *found)
    yield from _beyond_half(place)


def _reads(place: Place, kind: ir.DataType) -> bool:
    data = 1 if place.op == "Where" else 0
    return place.dtype(data) is kind


def _documented(place: Place, index: int, allowed: tuple[str, ...]) -> Iterator[Finding]:
    kind = place.dtype(index)
    if kind is None or kind.short_name() in allowed:
        return
    name = kind.name.lower() if kind.name != "DOUBLE" else "float64"
    code = "int64" if kind is ir.DataType.INT64 else "dtype"
    named = ", ".join(_WORDS[item] for item in allowed)
    yield restricted(code, f"{name} data; documents name {named}", "DOC")


def _beyond_half(place: Place) -> Iterator[Finding]:
    if place.op in _BOUNDS:
        return
    for index in range(len(place.node.inputs)):
        tensor = place.tensor(index)
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        numbers = place.array(index)
        if numbers is None or not numbers.size or numbers.dtype.kind != "f":
            continue
        finite = numbers[np.isfinite(numbers)]
        peak = float(np.abs(finite).max()) if finite.size else 0.0
        if peak > _LARGEST_HALF:
            yield restricted("half_range", f"a constant of {peak:.3g} leaves the range of float16", "IEEE")
            return
