# mypy: ignore-errors  (stands in for an untyped module, and runs on Python 3.7)
"""A strict stand-in for pyACL, good enough to find what a wrapper does wrong.

Memory is real (ctypes), each handle has its own number and kind, and every call is checked:
order, argument types and ranges, context of the calling thread, double frees, frees of what is
in use. Breaking a rule raises ``Misuse``; what pyACL would answer with a code is answered so.
A "model" is a JSON file (see ``model_text``): each output is ``sum(input, axis 1..) * scale``
per row, spread over the output's elements, plus their index.

Works as a module (``import acl``: one device, settings from the environment) and as objects
(``FakeAcl(...)``), on Python 3.7 too.
"""

import atexit
import ctypes
import json
import os
import sys
import threading

import numpy as np

SUCCESS, FAILURE = 0, 500001
_DTYPES = {0: "float32", 1: "float16", 3: "int32", 9: "int64"}
_CODES = {name: code for code, name in _DTYPES.items()}
_BATCH_INPUT = "ascend_mbatch_shape_data"


class Misuse(AssertionError):
    """A rule of pyACL was broken."""


def model_text(inputs, outputs, profiles=()):
    """Return the content of a fake ``.om``.

    ``inputs`` and ``outputs`` are lists of ``(name, dims, dtype)``; a free batch is -1 and then
    ``profiles`` lists the batch sizes. Outputs take a scale as fourth element.
    """
    return json.dumps({"inputs": inputs, "outputs": outputs, "profiles": list(profiles)})


def expected_output(arrays, dims, dtype, scale):
    """What the fake computes, for tests to compare with."""
    rows = dims[0]
    total = sum(np.asarray(a, np.float64).reshape(rows, -1).sum(axis=1) for a in arrays)
    size = int(np.prod(dims[1:], dtype=np.int64))
    values = total[:, None] * scale + np.arange(size)[None, :]
    return values.reshape(dims).astype(dtype)


class _Model:
    def __init__(self, content):
        self.inputs = [tuple(item) for item in content["inputs"]]
        self.outputs = [tuple(item) for item in content["outputs"]]
        self.profiles = content["profiles"]
        if self.profiles:
            self.inputs.append((_BATCH_INPUT, [8], "int64"))
        self.batch = max(self.profiles) if self.profiles else None

    def dims(self, item, batch=None):
        return [batch or self.batch or 1 if dim == -1 else dim for dim in item[1]]

    def size(self, item, batch=None):
        return int(np.prod(self.dims(item, batch), dtype=np.int64)) * np.dtype(item[2]).itemsize


class FakeAcl:
    """One process's ACL.

    Args:
        fail_at: number of the call, counted over those that can fail, that fails; 0 for none.
        legacy: only the numpy pointer functions, as in old releases.
        run_mode: 1 host, 0 device.
        already: whether someone else initialised ACL before.
    """

    def __init__(self, fail_at=0, legacy=False, run_mode=1, already=False):
        self.fail_at = fail_at
        self.failed_call = None
        self.calls = []
        self._failable = 0
        self._run_mode = run_mode
        self._initialized = already
        self._foreign = already
        self._devices = {}
        self._next = 1000
        self._contexts = {}
        self._current = threading.local()
        self._models, self._descs, self._sets, self._buffers = {}, {}, {}, {}
        self._device_memory, self._host_memory, self._borrowed = {}, {}, {}
        self.rt = _Rt(self)
        self.mdl = _Mdl(self)
        self.util = _LegacyUtil(self) if legacy else _Util(self)

    # what tests ask

    def leaks(self):
        """Return what is still held, by kind."""
        kinds = {
            "init": self._initialized and not self._foreign,
            "device": sum(self._devices.values()),
            "context": len(self._contexts),
            "model": len(self._models),
            "desc": len(self._descs),
            "dataset": len(self._sets),
            "data buffer": len(self._buffers),
            "device memory": len(self._device_memory),
            "host memory": len(self._host_memory),
        }
        return {kind: int(count) for kind, count in kinds.items() if count}

    @property
    def failable_calls(self):
        """How many calls so far could have failed."""
        return self._failable

    # shared by all calls

    def note(self, name):
        self.calls.append(name)

    def fails(self, name):
        """Count a call that can fail; return whether this one is to."""
        self.note(name)
        self._failable += 1
        if self._failable == self.fail_at:
            self.failed_call = name
            return True
        return False

    def new(self, table, value):
        self._next += 1
        table[self._next] = value
        return self._next

    def need(self, condition, message):
        if not condition:
            raise Misuse("{}: {}".format(self.calls[-1] if self.calls else "?", message))

    def integer(self, value, what):
        self.need(type(value) is int, f"{what} must be an int, got {type(value)!r}")
        return value

    def known(self, table, handle, what):
        self.integer(handle, what)
        self.need(handle in table, f"{what} {handle} does not exist (freed, or of another kind)")
        return table[handle]

    def ready(self):
        """Initialised, and this thread has a living context."""
        self.need(self._initialized, "called before acl.init or after acl.finalize")
        self.need(self.context in self._contexts, "this thread has no living context")

    @property
    def context(self):
        return getattr(self._current, "value", None)

    def init(self, config=""):
        if self.fails("acl.init"):
            return FAILURE
        if self._initialized:
            return 100002
        self._initialized = True
        return SUCCESS

    def finalize(self):
        failing = self.fails("acl.finalize")
        self.need(self._initialized, "finalize without init")
        self.need(not self._foreign, "finalize of what someone else initialised")
        held = {kind: n for kind, n in self.leaks().items() if kind != "init"}
        self.need(not held or failing or self.failed_call, f"finalize while holding {held}")
        if failing:
            return FAILURE
        self._initialized = False
        return SUCCESS

    def create_data_buffer(self, pointer, size):
        if self.fails("acl.create_data_buffer"):
            return 0
        self.ready()
        room = self.known(self._device_memory, pointer, "device memory")
        self.need(0 < self.integer(size, "size") <= len(room), "buffer larger than its memory")
        return self.new(self._buffers, (pointer, size))

    def destroy_data_buffer(self, buffer):
        if self.fails("acl.destroy_data_buffer"):
            return FAILURE
        self.ready()
        self.known(self._buffers, buffer, "data buffer")
        del self._buffers[buffer]
        return SUCCESS


class _Part:
    def __init__(self, acl):
        self._acl = acl


class _Rt(_Part):
    def set_device(self, device):
        acl = self._acl
        if acl.fails("acl.rt.set_device"):
            return FAILURE
        acl.need(acl._initialized, "before acl.init")
        if acl.integer(device, "device") not in range(8):
            return 107001
        acl._devices[device] = acl._devices.get(device, 0) + 1
        return SUCCESS

    def reset_device(self, device):
        acl = self._acl
        failing = acl.fails("acl.rt.reset_device")
        acl.need(acl._devices.get(acl.integer(device, "device"), 0) > 0, "reset of a device that is not set")
        if failing:
            return FAILURE
        if acl._devices[device] == 1 and not acl.failed_call:
            owned = [c for c, owner in acl._contexts.items() if owner == device]
            acl.need(not owned, "explicit contexts must go before reset_device")
            acl.need(not acl._device_memory, "device memory must be freed before reset_device")
        acl._devices[device] -= 1
        return SUCCESS

    def create_context(self, device):
        acl = self._acl
        if acl.fails("acl.rt.create_context"):
            return 0, FAILURE
        acl.need(acl._devices.get(acl.integer(device, "device"), 0) > 0, "before set_device")
        acl._current.value = acl.new(acl._contexts, device)
        return acl._current.value, SUCCESS

    def set_context(self, context):
        acl = self._acl
        if acl.fails("acl.rt.set_context"):
            return FAILURE
        acl.known(acl._contexts, context, "context")
        acl._current.value = context
        return SUCCESS

    def destroy_context(self, context):
        acl = self._acl
        if acl.fails("acl.rt.destroy_context"):
            return FAILURE
        acl.known(acl._contexts, context, "context")
        acl.need(
            not any(c == context for _, c in acl._models.values()) or acl.failed_call, "models are loaded"
        )
        del acl._contexts[context]
        return SUCCESS

    def get_run_mode(self):
        acl = self._acl
        if acl.fails("acl.rt.get_run_mode"):
            return 0, FAILURE
        acl.ready()
        return acl._run_mode, SUCCESS

    def _allocate(self, name, table, size):
        acl = self._acl
        if acl.fails(name):
            return 0, FAILURE
        acl.ready()
        if acl.integer(size, "size") <= 0:
            return 0, 100000
        memory = (ctypes.c_ubyte * size)(*([0xA5] * min(size, 4096)))
        address = ctypes.addressof(memory)
        table[address] = memory
        return address, SUCCESS

    def _free(self, name, table, pointer):
        acl = self._acl
        if acl.fails(name):
            return FAILURE
        acl.ready()
        acl.known(table, pointer, "memory")
        in_use = any(p == pointer for p, _ in acl._buffers.values()) and not acl.failed_call
        acl.need(not in_use, "memory of a living data buffer")
        del table[pointer]
        return SUCCESS

    def malloc(self, size, policy):
        self._acl.need(policy in range(6), "no such malloc policy")
        return self._allocate("acl.rt.malloc", self._acl._device_memory, size)

    def free(self, pointer):
        return self._free("acl.rt.free", self._acl._device_memory, pointer)

    def malloc_host(self, size):
        return self._allocate("acl.rt.malloc_host", self._acl._host_memory, size)

    def free_host(self, pointer):
        return self._free("acl.rt.free_host", self._acl._host_memory, pointer)

    def memcpy(self, target, room, source, count, kind):
        acl = self._acl
        if acl.fails("acl.rt.memcpy"):
            return FAILURE
        acl.ready()
        host = dict(acl._host_memory)
        borrowed = acl._borrowed.get(source)
        if kind == (1 if acl._run_mode else 3) and target in acl._device_memory:
            acl.need(borrowed is not None, "source was not made by bytes_to_ptr")
            data, keeps = borrowed
            # One reference is ours, one is getrefcount's argument: the caller must hold another.
            acl.need(sys.getrefcount(data) > keeps, "the bytes behind the pointer are gone")
            acl.need(
                count <= (len(data) if isinstance(data, bytes) else data.nbytes), "reads past the source"
            )
            acl.need(count <= room <= len(acl._device_memory[target]), "writes past the target")
        elif kind == (2 if acl._run_mode else 3):
            acl.need(source in acl._device_memory, "source is not device memory")
            acl.need(target in host, "target is not host memory")
            acl.need(count <= len(acl._device_memory[source]), "reads past the source")
            acl.need(count <= room <= len(host[target]), "writes past the target")
        else:
            acl.need(False, f"kind {kind} does not fit its pointers")
        ctypes.memmove(target, source, acl.integer(count, "count"))
        return SUCCESS


class _Util(_Part):
    def bytes_to_ptr(self, data):
        acl = self._acl
        acl.note("acl.util.bytes_to_ptr")
        acl.need(type(data) is bytes, "takes bytes")
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
        acl._borrowed = {address: (data, 3)}
        return address

    def ptr_to_bytes(self, pointer, size):
        acl = self._acl
        acl.note("acl.util.ptr_to_bytes")
        memory = acl.known(acl._host_memory, pointer, "host memory")
        acl.need(size <= len(memory), "reads past the memory")
        return ctypes.string_at(pointer, size)


class _LegacyUtil(_Part):
    def numpy_to_ptr(self, array):
        acl = self._acl
        acl.note("acl.util.numpy_to_ptr")
        acl.need(isinstance(array, np.ndarray) and array.flags.c_contiguous, "takes a contiguous array")
        acl._borrowed = {array.ctypes.data: (array, 3)}
        return array.ctypes.data

    def ptr_to_numpy(self, pointer, shape, npy_type):
        acl = self._acl
        acl.note("acl.util.ptr_to_numpy")
        memory = acl.known(acl._host_memory, pointer, "host memory")
        acl.need(npy_type == 2 and type(shape) is tuple and shape[0] <= len(memory), "wrong type or shape")
        return np.frombuffer(memory, np.uint8, count=shape[0])


class _Mdl(_Part):
    def load_from_file(self, path):
        acl = self._acl
        if acl.fails("acl.mdl.load_from_file"):
            return 0, FAILURE
        acl.ready()
        acl.need(type(path) is str, "path must be a str")
        try:
            with open(path, encoding="utf-8") as stream:
                model = _Model(json.load(stream))
        except FileNotFoundError:
            return 0, 100003
        except ValueError:
            return 0, 145006
        return acl.new(acl._models, (model, acl.context)), SUCCESS

    def unload(self, model):
        acl = self._acl
        if acl.fails("acl.mdl.unload"):
            return FAILURE
        self._of(model)
        del acl._models[model]
        return SUCCESS

    def _of(self, model):
        acl = self._acl
        acl.ready()
        found, context = acl.known(acl._models, model, "model")
        acl.need(context == acl.context, "the model belongs to another context")
        return found

    def create_desc(self):
        acl = self._acl
        if acl.fails("acl.mdl.create_desc"):
            return 0
        acl.ready()
        return acl.new(acl._descs, None)

    def get_desc(self, desc, model):
        acl = self._acl
        if acl.fails("acl.mdl.get_desc"):
            return FAILURE
        acl.known(acl._descs, desc, "desc")
        acl._descs[desc] = self._of(model)
        return SUCCESS

    def destroy_desc(self, desc):
        acl = self._acl
        if acl.fails("acl.mdl.destroy_desc"):
            return FAILURE
        acl.known(acl._descs, desc, "desc")
        del acl._descs[desc]
        return SUCCESS

    def _described(self, desc, name):
        acl = self._acl
        acl.note(name)
        model = acl.known(acl._descs, desc, "desc")
        acl.need(model is not None, "get_desc was not called")
        return model

    def get_num_inputs(self, desc):
        return len(self._described(desc, "acl.mdl.get_num_inputs").inputs)

    def get_num_outputs(self, desc):
        return len(self._described(desc, "acl.mdl.get_num_outputs").outputs)

    def get_input_size_by_index(self, desc, index):
        model = self._described(desc, "acl.mdl.get_input_size_by_index")
        item = model.inputs[index]
        return 0 if -1 in item[1] and not model.profiles else model.size(item)

    def get_output_size_by_index(self, desc, index):
        model = self._described(desc, "acl.mdl.get_output_size_by_index")
        item = model.outputs[index]
        return 0 if -1 in item[1] and not model.profiles else model.size(item)

    def get_input_data_type(self, desc, index):
        return _CODES.get(self._described(desc, "acl.mdl.get_input_data_type").inputs[index][2], 27)

    def get_output_data_type(self, desc, index):
        return _CODES.get(self._described(desc, "acl.mdl.get_output_data_type").outputs[index][2], 27)

    def _dims(self, name, dims):
        return {"name": name, "dimCount": len(dims), "dims": list(dims)}, SUCCESS

    def get_input_dims(self, desc, index):
        if self._acl.fails("acl.mdl.get_input_dims"):
            return {}, FAILURE
        item = self._described(desc, "acl.mdl.get_input_dims").inputs[index]
        return self._dims(item[0], item[1])

    def get_output_dims(self, desc, index):
        if self._acl.fails("acl.mdl.get_output_dims"):
            return {}, FAILURE
        model = self._described(desc, "acl.mdl.get_output_dims")
        item = model.outputs[index]
        dims = model.dims(item) if model.profiles else item[1]
        return self._dims(f"Node_{index}:0:{item[0]}", dims)

    def get_cur_output_dims(self, desc, index):
        if self._acl.fails("acl.mdl.get_cur_output_dims"):
            return {}, FAILURE
        model = self._described(desc, "acl.mdl.get_cur_output_dims")
        item = model.outputs[index]
        return self._dims(item[0], model.dims(item))

    def get_dynamic_batch(self, desc):
        if self._acl.fails("acl.mdl.get_dynamic_batch"):
            return {}, FAILURE
        return {"batch": list(self._described(desc, "acl.mdl.get_dynamic_batch").profiles)}, SUCCESS

    def create_dataset(self):
        acl = self._acl
        if acl.fails("acl.mdl.create_dataset"):
            return 0
        acl.ready()
        return acl.new(acl._sets, {"buffers": [], "batch": None})

    def add_dataset_buffer(self, dataset, buffer):
        acl = self._acl
        if acl.fails("acl.mdl.add_dataset_buffer"):
            return dataset, FAILURE
        acl.known(acl._buffers, buffer, "data buffer")
        acl.known(acl._sets, dataset, "dataset")["buffers"].append(buffer)
        return dataset, SUCCESS

    def destroy_dataset(self, dataset):
        acl = self._acl
        if acl.fails("acl.mdl.destroy_dataset"):
            return FAILURE
        content = acl.known(acl._sets, dataset, "dataset")
        alive = [buffer for buffer in content["buffers"] if buffer in acl._buffers]
        acl.need(not alive or acl.failed_call, "data buffers must be destroyed before their dataset")
        del acl._sets[dataset]
        return SUCCESS

    def set_dynamic_batch_size(self, model, dataset, index, batch):
        acl = self._acl
        if acl.fails("acl.mdl.set_dynamic_batch_size"):
            return FAILURE
        found = self._of(model)
        content = acl.known(acl._sets, dataset, "dataset")
        acl.need(len(content["buffers"]) == len(found.inputs), "set before all buffers were added")
        if not found.profiles:
            return 100019
        acl.need(found.inputs[acl.integer(index, "index")][0] == _BATCH_INPUT, "not the batch input")
        if acl.integer(batch, "batch") not in found.profiles:
            return 145013
        found.batch = batch
        content["batch"] = batch
        return SUCCESS

    def execute(self, model, inputs, outputs):
        acl = self._acl
        if acl.fails("acl.mdl.execute"):
            return FAILURE
        found = self._of(model)
        fed = acl.known(acl._sets, inputs, "dataset")
        out = acl.known(acl._sets, outputs, "dataset")
        acl.need(not found.profiles or fed["batch"], "the batch size was not set")
        if len(fed["buffers"]) != len(found.inputs):
            return 100017
        if len(out["buffers"]) != len(found.outputs):
            return 100018
        arrays = []
        for buffer, item in zip(fed["buffers"], found.inputs):
            pointer, size = acl.known(acl._buffers, buffer, "data buffer")
            acl.need(size >= found.size(item), "input buffer too small")
            if item[0] == _BATCH_INPUT:
                continue
            raw = ctypes.string_at(pointer, found.size(item))
            arrays.append(np.frombuffer(raw, item[2]).reshape(found.dims(item)))
        for buffer, item in zip(out["buffers"], found.outputs):
            pointer, size = acl.known(acl._buffers, buffer, "data buffer")
            acl.need(size >= found.size(item), "output buffer too small")
            data = expected_output(arrays, found.dims(item), item[2], item[3]).tobytes()
            ctypes.memmove(pointer, data, len(data))
        return SUCCESS


# As a module: what a script gets from `import acl`. The report tells the test what was left over.
_process = FakeAcl(fail_at=int(os.environ.get("FAKE_ACL_FAIL_AT", "0")))
rt, mdl, util = _process.rt, _process.mdl, _process.util
init, finalize = _process.init, _process.finalize
create_data_buffer, destroy_data_buffer = _process.create_data_buffer, _process.destroy_data_buffer


def _report():
    with open(os.environ["FAKE_ACL_REPORT"], "w", encoding="utf-8") as stream:
        json.dump({"leaks": _process.leaks(), "calls": _process.failable_calls}, stream)


if "FAKE_ACL_REPORT" in os.environ:
    atexit.register(_report)
