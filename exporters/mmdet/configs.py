"""Read a configuration of mmdet, packaged or the user's, with the files that it builds on."""

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphopt.core.errors import MissingBackendError, UsageError
from graphopt.exporters.mmdet.config_values import Unreadable, evaluate_settings

_BASE, _DELETE = "_base_", "_delete_"
_DEEPEST = 20
_TEMPLATE = re.compile(r"\{\{\s*(_base_[\w.]*)\s*\}\}")
_MOST_BYTES = 1 << 20


def read_config(name_or_file: str, *, execute: bool = False) -> dict[str, Any]:
    """Return the settings of a configuration, those of its base files merged in as mmengine does.

    Args:
        name_or_file: path of a Python file, or the name of a packaged one, with or without its folder
            and ``.py``.
        execute: run the file by mmengine, which ``import``, functions and loops need. Only for files
            that you trust: it runs their code.

    Raises:
        UsageError: there is no such file, or it cannot be read without running it.
        MissingBackendError: a packaged one is asked for and mmdet is not installed.
    """
    path = find_config(name_or_file)
    if execute:
        from graphopt.exporters.mmdet.packages import mmdet_packages

        return dict(mmdet_packages().config(path))
    return _read(path, ())


def needed(settings: dict[str, Any], key: str, where: str) -> Any:
    """Return one setting, read to its depth.

    Raises:
        UsageError: it is missing, or depends on code.
    """
    if key not in settings:
        raise UsageError(f"{where} has no setting {key!r}; is it a configuration of mmdet?")
    for item in _leaves(settings[key]):
        if isinstance(item, Unreadable):
            raise UsageError(
                f"{where}: {key} cannot be read without running code ({item.why}); if you trust the file: "
                "graphopt export mmdet --exec-config"
            )
    return settings[key]


def find_config(name_or_file: str) -> Path:
    """Return the file that a name means; see ``read_config``."""
    path = Path(name_or_file)
    if path.is_file():
        return path
    if path.suffix == ".py" and path.parent != Path() and not _is_packaged(name_or_file):
        raise UsageError(f"there is no configuration {name_or_file}")
    folder = packaged_configs()
    wanted = name_or_file.removesuffix(".py")
    found = [item for item in sorted(folder.rglob(f"{Path(wanted).name}.py")) if _BASE not in item.parts]
    found = [item for item in found if str(item.with_suffix("")).endswith(f"/{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(item.relative_to(folder)) for item in found)
        raise UsageError(f"{name_or_file} means several configurations: {several}")
    known = {item.stem for item in folder.rglob("*.py") if _BASE not in item.parts}
    near = difflib.get_close_matches(Path(wanted).name, known, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else f"{len(known)} are in {folder}"
    raise UsageError(f"there is no configuration {name_or_file}, neither as a file nor in mmdet; {advice}")


def packaged_configs() -> Path:
    """Return the folder of mmdet's own configurations.

    Raises:
        MissingBackendError: mmdet is not installed, or without them.
    """
    spec = importlib.util.find_spec("mmdet")
    places = (
        [Path(item) / ".mim" / "configs" for item in (spec.submodule_search_locations or ())] if spec else []
    )
    for folder in places:
        if folder.is_dir():
            return folder
    raise MissingBackendError(
        "configurations by name come with mmdet, which is not installed: pip install 'graphopt[mmdet]', "
        "or give a file"
    )


def _is_packaged(name: str) -> bool:
    try:
        return (packaged_configs() / name).is_file()
    except MissingBackendError:
        return False


def _read(path: Path, outer: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in outer or len(outer) > _DEEPEST:
        raise UsageError(f"{path} builds on itself")
    if path.suffix != ".py":
        raise UsageError(f"{path} is no Python file; other formats of mmengine are not read")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is too large for a configuration")
        text = path.read_text(encoding="utf-8")
        # {{_base_.name}} is mmengine's older spelling of _base_.name.
        tree = ast.parse(_TEMPLATE.sub(r"\1", text.replace("'{{_base_", "{{_base_")), str(path))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no Python file: {error}") from error
    if any(isinstance(node, ast.With) for node in tree.body):
        raise UsageError(
            f"{path} imports its bases (read_base); that is code: if you trust the file, give --exec-config"
        )
    base: dict[str, Any] = {}
    for place in _bases(tree, path):
        for key, value in _read(place, (*outer, path)).items():
            if key in base:
                raise UsageError(f"{path}: two of its bases set {key}")
            base[key] = value
    names: dict[str, Any] = {_BASE: base}
    evaluate_settings(_without_base(tree), names)
    own = {key: value for key, value in names.items() if not key.startswith("__") and key != _BASE}
    return _merged(own, names.get(_BASE, base))


def _bases(tree: ast.Module, path: Path) -> Iterator[Path]:
    for statement in tree.body:
        if not _sets_base(statement):
            continue
        assert isinstance(statement, ast.Assign)
        try:
            found = ast.literal_eval(statement.value)
        except ValueError as error:
            raise UsageError(f"{path}: {_BASE} is not a list of file names") from error
        for name in [found] if isinstance(found, str) else found:
            scope, mark, rest = str(name).rpartition("::")
            if mark and scope != "mmdet":
                raise UsageError(f"{path} builds on {name}, a configuration of another package")
            yield packaged_configs() / rest if mark else path.parent / str(name)


def _sets_base(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and any(
        isinstance(target, ast.Name) and target.id == _BASE for target in statement.targets
    )


def _without_base(tree: ast.Module) -> ast.Module:
    return ast.Module(body=[item for item in tree.body if not _sets_base(item)], type_ignores=[])


def _merged(own: dict[Any, Any], base: dict[Any, Any]) -> dict[Any, Any]:
    """Return the base's settings with the file's own over them; ``_delete_`` starts anew."""
    result: Any = dict(base)
    for key, value in own.items():
        before = result.get(key)
        if isinstance(value, dict) and isinstance(before, list) and value and all(map(_is_place, value)):
            items = dict(enumerate(before))
            changed: dict[Any, Any] = _merged({int(place): item for place, item in value.items()}, items)
            result[key] = list(changed.values())
        elif isinstance(value, dict):
            fresh = value.get(_DELETE, False)
            inner = {name: item for name, item in value.items() if name != _DELETE}
            if isinstance(before, Unreadable) and not fresh:
                result[key] = before
                continue
            result[key] = _merged(inner, {} if fresh or not isinstance(before, dict) else before)
        else:
            result[key] = value
    found: dict[Any, Any] = result
    return found


def _is_place(key: Any) -> bool:
    return isinstance(key, str) and key.isdigit()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
