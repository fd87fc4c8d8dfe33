"""Check and run a deploy bundle on the device box: one file, Python >= 3.7 and numpy.

Besides numpy it needs ``acl`` (pyACL, part of CANN) for an ``.om`` or ``onnxruntime`` for an
``.onnx``. Start it inside the bundle's folder::

    python3 device_runner.py [--check] [--device 0] [--limit N] [--backend acl|onnxruntime] [-o DIR]

It runs the golden inputs and compares the outputs with those recorded from PyTorch, then runs
every prepared input and writes ``results/<stem>_<k>.bin``, as ais_bench does, with
``results/index.json`` and ``results_summary.json``.

Exit codes: 0 fine, 1 golden outputs differ, 2 bundle or inputs are wrong, 3 no backend here,
4 the device failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import zipfile
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

BUNDLE_VERSION = 1
RESULTS_VERSION = 1

Tensor = Tuple[str, List[int], str]
"""Name, dims (-1 is free), numpy dtype name."""


class RunnerError(Exception):
    """The bundle, its inputs, or what was asked for is wrong."""


class AclError(RunnerError):
    """A call to the device returned an error.

    Args:
        call: e.g. ``"acl.mdl.execute"``.
        code: what it returned.
        what: what it was called for, e.g. a file name.
    """

    def __init__(self, call: str, code: int, what: str = "") -> None:
        name, hint = ACL_CODES.get(code, ("unknown code", "look it up in the ACL error code table"))
        about = " for " + what if what else ""
        super().__init__("{} failed{}: {} {}: {}".format(call, about, code, name, hint))
        self.call = call
        self.code = code


ACL_CODES = {
    0: ("no handle", "the call gave nothing back; see the plog files of CANN"),
    100000: ("INVALID_PARAM", "a wrong argument"),
    100001: ("UNINITIALIZE", "acl.init was not called, or another session of this process ended it"),
    100002: ("REPEAT_INITIALIZE", "acl.init was called twice"),
    100003: ("INVALID_FILE", "the file is missing or cannot be read"),
    100005: ("INVALID_FILE_SIZE", "the file is empty or too large"),
    100011: ("INVALID_MODEL_ID", "the model is not loaded any more"),
    100012: ("DESERIALIZE_MODEL", "the .om does not fit this version of CANN: compile it again"),
    100013: ("PARSE_MODEL", "the .om does not fit this version of CANN: compile it again"),
    100014: ("READ_MODEL_FAILURE", "the .om is damaged or cannot be read"),
    100015: ("MODEL_SIZE_INVALID", "the .om is damaged"),
    100016: ("MODEL_MISSING_ATTR", "the .om does not fit this version of CANN: compile it again"),
    100017: ("MODEL_INPUT_NOT_MATCH", "the inputs are not those of the model"),
    100018: ("MODEL_OUTPUT_NOT_MATCH", "the outputs are not those of the model"),
    100019: ("MODEL_NOT_DYNAMIC", "a batch size was set on a model with a fixed one"),
    100026: ("UNSUPPORTED_DATA_TYPE", "the device has no such data type"),
    100027: ("FORMAT_NOT_MATCH", "the data format is not the model's"),
    100037: ("REPEAT_FINALIZE", "acl.finalize was called twice"),
    100039: ("COMPILING_STUB_MODE", "LD_LIBRARY_PATH points to CANN's stub libraries: source set_env.sh"),
    107000: ("RT_PARAM_INVALID", "a wrong argument of a runtime call"),
    107001: ("RT_INVALID_DEVICEID", "no such device: see npu-smi info, choose one with --device"),
    107002: ("RT_CONTEXT_NULL", "this thread has no device context"),
    107003: ("RT_STREAM_CONTEXT", "a stream of another context"),
    107004: ("RT_MODEL_CONTEXT", "a model of another context"),
    107017: ("RT_INVALID_HANDLE", "a handle that was destroyed"),
    107019: ("RT_WAIT_TIMEOUT", "the device did not answer in time"),
    107020: ("RT_TASK_TIMEOUT", "the device did not answer in time"),
    145000: ("GE_PARAM_INVALID", "a wrong argument of a model call"),
    145001: ("GE_EXEC_NOT_INIT", "the executor was not started"),
    145002: ("GE_EXEC_MODEL_PATH_INVALID", "the .om is not at this path"),
    145003: ("GE_EXEC_MODEL_ID_INVALID", "the model is not loaded any more"),
    145006: ("GE_EXEC_MODEL_DATA_SIZE_INVALID", "the .om is damaged or truncated: copy it again"),
    145007: ("GE_EXEC_MODEL_ADDR_INVALID", "the .om is damaged or truncated: copy it again"),
    145009: ("GE_EXEC_LOAD_MODEL_REPEATED", "the model is loaded already"),
    145011: ("GE_DYNAMIC_INPUT_ADDR_INVALID", "the buffer of the dynamic batch size is missing"),
    145012: ("GE_DYNAMIC_INPUT_LENGTH_INVALID", "the buffer of the dynamic batch size has a wrong size"),
    145013: ("GE_DYNAMIC_BATCH_SIZE_INVALID", "this batch size is not one the .om was compiled for"),
    145014: ("GE_AIPP_BATCH_EMPTY", "AIPP got no batch"),
    145015: ("GE_AIPP_NOT_EXIST", "the model has no AIPP"),
    145016: ("GE_AIPP_MODE_INVALID", "the AIPP mode does not fit"),
    145020: ("GE_FORMAT_INVALID", "a wrong data format"),
    145021: ("GE_SHAPE_INVALID", "a wrong shape"),
    145022: ("GE_DATATYPE_INVALID", "a wrong data type"),
    148049: ("INVALID_OPP_PATH", "ASCEND_OPP_PATH is not set or wrong: source set_env.sh"),
    200000: ("BAD_ALLOC", "memory is full: use a smaller batch or another device"),
    200001: ("API_NOT_SUPPORT", "this chip does not support the call"),
    207000: ("RT_FEATURE_NOT_SUPPORT", "this chip does not support the call"),
    207001: ("RT_MEMORY_ALLOCATION", "memory is full: use a smaller batch or another device"),
    207004: ("RT_NO_DEVICE", "no device is available: see npu-smi info"),
    207006: ("RT_NO_PERMISSION", "this user may not use the device: join its group (HwHiAiUser)"),
    207018: ("RT_DEVICE_OOM", "the device's memory is full: see npu-smi info"),
    245000: ("GE_MEMORY_ALLOCATION", "memory is full: use a smaller batch or another device"),
    245001: ("GE_MEMORY_OPERATE_FAILED", "memory could not be copied"),
    245002: ("GE_DEVICE_MEMORY_OPERATE_FAILED", "device memory could not be copied"),
    500000: ("INTERNAL_ERROR", "see the plog files of CANN"),
    500001: ("FAILURE", "see the plog files of CANN"),
    500002: ("GE_FAILURE", "see the plog files of CANN"),
    500003: ("RT_FAILURE", "see the plog files of CANN"),
    500004: ("DRV_FAILURE", "see the plog files of CANN and the driver's state in npu-smi info"),
    507008: ("RT_SOC_VERSION", "the .om was compiled for another chip"),
    507011: ("RT_MODEL_EXECUTE", "the model failed on the device; see the plog files of CANN"),
    507014: ("RT_AICORE_TIMEOUT", "an AI Core operator took too long"),
    507015: ("RT_AICORE_EXCEPTION", "an AI Core operator failed; see the plog files of CANN"),
    507016: ("RT_AICORE_TRAP_EXCEPTION", "an AI Core operator failed; see the plog files of CANN"),
    507017: ("RT_AICPU_TIMEOUT", "an AI CPU operator took too long"),
    507018: ("RT_AICPU_EXCEPTION", "an AI CPU operator failed; see the plog files of CANN"),
    507033: ("RT_DEV_SETUP_ERROR", "the device could not be started: see npu-smi info"),
    507034: ("RT_VECTOR_CORE_TIMEOUT", "a vector core operator took too long"),
    507035: ("RT_VECTOR_CORE_EXCEPTION", "a vector core operator failed; see the plog files of CANN"),
    507036: ("RT_VECTOR_CORE_TRAP_EXCEPTION", "a vector core operator failed; see the plog files of CANN"),
    507899: ("RT_DRV_INTERNAL_ERROR", "see the plog files of CANN and npu-smi info"),
    507900: ("RT_AICPU_INTERNAL_ERROR", "see the plog files of CANN"),
    507901: ("RT_SOCKET_CLOSE", "the connection to the device closed"),
    545000: ("GE_INTERNAL_ERROR", "see the plog files of CANN"),
    545001: ("GE_LOAD_MODEL", "the .om could not be loaded; see the plog files of CANN"),
    545009: ("GE_UNLOAD_MODEL", "the model could not be unloaded; see the plog files of CANN"),
    545601: ("GE_MODEL_EXECUTE_TIMEOUT", "the model did not end in time"),
}

# aclDataType, which is not ONNX's numbering.
ACL_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int8",
    3: "int32",
    4: "uint8",
    6: "int16",
    7: "uint16",
    8: "uint32",
    9: "int64",
    10: "uint64",
    11: "float64",
    12: "bool",
}

_ALREADY_INITIALIZED = 100002
_ALREADY_FINALIZED = 100037
_BATCH_INPUT = "ascend_mbatch_shape_data"
_HUGE_FIRST = 0
_HOST_TO_DEVICE, _DEVICE_TO_HOST, _DEVICE_TO_DEVICE = 1, 2, 3
_RUNS_ON_DEVICE = 0
_NUMPY_UINT8 = 2  # numpy's own type number, wanted by ptr_to_numpy


class _Buffer:
    """One input or output of an open model: device memory and what lies in it."""

    def __init__(self, name: str, dims: list[int], dtype: str, size: int, device: int) -> None:
        self.name = name
        self.dims = dims
        self.dtype = dtype
        self.size = size
        self.device = device
        self.host = 0


class AclModel:
    """An ``.om`` on one device: static batch, or batch sizes fixed by ``--dynamic_batch_size``.

    Opening takes what it needs step by step and notes how to give each thing back; closing, or a
    failure anywhere while opening, gives all of it back in reverse order. ACL belongs to the
    process: models open at the same time are closed in reverse order of opening.

    Args:
        path: the ``.om``.
        device: its number.
        acl: the pyACL module; imported when None.

    Raises:
        ModuleNotFoundError: pyACL is not installed.
        AclError: a call failed.
        RunnerError: the model needs what is not supported here (free shapes, AIPP at run time).
    """

    def __init__(self, path: str, device: int = 0, acl: Any = None) -> None:
        self._acl = importlib.import_module("acl") if acl is None else acl
        self._undo: List[Tuple[str, Callable[[], int]]] = []
        self._context = 0
        self._inputs: List[_Buffer] = []
        self._outputs: List[_Buffer] = []
        self._batch_index = -1
        self._profiles: List[int] = []
        try:
            self._open(str(path), device)
        except BaseException:
            self._release()
            raise

    @property
    def inputs(self) -> list[Tensor]:
        """Data inputs in the model's order."""
        return [(item.name, list(item.dims), item.dtype) for item in self._inputs]

    @property
    def outputs(self) -> list[Tensor]:
        """Outputs in the model's order; a batch of several sizes is -1."""
        return [(item.name, list(item.dims), item.dtype) for item in self._outputs]

    @property
    def batches(self) -> list[int]:
        """Batch sizes the model was compiled for; empty when there is only one."""
        return list(self._profiles)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Run once; not for two threads at the same time.

        Args:
            arrays: one per data input, in order; exact dtype and shape.

        Returns:
            One array per output, in order; fresh memory.

        Raises:
            RunnerError: the arrays do not fit, or the model is closed.
            AclError: a call failed; the model stays open and can be closed.
        """
        if not self._undo:
            raise RunnerError("the model is closed")
        self._check_arrays(arrays)
        acl = self._acl
        # The context belongs to a thread, and another model may have made its own current.
        self._call("acl.rt.set_context", acl.rt.set_context(self._context))
        for buffer, array in zip(self._inputs, arrays):
            self._upload(buffer, np.ascontiguousarray(array))
        if self._profiles:
            code = acl.mdl.set_dynamic_batch_size(
                self._model, self._input_set, self._batch_index, int(arrays[0].shape[0])
            )
            self._call("acl.mdl.set_dynamic_batch_size", code)
        self._call("acl.mdl.execute", acl.mdl.execute(self._model, self._input_set, self._output_set))
        return [self._download(index, buffer) for index, buffer in enumerate(self._outputs)]

    def close(self) -> None:
        """Give everything back; a second call does nothing.

        Raises:
            AclError: the first call that failed; the others were made all the same.
        """
        failure = self._release()
        if failure is not None:
            raise failure

    def __enter__(self) -> AclModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- opening ---------------------------------------------------------------------------------

    def _open(self, path: str, device: int) -> None:
        acl = self._acl
        code = acl.init()
        if code != _ALREADY_INITIALIZED:
            self._call("acl.init", code)
            self._later("acl.finalize", lambda: acl.finalize())
        self._call("acl.rt.set_device", acl.rt.set_device(device), str(device))
        self._later("acl.rt.reset_device", lambda: acl.rt.reset_device(device))
        self._context = self._value("acl.rt.create_context", acl.rt.create_context(device))
        self._later("acl.rt.destroy_context", lambda: acl.rt.destroy_context(self._context))
        mode = self._value("acl.rt.get_run_mode", acl.rt.get_run_mode())
        on_device = mode == _RUNS_ON_DEVICE
        self._up = _DEVICE_TO_DEVICE if on_device else _HOST_TO_DEVICE
        self._down = _DEVICE_TO_DEVICE if on_device else _DEVICE_TO_HOST
        self._model = self._value("acl.mdl.load_from_file", acl.mdl.load_from_file(path), path)
        self._later("acl.mdl.unload", lambda: acl.mdl.unload(self._model))
        self._description = self._handle("acl.mdl.create_desc", acl.mdl.create_desc())
        self._later("acl.mdl.destroy_desc", lambda: acl.mdl.destroy_desc(self._description))
        self._call("acl.mdl.get_desc", acl.mdl.get_desc(self._description, self._model))
        self._input_set = self._new_dataset()
        self._open_inputs()
        self._output_set = self._new_dataset()
        self._open_outputs()

    def _open_inputs(self) -> None:
        mdl = self._acl.mdl
        for index in range(mdl.get_num_inputs(self._description)):
            described = self._value("acl.mdl.get_input_dims", mdl.get_input_dims(self._description, index))
            size = mdl.get_input_size_by_index(self._description, index)
            name = described["name"]
            if name == _BATCH_INPUT:
                self._batch_index = index
                self._new_buffer(self._input_set, size, name)
                continue
            if name.startswith("ascend_") or size <= 0:
                raise RunnerError(
                    "input {} is set at run time (free shape or AIPP); compile the model with fixed shapes "
                    "or --dynamic_batch_size".format(name)
                )
            dtype = _dtype_of(mdl.get_input_data_type(self._description, index), "input " + name)
            device = self._new_buffer(self._input_set, size, name)
            self._inputs.append(_Buffer(name, list(described["dims"]), dtype, size, device))
        if self._batch_index >= 0:
            found = self._value("acl.mdl.get_dynamic_batch", mdl.get_dynamic_batch(self._description))
            self._profiles = [int(size) for size in found["batch"]]
        for buffer in self._inputs:
            free = [axis for axis, dim in enumerate(buffer.dims) if dim < 0]
            if free and (free != [0] or not self._profiles):
                raise RunnerError(
                    "input {} has free dims {}; only a free batch (--dynamic_batch_size) is supported".format(
                        buffer.name, buffer.dims
                    )
                )

    def _open_outputs(self) -> None:
        mdl = self._acl.mdl
        for index in range(mdl.get_num_outputs(self._description)):
            described = self._value("acl.mdl.get_output_dims", mdl.get_output_dims(self._description, index))
            # For ONNX models the name reads node:index:tensor.
            match = re.match(r"^.*?:\d+:(.+)$", described["name"])
            name = match.group(1) if match else described["name"]
            size = mdl.get_output_size_by_index(self._description, index)
            dims = list(described["dims"])
            if size <= 0 or any(dim < 0 for dim in dims):
                raise RunnerError("output {} has a free shape {}; pin it first".format(name, dims))
            dtype = _dtype_of(mdl.get_output_data_type(self._description, index), "output " + name)
            buffer = _Buffer(name, dims, dtype, size, self._new_buffer(self._output_set, size, name))
            buffer.host = self._new_host_memory(size, name)
            if self._profiles and dims and dims[0] == max(self._profiles):
                buffer.dims[0] = -1
            self._outputs.append(buffer)

    def _new_host_memory(self, size: int, name: str) -> int:
        rt = self._acl.rt
        host = self._value("acl.rt.malloc_host", rt.malloc_host(size), name)
        self._later("acl.rt.free_host", lambda: rt.free_host(host))
        return int(host)

    def _new_dataset(self) -> int:
        mdl = self._acl.mdl
        dataset = self._handle("acl.mdl.create_dataset", mdl.create_dataset())
        self._later("acl.mdl.destroy_dataset", lambda: mdl.destroy_dataset(dataset))
        return dataset

    def _new_buffer(self, dataset: int, size: int, name: str) -> int:
        acl = self._acl
        device = self._value("acl.rt.malloc", acl.rt.malloc(size, _HUGE_FIRST), name)
        self._later("acl.rt.free", lambda: acl.rt.free(device))
        buffer = self._handle("acl.create_data_buffer", acl.create_data_buffer(device, size), name)
        self._later("acl.destroy_data_buffer", lambda: acl.destroy_data_buffer(buffer))
        self._value("acl.mdl.add_dataset_buffer", acl.mdl.add_dataset_buffer(dataset, buffer), name)
        return int(device)

    # -- running ---------------------------------------------------------------------------------

    def _check_arrays(self, arrays: Sequence[Any]) -> None:
        if len(arrays) != len(self._inputs):
            raise RunnerError("{} arrays for {} inputs".format(len(arrays), len(self._inputs)))
        batches: Set[int] = set()
        for buffer, array in zip(self._inputs, arrays):
            same_rank = len(array.shape) == len(buffer.dims)
            if not same_rank or any(dim not in (-1, size) for dim, size in zip(buffer.dims, array.shape)):
                raise RunnerError(
                    "input {} has shape {}, expected {}".format(buffer.name, list(array.shape), buffer.dims)
                )
            if str(array.dtype) != buffer.dtype:
                raise RunnerError(
                    "input {} is {}, expected {}".format(buffer.name, array.dtype, buffer.dtype)
                )
            batches.update(array.shape[:1] if buffer.dims[:1] == [-1] else ())
            exact = buffer.dims[:1] != [-1]
            if array.nbytes > buffer.size or (exact and array.nbytes != buffer.size):
                raise RunnerError(
                    "input {} has {} bytes, the model takes {} (was it compiled with AIPP?)".format(
                        buffer.name, array.nbytes, buffer.size
                    )
                )
        if self._profiles and (len(batches) != 1 or not batches.issubset(self._profiles)):
            raise RunnerError(
                "a batch of {} is not one the model was compiled for: {}".format(
                    sorted(batches), self._profiles
                )
            )

    def _upload(self, buffer: _Buffer, array: Any) -> None:
        acl = self._acl
        if hasattr(acl.util, "bytes_to_ptr"):
            data = array.tobytes()  # must live until the copy is done
            pointer = acl.util.bytes_to_ptr(data)
        else:
            data = array
            pointer = acl.util.numpy_to_ptr(array)
        code = acl.rt.memcpy(buffer.device, buffer.size, pointer, array.nbytes, self._up)
        self._call("acl.rt.memcpy", code, "input " + buffer.name)
        del data

    def _download(self, index: int, buffer: _Buffer) -> Any:
        acl = self._acl
        dims = buffer.dims
        if self._profiles:
            current = acl.mdl.get_cur_output_dims(self._description, index)
            dims = list(self._value("acl.mdl.get_cur_output_dims", current, buffer.name)["dims"])
        dtype = np.dtype(buffer.dtype)
        size = int(np.prod(dims, dtype=np.int64)) * dtype.itemsize
        if size > buffer.size:
            raise RunnerError(
                "output {} {} needs {} bytes, has {}".format(buffer.name, dims, size, buffer.size)
            )
        code = acl.rt.memcpy(buffer.host, buffer.size, buffer.device, size, self._down)
        self._call("acl.rt.memcpy", code, "output " + buffer.name)
        if hasattr(acl.util, "ptr_to_bytes"):
            flat = np.frombuffer(acl.util.ptr_to_bytes(buffer.host, size), dtype=dtype)
        else:
            flat = acl.util.ptr_to_numpy(buffer.host, (size,), _NUMPY_UINT8).view(dtype)
        # A copy: the host memory is used again by the next run.
        return np.array(flat).reshape(dims)

    # -- codes and clean-up ----------------------------------------------------------------------

    def _call(self, name: str, code: int, what: str = "") -> None:
        if code != 0:
            raise AclError(name, code, what)

    def _value(self, name: str, returned: Any, what: str = "") -> Any:
        value, code = returned
        self._call(name, code, what)
        return value

    def _handle(self, name: str, handle: int, what: str = "") -> int:
        if not handle:
            raise AclError(name, 0, what)
        return handle

    def _later(self, name: str, undo: Callable[[], int]) -> None:
        self._undo.append((name, undo))

    def _release(self) -> AclError | None:
        """Undo in reverse order, all of it; return the first failure."""
        failures = []
        if self._context and self._undo:
            code = self._acl.rt.set_context(self._context)
            if code != 0:
                failures.append(AclError("acl.rt.set_context", code))
        while self._undo:
            name, undo = self._undo.pop()
            code = undo()
            if code != 0 and not (name == "acl.finalize" and code == _ALREADY_FINALIZED):
                failures.append(AclError(name, code))
        return failures[0] if failures else None


def _dtype_of(code: int, what: str) -> str:
    if code not in ACL_DTYPES:
        raise RunnerError("{} has the ACL data type {}, which numpy does not know".format(what, code))
    return ACL_DTYPES[code]


class OnnxModel:
    """An ``.onnx`` in onnxruntime, with the same face as ``AclModel``.

    Args:
        path: the model file.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        RunnerError: onnxruntime refuses the model.
    """

    def __init__(self, path: str) -> None:
        runtime = importlib.import_module("onnxruntime")
        try:
            self._session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RunnerError("onnxruntime cannot load {}: {}".format(path, error)) from error
        self.inputs = [_onnx_tensor(item) for item in self._session.get_inputs()]
        self.outputs = [_onnx_tensor(item) for item in self._session.get_outputs()]

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Run once: one array per input, in order, to one per output."""
        feeds = {item[0]: array for item, array in zip(self.inputs, arrays)}
        try:
            return list(self._session.run([item[0] for item in self.outputs], feeds))
        except Exception as error:
            raise RunnerError("onnxruntime failed while running: {}".format(error)) from error

    def close(self) -> None:
        """Drop the session."""
        self._session = None


def _onnx_tensor(item: Any) -> Tensor:
    kind = item.type[len("tensor(") : -1]
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return item.name, [dim if isinstance(dim, int) else -1 for dim in item.shape], dtype


# -- the bundle --------------------------------------------------------------------------------


def read_json(path: str) -> Any:
    """Read a JSON file.

    Raises:
        RunnerError: missing or damaged.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (OSError, ValueError) as error:
        raise RunnerError("{} cannot be read: {}; copy the bundle again".format(path, error)) from error


def write_json(path: str, content: Any) -> None:
    """Write JSON under a temporary name, then rename it."""
    temporary = path + ".partial"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
        stream.write("\n")
    os.replace(temporary, path)


def sha256_of(path: str) -> str:
    """Return the hex sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class Bundle:
    """The folder that ``graphopt bundle`` wrote, checked.

    Args:
        folder: with ``bundle.json``.

    Raises:
        RunnerError: something is missing, damaged, or from a newer graphopt.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        content = read_json(self.place("bundle.json"))
        version = content.get("bundle_version") if isinstance(content, dict) else None
        if version != BUNDLE_VERSION:
            raise RunnerError(
                "bundle.json has version {}, this runner reads {}; make the bundle again".format(
                    version, BUNDLE_VERSION
                )
            )
        try:
            self.name: str = content["name"]
            self.batch: int = content["batch"]
            self.models: List[Dict[str, str]] = content["models"]
            self.inputs: List[Dict[str, Any]] = content["inputs"]
            self.outputs: List[Dict[str, Any]] = content["outputs"]
            self.golden: str = content["golden"]
            self.tolerance: Dict[str, Dict[str, float]] = content["tolerance"]
            self.prepared: Optional[str] = content["prepared"]
        except KeyError as error:
            raise RunnerError("bundle.json lacks {}; make the bundle again".format(error)) from error

    def place(self, name: str) -> str:
        """Return the path of a file of the bundle; names that lead outside are refused."""
        parts = name.replace("\\", "/").split("/")
        if os.path.isabs(name) or ".." in parts or not name:
            raise RunnerError("bundle.json names a file outside of the bundle: {!r}".format(name))
        return os.path.join(self.folder, *parts)

    def model_file(self, backend: str) -> tuple[str, str]:
        """Return path and sha256 of the model for a backend, compared with the bundle's record."""
        for entry in self.models:
            if entry["backend"] == backend:
                path = self.place(entry["file"])
                if not os.path.isfile(path):
                    raise RunnerError(
                        "{} is not here; compile it first (see the script in this folder)".format(path)
                    )
                digest = sha256_of(path)
                if entry["sha256"] and digest != entry["sha256"]:
                    raise RunnerError("{} is damaged: its sha256 is not the recorded one".format(path))
                return path, digest
        raise RunnerError("the bundle has no model for the backend {}".format(backend))


class BoundModel:
    """A model whose inputs and outputs are put into the bundle's order, by name.

    A name that the compiler changed is matched by dtype and shape when only one fits.

    Raises:
        RunnerError: they cannot be matched, or the model's batch is another.
    """

    def __init__(self, model: Any, bundle: Bundle) -> None:
        self.model = model
        self._batch = bundle.batch
        self._outputs = bundle.outputs
        order = _bind(model.inputs, bundle.inputs, "input")
        self._places = [order.index(place) for place in range(len(order))]
        self._order = _bind(model.outputs, bundle.outputs, "output")

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Run a full batch: arrays in the bundle's input order to outputs in its output order."""
        values = self.model.run([arrays[place] for place in self._places])
        return [_as_declared(values[position], spec) for position, spec in zip(self._order, self._outputs)]

    def rows(self, arrays: Sequence[Any], count: int) -> list[list[Any]]:
        """Run the first ``count`` rows, one list of output rows per sample."""
        if count < self._batch:
            arrays = [np.concatenate([a] + [a[:1]] * (self._batch - count)) for a in arrays]
        values = self.run(arrays)
        for value, spec in zip(values, self._outputs):
            if not spec["batched"] and self._batch != 1:
                raise RunnerError("output {} has no batch axis; use a batch of 1".format(spec["name"]))
            if spec["batched"] and len(value) != self._batch:
                raise RunnerError("output {} has {} rows".format(spec["name"], len(value)))
        return [
            [value[row] if spec["batched"] else value for value, spec in zip(values, self._outputs)]
            for row in range(count)
        ]


def _bind(found: Sequence[Tensor], wanted: Sequence[Dict[str, Any]], kind: str) -> list[int]:
    """Return the position in ``found`` of each of ``wanted``."""
    names = [item[0] for item in found]
    if len(found) != len(wanted):
        raise RunnerError(
            "the model has {} {}s ({}), the bundle {}".format(len(found), kind, ", ".join(names), len(wanted))
        )
    positions = []
    for spec in wanted:
        if spec["name"] in names:
            positions.append(names.index(spec["name"]))
            continue
        fitting = [i for i, item in enumerate(found) if _fits(item, spec)]
        if len(fitting) != 1:
            raise RunnerError(
                "{} {} of the bundle fits {} of the model's: {}".format(
                    kind, spec["name"], "none" if not fitting else "several", ", ".join(names)
                )
            )
        positions.append(fitting[0])
    if len(set(positions)) != len(positions):
        raise RunnerError("the {}s of the model cannot be told apart: {}".format(kind, ", ".join(names)))
    for position, spec in zip(positions, wanted):
        if not _same_shape(found[position][1], spec["shape"]):
            raise RunnerError(
                "{} {} has shape {} in the model, {} in the bundle: is this the model of this batch "
                "size?".format(kind, spec["name"], found[position][1], spec["shape"])
            )
    return positions


def _fits(item: Tensor, spec: Dict[str, Any]) -> bool:
    return _same_shape(item[1], spec["shape"]) and np.dtype(item[2]).kind == np.dtype(spec["dtype"]).kind


def _same_shape(found: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(found) == len(wanted) and all(a in (-1, b) or b == -1 for a, b in zip(found, wanted))


def _as_declared(value: Any, spec: Dict[str, Any]) -> Any:
    """Cast float16 outputs to the declared float32, or int32 to int64; refuse anything else."""
    if value.dtype.kind != np.dtype(spec["dtype"]).kind:
        raise RunnerError("output {} is {}, declared {}".format(spec["name"], value.dtype, spec["dtype"]))
    return np.ascontiguousarray(value.astype(spec["dtype"]))


# -- golden check ------------------------------------------------------------------------------


def check_golden(model: BoundModel, bundle: Bundle, tolerance: Dict[str, float]) -> bool:
    """Run the golden inputs, print one line per output, and return whether all are within bounds.

    Raises:
        RunnerError: the golden file is damaged or does not fit.
    """
    path = bundle.place(bundle.golden)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            inputs = [archive["input_{}".format(i)] for i in range(len(bundle.inputs))]
            expected = [archive["output_{}".format(i)] for i in range(len(bundle.outputs))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunnerError("{} cannot be read: {}; copy the bundle again".format(path, error)) from error
    count = len(inputs[0])
    if count == 0 or any(len(value) != count for value in inputs + expected):
        raise RunnerError("{} holds arrays of different lengths, or none".format(path))
    rows: List[List[Any]] = []
    for start in range(0, count, bundle.batch):
        fed = [value[start : start + bundle.batch] for value in inputs]
        rows += model.rows(fed, len(fed[0]))
    passed = True
    outputs = [np.stack([row[position] for row in rows]) for position in range(len(bundle.outputs))]
    roles = [spec.get("role") for spec in bundle.outputs]
    detections = (
        [roles.index(role) for role in ("dets", "labels")] if {"dets", "labels"} <= set(roles) else []
    )
    if detections:
        _line_up(detections, expected, outputs)
    for position, spec in enumerate(bundle.outputs):
        got = outputs[position]
        worst, margin, reason = compare(expected[position], got, tolerance)
        classes = ""
        if reason and position in detections and expected[position].shape == got.shape:
            share = same_detections(detections, expected, outputs, tolerance)
            classes = ", {:.3%} of the detections agree".format(share)
            if share >= tolerance.get("agreement", 2.0):
                reason = ""
        if spec.get("role") == "masks" and margin and got.ndim == 4:
            share = same_classes(expected[position], got)
            classes = ", {:.3%} of the pixels keep their class".format(share)
            if margin > 1 and share >= tolerance.get("agreement", 2.0):
                reason = ""
        passed = passed and not reason
        print(
            "{:4} {}: {} sample{}, max abs error {:.3g}, {:.3g} of the bound{}{}".format(
                "FAIL" if reason else "ok",
                spec["name"],
                count,
                "" if count == 1 else "s",
                worst,
                margin,
                classes,
                reason and "; " + reason,
            )
        )
    return passed


def compare(expected: Any, got: Any, tolerance: Dict[str, float]) -> tuple[float, float, str]:
    """Return largest error, largest error over its bound, and why it fails ("" when it passes).

    The bound of each element is ``atol + rtol * |expected| + peak * max|expected|``; integers must
    be equal, and nothing may be NaN or infinite.
    """
    if expected.shape != got.shape:
        return 0.0, 0.0, "shape is {}, expected {}".format(list(got.shape), list(expected.shape))
    a, b = expected.astype(np.float64), got.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return (
            0.0,
            0.0,
            "{} elements are NaN or infinite".format(int((~np.isfinite(b) | ~np.isfinite(a)).sum())),
        )
    if a.size == 0:
        return 0.0, 0.0, "there are no elements to compare"
    error = np.abs(a - b)
    worst = float(error.max())
    if np.dtype(expected.dtype).kind != "f":
        wrong = int((error > 0).sum())
        return worst, float(wrong > 0), "{} elements differ".format(wrong) if wrong else ""
    bound = tolerance["atol"] + tolerance["rtol"] * np.abs(a) + tolerance["peak"] * float(np.abs(a).max())
    margin = float((error / np.maximum(bound, np.finfo(np.float64).tiny)).max())
    return worst, margin, "beyond the bound" if margin > 1 else ""


_SAME_PLACE = 0.5
"""Overlap from which two boxes of one class are the same detection, as intersection over union."""


def _line_up(positions: Sequence[int], expected: Sequence[Any], got: List[Any]) -> None:
    """Put detections into the order of the expected ones: scores that are nearly equal swap places."""
    dets, labels = positions
    if expected[dets].shape != got[dets].shape or expected[labels].shape != got[labels].shape:
        return
    for sample in range(len(got[dets])):
        order = pair_detections(
            expected[dets][sample], expected[labels][sample], got[dets][sample], got[labels][sample]
        )
        for position in positions:
            got[position][sample] = got[position][sample][order]


def pair_detections(dets: Any, labels: Any, other_dets: Any, other_labels: Any) -> List[int]:
    """Return for each detection the other one that it is: of its class, and where it is.

    Args:
        dets: [M, 5], the best first: x1, y1, x2, y2, score.
        labels: [M].
        other_dets: as ``dets``, in any order.
        other_labels: as ``labels``.
    """
    left = list(range(len(other_dets)))
    order = [-1] * len(dets)
    for index, (row, label) in enumerate(zip(dets.astype(np.float64), labels)):
        overlaps = [
            _iou(row, other_dets[i].astype(np.float64)) if other_labels[i] == label else 0.0 for i in left
        ]
        if overlaps and max(overlaps) >= _SAME_PLACE:
            order[index] = left.pop(overlaps.index(max(overlaps)))
    for index, found in enumerate(order):  # what has no partner keeps its place among what is left
        if found < 0:
            order[index] = left.pop(0)
    return order


def same_detections(
    positions: Sequence[int], expected: Sequence[Any], got: Sequence[Any], tolerance: Dict[str, float]
) -> float:
    """Return the share of detections, lined up, that have their class, box and score within bounds, 0..1."""
    dets, labels = positions
    a, b = expected[dets].astype(np.float64), got[dets].astype(np.float64)
    bound = tolerance["atol"] + tolerance["rtol"] * np.abs(a) + tolerance["peak"] * float(np.abs(a).max())
    good = (np.abs(a - b) <= bound).all(axis=-1) & (expected[labels] == got[labels])
    real = (a[..., 4] > 0) | (b[..., 4] > 0)
    return float(good[real].mean()) if real.any() else 1.0


def _iou(a: Any, b: Any) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return float(width * height / area) if area > 0 else 0.0


def same_classes(expected: Any, got: Any) -> float:
    """Return the share of places whose largest value along axis 1 is of the same class, 0..1."""
    return float((expected.argmax(axis=1) == got.argmax(axis=1)).mean())


# -- all inputs --------------------------------------------------------------------------------


def prepared_samples(index_file: str, count: int) -> list[Dict[str, Any]]:
    """Read the index of prepared inputs: stem and one existing file per model input.

    Raises:
        RunnerError: the index is damaged, or files are missing.
    """
    content = read_json(index_file)
    folder = os.path.dirname(index_file)
    try:
        samples = [
            {"stem": item["stem"], "files": [os.path.join(folder, name) for name in item["files"]]}
            for item in content["samples"]
        ]
    except (KeyError, TypeError) as error:
        raise RunnerError("{} is damaged: {}".format(index_file, error)) from error
    missing = [path for sample in samples for path in sample["files"] if not os.path.isfile(path)]
    if missing:
        raise RunnerError("{} prepared inputs are missing, first: {}".format(len(missing), missing[:3]))
    if not samples or any(len(sample["files"]) != count for sample in samples):
        raise RunnerError("{} does not name {} files per sample".format(index_file, count))
    return samples


def load_inputs(chunk: Sequence[Dict[str, Any]], inputs: Sequence[Dict[str, Any]]) -> list[Any]:
    """Read raw files into one array per input, [samples, ...].

    Raises:
        RunnerError: a file has another size than its input.
    """
    arrays = []
    for position, spec in enumerate(inputs):
        shape = [int(dim) for dim in spec["shape"][1:]]
        rows = []
        for sample in chunk:
            path = sample["files"][position]
            row = np.fromfile(path, dtype=spec["dtype"])
            if row.size != int(np.prod(shape)) or os.path.getsize(path) != row.nbytes:
                raise RunnerError(
                    "{} has {} bytes, one sample of {} takes {}".format(
                        path,
                        os.path.getsize(path),
                        spec["name"],
                        int(np.prod(shape)) * np.dtype(spec["dtype"]).itemsize,
                    )
                )
            rows.append(row.reshape(shape))
        arrays.append(np.stack(rows))
    return arrays


def run_all(
    model: BoundModel, bundle: Bundle, samples: Sequence[Dict[str, Any]], target: str
) -> tuple[Dict[str, List[str]], list[float]]:
    """Run every sample, write its outputs into ``target``; return the files and times in ms."""
    files: Dict[str, List[str]] = {}
    times = []
    for start in range(0, len(samples), bundle.batch):
        chunk = samples[start : start + bundle.batch]
        arrays = load_inputs(chunk, bundle.inputs)
        before = time.perf_counter()
        rows = model.rows(arrays, len(chunk))
        times.append(1000 * (time.perf_counter() - before))
        for sample, row in zip(chunk, rows):
            names = ["{}_{}.bin".format(sample["stem"], k) for k in range(len(row))]
            for name, value in zip(names, row):
                value.tofile(os.path.join(target, name))
            files[sample["stem"]] = names
        _show_progress(start + len(chunk), len(samples))
    return files, times


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r{} of {}{}".format(done, total, "\n" if done == total else ""))
        sys.stderr.flush()


def summary(
    samples: Sequence[Dict[str, Any]], files: Dict[str, List[str]], times: list[float], batch: int
) -> Dict[str, Any]:
    """Return the timing in the form of ais_bench's summary file; copies to and from are included."""
    values = np.asarray(times)
    return {
        "filesinfo": {
            str(i): {"infiles": sample["files"], "outfiles": files[sample["stem"]]}
            for i, sample in enumerate(samples)
        },
        "args": sys.argv,
        "NPU_compute_time": {
            "min": float(values.min()),
            "max": float(values.max()),
            "mean": float(values.mean()),
            "median": float(np.median(values)),
            "percentile(99%)": float(np.percentile(values, 99)),
            "count": len(times),
        },
        "throughput": 1000 * batch / float(values.mean()),
        "npu_compute_time_list": times,
        "pid": os.getpid(),
    }


# -- command line ------------------------------------------------------------------------------


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except AclError as error:
        return _fail(error, 4)
    except ModuleNotFoundError as error:
        return _fail("{}; source CANN's set_env.sh for acl, or pip install onnxruntime".format(error), 3)
    except RunnerError as error:
        return _fail(error, 2)
    except OSError as error:
        return _fail("{}: {}".format(error.filename, error.strerror), 2)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left behind", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Check and run a graphopt bundle on this machine.")
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--bundle", default=here, help="the bundle's folder (default: where this file is)")
    parser.add_argument("--backend", choices=("acl", "onnxruntime"), help="default: acl when it is here")
    parser.add_argument("--device", type=int, default=0, help="number of the device (acl)")
    parser.add_argument("--limit", type=int, help="run only the first N prepared inputs")
    parser.add_argument("--check", action="store_true", help="only compare with the golden outputs")
    parser.add_argument("--inputs", help="index.json of prepared inputs, instead of the bundle's own")
    parser.add_argument("-o", "--output", help="folder of the results (default: results in the bundle)")
    parser.add_argument("--force", action="store_true", help="replace an older folder of results")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.limit is not None and options.limit < 1:
        raise RunnerError("--limit must be at least 1")
    bundle = Bundle(options.bundle)
    target = options.output or os.path.join(options.bundle, "results")
    if not options.check and os.path.exists(target) and not options.force:
        raise RunnerError("{} exists; use --force to replace it, or -o for another place".format(target))
    backend = options.backend or _default_backend(bundle)
    path, digest = bundle.model_file(backend)
    print("{}: {} with {}, batch {}".format(bundle.name, os.path.basename(path), backend, bundle.batch))
    model = AclModel(path, options.device) if backend == "acl" else OnnxModel(path)
    try:
        bound = BoundModel(model, bundle)
        if not check_golden(bound, bundle, bundle.tolerance[backend]):
            print("the golden outputs differ: nothing else was run")
            return 1
        if options.check:
            return 0
        return _run_samples(options, bundle, bound, (path, digest, backend), target)
    finally:
        _close(model)


def _close(model: Any) -> None:
    failing = sys.exc_info()[1] is not None
    try:
        model.close()
    except AclError as error:
        if not failing:
            raise
        print(error, file=sys.stderr)  # the first error is the one to report


def _default_backend(bundle: Bundle) -> str:
    backends = [entry["backend"] for entry in bundle.models]
    if "acl" in backends and importlib.util.find_spec("acl") is not None:
        return "acl"
    return "onnxruntime" if "onnxruntime" in backends else "acl"


def _run_samples(
    options: argparse.Namespace,
    bundle: Bundle,
    model: BoundModel,
    origin: tuple[str, str, str],
    target: str,
) -> int:
    index_file = options.inputs or (bundle.place(bundle.prepared) if bundle.prepared else "")
    if not index_file:
        print("the bundle holds no prepared inputs: nothing else to run")
        return 0
    samples = prepared_samples(index_file, len(bundle.inputs))[: options.limit]
    partial = "{}.{}.partial".format(target.rstrip("/"), os.getpid())
    os.makedirs(partial)
    try:
        files, times = run_all(model, bundle, samples, partial)
        shape_from = [1 if spec["batched"] else 0 for spec in bundle.outputs]
        content = {
            "results_version": RESULTS_VERSION,
            "bundle": bundle.name,
            "model": os.path.basename(origin[0]),
            "model_sha256": origin[1],
            "backend": origin[2],
            "batch": bundle.batch,
            "outputs": [
                {"name": spec["name"], "dtype": spec["dtype"], "shape": spec["shape"][start:]}
                for spec, start in zip(bundle.outputs, shape_from)
            ],
            "files": files,
        }
        write_json(os.path.join(partial, "index.json"), content)
        if os.path.isdir(target):
            shutil.rmtree(target)
        os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    timing = summary(samples, files, times, bundle.batch)
    write_json(target.rstrip("/") + "_summary.json", timing)
    compute = timing["NPU_compute_time"]
    print(
        "{} sample{} into {}: mean {:.3f} ms, median {:.3f} ms per batch of {}, {:.1f} samples/s".format(
            len(samples),
            "" if len(samples) == 1 else "s",
            target,
            compute["mean"],
            compute["median"],
            bundle.batch,
            timing["throughput"],
        )
    )
    return 0


def _fail(message: object, code: int) -> int:
    print("error: {}".format(message), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
