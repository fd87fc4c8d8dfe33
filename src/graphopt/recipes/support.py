"""Will ATC take a model: the tables of ``compile.support`` joined with what inference knows of it."""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from graphopt.compile.atc.npu_smi import detect_soc
from graphopt.compile.atc.soc import normalise_soc
from graphopt.compile.support.check import Support, check_model
from graphopt.compile.support.place import Aim, Typed
from graphopt.compile.support.records import Records, find_records
from graphopt.compile.support.releases import parse_release
from graphopt.compile.support.verdicts import Verdict, restricted
from graphopt.core.errors import PreconditionError
from graphopt.core.file_tensors import StrippedTensor
from graphopt.core.lineage import node_label
from graphopt.core.onnx_files import load_model
from graphopt.surgery.shapes.dynamic_causes import dynamic_causes
from graphopt.surgery.shapes.shape_analysis import analyse_sizes
from graphopt.surgery.shapes.shape_inference import Inferred

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A model file and what is said of it.

    Attributes:
        path: of the file.
        model: in memory; weights that the file lacks became inputs.
        support: the verdicts.
        records: that were heeded.
        stripped: number of weights that the file lacks.
    """

    path: Path
    model: ir.Model
    support: Support
    records: Records
    stripped: int = 0


def aim_at(soc: str, cann: str = "") -> Aim:
    """Return chip and release as users type them.

    Raises:
        UsageError: no such chip, or no release.
        MissingBackendError: ``auto`` without a driver here.
    """
    chip = detect_soc() if soc.lower() == "auto" else normalise_soc(soc)
    return Aim(soc=chip, release=parse_release(cann) if cann else None)


def check_file(path: Path, aim: Aim, *, records: Records | None = None) -> Checked:
    """Check an ONNX file, with or without its weights.

    Args:
        path: of the file.
        aim: chip and release.
        records: of the user's own; None takes the nearest ``graphopt-support.toml``.

    Raises:
        InvalidModelError: the file cannot be read.
        UsageError: the records cannot be understood.
    """
    model = load_model(path, allow_stripped=True)
    stripped = _stripped_to_inputs(model)
    records = find_records(Path.cwd()) if records is None else records
    support = check_loaded(model, aim, size_bytes=path.stat().st_size, records=records)
    return Checked(path=path, model=model, support=support, records=records, stripped=stripped)


def check_loaded(model: ir.Model, aim: Aim, *, size_bytes: int = 0, records: Records) -> Support:
    """Check a model in memory; see ``check_file``."""
    contradiction, open_at = "", tuple[str, ...]()
    try:
        analysis = analyse_sizes(model, inputs={})
    except PreconditionError as error:  # a look at a model does not end where its shapes do not fit
        types, contradiction = dict[ir.Value, Inferred](), str(error)
    else:
        types = analysis.types
        causes = dynamic_causes(model, types, analysis.folder.is_folded)
        open_at = tuple(f"{node_label(item.node)}: {item.why}" for item in causes if _is_inner(item.why))

    def type_of(value: ir.Value) -> Typed:
        return types.get(value) or _declared(value)

    support = check_model(model, aim, type_of, size_bytes=size_bytes, open_at=open_at, records=records)
    if not contradiction:
        return support
    return replace(support, model=(restricted("shapes", contradiction, "ONNX"), *support.model))


def refusal(checked: Checked) -> str:
    """Return why ATC would refuse a model: the first reasons, and the verb that tells all; else nothing."""
    support = checked.support
    reasons = [item.why for item in support.model if item.verdict is Verdict.UNSUPPORTED]
    reasons += [
        f"{item.name} ({item.operator}): {item.faults[0].why}"
        for item in support.nodes
        if item.verdict is Verdict.UNSUPPORTED
    ]
    if not reasons:
        return ""
    shown = "".join(f"\n  {reason}" for reason in reasons[:_NAMED])
    more = f"\n  and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    name, soc = checked.path.name, support.aim.soc
    return (
        f"ATC would refuse {name} for {soc}, or make something else of it:{shown}{more}\n"
        f"'graphopt support {checked.path} {options_text(support.aim)}' tells all, and which passes mend it"
    )


def hint(checked: Checked) -> str:
    """Return a note on what ATC takes with restrictions, as far as is known; empty when there is none."""
    counts = {name: count for name, count in checked.support.counts.items() if count and name != "fine"}
    if not counts:
        return ""
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"Nodes that are not plainly fine for ATC: {listed}; 'graphopt support' tells which."


def options_text(aim: Aim) -> str:
    """Return chip and release as options."""
    return f"--soc {aim.soc}" + (f" --cann {aim.release}" if aim.release else "")


def _declared(value: ir.Value) -> Inferred:
    shape = value.shape
    sizes = None if shape is None else tuple(n if isinstance(n, int) else n.value for n in shape)
    return Inferred(dtype=value.dtype, shape=sizes)


def _is_inner(why: str) -> bool:
    return not why.startswith("input ")  # open inputs have a finding of their own


def _stripped_to_inputs(model: ir.Model) -> int:
    """Let weights that the file lacks be inputs: their type is known, their numbers are not."""
    graph = model.graph
    gone = [value for value in graph.initializers.values() if isinstance(value.const_value, StrippedTensor)]
    for value in gone:
        assert value.name is not None
        del graph.initializers[value.name]
        value.const_value = None
        graph.inputs.append(value)
    return len(gone)
