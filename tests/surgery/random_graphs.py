"""Random valid models made of what passes look for: chains, copies, shape arithmetic, odd settings.

Every value has a known shape, so that each new node is valid; weights and constants are seeded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@dataclass(frozen=True)
class Made:
    """A value so far."""

    name: str
    shape: tuple[int, ...]
    dtype: int = FLOAT


class RandomModel:
    """Grows one graph node by node.

    Args:
        seed: everything follows from it.
        size: about how many nodes.
    """

    def __init__(self, seed: int, size: int = 14) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.choice([11, 12, 13, 17, 18, 20]))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0
        sizes = [int(size) for size in self.rng.integers(3, 8, 2)]
        self.inputs = [Made("x", (int(self.rng.integers(1, 3)), 4, *sizes)), Made("t", (2, 5, 6))]
        self.values = list(self.inputs)
        while len(self.nodes) < size:
            self.pick(_EMITTERS)(self)

    def model(self) -> onnx.ModelProto:
        """Return the model; values that nobody reads are its outputs, and a few inner ones."""
        read = {name for node in self.nodes for name in node.input}
        made = [value for value in self.values if value not in self.inputs]
        ends = [value for value in made if value.name not in read or self.chance(0.1)]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info(v.name, v.dtype, v.shape) for v in self.inputs],
            [helper.make_tensor_value_info(v.name, v.dtype, v.shape) for v in ends],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def pick(self, items: Sequence[Any]) -> Any:
        """Return one of them."""
        return items[int(self.rng.integers(len(items)))]

    def chance(self, probability: float) -> bool:
        """Return True that often."""
        return bool(self.rng.random() < probability)

    def value(self, rank: int | None = None, dtype: int = FLOAT) -> Made | None:
        """Return a value, recent ones more often; None when none fits."""
        fits = [v for v in self.values if v.dtype == dtype and (rank is None or len(v.shape) == rank)]
        fits = [v for v in fits if v.shape and np.prod(v.shape) <= 4000]
        if not fits:
            return None
        return fits[-1] if self.chance(0.5) else self.pick(fits)

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        """Write a constant, as an initializer or a node."""
        name = self.fresh("c")
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        if self.chance(0.5):
            self.initializers.append(tensor)
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], name=self.fresh("n"), value=tensor))
        return name

    def ints(self, *numbers: int) -> str:
        """Write a constant list of integers."""
        return self.constant(np.array(numbers, np.int64))

    def fresh(self, stem: str) -> str:
        """Return a new name."""
        self.count += 1
        return f"{stem}{self.count}"

    def emit(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], dtype: int = FLOAT, **attributes: Any
    ) -> Made:
        """Write a node with one output."""
        out = Made(self.fresh("v"), tuple(int(size) for size in shape), dtype)
        node = helper.make_node(op, list(inputs), [out.name], name=self.fresh("n"), **attributes)
        self.nodes.append(node)
        self.values.append(out)
        return out

    def by_opset(self, op: str, data: Made, name: str, numbers: list[int], since: int, shape: Any) -> Made:
        """Write a node whose list is an attribute in older opsets and an input since."""
        if self.opset < since:
            return self.emit(op, [data.name], shape, data.dtype, **{name: numbers})
        return self.emit(op, [data.name, self.ints(*numbers)], shape, data.dtype)


def _unary(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        m.emit(m.pick(["Relu", "Sigmoid", "Tanh", "Identity", "Neg", "Abs", "Identity"]), [v.name], v.shape)


def _binary(m: RandomModel) -> None:
    v = m.value()
    if v is None:
        return
    per_channel = (v.shape[1], *[1] * (len(v.shape) - 2)) if len(v.shape) > 2 else ()
    shape = m.pick([v.shape, (), (1,), v.shape[-1:], per_channel])
    number = m.pick([m.rng.normal(size=shape), np.zeros(shape), np.ones(shape)]).astype(np.float32)
    pair = [v.name, m.constant(number)]
    op = m.pick(["Add", "Mul", "Sub", "Div"])
    if op == "Div":
        pair[1] = m.constant((np.abs(number) + 0.5).astype(np.float32))
    m.emit(op, pair if op == "Div" or m.chance(0.7) else pair[::-1], v.shape)


def _sum_of_two(m: RandomModel) -> None:
    v = m.value()
    same = [w for w in m.values if v is not None and w.shape == v.shape and w.dtype == FLOAT]
    if v is not None:
        m.emit(m.pick(["Add", "Mul", "Max", "Min", "Sub"]), [v.name, m.pick(same).name], v.shape)


def _copy(m: RandomModel) -> None:
    """Write the same node again."""
    known = {value.name: value for value in m.values}
    nodes = [node for node in m.nodes if len(node.output) == 1 and node.output[0] in known]
    if nodes:
        node = m.pick(nodes)
        old = known[node.output[0]]
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        new = Made(m.fresh("v"), old.shape, old.dtype)
        copy.name, copy.output[0] = m.fresh("n"), new.name
        m.nodes.append(copy)
        m.values.append(new)


def _transpose(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        perm = [int(axis) for axis in m.rng.permutation(len(v.shape))]
        m.emit("Transpose", [v.name], [v.shape[axis] for axis in perm], perm=perm)


def _reshape(m: RandomModel) -> None:
    v = m.value()
    if v is None:
        return
    total = int(np.prod(v.shape))
    cut = int(m.rng.integers(0, len(v.shape) + 1))
    rows = int(np.prod(v.shape[:cut], dtype=int))
    target = m.pick([[rows, total // rows], [total], [*v.shape], [*v.shape, 1], [1, rows, total // rows]])
    spec = list(target)
    if m.chance(0.4):
        spec[int(m.rng.integers(len(spec)))] = -1
    if m.chance(0.3) and spec[0] == v.shape[0]:
        spec[0] = 0
    m.emit("Reshape", [v.name, m.ints(*spec)], target)


def _reshape_by_shape(m: RandomModel) -> None:
    """Flatten by arithmetic on the shape, as exporters write ``x.view(x.size(0), -1)``."""
    v = m.value()
    if v is None or len(v.shape) < 2:
        return
    shape = m.emit("Shape", [v.name], [len(v.shape)], INT64)
    first = m.emit("Gather", [shape.name, m.constant(np.array(0, np.int64))], [], INT64, axis=0)
    column = m.by_opset("Unsqueeze", first, "axes", [0], 13, [1])
    spec = m.emit("Concat", [column.name, m.ints(-1)], [2], INT64, axis=0)
    m.emit("Reshape", [v.name, spec.name], [v.shape[0], int(np.prod(v.shape[1:]))])


def _squeeze(m: RandomModel) -> None:
    v = m.value()
    if v is None:
        return
    if 1 in v.shape and m.chance(0.5):
        axis = v.shape.index(1)
        m.by_opset("Squeeze", v, "axes", [axis], 13, [s for i, s in enumerate(v.shape) if i != axis])
    elif len(v.shape) < 5:
        axis = int(m.rng.integers(len(v.shape) + 1))
        m.by_opset("Unsqueeze", v, "axes", [axis], 13, [*v.shape[:axis], 1, *v.shape[axis:]])


def _flatten(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        axis = int(m.rng.integers(len(v.shape) + 1))
        rows = int(np.prod(v.shape[:axis], dtype=int))
        m.emit("Flatten", [v.name], [rows, int(np.prod(v.shape)) // rows], axis=axis)


def _slice(m: RandomModel) -> None:
    v = m.value(dtype=m.pick([FLOAT, FLOAT, INT64]))
    if v is None:
        return
    axis = int(m.rng.integers(len(v.shape)))
    size = v.shape[axis]
    start, end = sorted(int(n) for n in m.rng.integers(0, size + 1, 2))
    if m.chance(0.2):
        start, end = 0, size
    if start == end:
        return
    step = int(m.pick([1, 1, 1, 2]))
    length = -(-(end - start) // step)
    told_start = start - size if m.chance(0.3) and start else start
    told_end = (1 << 31) if end == size and m.chance(0.5) else end
    told_axis = axis - len(v.shape) if m.chance(0.3) else axis
    shape = [length if i == axis else s for i, s in enumerate(v.shape)]
    inputs = [v.name, m.ints(told_start), m.ints(told_end), m.ints(told_axis)]
    m.emit("Slice", inputs + ([m.ints(step)] if step != 1 or m.chance(0.3) else []), shape, v.dtype)


def _gather(m: RandomModel) -> None:
    v = m.value(dtype=m.pick([FLOAT, FLOAT, INT64]))
    if v is None:
        return
    axis = int(m.rng.integers(len(v.shape)))
    size = v.shape[axis]
    kind = m.pick(["one", "one", "range", "all", "any"])
    if kind == "one":
        index = np.array(int(m.rng.integers(-size, size)), np.int64)
    elif kind == "range":
        start, end = sorted(int(n) for n in m.rng.integers(0, size + 1, 2))
        index = np.arange(start, max(end, start + 1) if start < size else size, dtype=np.int64)
        if not len(index):
            return
    elif kind == "all":
        for position in range(min(size, 4)) if size <= 4 else []:
            shape = [*v.shape[:axis], *v.shape[axis + 1 :]]
            m.emit("Gather", [v.name, m.constant(np.array(position, np.int64))], shape, v.dtype, axis=axis)
        return
    else:
        index = m.rng.integers(-size, size, (2, 2)).astype(np.int64)
    shape = [*v.shape[:axis], *index.shape, *v.shape[axis + 1 :]]
    if shape:
        m.emit("Gather", [v.name, m.constant(index)], shape, v.dtype, axis=axis)


def _concat(m: RandomModel) -> None:
    v = m.value()
    if v is None or np.prod(v.shape) > 1500:
        return
    axis = int(m.rng.integers(len(v.shape)))
    rest = [s for i, s in enumerate(v.shape) if i != axis]
    fits = [
        w for w in m.values
        if w.dtype == FLOAT and len(w.shape) == len(v.shape)
        and [s for i, s in enumerate(w.shape) if i != axis] == rest
    ]  # fmt: skip
    parts = [v, *(m.pick(fits) for _ in range(int(m.rng.integers(0, 3))))]
    shape = [sum(w.shape[axis] for w in parts) if i == axis else s for i, s in enumerate(v.shape)]
    m.emit("Concat", [w.name for w in parts], shape, axis=axis)


def _split(m: RandomModel) -> None:
    v = m.value()
    axes = [axis for axis, size in enumerate(v.shape) if size % 2 == 0] if v is not None else []
    if v is None or not axes:
        return
    axis, count = m.pick(axes), int(m.pick([1, 2]))
    shape = tuple(s // count if i == axis else s for i, s in enumerate(v.shape))
    outs = [Made(m.fresh("v"), shape) for _ in range(count)]
    sizes = [shape[axis]] * count
    inputs, attributes = [v.name], {"axis": axis}
    if m.opset < 13:
        attributes["split"] = sizes
    else:
        inputs.append(m.ints(*sizes))
    m.nodes.append(helper.make_node("Split", inputs, [o.name for o in outs], name=m.fresh("n"), **attributes))
    m.values += outs


def _casts(m: RandomModel) -> None:
    v = m.value()
    if v is None:
        return
    if m.chance(0.4):
        m.emit("Cast", [v.name], v.shape, to=FLOAT)
        return
    scaled = m.emit("Mul", [v.name, m.constant(np.array(3, np.float32))], v.shape)
    whole = m.emit("Cast", [scaled.name], v.shape, INT64, to=INT64)
    if m.chance(0.5):
        whole = m.emit("Add", [whole.name, m.ints(2)], v.shape, INT64)
    if m.chance(0.5):
        whole = m.emit("Cast", [whole.name], v.shape, TensorProto.INT32, to=TensorProto.INT32)
    m.emit("Cast", [whole.name], v.shape, to=FLOAT)


def _conv(m: RandomModel) -> None:
    v = m.value(4)
    if v is None or min(v.shape[2:]) < 3 or v.shape[1] > 8:
        return
    channels, kernel = v.shape[1], int(m.pick([1, 3]))
    groups = channels if m.chance(0.3) else 1
    out = channels * 2 if groups > 1 else int(m.pick([2, 4, 6]))
    pad = int(m.pick([0, kernel // 2]))
    weight = m.constant((m.rng.normal(size=(out, channels // groups, kernel, kernel)) / 3).astype(np.float32))
    bias = [m.constant(m.rng.normal(size=out).astype(np.float32))] if m.chance(0.5) else []
    size = [s + 2 * pad - kernel + 1 for s in v.shape[2:]]
    result = m.emit(
        "Conv", [v.name, weight, *bias], [v.shape[0], out, *size],
        kernel_shape=[kernel, kernel], pads=[pad] * 4, group=groups,
    )  # fmt: skip
    if m.chance(0.5):
        numbers = [m.rng.uniform(0.5, 1.5, out).astype(np.float32) for _ in range(4)]
        m.emit("BatchNormalization", [result.name, *map(m.constant, numbers)], result.shape)
    elif m.chance(0.5):
        column = m.rng.normal(size=(out, 1, 1)).astype(np.float32)
        m.emit(m.pick(["Add", "Mul", "Sub"]), [result.name, m.constant(column)], result.shape)


def _conv1d(m: RandomModel) -> None:
    v = m.value(3)
    if v is None or v.shape[2] < 3 or v.shape[1] > 8:
        return
    weight = m.constant((m.rng.normal(size=(4, v.shape[1], 3)) / 3).astype(np.float32))
    pad = int(m.pick([0, 1]))
    m.emit(
        "Conv", [v.name, weight], [v.shape[0], 4, v.shape[2] + 2 * pad - 2], kernel_shape=[3], pads=[pad] * 2
    )


def _pool(m: RandomModel) -> None:
    v = m.value(4)
    if v is None or min(v.shape[2:]) < 3:
        return
    op, kernel = m.pick(["MaxPool", "AveragePool", "GlobalAveragePool"]), int(m.pick([1, 2, 3]))
    if op == "GlobalAveragePool":
        m.emit(op, [v.name], [*v.shape[:2], 1, 1])
        return
    size = [s - kernel + 1 for s in v.shape[2:]]
    m.emit(op, [v.name], [*v.shape[:2], *size], kernel_shape=[kernel, kernel], strides=[1, 1])


def _pad(m: RandomModel) -> None:
    v = m.value()
    if v is None:
        return
    rank, mode = len(v.shape), m.pick(["constant", "constant", "reflect", "edge"])
    pads = [0] * (2 * rank)
    axis = int(m.rng.integers(rank))
    if m.chance(0.6) and (mode != "reflect" or v.shape[axis] > 2):
        pads[axis], pads[axis + rank] = int(m.rng.integers(0, 2)), int(m.rng.integers(0, 2))
    if mode == "constant" and rank == 4 and m.chance(0.4):
        pads = [0, 0, 1, 1, 0, 0, 1, 1]
    shape = [s + pads[i] + pads[i + rank] for i, s in enumerate(v.shape)]
    m.emit("Pad", [v.name, m.ints(*pads)], shape, mode=mode)


def _padded(m: RandomModel) -> None:
    """Pad the sides of an image, then a layer that could do so itself."""
    v = m.value(4)
    if v is None or min(v.shape[2:]) < 3 or v.shape[1] > 8:
        return
    sides = [int(n) for n in m.rng.integers(0, 2, 4)]
    pads = [0, 0, *sides[:2], 0, 0, *sides[2:]]
    size = [v.shape[2] + sides[0] + sides[2], v.shape[3] + sides[1] + sides[3]]
    number = m.constant(np.array(m.pick([0, 0, 1]), np.float32))
    padded = m.emit("Pad", [v.name, m.ints(*pads), number], [*v.shape[:2], *size])
    shape = [size[0] - 2, size[1] - 2]
    if m.chance(0.5):
        weight = m.constant((m.rng.normal(size=(3, v.shape[1], 3, 3)) / 3).astype(np.float32))
        m.emit("Conv", [padded.name, weight], [v.shape[0], 3, *shape], kernel_shape=[3, 3])
    else:
        op = m.pick(["MaxPool", "AveragePool"])
        m.emit(op, [padded.name], [*v.shape[:2], *shape], kernel_shape=[3, 3])


def _resize(m: RandomModel) -> None:
    v = m.value(4)
    if v is None or np.prod(v.shape) > 800:
        return
    mode, scale = m.pick(["nearest", "linear"]), int(m.pick([1, 2]))
    size = [*v.shape[:2], v.shape[2] * scale, v.shape[3] * scale]
    empty = m.constant(np.zeros(0, np.float32))
    if m.chance(0.5):
        scales = m.constant(np.array([1, 1, scale, scale], np.float32))
        m.emit("Resize", [v.name, empty, scales], size, mode=mode)
    else:
        m.emit("Resize", [v.name, empty, empty, m.ints(*size)], size, mode=mode)


def _matmul(m: RandomModel) -> None:
    v = m.value(int(m.pick([2, 3])))
    if v is None:
        return
    weight = m.constant((m.rng.normal(size=(v.shape[-1], 5)) / 3).astype(np.float32))
    product = m.emit("MatMul", [v.name, weight], [*v.shape[:-1], 5])
    if m.chance(0.6):
        bias = m.constant(m.rng.normal(size=5).astype(np.float32))
        m.emit("Add", m.pick([[product.name, bias], [bias, product.name]]), product.shape)


def _gemm(m: RandomModel) -> None:
    v = m.value(2)
    if v is not None:
        turned = int(m.pick([0, 1]))
        size = (4, v.shape[1]) if turned else (v.shape[1], 4)
        weight = m.constant((m.rng.normal(size=size) / 3).astype(np.float32))
        bias = m.constant(m.rng.normal(size=4).astype(np.float32))
        m.emit(
            "Gemm", [v.name, weight, bias], [v.shape[0], 4], transB=turned, alpha=float(m.pick([1.0, 0.5]))
        )


def _softmax(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        m.emit(m.pick(["Softmax", "LogSoftmax"]), [v.name], v.shape, axis=int(m.rng.integers(len(v.shape))))


def _clip(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        low, high = (m.constant(np.array(n, np.float32)) for n in (-0.5, 0.7))
        m.emit("Clip", [v.name, *m.pick([[low], [low, high], ["", high]])], v.shape)


def _expand(m: RandomModel) -> None:
    v = m.value()
    if v is None or np.prod(v.shape) > 800:
        return
    if m.chance(0.5):
        target = [2 if s == 1 and m.chance(0.5) else s for s in v.shape]
        m.emit("Expand", [v.name, m.ints(*target)], target)
    else:
        repeats = [int(m.pick([1, 1, 2])) for _ in v.shape]
        m.emit("Tile", [v.name, m.ints(*repeats)], [s * r for s, r in zip(v.shape, repeats, strict=True)])


def _reduce(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        axis, keep = int(m.rng.integers(len(v.shape))), int(m.pick([0, 1]))
        shape = [1 if i == axis else s for i, s in enumerate(v.shape) if keep or i != axis]
        op = m.pick(["ReduceMean", "ReduceMax", "ReduceL2"])
        if shape and m.opset < 18:
            m.emit(op, [v.name], shape, axes=[axis], keepdims=keep)
        elif shape:
            m.emit(op, [v.name, m.ints(axis)], shape, keepdims=keep)


def _topk(m: RandomModel) -> None:
    v = m.value()
    if v is None or v.shape[-1] < 2:
        return
    outs = [Made(m.fresh("v"), (*v.shape[:-1], 2)), Made(m.fresh("v"), (*v.shape[:-1], 2), INT64)]
    m.nodes.append(
        helper.make_node("TopK", [v.name, m.ints(2)], [o.name for o in outs], name=m.fresh("n"), axis=-1)
    )
    m.values += outs


def _masked(m: RandomModel) -> None:
    v = m.value()
    if v is not None:
        mask = m.rng.random(v.shape) < 0.4
        mask[..., 0] = False
        flags = m.constant(mask)
        fill = m.constant(np.array(m.pick([-1e9, -3e38, 0.0]), np.float32))
        chosen = m.emit("Where", [flags, fill, v.name], v.shape)
        m.emit("Softmax", [chosen.name], v.shape, axis=len(v.shape) - 1)
        m.values.remove(chosen)  # other numbers stand there once the constant is clamped


def _folded(m: RandomModel) -> None:
    """Arithmetic on constants."""
    v = m.value()
    if v is not None:
        number = m.constant(m.rng.normal(size=v.shape[-1:]).astype(np.float32))
        computed = m.emit("Exp", [m.emit("Neg", [number], v.shape[-1:]).name], v.shape[-1:])
        m.emit("Mul", [v.name, computed.name], v.shape)


_EMITTERS: list[Callable[[RandomModel], None]] = [
    _binary, _casts, _clip, _concat, _conv, _conv, _conv1d, _copy, _copy, _expand, _flatten, _folded, _gather,
    _gather, _gemm, _masked, _matmul, _pad, _padded, _pool, _reduce, _reshape, _reshape, _reshape_by_shape,
    _resize, _slice, _slice, _softmax, _split, _squeeze, _sum_of_two, _topk, _transpose, _transpose, _unary,
]  # fmt: skip


def random_model(seed: int, size: int = 14) -> onnx.ModelProto:
    """Return a valid model; the same for the same arguments."""
    return RandomModel(seed, size).model()
