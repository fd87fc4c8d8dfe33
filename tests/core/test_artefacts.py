"""A sidecar tells the truth about its file, or is not believed."""

import dataclasses
import json
from pathlib import Path

import pytest

from graphopt.core.artefacts import SIDECAR_VERSION, Artefact, sidecar_path
from graphopt.core.errors import InvalidModelError
from graphopt.core.files import sha256_of
from graphopt.core.tensors import TensorSpec


@pytest.fixture
def artefact(tmp_path: Path) -> Artefact:
    path = tmp_path / "deepmar.opt.onnx"
    path.write_bytes(b"a model")
    return Artefact(
        path=path,
        stage="rewritten",
        target="onnx",
        sha256=sha256_of(path),
        recipe="deepmar",
        inputs=(TensorSpec(name="image", shape=("batch", 3, None, 224), dtype="float32", layout="NCHW"),),
        outputs=(TensorSpec(name="out", shape=(1, 35), dtype="float32", unit="logit", role="attributes"),),
        batch=4,
        parent_sha256="ab" * 32,
        settings={"passes": [{"name": "remove_pad", "options": {"expect": 1}}]},
    )


def test_what_is_saved_is_loaded(artefact: Artefact) -> None:
    place = artefact.save()
    assert place == sidecar_path(artefact.path)
    assert place.name == "deepmar.opt.onnx.json"
    assert Artefact.load(artefact.path) == artefact


def test_the_pair_may_be_moved(artefact: Artefact, tmp_path: Path) -> None:
    artefact.save()
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / artefact.path.name
    sidecar_path(artefact.path).rename(sidecar_path(moved))
    artefact.path.rename(moved)
    assert Artefact.load(moved) == dataclasses.replace(artefact, path=moved)


def test_no_sidecar(tmp_path: Path) -> None:
    assert Artefact.load(tmp_path / "model.onnx") is None


def test_a_sidecar_of_another_content_is_ignored(artefact: Artefact) -> None:
    artefact.save()
    artefact.path.write_bytes(b"another model")
    assert Artefact.load(artefact.path) is None


def test_a_folder_is_believed(artefact: Artefact, tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    folder.mkdir()
    in_folder = dataclasses.replace(artefact, path=folder)
    in_folder.save()
    assert Artefact.load(folder) == in_folder


def test_saving_again_replaces(artefact: Artefact) -> None:
    artefact.save()
    changed = dataclasses.replace(artefact, batch=8)
    changed.save()
    assert Artefact.load(artefact.path) == changed


def test_another_version_is_refused(artefact: Artefact) -> None:
    place = artefact.save()
    content = json.loads(place.read_text("utf-8"))
    place.write_text(json.dumps({**content, "sidecar_version": SIDECAR_VERSION + 1}))
    with pytest.raises(InvalidModelError, match=rf"has version {SIDECAR_VERSION + 1}, this graphopt reads"):
        Artefact.load(artefact.path)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[1, 2]",
        b"5",
        b"null",
        b"{}",
        b'{"sidecar_version": 1}',
        b'{"sidecar_version": %d, "inputs": 5, "outputs": []}',
        b'{"sidecar_version": %d, "inputs": [5], "outputs": []}',
        b'{"sidecar_version": %d, "inputs": [{"shape": 4}], "outputs": []}',
        b'{"sidecar_version": %d, "inputs": [], "outputs": [], "stage": "", "target": "", "unknown": 1}',
        b'{"sidecar_version": %d, "inputs": [{"name": "x", "shape": [1.5], "dtype": ""}], "outputs": []}',
        b'{"sidecar_version": %d, "inputs": [{"name": 7, "shape": [1], "dtype": ""}], "outputs": []}',
        b"[" * 100_000,
    ],
)
def test_damage_is_named(artefact: Artefact, damage: bytes) -> None:
    place = artefact.save()
    place.write_bytes(damage.replace(b"%d", str(SIDECAR_VERSION).encode()))
    with pytest.raises(InvalidModelError) as caught:
        Artefact.load(artefact.path)
    assert f"{place} is damaged" in str(caught.value)
    assert "delete it or make the file again" in str(caught.value)


@pytest.mark.parametrize(
    "key", [field.name for field in dataclasses.fields(Artefact) if field.name != "path"]
)
def test_fields_of_another_type_are_damage(artefact: Artefact, key: str) -> None:
    place = artefact.save()
    content = json.loads(place.read_text("utf-8"))
    content[key] = {"settings": [1], "batch": "4"}.get(key, 1.5)
    place.write_text(json.dumps(content))
    with pytest.raises(InvalidModelError, match="is damaged"):
        Artefact.load(artefact.path)
