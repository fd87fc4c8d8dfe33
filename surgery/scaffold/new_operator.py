"""Write the files of a new operator into the user's folder."""

import keyword
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from graphopt.core import operators
from graphopt.core.discovery import names_in
from graphopt.core.errors import PreconditionError, UsageError
from graphopt.core.files import check_output, output_errors, write_text
from graphopt.core.foreign_operator import attributes_of
from graphopt.core.lineage import node_label
from graphopt.core.project_file import PROJECT_FILE
from graphopt.surgery.scaffold.new_pass import add_to_project, check_name, is_found
from graphopt.surgery.scaffold.operator_texts import Seen, Tensor, operator_text, test_text
from graphopt.surgery.shapes.shape_inference import Inferred, infer_types

OWN_HOME = "custom"
"""Home of operators that are written in the default domain, where calls cannot be told from ONNX's own."""


@dataclass(frozen=True, kw_only=True)
class NewOperator:
    """What was written.

    Attributes:
        files: the operator first, then its test, and the project file when it changed.
        op_type: of the operator.
        calls: how many the model has.
        notes: what to know, sentences.
        commands: what to type next.
    """

    files: tuple[Path, ...]
    op_type: str
    calls: int
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def new_operator(
    name: str, model: ir.Model, node: ir.Node, folder: Path, *, source: Path, force: bool = False
) -> NewOperator:
    """Write an operator whose body is yet to be written, and a test that compares it with PyTorch.

    Args:
        name: of the file.
        model: holds the node; not changed.
        node: a call of the operator.
        folder: where the files go; made when absent.
        source: file of the model, for texts.
        force: replace existing files.

    Raises:
        UsageError: the name cannot be used, or the operator is ONNX's own or known already.
        OutputError: a file exists, or cannot be written.
    """
    check_name(name, taken=names_in(operators.__name__), kind="operator")
    places = (folder / f"{name}.py", folder / f"test_{name}.py")
    for place in places if folder.exists() else ():
        check_output(place, force=force)
    seen = look_at(model, node, source.name, domain=_domain(model, node, places[0]))
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(places[0], operator_text(seen, home=seen.domain or OWN_HOME), force=force)
    write_text(places[1], test_text(name, seen), force=force)
    note = add_to_project(folder, f"{name}.py")
    files = places if note else (*places, folder / PROJECT_FILE)
    plugin = "" if not note and is_found(folder) else f" --plugin {shlex.quote(str(places[0]))}"
    same = sum(other.op_identifier() == node.op_identifier() for other in model.graph.all_nodes())
    model_text = shlex.quote(str(source))
    return NewOperator(
        files=files,
        op_type=seen.op_type,
        calls=same,
        notes=(*_notes(seen), *([note] if note else [])),
        commands=(
            f"pytest {shlex.quote(str(places[1]))}",
            f"graphopt operators --in {model_text}{plugin}",
            f"graphopt apply {model_text} --preset clean{plugin}",
        ),
    )


def look_at(model: ir.Model, node: ir.Node, model_name: str, *, domain: str) -> Seen:
    """Gather what one call tells of its operator, which the file has in ``domain``."""
    try:
        types = infer_types(model)
    except PreconditionError:
        types = {}
    taken: set[str] = set()
    values = attributes_of(node)
    attributes = {
        key: (item.type.name, values.get(key)) for key, item in node.attributes.items() if not item.is_ref()
    }
    taken.update(attributes)
    return Seen(
        op_type=node.op_type,
        domain=domain,
        label=node_label(node),
        model=model_name,
        opset=max(model.opset_imports.get("", 11), 11),
        inputs=tuple(_tensor(value, f"input_{i}", types, taken) for i, value in enumerate(node.inputs)),
        outputs=tuple(_tensor(value, f"output_{i}", types, taken) for i, value in enumerate(node.outputs)),
        attributes=attributes,
    )


def _domain(model: ir.Model, node: ir.Node, place: Path) -> str:
    """Return the domain that a call has in its file; refuse what needs no new operator.

    One that ``place`` itself describes is written anew.
    """
    label = f"{node.op_type} {node_label(node)}"
    if node.op_identifier() in model.functions:
        raise UsageError(f"{label} is a call of a function in the model, which says what it computes")
    if operators.is_standard(node.domain, node.op_type):
        raise UsageError(f"{label} is an operator of ONNX itself; name a node of one that nobody knows")
    known = operators.operator_of(node)
    if known is None:
        return node.domain
    files = {id(item): file for item, _, file in operators.operator_modules()}
    if Path(files.get(id(known)) or "-").resolve() != place.resolve():
        raise UsageError(f"{label} is known already: graphopt operators {node.op_type}")
    return known.domains[0] if known.domains else node.domain


def _tensor(value: ir.Value | None, spare: str, types: dict[ir.Value, Inferred], taken: set[str]) -> Tensor:
    if value is None:
        return Tensor(name=spare, dtype="", shape=None, given=False)
    found = types.get(value)
    dtype = found.dtype if found is not None and found.dtype is not None else value.dtype
    shape = found.shape if found is not None else None
    if shape is None and value.shape is not None:
        shape = tuple(size if isinstance(size, int) else size.value for size in value.shape)
    word = re.sub(r"\W", "_", value.name or "").strip("_").lower()
    usable = word.isidentifier() and not keyword.iskeyword(word) and word not in taken and len(word) <= 20
    name = word if usable and word not in ("call", "new", "inputs", "np", "ir") else spare
    taken.add(name)
    return Tensor(name=name, dtype="" if dtype is None else dtype.numpy().name, shape=shape)


def _notes(seen: Seen) -> tuple[str, ...]:
    notes = []
    if any(item.given and (item.shape is None or not item.dtype) for item in seen.inputs):
        notes.append("some inputs have no known dtype or shape: correct those of the test")
    if not seen.domain:
        notes.append(
            f"it is written in the default domain; graphopt keeps its calls in the domain {OWN_HOME}"
        )
    odd = [name for name, (_, value) in seen.attributes.items() if value is None]
    if odd:
        notes.append(f"the body cannot depend on the attributes {', '.join(odd)}")
    return tuple(notes)
