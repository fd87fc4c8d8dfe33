"""Read a pickle as data: no class is imported, no function of the file's choice is called.

A pickle is a program for a small stack machine. This is such a machine with one difference: a name
it does not know becomes an inert ``Stub``, and so does everything the pickle would make by calling
it. The standard unpickler, even restricted, is not used: it allocates what a file declares before
reading it, and hashes values of the file's choice.
"""

import itertools
import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, runtime_checkable

from graphopt.core.errors import CheckpointError

MAX_OPERATIONS = 2_000_000
"""A checkpoint of 1,000 tensors takes about 40,000; this many take some seconds."""

MAX_LINE = 1 << 16
"""Bytes in a line of the old text opcodes, which hold names and numbers."""

MAX_INTEGER_KEY = 1 << 60
"""Larger integers share hash values, which makes a dictionary of them take quadratic time."""

# What pickletools raises on bytes that are no pickle.
_MALFORMED = (ValueError, struct.error, OverflowError, EOFError)


@dataclass(frozen=True, eq=False, slots=True)
class Stub:
    """Stands for a class, function or object the reader does not know.

    Attributes:
        name: as the pickle spells it, e.g. ``"mmcv.utils.config.ConfigDict"``.
    """

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Constructor:
    """A function of ours that stands for one of the few a checkpoint needs.

    Attributes:
        name: of what it stands for.
        build: takes the arguments found in the pickle; ``TypeError`` and ``ValueError`` mean they
            make no sense.
    """

    name: str
    build: Callable[..., object]


@runtime_checkable
class Buildable(Protocol):
    """A value that takes the state that follows it in the pickle."""

    def set_state(self, state: object) -> None:
        """Take over ``state``."""
        ...


class PickleMachine:
    """Run one pickle.

    Args:
        known: dotted name to what stands for it; all other names become stubs.
        persistent: maps a persistent id of the pickle (a storage) to a value.
    """

    def __init__(self, known: Mapping[str, object], persistent: Callable[[object], object]) -> None:
        self._known = known
        self._persistent = persistent
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def run(self, stream: IO[bytes], size: int) -> object:
        """Return what the pickle at the stream's position describes; leave the stream behind it.

        Args:
            stream: seekable.
            size: bytes in the whole stream; nothing longer is ever asked of it.

        Raises:
            CheckpointError: the pickle is damaged, or beyond the budgets.
        """
        operations = pickletools.genops(_Clamped(stream, size))  # type: ignore[arg-type]
        try:
            with warnings.catch_warnings():  # a bad escape in an old text string only warns
                warnings.simplefilter("ignore")
                for opcode, argument, _ in itertools.islice(operations, MAX_OPERATIONS):
                    if opcode.name == "STOP":
                        return self._pop()
                    self._step(opcode.name, argument)
        except CheckpointError:
            raise
        except _MALFORMED as error:
            # Part of the file may be in the message: keep it short.
            raise CheckpointError(f"its pickle is damaged: {str(error)[:120]}") from error
        raise CheckpointError(f"its pickle has more than {MAX_OPERATIONS:,} operations")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif step := _STEPS.get(name):
            step(self)
        elif step_with := _STEPS_WITH_ARGUMENT.get(name):
            step_with(self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise CheckpointError(f"its pickle uses {name}, which no checkpoint needs")

    def _pop(self) -> Any:
        floor = self._marks[-1] if self._marks else 0
        if len(self._stack) <= floor:
            raise CheckpointError("its pickle is damaged: it takes a value that is not there")
        return self._stack.pop()

    def _pop_many(self, count: int) -> tuple[object, ...]:
        return tuple([self._pop() for _ in range(count)][::-1])

    def _pop_to_mark(self) -> list[object]:
        if not self._marks:
            raise CheckpointError("its pickle is damaged: it closes a group that was never opened")
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _drop_group(self) -> None:
        self._pop_to_mark()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _pop_one(self) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise CheckpointError(f"its pickle is damaged: value {index} is used before it is made")
        self._stack.append(self._memo[index])

    def _tuple(self, count: int) -> None:
        self._stack.append(self._pop_many(count))

    def _append_all(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Stub):
            raise CheckpointError(f"its pickle is damaged: it appends to a {type(target).__name__}")

    def _append(self) -> None:
        self._append_all([self._pop()])

    def _set_all(self, items: list[object]) -> None:
        target = self._top()
        if isinstance(target, dict):
            target.update(_pairs(items))
        elif not isinstance(target, Stub):
            raise CheckpointError(f"its pickle is damaged: it sets an item of a {type(target).__name__}")

    def _name(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise CheckpointError("its pickle is damaged: a class has no name")
        dotted = f"{module}.{name}"
        self._stack.append(self._known.get(dotted) or Stub(dotted[:200]))

    def _call(self, function: object, arguments: object) -> None:
        if isinstance(function, Stub):
            self._stack.append(Stub(function.name))
        elif isinstance(function, Constructor) and isinstance(arguments, tuple):
            self._stack.append(_checked(function.name, function.build, *arguments))
        else:
            raise CheckpointError("its pickle is damaged: it calls what cannot be called")

    def _reduce(self) -> None:
        self._call(*self._pop_many(2))

    def _new_with_keywords(self) -> None:
        function, arguments, _ = self._pop_many(3)
        self._call(function, arguments)

    def _object(self) -> None:
        items = self._pop_to_mark()
        if not items:
            raise CheckpointError("its pickle is damaged: an object has no class")
        self._call(items[0], tuple(items[1:]))

    def _instance(self, name: str) -> None:
        arguments = tuple(self._pop_to_mark())
        self._name(*_split(name))
        self._call(self._pop(), arguments)

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Buildable):
            _checked(type(target).__name__, target.set_state, state)

    def _persistent_id(self) -> None:
        self._stack.append(self._persistent(self._pop()))


def _checked(name: str, function: Callable[..., object], *arguments: object) -> object:
    try:
        return function(*arguments)
    except CheckpointError:
        raise
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"it calls {name} with arguments that make no sense") from error


class _Clamped:
    """A stream that is never asked for more than it has: a declared length allocates nothing."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._size = size
        self.tell = stream.tell

    def read(self, count: int) -> bytes:
        return self._stream.read(max(0, min(count, self._size - self._stream.tell())))

    def readline(self) -> bytes:
        return self._stream.readline(MAX_LINE)


def _split(name: str) -> tuple[str, str]:
    module, _, attribute = name.partition(" ")
    return module, attribute


def _pairs(items: list[object]) -> dict[object, object]:
    if len(items) % 2:
        raise CheckpointError("its pickle is damaged: a key has no value")
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _key(value: object) -> object:
    """Return ``value`` when hashing it is cheap and safe, else a stub in its place."""
    if value is None or isinstance(value, (str, bytes, bool)):
        return value
    if isinstance(value, int) and abs(value) < MAX_INTEGER_KEY:
        return value
    return Stub(f"key of type {type(value).__name__}")


_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)

# Sets are kept as lists: nothing in a checkpoint needs their hashing.
_CONSTANTS: Mapping[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}

_Step = Callable[[PickleMachine], None]
_STEPS: Mapping[str, _Step] = {
    "MARK": lambda m: m._mark(),
    "POP": lambda m: m._pop_one(),
    "POP_MARK": lambda m: m._drop_group(),
    "DUP": lambda m: m._stack.append(m._top()),
    "TUPLE": lambda m: m._stack.append(tuple(m._pop_to_mark())),
    "TUPLE1": lambda m: m._tuple(1),
    "TUPLE2": lambda m: m._tuple(2),
    "TUPLE3": lambda m: m._tuple(3),
    "LIST": lambda m: m._stack.append(m._pop_to_mark()),
    "FROZENSET": lambda m: m._stack.append(m._pop_to_mark()),
    "DICT": lambda m: m._stack.append(_pairs(m._pop_to_mark())),
    "APPEND": lambda m: m._append(),
    "APPENDS": lambda m: m._append_all(m._pop_to_mark()),
    "ADDITEMS": lambda m: m._append_all(m._pop_to_mark()),
    "SETITEM": lambda m: m._set_all(list(m._pop_many(2))),
    "SETITEMS": lambda m: m._set_all(m._pop_to_mark()),
    "MEMOIZE": lambda m: m._remember(len(m._memo)),
    "STACK_GLOBAL": lambda m: m._name(*m._pop_many(2)),
    "REDUCE": lambda m: m._reduce(),
    "NEWOBJ": lambda m: m._reduce(),
    "NEWOBJ_EX": lambda m: m._new_with_keywords(),
    "OBJ": lambda m: m._object(),
    "BUILD": lambda m: m._build(),
    "BINPERSID": lambda m: m._persistent_id(),
}

_STEPS_WITH_ARGUMENT: Mapping[str, Callable[[PickleMachine, Any], None]] = {
    "PUT": lambda m, index: m._remember(index),
    "BINPUT": lambda m, index: m._remember(index),
    "LONG_BINPUT": lambda m, index: m._remember(index),
    "GET": lambda m, index: m._recall(index),
    "BINGET": lambda m, index: m._recall(index),
    "LONG_BINGET": lambda m, index: m._recall(index),
    "GLOBAL": lambda m, name: m._name(*_split(name)),
    "INST": lambda m, name: m._instance(name),
}
