"""The command line: one file per verb, errors as sentences, exit codes as an interface.

0 fine; 1 ran, verdict bad; 2 bad input or usage; 3 tool or package missing; 4 external tool
failed; 70 a bug; 130 interrupted; 141 closed pipe; 129 and 143 hung up and terminated.
"""

import io
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any, NoReturn

import click

from graphopt.cli.group import VerbGroup
from graphopt.cli.project import open_project, plugin_option
from graphopt.core.errors import GraphoptError, UsageError
from graphopt.core.plugins import blame, plugin_scope

EXIT_USAGE = 2
EXIT_MISSING = 3
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


@click.group(
    cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="graphopt", message="graphopt %(version)s")
@click.option("-v", "--verbose", count=True, help="Say more on stderr; twice for everything.")
@plugin_option
@click.pass_context
def cli(context: click.Context, verbose: int) -> None:
    """Take a trained PyTorch checkpoint to a compiled, validated, evaluated model.

    Start with: graphopt pipeline deepmar --demo -o out/deepmar

    A graphopt.toml in the current folder or above it may list plugins and defaults of options.
    """
    import logging

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        open_project(context)
    except GraphoptError as error:
        # What is wrong in a project file must not take away the help.
        if not {"-h", "--help"} & set(sys.argv[1:]):
            raise
        _say(str(error))


def main() -> NoReturn:
    """Run the command line and exit with its documented code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not know is shown escaped, and stops nothing.
            stream.reconfigure(errors="backslashreplace")
    try:
        with plugin_scope():
            code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`head`) is gone; what Python still wants to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_CLOSED_PIPE
    except OSError as error:
        _say(f"the result could not be written: {error.strerror or error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_USAGE
    if code == EXIT_INTERRUPTED:
        # CPython 3.11 ends by the signal itself when Ctrl-C came while it ran a string of code (a
        # dataclass being made), although the interrupt was handled. All outputs are settled by now.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        _refuse_broken_names(sys.argv[1:])
        # Not cli.main(): that turns a closed pipe into exit code 1.
        with cli.make_context("graphopt", sys.argv[1:]) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show(file=sys.stderr)
        _error_as_json("UsageError", error.format_message(), EXIT_USAGE)
        return EXIT_USAGE
    except GraphoptError as error:
        _say(str(error))
        report = getattr(error, "report", None)  # of a rewrite that was refused
        _error_as_json(
            type(error).__name__, str(error), error.exit_code, report.to_json() if report else None
        )
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; nothing half-written was left")
        return EXIT_INTERRUPTED
    except MemoryError:
        message = "out of memory; close other programs, or use a smaller batch or model"
        _say(message)
        _error_as_json("MemoryError", message, EXIT_USAGE)
        return EXIT_USAGE
    except OSError as error:
        if error.filename is None:  # stdout, most likely: main() knows
            raise
        message = f"{error.filename}: {error.strerror or error}"
        _say(message)
        _error_as_json("OSError", message, EXIT_USAGE)
        return EXIT_USAGE
    except Exception as error:  # noqa: BLE001  the last line: a bug keeps its traceback
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _refuse_broken_names(arguments: list[str]) -> None:
    """Refuse names that are no UTF-8: neither JSON nor ONNX files nor the runtimes can hold them."""
    for argument in arguments:
        if not argument.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise UsageError(f"the name {argument!r} is not UTF-8; rename the file or folder")


def _unexpected(error: Exception) -> int:
    """Say whose mistake an error is that no verb foresaw; return the exit code."""
    if complaint := blame(error):
        _say(complaint)
        _error_as_json("UsageError", complaint, EXIT_USAGE)
        return EXIT_USAGE
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
        message = (
            f"the package {error.name} is missing: install graphopt again into this Python "
            f"({sys.executable} -m pip install graphopt); graphopt doctor lists what else is"
        )
        _say(message)
        _error_as_json("MissingBackendError", message, EXIT_MISSING)
        return EXIT_MISSING
    traceback.print_exc()
    _say("this is a bug in graphopt, not your mistake; please report the lines above")
    _error_as_json(type(error).__name__, str(error), EXIT_BUG)
    return EXIT_BUG


def _say(message: str) -> None:
    click.echo(f"graphopt: {message}", err=True)


def _error_as_json(kind: str, message: str, code: int, report: Any = None) -> None:
    if "--json" in sys.argv[1:]:
        from graphopt.cli.render import print_json

        found = {"report": report} if report is not None else {}
        error = {"type": kind, "message": message, "exit_code": code}
        print_json("error", {"ok": False, "error": error, **found})


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    # An exception, so that temporary files are removed on the way out.
    _say(f"ended by {signal.Signals(number).name}; nothing half-written was left")
    raise SystemExit(128 + number)
