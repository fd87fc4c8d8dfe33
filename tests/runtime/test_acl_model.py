"""The pyACL class of the runner against a strict fake: order, lifetimes, codes, leaks."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from graphopt.runtime.device_runner import ACL_CODES, AclError, AclModel, RunnerError

STATIC_IN = [["image", [2, 3, 5, 7], "float32"], ["scale", [2, 4], "float16"]]
STATIC_OUT = [["logits", [2, 11], "float32", 0.5], ["count", [2], "int64", 3.0]]
FREE_IN = [["image", [-1, 3, 5, 7], "float32"]]
FREE_OUT = [["logits", [-1, 11], "float32", 0.5]]

Om = Callable[..., str]


@pytest.fixture
def om(fake_acl: ModuleType, tmp_path: Path) -> Om:
    def write(inputs: Any = STATIC_IN, outputs: Any = STATIC_OUT, profiles: tuple[int, ...] = ()) -> str:
        path = tmp_path / "model.om"
        path.write_text(fake_acl.model_text(inputs, outputs, profiles))
        return str(path)

    return write


def _arrays(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    # Small integers: sums are exact in every precision.
    return [
        rng.integers(-4, 5, (2, 3, 5, 7)).astype(np.float32),
        rng.integers(-4, 5, (2, 4)).astype(np.float16),
    ]


def _expected(fake: ModuleType, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [fake.expected_output(arrays, dims, dtype, scale) for _, dims, dtype, scale in STATIC_OUT]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("run_mode", [0, 1])
def test_runs_and_gives_everything_back(fake_acl: ModuleType, om: Om, legacy: bool, run_mode: int) -> None:
    acl = fake_acl.FakeAcl(legacy=legacy, run_mode=run_mode)
    model = AclModel(om(), device=3, acl=acl)
    assert model.inputs == [("image", [2, 3, 5, 7], "float32"), ("scale", [2, 4], "float16")]
    assert model.outputs == [("logits", [2, 11], "float32"), ("count", [2], "int64")]
    assert model.batches == []
    kept = []
    for seed in range(3):
        got = model.run(_arrays(seed))
        for value, wanted in zip(got, _expected(fake_acl, _arrays(seed)), strict=True):
            assert value.dtype == wanted.dtype
            assert np.array_equal(value, wanted)
        kept.append(got)
    # Results of earlier runs are not overwritten by later ones, and are the caller's own.
    assert np.array_equal(kept[0][0], _expected(fake_acl, _arrays(0))[0])
    kept[0][0][:] = 0
    model.close()
    assert acl.leaks() == {}
    assert acl.calls[-1] == "acl.finalize"
    model.close()
    with pytest.raises(RunnerError, match="closed"):
        model.run(_arrays())


def test_arrays_in_any_memory_order_are_copied_right(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl()
    arrays = [np.asfortranarray(array) for array in _arrays()]
    with AclModel(om(), acl=acl) as model:
        got = model.run(arrays)
    assert np.array_equal(got[0], _expected(fake_acl, _arrays())[0])
    assert acl.leaks() == {}


def _count_calls(fake: ModuleType, path: str, feeds: list[np.ndarray]) -> int:
    acl = fake.FakeAcl()
    with AclModel(path, acl=acl) as model:
        model.run(feeds)
    return int(acl.failable_calls)


@pytest.mark.parametrize("profiles", [(), (1, 2, 4)])
def test_a_failure_of_any_call_leaks_nothing_and_is_named(
    fake_acl: ModuleType, om: Om, profiles: tuple[int, ...]
) -> None:
    path = om(FREE_IN, FREE_OUT, profiles) if profiles else om()
    feeds = _arrays()[: 1 if profiles else 2]
    calls = _count_calls(fake_acl, path, feeds)
    assert calls > 40
    seen = set()
    for number in range(1, calls + 1):
        acl = fake_acl.FakeAcl(fail_at=number)
        with pytest.raises(AclError) as caught, AclModel(path, acl=acl) as model:
            model.run(feeds)
        assert acl.failed_call == caught.value.call
        assert caught.value.call in str(caught.value)
        if "create_d" not in caught.value.call:  # those give no handle instead of a code
            assert "500001 FAILURE" in str(caught.value)
        seen.add(acl.failed_call)
        # Where giving back itself failed, that one thing stays; nothing else may.
        gives_back = {
            "acl.finalize": "init",
            "acl.rt.reset_device": "device",
            "acl.rt.destroy_context": "context",
            "acl.mdl.unload": "model",
            "acl.mdl.destroy_desc": "desc",
            "acl.mdl.destroy_dataset": "dataset",
            "acl.destroy_data_buffer": "data buffer",
            "acl.rt.free": "device memory",
            "acl.rt.free_host": "host memory",
        }
        left = gives_back.get(str(acl.failed_call))
        assert acl.leaks() == ({left: 1} if left else {}), acl.failed_call
    assert {"acl.init", "acl.rt.malloc", "acl.rt.memcpy", "acl.mdl.execute", "acl.finalize"} <= seen


def test_free_batch_takes_the_compiled_sizes_only(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl()
    with AclModel(om(FREE_IN, FREE_OUT, (1, 2, 8)), acl=acl) as model:
        assert model.batches == [1, 2, 8]
        assert model.inputs == [("image", [-1, 3, 5, 7], "float32")]
        assert model.outputs == [("logits", [-1, 11], "float32")]
        for batch in (8, 1, 2, 8):
            fed = np.random.default_rng(batch).integers(-4, 5, (batch, 3, 5, 7)).astype(np.float32)
            (got,) = model.run([fed])
            assert np.array_equal(got, fake_acl.expected_output([fed], [batch, 11], "float32", 0.5))
        with pytest.raises(RunnerError, match=r"batch of \[3\] is not one .* \[1, 2, 8\]"):
            model.run([np.zeros((3, 3, 5, 7), np.float32)])
    assert acl.leaks() == {}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([np.zeros((2, 3, 5, 7), np.float32)], "1 arrays for 2 inputs"),
        ([np.zeros((2, 3, 7, 5), np.float32), np.zeros((2, 4), np.float16)], "image has shape"),
        ([np.zeros((2, 3, 35), np.float32), np.zeros((2, 4), np.float16)], "image has shape"),
        ([np.zeros((2, 3, 5, 7), np.float64), np.zeros((2, 4), np.float16)], "image is float64"),
        ([np.zeros((2, 3, 5, 7), np.float32), np.zeros((2, 4), np.int16)], "scale is int16"),
    ],
)
def test_arrays_that_do_not_fit_never_reach_the_device(
    fake_acl: ModuleType, om: Om, arrays: list[np.ndarray], message: str
) -> None:
    acl = fake_acl.FakeAcl()
    with AclModel(om(), acl=acl) as model:
        before = len(acl.calls)
        with pytest.raises(RunnerError, match=message):
            model.run(arrays)
        assert len(acl.calls) == before
        model.run(_arrays())
    assert acl.leaks() == {}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([["image", [1, 3, -1, -1], "float32"]], FREE_OUT, "input image is set at run time"),
        ([["ascend_dynamic_aipp_data", [9], "float32"]], FREE_OUT, "AIPP"),
        (
            [["image", [1, 3], "float32"]],
            [["n", [-1, 5], "float32", 1]],
            r"output n has a free shape \[-1, 5\]",
        ),
        ([["image", [1, 3], "bfloat16"]], STATIC_OUT, "input image has the ACL data type 27"),
    ],
)
def test_models_that_need_more_are_refused_without_leaks(
    fake_acl: ModuleType, om: Om, inputs: Any, outputs: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fake's sizes need a numpy type; what the model says its type is comes from another table.
    if inputs[0][2] == "bfloat16":
        sized = fake_acl._Model.size
        monkeypatch.setattr(
            fake_acl._Model, "size", lambda m, i, b=None: 12 if i[2] == "bfloat16" else sized(m, i, b)
        )
    acl = fake_acl.FakeAcl()
    with pytest.raises(RunnerError, match=message):
        AclModel(om(inputs, outputs), acl=acl)
    assert acl.leaks() == {}


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "100003 INVALID_FILE"), ("not an om", "145006 GE_EXEC_MODEL_DATA_SIZE_INVALID")],
)
def test_a_missing_or_damaged_model_is_named(
    fake_acl: ModuleType, tmp_path: Path, content: str | None, code: str
) -> None:
    path = tmp_path / "bad.om"
    if content is not None:
        path.write_text(content)
    acl = fake_acl.FakeAcl()
    with pytest.raises(AclError, match=rf"load_from_file failed for .*bad\.om: {code}"):
        AclModel(str(path), acl=acl)
    assert acl.leaks() == {}


def test_a_device_that_is_not_there_is_named(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl()
    with pytest.raises(AclError, match="set_device failed for 9: 107001 RT_INVALID_DEVICEID"):
        AclModel(om(), device=9, acl=acl)
    assert acl.leaks() == {}


def test_acl_initialised_by_someone_else_is_left_initialised(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl(already=True)
    with AclModel(om(), acl=acl) as model:
        model.run(_arrays())
    assert acl.leaks() == {}
    assert "acl.finalize" not in acl.calls


def test_two_models_of_one_process_do_not_disturb_each_other(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl()
    path = om()
    with AclModel(path, acl=acl) as first, AclModel(path, acl=acl) as second:
        for _ in range(2):
            assert np.array_equal(first.run(_arrays(1))[0], _expected(fake_acl, _arrays(1))[0])
            assert np.array_equal(second.run(_arrays(2))[0], _expected(fake_acl, _arrays(2))[0])
    assert acl.leaks() == {}
    assert acl.calls.count("acl.finalize") == 1


def test_runs_and_closes_in_another_thread(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl()
    model = AclModel(om(), acl=acl)
    got: list[Any] = []

    def work() -> None:
        got.extend(model.run(_arrays()))
        model.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert np.array_equal(got[0], _expected(fake_acl, _arrays())[0])
    assert acl.leaks() == {}


def test_after_a_failed_run_the_model_still_works(fake_acl: ModuleType, om: Om) -> None:
    acl = fake_acl.FakeAcl()
    with AclModel(om(), acl=acl) as model:
        acl.fail_at = acl.failable_calls + 4  # set_context, memcpy, memcpy, execute
        with pytest.raises(AclError, match=r"acl\.mdl\.execute"):
            model.run(_arrays())
        acl.fail_at, acl.failed_call = 0, None
        assert np.array_equal(model.run(_arrays())[0], _expected(fake_acl, _arrays())[0])
    assert acl.leaks() == {}


def test_unknown_codes_are_shown_as_they_are() -> None:
    assert "123456 unknown code" in str(AclError("acl.init", 123456))
    assert all(name and hint for name, hint in ACL_CODES.values())


def test_the_fake_notices_what_it_must(fake_acl: ModuleType, om: Om) -> None:
    """A fake that lets mistakes pass would prove nothing."""
    acl = fake_acl.FakeAcl()
    with pytest.raises(fake_acl.Misuse, match=r"before acl\.init"):
        acl.rt.set_device(0)
    acl.init()
    acl.rt.set_device(0)
    context, _ = acl.rt.create_context(0)
    pointer, _ = acl.rt.malloc(64, 0)
    buffer = acl.create_data_buffer(pointer, 64)
    with pytest.raises(fake_acl.Misuse, match="living data buffer"):
        acl.rt.free(pointer)
    with pytest.raises(fake_acl.Misuse, match="larger than its memory"):
        acl.create_data_buffer(pointer, 65)
    with pytest.raises(fake_acl.Misuse, match="must be an int"):
        acl.rt.free("pointer")
    acl.destroy_data_buffer(buffer)
    with pytest.raises(fake_acl.Misuse, match="does not exist"):
        acl.destroy_data_buffer(buffer)
    with pytest.raises(fake_acl.Misuse, match="bytes behind the pointer are gone"):
        acl.rt.memcpy(pointer, 64, acl.util.bytes_to_ptr(bytes(bytearray(64))), 64, 1)
    data = bytes(bytearray(65))
    with pytest.raises(fake_acl.Misuse, match="writes past"):
        acl.rt.memcpy(pointer, 64, acl.util.bytes_to_ptr(data), 65, 1)
    with pytest.raises(fake_acl.Misuse, match="contexts must go before"):
        acl.rt.reset_device(0)
    with pytest.raises(fake_acl.Misuse, match="while holding"):
        acl.finalize()
    acl.rt.free(pointer)
    acl.rt.destroy_context(context)
    assert acl.leaks() == {"init": 1, "device": 1}
