"""Options that several verbs share; each group ends as one typed object."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
force_option = click.option("--force", is_flag=True, help="Replace an existing output.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=None, help="Use only the first N samples of the data set."
)
recipe_option = click.option(
    "--recipe",
    "recipe_name",
    default="",
    help="Only for files that graphopt did not make: whose model it is.",
)

roles_option = click.option(
    "--as",
    "roles_text",
    default="",
    metavar="KIND:ROLE,...",
    help="What the outputs are, in their order: detection:dets,labels; or detection:dets=TENSOR,...",
)


def output_option(help_text: str) -> Callable[[Command], Command]:
    """Add ``-o/--output``."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help=help_text)


def data_option(help_text: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Add ``--data``."""
    return click.option(
        "--data", type=click.Path(path_type=Path), default=None, required=required, help=help_text
    )


workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1, max=256),
    default=None,
    help="Threads that prepare images ahead; default: one per processor, 8 at most.",
)

annotations_option = click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    default=None,
    help="COCO's annotation file, when it is not in or beside the data set folder.",
)


def tolerance_options(command: Command) -> Command:
    """Add ``--atol`` and ``--rtol``; the verb receives one ``tolerance`` or None when neither is given."""

    @click.option("--atol", type=click.FloatRange(min=0), default=None, help="In the unit of the tensor.")
    @click.option(
        "--rtol",
        type=click.FloatRange(min=0, max=0.1),
        default=None,
        help="Fraction of the reference, to 0.1.",
    )
    @functools.wraps(command)
    def with_tolerance(*args: Any, atol: float | None, rtol: float | None, **options: Any) -> Any:
        tolerance = None
        if atol is not None or rtol is not None:
            from graphopt.core.comparison import Tolerance

            tolerance = Tolerance(atol=atol or 0.0, rtol=rtol or 0.0, why="given on the command line")
        return command(*args, tolerance=tolerance, **options)

    return with_tolerance


def beside(model: Path, suffix: str) -> Path:
    """Return ``NAME.SUFFIX`` beside a model file ``NAME.onnx``.

    Raises:
        InvalidModelError: the model is a folder.
    """
    if model.is_dir():
        from graphopt.core.errors import InvalidModelError

        raise InvalidModelError(f"{model} is a folder; give an ONNX file")
    return model.with_name(f"{model.stem}.{suffix}")


class IntList(click.ParamType[tuple[int, ...]]):
    """``1,4,8`` as a tuple of positive integers without repetition."""

    name = "N,N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse, or fail with the offending part."""
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            if not part.strip().isdigit() or int(part) < 1:
                self.fail(f"{part.strip()!r} is not a positive whole number; write 1,4,8", param, ctx)
            if int(part) not in numbers:
                numbers.append(int(part))
        return tuple(numbers)


class Progress:
    """A counter on stderr with rate and time left; silent when stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = 0.0

    def say(self, text: str) -> None:
        """Show what is being done now."""
        if self._shown:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)

    def count(self, label: str) -> Callable[[int, int], None]:
        """Return a callback for ``done, total``.

        Rate and time left are those since its first call: loading a model and what an earlier run left
        are in neither.
        """
        import time

        began: list[tuple[int, float]] = []

        def update(done: int, total: int) -> None:
            now = time.monotonic()
            if not self._shown or (done < total and now - self._last < 0.1):
                return
            self._last = now
            text = f"{label} {done}/{total}"
            if began and now > began[0][1] and done > began[0][0]:
                rate = (done - began[0][0]) / (now - began[0][1])
                text += f", {rate:.{1 if rate >= 1 else 2}f}/s, {_duration((total - done) / rate)} left"
            if not began:
                began.append((done, now))
            self.say(text)

        return update

    def clear(self) -> None:
        """Remove the line, so that the result stands alone."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
