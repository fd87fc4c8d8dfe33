"""Verbs found by file name, imported when called, with did-you-mean."""

import importlib

import click

from graphopt.cli.project import plugin_option
from graphopt.core.discovery import did_you_mean, names_in

VERBS = "graphopt.cli.verbs"


class VerbGroup(click.Group):
    """A click group whose commands are the modules of ``cli/verbs``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the verbs in alphabetical order."""
        return [name.rstrip("_") for name in names_in(VERBS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the verb's module and return its ``command``."""
        modules = {name.rstrip("_"): name for name in names_in(VERBS)}
        if cmd_name not in modules:
            return None
        command = importlib.import_module(f"{VERBS}.{modules[cmd_name]}").command
        assert isinstance(command, click.Command)
        if not isinstance(command, click.Group) and not any(item.name == "plugin" for item in command.params):
            plugin_option(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            raise click.UsageError(f"unknown verb {name!r}; {did_you_mean(name, known)}", ctx)
        return super().resolve_command(ctx, args)
