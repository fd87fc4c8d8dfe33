"""What a user brings to every verb: plugins, by option or by ``graphopt.toml``, and his defaults."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from graphopt.core.discovery import did_you_mean
from graphopt.core.errors import UsageError
from graphopt.core.plugins import declare_plugin, load_plugin
from graphopt.core.project_file import ProjectFile, find_project_file, is_foreign, read_project_file

C = TypeVar("C", bound=Callable[..., Any] | click.Command)


def plugin_option(command: C) -> C:
    """Add ``--plugin``; files are loaded while options are read, so that later ones may name passes."""
    return click.option(
        "--plugin",
        type=click.Path(path_type=Path),
        multiple=True,
        expose_value=False,
        is_eager=True,
        callback=_load,
        metavar="FILE.py",
        help="Run this file for its pass, RECIPE or OPERATOR; repeatable. See also graphopt.toml.",
    )(command)


def open_project(context: click.Context) -> None:
    """Take plugins and defaults from the nearest ``graphopt.toml``.

    Raises:
        UsageError: the file cannot be understood.
    """
    folder = Path.cwd()
    path = find_project_file(folder)
    if path is None:
        return
    if is_foreign(path, folder):
        _say(f"{path} is left alone, as it belongs to another user; name its plugins with --plugin")
        return
    project = read_project_file(path)
    for plugin in project.plugins:
        declare_plugin(
            plugin, lambda loaded: _say(f"{loaded.path} was loaded, as {path} lists it"), listed_in=path
        )
    context.default_map = {**(context.default_map or {}), **_defaults(context, project)}


def _load(context: click.Context, option: click.Parameter, files: tuple[Path, ...]) -> None:
    del option
    if not files or context.resilient_parsing:
        return
    for path in files:
        load_plugin(path)
    from graphopt.recipes.catalogue import recipe_names
    from graphopt.surgery.catalogue import pass_names

    pass_names(), recipe_names()  # says now what is wrong with them


def _defaults(context: click.Context, project: ProjectFile) -> Mapping[str, Any]:
    """Return the defaults of the verb that is about to run, in click's words."""
    group = context.command
    assert isinstance(group, click.Group)
    verbs = group.list_commands(context)
    for verb in project.defaults:
        if verb not in verbs:
            raise UsageError(f"{project.path}: unknown verb {verb!r}; {did_you_mean(verb, verbs)}")
    verb = context.invoked_subcommand or ""
    given = project.defaults.get(verb, {})
    command = group.get_command(context, verb)
    if not given or command is None:
        return {}
    options = {
        word.lstrip("-"): item
        for item in command.params
        if isinstance(item, click.Option)
        for word in item.opts
        if word.startswith("--")
    }
    found: dict[str, Any] = {}
    for word, value in given.items():
        if word not in options:
            hint = did_you_mean(word, options)
            raise UsageError(f"{project.path}: {verb} has no option {word!r}; {hint}")
        found[options[word].name or ""] = _value(options[word], value, project.path.parent)
    return {verb: found}


def _value(option: click.Option, value: Any, folder: Path) -> Any:
    if isinstance(value, list) and not option.multiple:
        value = ",".join(map(str, value))
    if isinstance(option.type, click.Path) and isinstance(value, str):
        return str(folder / value)
    return value


def _say(message: str) -> None:
    click.echo(f"graphopt: {message}", err=True)
