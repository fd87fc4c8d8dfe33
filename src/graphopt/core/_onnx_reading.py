"""From an open model file to an onnx-ir model whose large tensors stay in the file."""

import difflib
import math
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx.helper import make_tensor_value_info

from graphopt.core._onnx_wire import DamagedError, References, Span, take_out
from graphopt.core._onnx_writing import tensor_slots
from graphopt.core._proto_checks import DATA_FIELDS, check_proto, check_size, nbytes_of
from graphopt.core.errors import InvalidModelError
from graphopt.core.external_data import DataFiles, open_regular
from graphopt.core.file_tensors import FileBytes, FileTensor, SourceFile, StrippedTensor

FIRST_WITHOUT_INPUTS = 4
"""The first IR version in which an initializer need not be a graph input."""

_STRIPPED = "graphopt: the values were left out"
_NO_MODEL = "it is damaged or no ONNX model"
_HEAD_BYTES = 256
_KNOWN_HEADS = (
    (b"PK\x03\x04", "it is a zip archive (a PyTorch checkpoint?): export it to ONNX first"),
    (b"\x80\x02", "it is a pickle (an old PyTorch checkpoint?): export it to ONNX first"),
    (b"\x89HDF", "it is an HDF5 file: convert it to ONNX first"),
    (b"IMOD", "it is an om, compiled already: give the ONNX file that it was made from"),  # graphengine
    (b"version https://git-lfs", "it is a Git LFS pointer: run git lfs pull"),
)


class ModelReader:
    """One model file being read.

    Args:
        source: the open file.
        files: finds the data files that it refers to.
        max_bytes: budget for all of them together.
    """

    def __init__(self, source: SourceFile, files: DataFiles, max_bytes: int) -> None:
        self._source = source
        self._files = files
        self._left_bytes = max_bytes - source.size
        self._max_bytes = max_bytes
        self._references = References()
        self._spans: list[Span] = []
        self._references_seen = 0
        self._allow_stripped = False

    def read(self, *, allow_stripped: bool = False) -> ir.Model:
        """Return the model.

        Args:
            allow_stripped: initializers may lack their values; they become ``StrippedTensor``.

        Raises:
            InvalidModelError: the file is damaged, no model, or refers to what it must not.
        """
        where = str(self._source.path)
        proto = self._parse()
        self._allow_stripped = allow_stripped
        if allow_stripped:
            _mark_stripped(proto.graph)
        check_proto(proto, where, self._check_external)
        model = deserialize(proto, where)
        for slot in tensor_slots(model) if self._references_seen else ():
            if isinstance(slot.tensor, ir.ExternalTensor):
                slot.put(self._file_tensor(slot.tensor))
        return model

    def structure(self) -> onnx.ModelProto:
        """Return a model that the checker judges like this one, without its large initializers.

        They are inputs of the same type and shape; that their bytes fit was checked here.

        Raises:
            InvalidModelError: as ``read``.
        """
        where = str(self._source.path)
        proto = self._parse(main_initializers_only=True)
        check_proto(proto, where, self._check_external)
        graph = proto.graph
        inputs = {value.name for value in graph.input}
        small = []
        for tensor in graph.initializer:
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                small.append(tensor)
            elif tensor.name not in inputs:
                if proto.ir_version < FIRST_WITHOUT_INPUTS:
                    raise InvalidModelError(
                        f"{where}: IR version {proto.ir_version} wants the initializer {tensor.name!r} "
                        "among the graph inputs; export the model again"
                    )
                graph.input.append(make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        del graph.initializer[:]
        graph.initializer.extend(small)
        check_proto(proto, where, self._make_inline)  # what is left is in subgraphs and attributes
        return proto

    def _make_inline(self, tensor: onnx.TensorProto) -> None:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        nbytes = nbytes_of(tensor, tensor.name)
        source, span = self._files.find(tensor.name, entries, nbytes)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = source.read(span)

    def _parse(self, *, main_initializers_only: bool = False) -> onnx.ModelProto:
        if self._left_bytes < 0:
            raise InvalidModelError(self._over_budget)
        try:
            reduced, self._spans = take_out(
                FileBytes(self._source), self._references, main_initializers_only=main_initializers_only
            )
            proto = onnx.ModelProto()
            proto.ParseFromString(reduced)
        except (DamagedError, DecodeError) as error:
            head = self._source.read(Span(0, min(_HEAD_BYTES, self._source.size)))
            reason = f"{_guess(head)} ({error})"
            raise InvalidModelError(f"{self._source.path} cannot be read: {reason}") from error
        return proto

    def _check_external(self, tensor: onnx.TensorProto) -> None:
        self._references_seen += 1
        what = f"tensor {tensor.name!r} of {self._source.path}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        nbytes = nbytes_of(tensor, what)
        if self._allow_stripped and entries == {"location": _STRIPPED}:
            return
        index = self._references.index(entries.get("location", ""))
        if index is not None:
            check_size(what, self._spans[index].length, nbytes, "bytes")
            return
        if len(entries) != len(tensor.external_data):
            raise InvalidModelError(f"{what} has an external data key twice; export the model again")
        if tensor.data_type == onnx.TensorProto.STRING:
            raise InvalidModelError(f"{what}: strings cannot be external data; export the model again")
        self._files.find(tensor.name, entries, nbytes)
        self._left_bytes -= nbytes
        if self._left_bytes < 0:
            raise InvalidModelError(self._over_budget)

    def _file_tensor(self, tensor: ir.ExternalTensor) -> FileTensor | StrippedTensor:
        if self._allow_stripped and str(tensor.location) == _STRIPPED:
            return StrippedTensor(tensor.dtype, tensor.shape, name=tensor.name)
        index = self._references.index(str(tensor.location))
        if index is not None:
            source, span = self._source, self._spans[index]
        else:
            source, span = self._files.find(tensor.name, _entries(tensor), tensor.nbytes)
        return FileTensor(
            source,
            span,
            tensor.dtype,
            tensor.shape,
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props) or None,
        )

    @property
    def _over_budget(self) -> str:
        return (
            f"{self._source.path} with its data is larger than the {self._max_bytes} bytes allowed; "
            "raise the limit if you trust it"
        )


def _mark_stripped(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        is_empty = not any(len(getattr(tensor, name)) for name in DATA_FIELDS) and not tensor.raw_data
        if is_empty and tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) > 0:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=_STRIPPED)
            tensor.ClearField("raw_data")


def open_model(path: Path) -> SourceFile:
    """Open a model file.

    Raises:
        InvalidModelError: it is missing, unreadable, empty or no regular file.
    """
    try:
        if path.is_dir():
            raise InvalidModelError(f"{path} is a folder; give an ONNX file")
        path = path.absolute()
        source = SourceFile(path, lambda: open_regular(path), keep_open=True)
    except FileNotFoundError as error:
        raise InvalidModelError(f"{path} does not exist; {_neighbours(path)}") from error
    except OSError as error:
        raise InvalidModelError(
            f"{path} cannot be opened: {error.strerror}; check the path and its permissions"
        ) from error
    except ValueError as error:
        raise InvalidModelError(f"{str(path)!r} is no file name: {error}; check the path") from error
    if source.size == 0:
        raise InvalidModelError(f"{path} is empty; fetch or export it again")
    return source


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    names = sorted(entry.name for entry in path.parent.glob("*.onnx"))
    near = difflib.get_close_matches(path.name, names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else "check the path"


def deserialize(proto: onnx.ModelProto, where: str) -> ir.Model:
    """Turn a checked ``proto`` into a model.

    Raises:
        InvalidModelError: onnx-ir refuses it.
    """
    try:
        model = ir.from_proto(proto)
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        # Damaged names, types and structures surface here as whatever Python type the spot in
        # onnx-ir happens to raise, mostly wrapped in SerdeError with the reason at the bottom.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise InvalidModelError(f"{where} cannot be read: {_first_line(cause)}; {_NO_MODEL}") from error
    for slot in tensor_slots(model):
        if isinstance(slot.tensor, ir.TensorProtoTensor) and slot.tensor.raw.metadata_props:
            slot.put(_noted_once(slot.tensor))
    return model


def _noted_once(tensor: ir.TensorProtoTensor) -> ir.TensorProtoTensor:
    # onnx-ir writes the message with its metadata, and then the metadata it has read from it once more.
    proto = onnx.TensorProto()
    proto.CopyFrom(tensor.raw)
    proto.ClearField("metadata_props")
    copy = ir.TensorProtoTensor(proto)
    copy.metadata_props.update(tensor.metadata_props)
    return copy


def _entries(tensor: ir.ExternalTensor) -> Mapping[str, str]:
    numbers = {"offset": tensor.offset, "length": tensor.length}
    known = {key: str(value) for key, value in numbers.items() if value is not None}
    return {"location": str(tensor.location), **known}


def _guess(head: bytes) -> str:
    for start, meaning in _KNOWN_HEADS:
        if head.startswith(start):
            return meaning
    text = head.decode("utf-8", "ignore")
    if len(text) > len(head) // 2 and all(char.isprintable() or char.isspace() for char in text):
        return f"it is a text file, starting with {text[:20]!r}: give an ONNX file"
    return f"{_NO_MODEL}: fetch or export it again"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
