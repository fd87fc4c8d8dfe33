"""All passes, shipped and the user's own: found by name, built from steps, described for lists and pages."""

import dataclasses
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphopt.core.discovery import did_you_mean, find_class, names_in
from graphopt.core.errors import UsageError
from graphopt.core.plugins import class_of_plugin, load_plugin, loaded_plugins, plugin_of
from graphopt.surgery.graph_pass import Pass
from graphopt.surgery.options import option_types, plain, type_text, typed_options
from graphopt.surgery.steps import PassStep

PACKAGE = "graphopt.surgery.passes"
_WORDS = "Why|Before|After|Seen in|Known as|Attributes|Args|Raises"


@dataclass(frozen=True, kw_only=True)
class OptionInfo:
    """One option of a pass.

    Attributes:
        name: as typed.
        type: in words.
        default: as typed; None when the option must be given.
        doc: one sentence; empty when undocumented.
    """

    name: str
    type: str
    default: str | None
    doc: str


@dataclass(frozen=True, kw_only=True)
class PassInfo:
    """A pass in a list.

    Attributes:
        name: as typed.
        effect: ``exact``, ``approximate`` or ``target only``.
        bound: of an approximate pass, in words.
        summary: first line of its description.
        why: the reason to have it.
        before: the graph it looks for.
        after: what it makes of it.
        seen_in: exported graphs on which it fires: raw graphs of real models, or specimens of the tests.
        known_as: what engineers call it who do it by hand; empty when there is no such name.
        options: in the order of declaration.
        plugin: file that defines it; empty for one of graphopt.
    """

    name: str
    effect: str
    bound: str
    summary: str
    why: str
    before: str
    after: str
    seen_in: tuple[str, ...]
    known_as: str
    options: tuple[OptionInfo, ...]
    plugin: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return dataclasses.asdict(self)


def pass_names() -> tuple[str, ...]:
    """Return the names of all passes, importing none of graphopt's.

    Raises:
        UsageError: as ``plugin_passes``.
    """
    return tuple(sorted([*names_in(PACKAGE), *plugin_passes()]))


def plugin_passes() -> dict[str, type[Pass]]:
    """Return the passes of all loaded plugins, by name.

    Raises:
        UsageError: a plugin cannot be loaded, holds nothing that graphopt knows, or its pass has
            the name of another one.
    """
    found: dict[str, type[Pass]] = {}
    for plugin in loaded_plugins():
        cls = class_of_plugin(plugin, Pass)
        if cls is None:
            if not hasattr(plugin.module, "RECIPE") and not hasattr(plugin.module, "OPERATOR"):
                raise UsageError(
                    f"{plugin.path} holds neither a pass (a public class derived from GraphPass, "
                    "GraphSurgeonPass or ModelPass of graphopt.surgery), nor a RECIPE, nor an OPERATOR"
                )
            continue
        if plugin.name in names_in(PACKAGE):
            raise UsageError(f"{plugin.path}: {plugin.name} is a pass of graphopt; rename file and pass")
        if plugin.name in found:
            other = plugin_of(found[plugin.name])
            raise UsageError(
                f"two plugins define the pass {plugin.name}: {other.path if other else '?'} and {plugin.path}"
            )
        found[plugin.name] = cls
    return found


def plugin_sha256(item: type[Pass]) -> str:
    """Return the sha256 of the plugin that defines a pass; empty for one of graphopt."""
    plugin = plugin_of(item)
    return plugin.sha256 if plugin else ""


def find_pass(name: str) -> type[Pass]:
    """Return the class of a pass.

    Args:
        name: of the pass, or a plugin's file ``FILE.py``, which is loaded.

    Raises:
        UsageError: there is none of that name; the message offers the nearest.
    """
    if name.endswith(".py"):
        name = load_plugin(Path(name)).name
    own = plugin_passes()
    if name in own:
        return own[name]
    if name not in names_in(PACKAGE):
        here = Path(f"{name}.py")
        own_file = f"; {here} is here: --plugin {here}" if here.is_file() else ""
        near = did_you_mean(name, pass_names())
        hint = near if near.startswith("did") else "'graphopt passes' lists all"
        raise UsageError(f"unknown pass {name!r}; {hint} (a pass of your own: --plugin FILE.py{own_file})")
    return find_class(PACKAGE, name, Pass, kind="pass")


def make_pass(step: PassStep) -> Pass:
    """Build the pass of a step.

    Raises:
        UsageError: an unknown pass or option, a missing option, or a value of the wrong type.
    """
    cls = find_pass(step.name)
    return cls(**typed_options(step.name, cls, step.options))


def options_of(item: Pass) -> dict[str, Any]:
    """Return the options of a pass as plain data."""
    if not dataclasses.is_dataclass(item):
        return {}
    return {field.name: plain(getattr(item, field.name)) for field in dataclasses.fields(item)}


def describe_passes() -> tuple[PassInfo, ...]:
    """Describe every pass, sorted by name."""
    return tuple(describe_pass(find_pass(name)) for name in pass_names())


def describe_pass(cls: type[Pass]) -> PassInfo:
    """Describe one pass from its class and docstring."""
    doc = inspect.getdoc(cls) or ""
    return PassInfo(
        name=cls.name,
        effect=cls.effect.value,
        bound=cls.bound,
        summary=doc.partition("\n")[0].strip(),
        why=_part(doc, "Why"),
        before=_part(doc, "Before"),
        after=_part(doc, "After"),
        seen_in=tuple(re.findall(r"[\w-]+", _part(doc, "Seen in"))),
        known_as=_part(doc, "Known as").rstrip("."),
        options=_options(cls, doc),
        plugin=str(plugin.path) if (plugin := plugin_of(cls)) else "",
    )


def _part(doc: str, word: str) -> str:
    """Return what follows ``word:`` up to the next such word, section or empty line."""
    match = re.search(rf"\b{word}:(.*?)(?=\b(?:{_WORDS}):|\n\s*\n|\Z)", doc, re.S)
    return " ".join(match[1].split()) if match else ""


def _options(cls: type[Pass], doc: str) -> tuple[OptionInfo, ...]:
    kinds = option_types(cls)
    defaults = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return tuple(
        OptionInfo(
            name=name, type=type_text(kind), default=_default(defaults[name]), doc=_option_doc(doc, name)
        )
        for name, kind in kinds.items()
    )


def _default(field: "dataclasses.Field[Any]") -> str | None:
    if field.default is not dataclasses.MISSING:
        value = plain(field.default)
    elif field.default_factory is not dataclasses.MISSING:
        value = plain(field.default_factory())
    else:
        return None
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _option_doc(doc: str, name: str) -> str:
    section = re.search(r"^Attributes:\n((?:[ \t]+.*\n?|\n)*)", doc, re.M)
    if not section:
        return ""
    entry = re.search(rf"^([ \t]+){name}:(.*\n?(?:\1[ \t]+.*\n?)*)", section[1], re.M)
    return " ".join(entry[2].split()) if entry else ""
