"""Roles of outputs: from the sidecar, the recipe or the user, and passes that name outputs by role."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.core.artefacts import Artefact
from graphopt.core.errors import UsageError
from graphopt.core.roles import Roles
from graphopt.core.tensors import TensorSpec
from graphopt.recipes.recipe import Recipe
from graphopt.surgery import PassStep

if TYPE_CHECKING:
    import onnx_ir as ir

_PIN = "pin_outputs"


def known_outputs(model: Path, recipe: Recipe | None) -> tuple[TensorSpec, ...]:
    """Return what is known of a model's outputs: its sidecar's, else its recipe's."""
    return outputs_of(Artefact.load(model) if model.is_file() else None, recipe)


def outputs_of(artefact: Artefact | None, recipe: Recipe | None) -> tuple[TensorSpec, ...]:
    """Return what is known of a model's outputs, its sidecar having been read."""
    if artefact is not None and any(spec.role for spec in artefact.outputs):
        return artefact.outputs
    return recipe.outputs if recipe is not None else ()


def needs_roles(steps: Sequence[PassStep], roles: Roles | None) -> bool:
    """Whether ``resolve`` has anything to do."""
    return roles is not None or any(step.name == _PIN for step in steps)


def resolve(
    model: "ir.Model", steps: Sequence[PassStep], known: Sequence[TensorSpec], roles: Roles | None
) -> tuple[tuple[PassStep, ...], tuple[TensorSpec, ...]]:
    """Put tensors in place of roles, and roles on tensors.

    Roles without tensors follow the order of the outputs: the model's own where ``pin_outputs`` picks
    by role, else those that the last ``pin_outputs`` leaves.

    Args:
        model: the source; not changed.
        steps: to run; of ``pin_outputs``, ``names`` may hold roles (a tensor of that name comes first).
        known: what sidecar or recipe say of its outputs.
        roles: what the user says; None for nothing.

    Returns:
        The steps with tensor names only, and what is then known of tensors.

    Raises:
        UsageError: the roles do not fit the outputs, or a named tensor does not exist.
    """
    own = _names_of(model.graph.outputs)
    pinned = [_names(step) for step in steps if step.name == _PIN]
    tensors = _tensors(model)
    picks = roles is not None and any(
        n in roles.names and n not in tensors for names in pinned for n in names
    )
    words = {*(roles.names if roles else ()), *(spec.role for spec in known if spec.role)}
    for names in pinned:
        _check_spelling(model, names, words)
    if roles is not None:
        ordered = own if picks or not pinned else _exact(model, pinned[-1])
        known = _with(known, roles_by_tensor(model, roles, ordered))
    by_role = {spec.role: spec.name for spec in known if spec.role and spec.name in tensors}

    def resolved(step: PassStep) -> PassStep:
        names = tuple(n if n in tensors else by_role.get(n, n) for n in _names(step))
        return replace(step, options={**step.options, "names": names})

    return tuple(resolved(step) if step.name == _PIN else step for step in steps), tuple(known)


def roles_by_tensor(model: "ir.Model", roles: Roles, outputs: Sequence[str] = ()) -> dict[str, str]:
    """Return tensor -> role.

    Args:
        model: whose tensors they are.
        roles: as the user says.
        outputs: what roles without tensors follow; none: the model's outputs.

    Raises:
        UsageError: a tensor does not exist, or there are not as many outputs as roles.
    """
    from graphopt.surgery.lookup import find_tensors

    if roles.tensors:
        roles = replace(roles, tensors=tuple(_names_of(find_tensors(model, roles.tensors))))
    return roles.by_tensor(outputs or _names_of(model.graph.outputs))


def with_roles(specs: Sequence[TensorSpec], by_tensor: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    """Return the specs, those of ``by_tensor`` with its role."""
    return tuple(replace(spec, role=by_tensor.get(spec.name, spec.role)) for spec in specs)


def _check_spelling(model: "ir.Model", names: Sequence[str], roles: Iterable[str]) -> None:
    """Offer a role for a name that is nearly one; ``pin_outputs`` itself knows only tensors."""
    words = sorted(roles)
    for name in names:
        near = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
        unknown = _exact(model, [name]) == [name] and name not in _tensors(model)
        if near and unknown and name not in words:
            raise UsageError(f"pin_outputs: there is no tensor or role {name!r}; did you mean {near[0]}?")


def _with(known: Sequence[TensorSpec], by_tensor: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    names = {spec.name for spec in known}
    new = [TensorSpec(name=name, shape=(), dtype="") for name in by_tensor if name not in names]
    return with_roles([*known, *new], by_tensor)


def _tensors(model: "ir.Model") -> "Mapping[str, ir.Value]":
    from graphopt.surgery.lookup import tensors_by_name

    return tensors_by_name(model.graph)


def _names_of(values: "Iterable[ir.Value]") -> list[str]:
    return [value.name or "" for value in values]


def _names(step: PassStep) -> tuple[str, ...]:
    names = step.options.get("names", ())
    if isinstance(names, str):
        return tuple(names.split("+"))
    return tuple(map(str, names)) if isinstance(names, tuple | list) else ()


def _exact(model: "ir.Model", names: Sequence[str]) -> list[str]:
    """Return tensor names for names and ``NODE:INDEX``; one that an earlier pass will make stays as it is."""
    from graphopt.surgery.lookup import find_tensors

    found = []
    for name in names:
        try:
            found += _names_of(find_tensors(model, [name]))
        except UsageError:
            found.append(name)
    return found
