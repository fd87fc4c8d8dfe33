"""``graphopt.toml``: what holds for all work in a folder and below it.

Looked for in the current folder and upwards, the nearest one counts. Not beside a model: a model
that was downloaded with its folder must not bring code that runs.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError

PROJECT_FILE = "graphopt.toml"
_KEYS = ("plugins", "defaults")


@dataclass(frozen=True, kw_only=True)
class ProjectFile:
    """What a ``graphopt.toml`` says.

    Attributes:
        path: of the file.
        plugins: Python files, their paths relative to its folder.
        defaults: verb -> option as typed, without dashes -> value.
    """

    path: Path
    plugins: tuple[Path, ...] = ()
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def find_project_file(folder: Path) -> Path | None:
    """Return the nearest ``graphopt.toml`` of ``folder`` and those above it."""
    here = folder.resolve()
    return next((place for up in (here, *here.parents) if (place := up / PROJECT_FILE).is_file()), None)


def is_foreign(path: Path, folder: Path) -> bool:
    """Whether a file belongs to somebody else than the user, root, or the owner of ``folder``.

    Anybody may leave a file in ``/tmp``: what is below it must not run it.
    """
    return path.stat().st_uid not in (os.getuid(), 0, folder.stat().st_uid)


def read_project_file(path: Path) -> ProjectFile:
    """Read a ``graphopt.toml``.

    Raises:
        UsageError: it is no TOML, or says something unknown.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for key in content:
        if key not in _KEYS:
            table = isinstance(content[key], dict) and key not in ("default", "plugin")
            hint = f"for defaults of a verb write [defaults.{key}]" if table else did_you_mean(key, _KEYS)
            raise UsageError(f"{path}: unknown key {key!r}; {hint}")
    plugins, defaults = content.get("plugins", []), content.get("defaults", {})
    if not isinstance(plugins, list) or not all(isinstance(item, str) for item in plugins):
        raise UsageError(f'{path}: plugins must be a list of Python files: plugins = ["my_pass.py"]')
    if not isinstance(defaults, dict) or not all(isinstance(item, dict) for item in defaults.values()):
        raise UsageError(f'{path}: defaults are options per verb: [defaults.compile], then soc = "310P3"')
    return ProjectFile(path=path, plugins=tuple(path.parent / item for item in plugins), defaults=defaults)


def with_plugin(text: str, plugin: str) -> str:
    """Return the text of a ``graphopt.toml`` that lists one more plugin; comments stay.

    Args:
        text: of the file; empty for a new one.
        plugin: path relative to its folder.

    Raises:
        UsageError: the list is written in a way that cannot be edited safely.
    """
    listed = tomllib.loads(text).get("plugins", []) if text else []
    if plugin in listed:
        return text
    line = f'plugins = ["{plugin}"]\n'
    if not listed and "plugins" not in text:
        return f"{line}\n{text}" if text else line
    head, _, rest = text.partition("]")
    head = head.rstrip().rstrip(",")
    changed = f'{head}{", " if listed else ""}"{plugin}"]{rest}'
    try:
        if tomllib.loads(changed).get("plugins") == [*listed, plugin]:
            return changed
    except tomllib.TOMLDecodeError:
        pass
    raise UsageError(f'add "{plugin}" to the list of plugins by hand')
