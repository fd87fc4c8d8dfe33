"""The pass ``cast_outputs``."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError
from graphopt.surgery.graph_edits import fresh_name
from graphopt.surgery.graph_pass import Declined, GraphPass, Site
from graphopt.surgery.graph_queries import graph_of
from graphopt.surgery.shapes.shape_inference import infer_types
from graphopt.surgery.values.integer_ranges import IntegerRanges, Interval
from graphopt.surgery.values.numbers_kept import keeps_all


class OutputDtype(enum.Enum):
    """What outputs can be cast to."""

    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    FLOAT = "float32"

    @property
    def dtype(self) -> ir.DataType:
        """The same as ONNX names it."""
        return ir.DataType[self.name]


@dataclass(frozen=True, kw_only=True)
class CastOutputs(GraphPass):
    """Give integer outputs a dtype of fewer bytes, or the one that the reader expects.

    Why: labels and masks come out as int64, eight bytes per pixel, while the program behind the device
    expects int32 and copies what it gets byte by byte.
    Before: ``ArgMax -> labels int64[1,500,500]``.
    After: ``ArgMax -> Cast(int32) -> labels int32[1,500,500]``; the name stays, and the sidecar says
    the new dtype. Exact: where nothing bounds the numbers, nothing is done unless ``trust`` says so.
    Seen in: label_head.
    Known as: cast-graph-outputs (3).

    Attributes:
        to: the new dtype.
        outputs: which outputs; empty takes all of int64.
        trust: cast also where larger numbers cannot be excluded; they would wrap.
    """

    name: ClassVar[str] = "cast_outputs"
    casts_outputs: ClassVar[bool] = True

    to: OutputDtype = OutputDtype.INT32
    outputs: tuple[str, ...] = ()
    trust: bool = False

    def sites(self, model: ir.Model) -> Iterator[Site | Declined]:
        """Yield every chosen output of another dtype.

        Raises:
            UsageError: ``outputs`` names an unknown output.
        """
        chosen = self._chosen(model)
        types = infer_types(model) if chosen else {}
        ranges = IntegerRanges(model, types) if chosen else None
        for value in chosen:
            node, dtype = value.producer(), types[value].dtype or value.dtype
            if node is None or dtype == self.to.dtype:
                continue
            bounds = ranges.of(value) if ranges is not None else None
            if dtype is None or not (self.trust or keeps_all(dtype, self.to.dtype) or self._holds(bounds)):
                known = "nothing bounds it" if bounds is None else f"it may reach {max(bounds, key=abs)}"
                yield Declined(node=node, why=f"{value.name}: {known}; trust=true casts it all the same")
                continue
            yield Site(node=node, what=f"{value.name} becomes {self.to.value}")

    def rewrite(self, model: ir.Model, site: Site) -> None:
        """Put a Cast in front of each chosen output that the node makes."""
        for value in self._chosen(model):
            if value.producer() is site.node and value.dtype != self.to.dtype:
                self._cast(model, value)

    def _cast(self, model: ir.Model, value: ir.Value) -> None:
        graph, name = model.graph, value.name or ""
        value.name = fresh_name(model, f"{name}.wide")
        node = ir.node("Cast", [value], {"to": self.to.dtype.value}, name=fresh_name(model, f"{name}.cast"))
        cast = node.outputs[0]
        cast.name, cast.type, cast.shape = name, ir.TensorType(self.to.dtype), value.shape
        cast.metadata_props.update(value.metadata_props)
        producer = value.producer()
        graph_of(producer).insert_after(producer, node) if producer is not None else graph.append(node)
        for index, output in enumerate(list(graph.outputs)):
            if output is value:
                graph.outputs[index] = cast

    def _chosen(self, model: ir.Model) -> list[ir.Value]:
        known = {value.name or "": value for value in model.graph.outputs}
        for name in self.outputs:
            if name not in known:
                raise UsageError(f"cast_outputs: there is no output {name!r}; {did_you_mean(name, known)}")
        if self.outputs:
            return [known[name] for name in self.outputs]
        return [value for value in known.values() if value.dtype == ir.DataType.INT64]

    def _holds(self, bounds: Interval | None) -> bool:
        if bounds is None:
            return False
        if self.to is OutputDtype.FLOAT:
            return max(map(abs, bounds)) <= 2**24  # the integers that float32 holds without a gap
        limits = np.iinfo(self.to.value)
        return bool(limits.min <= bounds[0] and bounds[1] <= limits.max)
