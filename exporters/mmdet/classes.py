"""Find the names of a detector's classes: in its configuration, else in mmdet's own data sets."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from graphopt.core.coco import COCO_CLASSES
from graphopt.core.errors import MissingBackendError
from graphopt.exporters.mmdet.config_values import Unreadable, evaluate_settings
from graphopt.exporters.mmdet.configs import packaged_configs

_KEYS = ("classes", "CLASSES")
_PLACES = (
    ("test_dataloader", "dataset", "metainfo"),
    ("test_dataloader", "dataset"),
    ("metainfo",),
    ("data", "test"),
    ("train_dataloader", "dataset", "metainfo"),
    (),
)
"""Where configurations of 3.x and 2.x name them."""


def class_names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a name for each class of the network, by label.

    Those that the configuration lists; else those of its data set; else, where these are not as many as the
    network has, ``class 0`` and so on.

    Args:
        settings: of the whole configuration.
    """
    count = _count(settings)
    for found in _candidates(settings):
        if count in (None, len(found)):
            return found
    return tuple(f"class {label}" for label in range(count or len(COCO_CLASSES)))


def class_names_of(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a checkpoint names (3.x: ``meta.dataset_meta``; before: ``meta.CLASSES``); may be none.

    Args:
        meta: all that the file holds besides tensors.
    """
    inner = meta.get("meta")
    inner = inner if isinstance(inner, Mapping) else {}
    data = inner.get("dataset_meta")
    for place in (data if isinstance(data, Mapping) else {}, inner):
        for key in _KEYS:
            if found := _names(place.get(key)):
                return found
    return ()


def _candidates(settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for path in _PLACES:
        place = _at(settings, path)
        for key in _KEYS:
            if isinstance(place, Mapping) and (found := _names(place.get(key))):
                yield found
    for path in (("test_dataloader", "dataset", "type"), ("data", "test", "type"), ("dataset_type",)):
        kind = str(_at(settings, path) or "").rpartition(".")[2]
        if found := _names_of_dataset(kind):
            yield found
    yield COCO_CLASSES


def _names(found: Any) -> tuple[str, ...]:
    if isinstance(found, str):
        return (found,)
    if isinstance(found, (list, tuple)) and all(isinstance(item, str) for item in found):
        return tuple(found)
    return ()


def _at(settings: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return None if isinstance(settings, Unreadable) else settings


def _count(settings: Mapping[str, Any]) -> int | None:
    model = _at(settings, ("model",))
    for path in (("bbox_head",), ("roi_head", "bbox_head")):
        head = _at(model, path)
        head = head[-1] if isinstance(head, (list, tuple)) and head else head
        if isinstance(found := _at(head, ("num_classes",)), int):
            return found
    return None


@cache
def _names_of_dataset(kind: str) -> tuple[str, ...]:
    """Return what a data set of mmdet says of itself; read, not imported, as that takes seconds."""
    try:
        folder = packaged_configs().parents[1] / "datasets"
    except MissingBackendError:
        return ()
    if not kind.isidentifier():
        return ()
    for file in sorted(folder.glob("*.py")):
        for statement in _class_body(file, kind):
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "METAINFO":
                names: dict[str, Any] = {}
                evaluate_settings(ast.Module(body=[statement], type_ignores=[]), names)
                return _names(_at(names, ("METAINFO", "classes")))
    return ()


def _class_body(file: Path, kind: str) -> list[ast.stmt]:
    text = file.read_text(encoding="utf-8")
    if f"class {kind}(" not in text:
        return []
    found = (item for item in ast.parse(text).body if isinstance(item, ast.ClassDef) and item.name == kind)
    return next((item.body for item in found), [])
