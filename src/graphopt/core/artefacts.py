"""What the stages leave on disk and how each names its parent.

Every file that graphopt makes has a sidecar ``NAME.json`` (``deepmar.onnx.json`` beside
``deepmar.onnx``): later verbs read the recipe, the outputs and the batch from there, so the user
types them once.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from graphopt.core.errors import InvalidModelError
from graphopt.core.files import sha256_of, write_json
from graphopt.core.tensors import TensorSpec

SIDECAR_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A model file of one stage and where it came from.

    Attributes:
        path: the file (or folder, for formats that are one).
        stage: ``raw``, ``rewritten`` or ``compiled``.
        target: ``onnx``, ``onnxruntime``, ``openvino`` or ``atc``.
        recipe: name of the recipe; empty when the model has none.
        inputs: in graph order.
        outputs: in graph order, with dtypes and roles.
        batch: fixed batch size; None when it is dynamic or unknown.
        soc: chip an ``.om`` was built for; empty elsewhere.
        sha256: of the file's content (of its main file, when it is a folder).
        parent_sha256: of the file it was made from; empty for a first one.
        settings: what was asked for (passes and options, export settings), plain data.
    """

    path: Path
    stage: str
    target: str
    sha256: str
    recipe: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    batch: int | None = None
    soc: str = ""
    parent_sha256: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def save(self) -> Path:
        """Write the sidecar beside ``path`` and return its place."""
        content: dict[str, Any] = {"sidecar_version": SIDECAR_VERSION, **dataclasses.asdict(self)}
        content["path"] = self.path.name
        target = sidecar_path(self.path)
        write_json(target, content)
        return target

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read the sidecar of ``path``; None when there is none, or it describes another content.

        Raises:
            InvalidModelError: the sidecar is damaged or from a newer graphopt.
        """
        place = sidecar_path(path)
        if not place.is_file():
            return None
        try:
            content = json.loads(place.read_text(encoding="utf-8"))
            version = content.pop("sidecar_version")
            _check_version(version, place)
            for key in ("inputs", "outputs"):
                content[key] = tuple(_spec(item) for item in content[key])
            artefact = cls(**{**content, "path": path})
            _check_types(artefact)
        except InvalidModelError:
            raise
        except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
            raise InvalidModelError(
                f"{place} is damaged ({error}); delete it or make the file again"
            ) from error
        if path.is_file() and sha256_of(path) != artefact.sha256:
            return None
        return artefact


def sidecar_path(path: Path) -> Path:
    """Return ``deepmar.onnx.json`` for ``deepmar.onnx``."""
    return path.with_name(path.name + ".json")


def _check_version(version: object, place: Path) -> None:
    if version != SIDECAR_VERSION:
        raise InvalidModelError(
            f"{place} has version {version}, this graphopt reads {SIDECAR_VERSION}; "
            "delete it or use the graphopt that wrote it"
        )


def _check_types(artefact: Artefact) -> None:
    texts = ("stage", "target", "sha256", "recipe", "soc", "parent_sha256")
    kinds: dict[str, Any] = {**dict.fromkeys(texts, str), "batch": int | None, "settings": dict}
    for name, kind in kinds.items():
        if not isinstance(value := getattr(artefact, name), kind):
            raise TypeError(f"{name} is {value!r}")


def _spec(content: dict[str, Any]) -> TensorSpec:
    spec = TensorSpec(**{**content, "shape": tuple(content["shape"])})
    texts = (spec.name, spec.dtype, spec.layout, spec.unit, spec.role)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(d, int | str | None) for d in spec.shape)
    ):
        raise TypeError(f"tensor {content!r}")
    return spec
