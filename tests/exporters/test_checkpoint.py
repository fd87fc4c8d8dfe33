"""Checkpoints that torch really wrote, in both formats, read without torch's own loader."""

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphopt.core.errors import CheckpointError
from graphopt.exporters.checkpoint import load_into, read_checkpoint

pytest.importorskip("torch")
import torch

pytestmark = pytest.mark.torch

FORMATS = ["zip", "stream"]


def save(content: object, path: Path, kind: str) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def network() -> Any:
    torch.manual_seed(5)
    return torch.nn.Sequential(
        OrderedDict(
            conv=torch.nn.Conv2d(3, 5, 3),
            bn=torch.nn.BatchNorm2d(5),
            classifier=torch.nn.Linear(7, 2),
        )
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_reads_what_torch_wrote(tmp_path: Path, kind: str) -> None:
    source = network()
    path = save({"epoch": 3, "state_dict": source.state_dict()}, tmp_path / "checkpoint.pth.tar", kind)

    checkpoint = read_checkpoint(path)

    assert checkpoint.format == kind
    assert checkpoint.meta == {"epoch": 3}
    assert checkpoint.keys == ("epoch", "state_dict")
    found = checkpoint.state_dict
    assert list(found) == list(source.state_dict())
    for name, tensor in source.state_dict().items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
        assert found[name].dtype == tensor.numpy().dtype


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_loads_every_tensor_into_a_network(tmp_path: Path, kind: str, prefix: str) -> None:
    source, target = network(), network()
    for tensor in target.state_dict().values():
        tensor.zero_()
    target.train()
    weights = {prefix + name: tensor for name, tensor in source.state_dict().items()}

    report = load_into(target, read_checkpoint(save({"state_dict": weights}, tmp_path / "c.pth", kind)))

    assert report.loaded == len(weights)
    assert (report.missing, report.cast, report.not_finite) == ((), (), ())
    assert target.training
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("device", ["cuda:0", "npu:0", "cuda:7", "xpu"])
def test_tensors_of_other_devices_come_to_the_cpu(
    tmp_path: Path, kind: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: device)
    path = save({"state_dict": {"w": torch.arange(6.0)}}, tmp_path / "c.pth", kind)
    assert device.encode() in path.read_bytes()

    np.testing.assert_array_equal(read_checkpoint(path).state_dict["w"], np.arange(6, dtype=np.float32))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "dtype",
    ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"],
)
def test_every_plain_dtype_is_read_as_it_is(tmp_path: Path, kind: str, dtype: str) -> None:
    tensor = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(torch, dtype))
    found = read_checkpoint(save({"w": tensor}, tmp_path / "c.pth", kind)).state_dict["w"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, tensor.numpy())


@pytest.mark.parametrize("kind", FORMATS)
def test_bfloat16_is_widened_exactly(tmp_path: Path, kind: str) -> None:
    tensor = torch.tensor([0.1, -3.0, 1e30, float("-inf")], dtype=torch.bfloat16)
    found = read_checkpoint(save({"w": tensor}, tmp_path / "c.pth", kind)).state_dict["w"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, tensor.float().numpy())


def test_new_dtypes_on_untyped_storage_are_read(tmp_path: Path) -> None:
    tensor = torch.tensor([1, 60000, 7], dtype=torch.uint16)[1:]
    found = read_checkpoint(save({"w": tensor}, tmp_path / "c.pth", "zip")).state_dict["w"]
    np.testing.assert_array_equal(found, np.array([60000, 7], np.uint16))


@pytest.mark.parametrize("kind", FORMATS)
def test_views_of_one_storage_keep_offset_and_strides(tmp_path: Path, kind: str) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    views = {
        "all": base,
        "transposed": base.permute(2, 0, 1),
        "part": base[1, 1:, ::2],
        "scalar": base[1, 2, 3],
        "empty": base[:0],
        "repeated": base[:1, :1, :1].expand(5, 1, 3),
        "parameter": torch.nn.Parameter(base[0]),
    }
    found = read_checkpoint(save(views, tmp_path / "c.pth", kind)).state_dict
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view.detach().numpy(), err_msg=name)
        assert found[name].flags.c_contiguous


@pytest.mark.parametrize("kind", FORMATS)
def test_numpy_arrays_and_scalars_are_read(tmp_path: Path, kind: str) -> None:
    content: dict[str, Any] = {
        "state_dict": {
            "w": np.arange(6, dtype=np.float32).reshape(2, 3),
            "f": np.asfortranarray(np.eye(2, 3)),
        },
        "best": np.float64(0.75),
        "step": np.int64(12),
        "big_endian": np.array([1, 2], ">i4"),
    }
    checkpoint = read_checkpoint(save(content, tmp_path / "c.pth", kind))
    assert checkpoint.meta == {"best": 0.75, "step": 12}
    np.testing.assert_array_equal(checkpoint.state_dict["w"], content["state_dict"]["w"])
    np.testing.assert_array_equal(checkpoint.state_dict["f"], content["state_dict"]["f"])


def test_optimizer_state_and_unknown_objects_do_not_disturb(tmp_path: Path) -> None:
    module = network()
    optimizer = torch.optim.Adam(module.parameters())
    module.classifier(torch.ones(1, 7)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "where": Path("/tmp"),
        "classes": ("a", "b"),
        "kinds": {"x", "y"},
    }
    checkpoint = read_checkpoint(save(content, tmp_path / "c.pth", "zip"))
    assert checkpoint.meta["where"].startswith("<pathlib")
    assert checkpoint.meta["classes"] == ["a", "b"]
    assert sorted(checkpoint.meta["kinds"]) == ["x", "y"]
    assert checkpoint.meta["optimizer"]["param_groups"][0]["lr"] == 0.001
    assert len(checkpoint.state_dict) == len(module.state_dict())


def test_weights_under_another_key(tmp_path: Path) -> None:
    path = save({"model": network().state_dict(), "epoch": 1}, tmp_path / "c.pth", "zip")
    target = network()
    assert load_into(target, read_checkpoint(path), key="model").loaded == 9
    with pytest.raises(CheckpointError, match=r"no weights under 'state_dict'; it holds: 'model', 'epoch'"):
        load_into(target, read_checkpoint(path))


def test_counters_may_be_missing_or_left_over(tmp_path: Path) -> None:
    weights = network().state_dict()
    del weights["bn.num_batches_tracked"]
    weights["classifier.num_batches_tracked"] = torch.tensor(1)
    report = load_into(network(), read_checkpoint(save(weights, tmp_path / "c.pth", "stream")))
    assert report.loaded == 8
    assert report.missing == ()


def test_a_partial_checkpoint_is_refused_with_the_lists_and_leaves_the_network_alone(tmp_path: Path) -> None:
    weights = network().state_dict()
    del weights["conv.bias"], weights["bn.weight"]
    weights["extra.weight"] = torch.zeros(1)
    weights["classifier.weight"] = torch.zeros(3, 7)
    weights["bn.bias"] = torch.zeros(5, dtype=torch.int8)
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}

    with pytest.raises(CheckpointError) as caught:
        load_into(target, read_checkpoint(save(weights, tmp_path / "c.pth", "zip")))

    message = str(caught.value)
    assert "2 missing (conv.bias, bn.weight)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 of another shape (classifier.weight [3, 7], network [2, 7])" in message
    assert "1 of another kind (bn.bias int8, network float32)" in message
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_wrong_checkpoint_lists_the_first_ten_keys_and_the_count(tmp_path: Path) -> None:
    weights = {f"other.{number}": torch.zeros(1) for number in range(25)}
    with pytest.raises(CheckpointError, match=r"25 unexpected \(other.0, .*other.9, \.\.\.\)") as caught:
        load_into(network(), read_checkpoint(save(weights, tmp_path / "c.pth", "zip")))
    assert "other.10" not in str(caught.value)


def test_allowed_missing_keys_are_reported(tmp_path: Path) -> None:
    weights = network().state_dict()
    del weights["conv.bias"]
    path = save(weights, tmp_path / "c.pth", "zip")
    assert load_into(network(), read_checkpoint(path), allow_missing=["conv.bias"]).missing == ("conv.bias",)


def test_other_float_types_are_cast_and_nan_is_reported(tmp_path: Path) -> None:
    weights = {name: t.double() if t.is_floating_point() else t for name, t in network().state_dict().items()}
    weights["conv.bias"][2] = float("nan")
    report = load_into(network(), read_checkpoint(save(weights, tmp_path / "c.pth", "zip")))
    assert len(report.cast) == 8
    assert report.not_finite == ("conv.bias",)


def test_a_name_with_and_without_the_prefix_is_refused(tmp_path: Path) -> None:
    weights = network().state_dict()
    weights["module.conv.bias"] = weights["conv.bias"]
    with pytest.raises(CheckpointError, match=r"conv\.bias with and without the prefix"):
        load_into(network(), read_checkpoint(save(weights, tmp_path / "c.pth", "zip")))


@pytest.mark.parametrize("kind", FORMATS)
def test_sparse_and_quantised_tensors_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
        sparse = save({"state_dict": {"w": torch.eye(2).to_sparse()}}, tmp_path / "s.pth", kind)
        path = save({"state_dict": {"w": quantised, "b": torch.ones(1)}}, tmp_path / "q.pth", kind)
    with pytest.raises(CheckpointError, match=r"w: torch._utils._rebuild_sparse_tensor"):
        read_checkpoint(sparse).tensors()
    with pytest.raises(CheckpointError, match=r"quantised|_rebuild_qtensor"):
        read_checkpoint(path).tensors()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_saved_module_is_refused_with_advice(tmp_path: Path, kind: str) -> None:
    path = save(network(), tmp_path / "c.pth", kind)
    with pytest.raises(CheckpointError, match=r"whole object of class torch.nn.*save its state_dict\(\)"):
        read_checkpoint(path).tensors()


def test_a_torchscript_program_is_refused_with_advice(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 3)).save(str(tmp_path / "c.pt"))
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_checkpoint(tmp_path / "c.pt")


def test_a_file_changed_after_opening_is_noticed(tmp_path: Path) -> None:
    path = save({"w": torch.zeros(2)}, tmp_path / "c.pth", "zip")
    checkpoint = read_checkpoint(path)
    save({"w": torch.ones(2)}, path, "zip")
    with pytest.raises(CheckpointError, match="changed after it was opened"):
        checkpoint.tensors()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_truncation_is_refused(tmp_path: Path, kind: str) -> None:
    whole = save({"state_dict": network().state_dict()}, tmp_path / "c.pth", kind).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cannot read checkpoint .*cut\.pth"):
            read_checkpoint(path).tensors()


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_raise_nothing_but_our_error(tmp_path: Path, kind: str) -> None:
    content = {
        "state_dict": network().state_dict(),
        "best": np.float64(0.5),
        "w": np.eye(2),
        "n": {1: (2, "x")},
    }
    whole = save(content, tmp_path / "c.pth", kind).read_bytes()
    rng = np.random.default_rng(11)
    target = network()
    path = tmp_path / "damaged.pth"
    refused = 0
    for _ in range(200):
        bytes_ = bytearray(whole)
        for position in rng.integers(0, len(bytes_), rng.integers(1, 4)):
            bytes_[position] = rng.integers(0, 256)
        path.write_bytes(bytes_)
        try:
            load_into(target, read_checkpoint(path))
        except CheckpointError:
            refused += 1
    assert refused > 30
