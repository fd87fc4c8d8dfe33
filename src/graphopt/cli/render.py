"""Results on stdout: a table for people, JSON with a schema version for programs."""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

SCHEMA_VERSION = 1
_FOLDED = 8
"""Columns of a terminal that the narrowest folded cell of text should have."""


def print_json(verb: str, content: Mapping[str, Any]) -> None:
    """Print one JSON object; infinities and NaN become null, paths text."""
    document = {"schema_version": SCHEMA_VERSION, "verb": verb, **content}
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(_plain(document), indent=2, ensure_ascii=not unicode))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; without colour, frames or cut cells when stdout is not a terminal.

    Args:
        title: printed above; empty for none.
        columns: headings; one that starts with ``>`` is right-aligned.
        rows: cells; numbers are formatted here.
    """
    texts = [[cell(item) for item in row] for row in rows]
    if not sys.stdout.isatty():
        _print_plain(title, columns, texts)
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    console = Console(no_color="NO_COLOR" in os.environ or None)
    whole = _whole_columns(columns, _widths(columns, texts), console.width)
    for i, column in enumerate(columns):
        right = column.startswith(">")
        heading = escape(column.lstrip(">"))
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=i in whole)
    for row in texts:
        table.add_row(*(escape(item) for item in row))
    console.print(table)


def print_line(text: str) -> None:
    """Print one line of the result."""
    click.echo(text)


def cell(value: object) -> str:
    """Format one value: floats to four significant digits, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def size_text(count: int | None) -> str:
    """Format a number of bytes with decimal units, as file managers do."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def _print_plain(title: str, columns: Sequence[str], rows: list[list[str]]) -> None:
    if title:
        click.echo(title)
    heads = [column.lstrip(">") for column in columns]
    widths = _widths(columns, rows)
    for row in [heads, *rows]:
        cells = [
            text.rjust(width) if column.startswith(">") else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())
    click.echo()


def _whole_columns(columns: Sequence[str], widths: Sequence[int], room: int) -> set[int]:
    """Return which columns not to fold: names and numbers, as far as the others keep some room."""
    whole = {0, *(i for i, column in enumerate(columns) if column.startswith(">"))}
    needed = sum(width if i in whole else min(width, _FOLDED) for i, width in enumerate(widths))
    if needed + 3 * len(widths) <= room:
        return whole
    return {0} if 3 * widths[0] <= room else set()


def _widths(columns: Sequence[str], rows: list[list[str]]) -> list[int]:
    return [max([len(head.lstrip(">")), *(len(row[i]) for row in rows)]) for i, head in enumerate(columns)]


def _plain(value: object) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
