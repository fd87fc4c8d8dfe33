"""Write the files of a new pass into the user's folder."""

import keyword
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from graphopt.core.discovery import names_in
from graphopt.core.errors import UsageError
from graphopt.core.files import atomic_file, check_output, output_errors, write_text
from graphopt.core.onnx_files import count_nodes, save_model
from graphopt.core.project_file import PROJECT_FILE, find_project_file, with_plugin
from graphopt.core.tensors import Array
from graphopt.surgery.catalogue import PACKAGE
from graphopt.surgery.scaffold.fixture import Fixture, make_fixture
from graphopt.surgery.scaffold.pattern import pattern_of
from graphopt.surgery.scaffold.texts import pass_text, run_text


@dataclass(frozen=True, kw_only=True)
class NewPass:
    """What was written.

    Attributes:
        files: the pass first, then its test, its fixture, and the project file when it changed.
        fixture_nodes: how many nodes the fixture has.
        notes: what to know about the fixture, sentences.
        commands: what to type next.
    """

    files: tuple[Path, ...]
    fixture_nodes: int
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def check_name(name: str, *, taken: tuple[str, ...], kind: str) -> None:
    """Refuse a name that is no word, or is taken.

    Args:
        name: of a file without its suffix.
        taken: names that exist.
        kind: of what, for the message.

    Raises:
        UsageError: the name cannot be used.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower() or name.startswith("_"):
        raise UsageError(f"{name!r} is no name for a {kind}: write a word such as remove_pad, in lower case")
    if name in taken:
        raise UsageError(f"there is a {kind} called {name}; choose another name")


def new_pass(
    name: str,
    model: ir.Model,
    node: ir.Node,
    folder: Path,
    *,
    source: Path,
    radius: int = 1,
    surgeon: bool = False,
    force: bool = False,
) -> NewPass:
    """Write a pass that finds a node's pattern, a fixture around the node, and a test that fails.

    Args:
        name: of the pass.
        model: holds the node; not changed.
        node: what to rewrite.
        folder: where the files go; made when absent.
        source: file of the model, for texts.
        radius: how many nodes the fixture reaches up and down.
        surgeon: write the pass on an onnx-graphsurgeon graph.
        force: replace existing files.

    Raises:
        UsageError: the name cannot be used.
        PreconditionError: the neighbourhood cannot be cut out.
        OutputError: a file exists, or cannot be written.
    """
    check_name(name, taken=names_in(PACKAGE), kind="pass")
    places = {word: folder / f"{name}{word}" for word in (".py", ".fixture.onnx", ".fixture.npz")}
    test = folder / f"test_{name}.py"
    for place in (places[".py"], test, places[".fixture.onnx"]) if folder.exists() else ():
        check_output(place, force=force)
    pattern = pattern_of(node, depth=max(radius, 1))
    fixture = make_fixture(model, node, radius=radius)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_model(fixture.model, places[".fixture.onnx"], force=force)
    if fixture.feeds is not None:
        _save_feeds(fixture.feeds, places[".fixture.npz"])
    text = run_text(
        name,
        fixture=places[".fixture.onnx"].name,
        feeds=places[".fixture.npz"].name if fixture.feeds is not None else "",
        runs=not fixture.problem,
        surgeon=surgeon,
    )
    write_text(test, text, force=force)
    write_text(places[".py"], pass_text(name, pattern, model=source.name, surgeon=surgeon), force=force)
    files = [places[".py"], test, places[".fixture.onnx"]]
    note = add_to_project(folder, f"{name}.py")
    if not note:
        files.append(folder / PROJECT_FILE)
    plugin = "" if not note and is_found(folder) else f" --plugin {shlex.quote(str(places['.py']))}"
    model_text = shlex.quote(str(source))
    return NewPass(
        files=tuple(files),
        fixture_nodes=count_nodes(fixture.model),
        notes=(*_notes(fixture), *([note] if note else [])),
        commands=(
            f"graphopt why {name} {model_text}{plugin}",
            f"pytest {shlex.quote(str(test))}",
            f"graphopt apply {model_text} --passes {name}{plugin}",
        ),
    )


def add_to_project(folder: Path, plugin: str) -> str:
    """List a plugin in the folder's ``graphopt.toml``; return why it could not be, or nothing."""
    place = folder / PROJECT_FILE
    try:
        text = place.read_text(encoding="utf-8") if place.is_file() else ""
        write_text(place, with_plugin(text, plugin))
    except (ValueError, UnicodeDecodeError) as error:
        return f"{place} was left as it is ({error})"
    return ""


def is_found(folder: Path) -> bool:
    """Whether verbs typed here read the ``graphopt.toml`` of a folder."""
    found = find_project_file(Path.cwd())
    return found is not None and found == (folder / PROJECT_FILE).resolve()


def _save_feeds(feeds: Mapping[str, Array], place: Path) -> None:
    with atomic_file(place, force=True) as temporary, tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "feeds.npz")  # noqa: PTH118  numpy adds a suffix to other names
        np.savez_compressed(path, **feeds)  # type: ignore[arg-type]
        temporary.write_bytes(Path(path).read_bytes())


def _notes(fixture: Fixture) -> tuple[str, ...]:
    notes = []
    if fixture.shrunk:
        notes.append("the weights of the fixture were cut down; sizes are not those of the model")
    if fixture.feeds is not None:
        notes.append("its inputs were recorded from a run of the whole model")
    if fixture.problem:
        notes.append(f"onnxruntime does not run it, so its test cannot compare numbers: {fixture.problem}")
    return tuple(notes)
