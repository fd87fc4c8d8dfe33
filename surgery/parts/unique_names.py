"""Give values and nodes of several models names that are unique among all of them."""

import re
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir


def make_names_unique(
    prefixes: Sequence[str], models: Sequence[ir.Model], claims: Sequence[tuple[int, ir.Value]]
) -> tuple[Mapping[str, str], ...]:
    """Rename what clashes: the later model gives way, unless the name is one of its claims.

    Function bodies keep their names: they are scopes of their own.

    Args:
        prefixes: one per model; ``PREFIX_`` is put before a name that clashes.
        models: changed in place.
        claims: (which model, value) of values that keep their names first, the strongest first.

    Returns:
        Per model, old name -> new name of the values that were renamed.
    """
    owners: dict[str, int] = {}
    for index, value in claims:
        owners.setdefault(value.name or "", index)
    all_names = [{value.name for value in _values(model)} for model in models]
    taken = {name for names in all_names for name in names if name}
    kept: set[str] = set()
    renamed: list[Mapping[str, str]] = []
    node_names: set[str] = set()
    for index, model in enumerate(models):
        prefix = re.sub(r"\W+", "_", prefixes[index])
        new_names: dict[str, str] = {}
        for name in sorted(name for name in all_names[index] if name):
            if name in kept or owners.get(name, index) != index:
                new_names[name] = _fresh(f"{prefix}_{name}", taken)
            else:
                kept.add(name)
        # Values first lose the name that another one gets.
        clashing = [(value, new_names[value.name]) for value in _values(model) if value.name in new_names]
        for value, name in clashing:
            _rename(value, name)
        _rename_nodes(model, prefix, node_names)
        renamed.append(new_names)
    return tuple(renamed)


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in (model.graph, *model.graph.subgraphs()):
        seen = dict.fromkeys((*graph.inputs, *graph.initializers.values()))
        yield from seen
        for node in graph:
            yield from node.outputs


def _rename(value: ir.Value, name: str) -> None:
    value.name = name
    if value.const_value is not None:
        value.const_value.name = name


def _rename_nodes(model: ir.Model, prefix: str, taken: set[str]) -> None:
    for node in model.graph.all_nodes():
        if node.name:
            node.name = node.name if node.name not in taken else _fresh(f"{prefix}_{node.name}", taken)
            taken.add(node.name)


def _fresh(stem: str, taken: set[str]) -> str:
    name, count = stem, 1
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    return name
