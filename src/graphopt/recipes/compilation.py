"""Join a model, its batch sizes and a compile target."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from graphopt.compile.target import Plan, Target, find_target
from graphopt.core.artefacts import Artefact
from graphopt.core.errors import MissingBackendError, ToolFailure, UnsupportedError, UsageError
from graphopt.core.files import atomic_folder, output_errors
from graphopt.core.onnx_files import input_specs, load_model, output_specs
from graphopt.core.operators import at_home, operator_modules
from graphopt.core.roles import Roles
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.batches import BatchCopies
from graphopt.recipes.catalogue import find_recipe
from graphopt.recipes.mending import mends
from graphopt.recipes.recipe import Recipe
from graphopt.recipes.roles import roles_by_tensor, with_roles
from graphopt.recipes.support import aim_at, check_file, hint, refusal
from graphopt.surgery import Verify


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What compiling for one target left in its folder.

    Attributes:
        target: its name.
        artefacts: what a runtime loads; empty when only a script was written.
        plans: one per batch size, as JSON.
        models: ONNX files made for the batch sizes.
        missing: why no artefact was built; empty when it was, or was not asked for.
        refused: why the target would not take the model, although it was to be compiled all the same.
    """

    target: str
    artefacts: tuple[Artefact, ...]
    plans: tuple[dict[str, Any], ...]
    models: tuple[Path, ...] = ()
    missing: str = ""
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; files by their name in the folder."""
        return {
            "target": self.target,
            "artefacts": [item.path.name for item in self.artefacts],
            "models": [path.name for path in self.models],
            "plans": list(self.plans),
            "missing": self.missing,
            "refused": self.refused,
        }


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """What to compile for.

    Attributes:
        target: name of the target.
        soc: chip, for ``atc``.
        batches: sizes to make a model for; empty keeps the model's own.
        script_only: for ``atc``: write the script and do not look for the program.
        options: further options of the target, as texts.
        roles: of the model's outputs, for the sidecars.
        cann: release that ``atc`` comes from; empty when it is not known.
        allow_unsupported: compile for ``atc`` also what it would refuse.
    """

    target: str
    soc: str = ""
    batches: tuple[int, ...] = ()
    script_only: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    roles: Roles | None = None
    cann: str = ""
    allow_unsupported: bool = False


def make_target(request: CompileOptions, recipe: Recipe | None) -> Target:
    """Return the target with its options; the recipe's published ones are the defaults.

    Raises:
        UsageError: an unknown target, option or chip.
    """
    kind = find_target(request.target)
    if request.target == "atc":
        if not request.soc:
            raise UsageError("--target atc needs --soc, e.g. --soc 310P3, or --soc auto on the device box")
        from graphopt.compile.targets.atc import AtcTarget

        options = {**(recipe.atc if recipe else {}), **request.options}
        return AtcTarget(
            soc=request.soc, options=options, script_only=request.script_only, record_types=_record_types
        )
    for_atc = {
        "--script-only": request.script_only,
        "--soc": request.soc,
        "--cann": request.cann,
        "--allow-unsupported": request.allow_unsupported,
    }
    if word := next((name for name, given in for_atc.items() if given), ""):
        raise UsageError(f"{word} is for --target atc; {request.target} has no use for it")
    if request.options:
        return kind(**_typed(kind, request.options))
    return kind()


def in_order(outputs: Sequence[TensorSpec], recipe: Recipe | None) -> tuple[TensorSpec, ...]:
    """Return a graph's outputs as a compiled model has them: in the recipe's order, if they are the same."""
    wanted = [spec.name for spec in recipe.outputs] if recipe else []
    by_name = {spec.name: spec for spec in outputs}
    return tuple(by_name[name] for name in wanted) if set(wanted) == set(by_name) else tuple(outputs)


def _refuse_exporters_operators(model: Path, target: str) -> None:
    """Refuse for ATC what only an exporter knows, before copies are made; with the passes that mend it."""
    if target != "atc":
        return
    found = ((node, at_home(node)) for node in load_model(model).graph.all_nodes())
    left = Counter(
        node.op_type for node, operator in found if operator is not None and not operator.is_target
    )
    if not left:
        return
    words = " and ".join(f"{count} {name}" for name, count in left.items())
    passes = ",".join(dict.fromkeys(name for op_type in left for name in mends([op_type])[:1]))
    advice = f"graphopt apply {model} --passes {passes}" if passes else f"graphopt support {model}"
    own = [path for item, _, path in operator_modules() if path and item.op_type in left]
    known = f"; or, if your operator package teaches ATC, say is_target=True in {own[0]}" if own else ""
    raise UsageError(f"{model} holds {words}, which ATC does not know; rewrite first: {advice}{known}")


def _record_types(model: ir.Model, values: Sequence[ir.Value]) -> None:
    from graphopt.surgery.shapes.shape_inference import infer_types, record_types

    if values:
        found = infer_types(model)
        record_types({value: found[value] for value in values if value in found})


def compile_model(
    model: Path,
    folder: Path,
    request: CompileOptions,
    *,
    stem: str,
    recipe: Recipe | None,
    force: bool,
    log_folder: Path | None = None,
) -> Compiled:
    """Compile one model, for one or several batch sizes, into a folder.

    Args:
        model: ONNX file; never modified.
        folder: of the results; must exist.
        request: what to compile for.
        stem: of the files' names; ``_bsN`` is added for each batch size.
        recipe: of the model, if known.
        force: replace existing files.
        log_folder: where the log of a compiler that fails is kept; None leaves it in ``folder``.

    Raises:
        GraphoptError: as ``Target.compile``; a missing ``atc`` is in ``Compiled.missing`` instead,
            as its script has been written.
    """
    make_target(request, recipe)  # refuse a wrong option before the model is looked at
    refused, hints = _supported(model, request)
    _refuse_exporters_operators(model, request.target)
    request = _with_order(model, request, recipe)
    target = make_target(request, recipe)
    name = recipe.name if recipe else ""
    sources = _batch_sources(model, folder, request, stem=stem, recipe_name=name, force=force)
    artefacts, plans, missing = [], [], ""
    for source, output_stem in sources:
        output = folder / f"{output_stem}{target.suffix}"
        plans.append(_with_notes(target.plan(source, output), hints).to_json())
        try:
            artefacts.append(
                _with_roles(target.compile(source, output, force=force, recipe=name), model, request)
            )
        except MissingBackendError as error:
            if request.target != "atc":
                raise
            missing += f"; likewise {output_stem}.atc.sh" if missing else str(error)
        except ToolFailure as error:
            raise _naming_log(error, output.with_suffix(".atc.log"), log_folder or folder) from error
    built = () if request.script_only or missing else tuple(artefacts)
    models = tuple(source for source, _ in sources if source != model)
    return Compiled(
        target=request.target,
        artefacts=built,
        plans=tuple(plans),
        models=models,
        missing=missing,
        refused=refused,
    )


def _supported(model: Path, request: CompileOptions) -> tuple[str, tuple[str, ...]]:
    """Return why ATC would refuse the model, if that is to be ignored, and notes for the plan.

    Raises:
        UnsupportedError: ATC would refuse it.
    """
    if request.target != "atc":
        return "", ()
    checked = check_file(model, aim_at(request.soc, request.cann))
    refused = refusal(checked)
    if refused and not request.allow_unsupported:
        raise UnsupportedError(f"{refused}; --allow-unsupported compiles it all the same")
    note = refused or hint(checked)
    return refused, (note,) if note else ()


def _with_notes(plan: Plan, notes: tuple[str, ...]) -> Plan:
    return replace(plan, notes=(*plan.notes, *notes))


def _with_order(model: Path, request: CompileOptions, recipe: Recipe | None) -> CompileOptions:
    """Name the outputs for ATC where the recipe wants another order than the graph has."""
    if request.target != "atc" or "out_nodes" in {**(recipe.atc if recipe else {}), **request.options}:
        return request
    outputs = output_specs(load_model(model))
    ordered = in_order(outputs, recipe)
    if ordered == outputs:
        return request
    names = ";".join(spec.name for spec in ordered)
    return replace(request, options={**request.options, "out_nodes": names})


def _with_roles(artefact: Artefact, model: Path, request: CompileOptions) -> Artefact:
    if request.roles is None:
        return artefact
    named = roles_by_tensor(load_model(model), request.roles)
    artefact = replace(artefact, outputs=with_roles(artefact.outputs, named))
    artefact.save()
    return artefact


def _naming_log(error: ToolFailure, log: Path, keep_in: Path) -> ToolFailure:
    if not log.is_file():
        return error
    kept = keep_in / log.name
    if kept != log:
        with output_errors(kept):
            shutil.copyfile(log, kept)
    message = f"{error}\nthe whole log is {kept}"
    return ToolFailure(message, argv=error.argv, returncode=error.returncode, log_tail=error.log_tail)


def _batch_sources(
    model: Path,
    folder: Path,
    request: CompileOptions,
    *,
    stem: str,
    recipe_name: str,
    force: bool,
    verify: Verify = Verify.FINAL,
) -> list[tuple[Path, str]]:
    """Return (ONNX file, stem of the artefact) per batch size, made where needed."""
    if not request.batches and request.target != "atc":
        return [(model, stem)]
    sizes = request.batches or (_own_batch(model),)
    sources = []
    copies = BatchCopies(model, recipe_name=recipe_name, roles=request.roles, verify=verify)
    for size in sizes:
        place = folder / f"{stem}_bs{size}.onnx"
        copies.write(place, size, force=force)
        sources.append((place, f"{stem}_bs{size}"))
    return sources


def _own_batch(model: Path) -> int:
    for spec in input_specs(load_model(model)):
        if spec.shape and isinstance(spec.shape[0], int):
            return spec.shape[0]
    raise UsageError(f"the batch of {model} is dynamic: say for which sizes to compile, e.g. --batch 1,8")


def _typed(kind: type[Target], options: Mapping[str, str]) -> dict[str, Any]:
    """Turn option texts into the types of the target's fields."""
    import dataclasses

    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, text in options.items():
        if name not in known:
            raise UsageError(
                f"target {kind.name} has no option {name!r}; it has: {', '.join(known) or 'none'}"
            )
        if known[name].type in (bool, "bool"):
            if text.lower() not in ("true", "false"):
                raise UsageError(f"option {name} of target {kind.name} is true or false, not {text!r}")
            values[name] = text.lower() == "true"
        else:
            values[name] = text
    return values


def compile_into(
    folder: Path, model: Path, request: CompileOptions, *, recipe_name: str = "", force: bool = False
) -> Compiled:
    """Compile into a new folder that appears whole.

    Args:
        folder: of the results; must not exist without ``force``.
        model: ONNX file.
        request: what to compile for.
        recipe_name: of the model; empty reads the sidecar.
        force: replace the folder.

    Raises:
        GraphoptError: as ``compile_model``; the log of a compiler that failed stays beside ``folder``.
    """
    recipe = _recipe_of(model, recipe_name)
    make_target(request, recipe)  # refuse a wrong option before anything is written
    with atomic_folder(folder, force=force) as temporary:
        compiled = compile_model(
            model,
            temporary,
            request,
            stem=_stem(model, recipe),
            recipe=recipe,
            force=True,
            log_folder=folder.parent,
        )
        moved = tuple(replace(item, path=folder / item.path.name) for item in compiled.artefacts)
        models = tuple(folder / path.name for path in compiled.models)
        return replace(compiled, artefacts=moved, models=models)


def plan_for(model: Path, request: CompileOptions, *, recipe_name: str = "") -> tuple[Plan, ...]:
    """Return what compiling would do, one plan per batch size; writes and starts nothing.

    Raises:
        GraphoptError: the target would refuse.
    """
    recipe = _recipe_of(model, recipe_name)
    make_target(request, recipe)  # refuse a wrong option before the model is looked at
    _, hints = _supported(model, request)
    _refuse_exporters_operators(model, request.target)
    request = _with_order(model, request, recipe)
    target = make_target(request, recipe)
    stem = _stem(model, recipe)
    if not request.batches and request.target != "atc":
        return (target.plan(model, model.with_name(f"{stem}{target.suffix}")),)
    plans = []
    with tempfile.TemporaryDirectory(prefix="graphopt-plan-") as scratch:
        for place, output_stem in _batch_sources(
            model,
            Path(scratch),
            request,
            stem=stem,
            recipe_name=recipe.name if recipe else "",
            force=True,
            verify=Verify.OFF,
        ):
            plan = target.plan(place, Path(scratch) / f"{output_stem}{target.suffix}")
            plans.append(_with_notes(plan, hints))
    return tuple(plans)


def _recipe_of(model: Path, recipe_name: str) -> Recipe | None:
    if recipe_name:
        return find_recipe(recipe_name)
    artefact = Artefact.load(model) if model.is_file() else None
    return find_recipe(artefact.recipe) if artefact is not None and artefact.recipe else None


def _stem(model: Path, recipe: Recipe | None) -> str:
    # The published calls name the artefact after the model, and `deepmar.opt` is still deepmar.
    return recipe.stem if recipe is not None else model.name.partition(".")[0]
