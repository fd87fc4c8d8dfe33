"""A user's own passes and recipes: loose Python files that he named, run as his own code.

A file that was loaded stays so until ``plugin_scope`` ends; catalogues ask ``loaded_plugins``. What
is only declared (a project file lists it) is loaded when a catalogue is first asked, so that verbs
that need no plugin run no code.
"""

import contextlib
import hashlib
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from graphopt.core.errors import UsageError

T = TypeVar("T")

PLUGIN_MODULES = "graphopt_plugin_"
"""Start of the names that plugins have as modules; no dot, as pickle would look for a package."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A loaded file.

    Attributes:
        path: as it was named.
        sha256: of exactly the text that ran.
        module: what it defines.
    """

    path: Path
    sha256: str
    module: ModuleType

    @property
    def name(self) -> str:
        """The word that users type for what is in it."""
        return self.path.stem


@dataclass
class _Loaded:
    """All that is known of plugins in this process."""

    by_place: dict[Path, Plugin] = field(default_factory=dict)
    waiting: list[tuple[Path, Callable[[Plugin], None], Path | None]] = field(default_factory=list)


_loaded = _Loaded()


def load_plugin(path: Path) -> Plugin:
    """Run a plugin's file, unless this very text has been run; what it prints goes to stderr.

    Raises:
        UsageError: there is no such file, its name is no word, or it fails; names its own lines.
    """
    place = _checked(path)
    try:
        source = place.read_bytes()
    except OSError as error:
        raise UsageError(f"the plugin {path} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256(source).hexdigest()
    known = _loaded.by_place.get(place)
    if known is not None and known.sha256 == digest:
        return known
    module = ModuleType(f"{PLUGIN_MODULES}{place.stem}_{digest[:12]}")
    module.__file__ = str(place)
    sys.modules[module.__name__] = module  # dataclasses and type hints look there
    linecache.checkcache(str(place))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(source, str(place), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise UsageError(_failed(path, place, error)) from error
    plugin = Plugin(path=path, sha256=digest, module=module)
    if known is not None:
        sys.modules.pop(known.module.__name__, None)
    _loaded.by_place[place] = plugin
    return plugin


def declare_plugin(path: Path, on_load: Callable[[Plugin], None], *, listed_in: Path | None = None) -> None:
    """Have a plugin loaded when ``loaded_plugins`` is next asked.

    Args:
        path: of the file.
        on_load: told when it was.
        listed_in: the file that names it; an error then says so.
    """
    _loaded.waiting.append((path, on_load, listed_in))


def loaded_plugins() -> tuple[Plugin, ...]:
    """Return all plugins, after loading those that were only declared.

    Raises:
        UsageError: as ``load_plugin``.
    """
    while _loaded.waiting:
        path, on_load, listed_in = _loaded.waiting.pop(0)
        if listed_in is not None and not path.is_file():
            raise UsageError(
                f"the plugin {path}, which {listed_in} lists, does not exist; take it off the list"
            )
        if path.resolve() not in _loaded.by_place:
            on_load(load_plugin(path))
    return tuple(_loaded.by_place.values())


def plugin_files() -> tuple[Path, ...]:
    """Return the places of all files that were run, for another process to run them too."""
    return tuple(_loaded.by_place)


@contextlib.contextmanager
def plugin_scope() -> Iterator[None]:
    """Forget at the end what was loaded or declared inside."""
    global _loaded
    before, _loaded = _loaded, _Loaded(by_place=dict(_loaded.by_place))
    try:
        yield
    finally:
        kept = {plugin.module.__name__ for plugin in before.by_place.values()}
        for plugin in _loaded.by_place.values():
            if plugin.module.__name__ not in kept:
                sys.modules.pop(plugin.module.__name__, None)
        _loaded = before


def plugin_of(item: type) -> Plugin | None:
    """Return the plugin that defines a class; None for one of graphopt or of the caller."""
    return next((it for it in _loaded.by_place.values() if it.module.__name__ == item.__module__), None)


def class_of_plugin(plugin: Plugin, base: type[T]) -> type[T] | None:
    """Return the one public class of a kind that a plugin defines; None when it defines none.

    Raises:
        UsageError: it defines several, an incomplete one, or one of another name than the file's.
    """
    found = [
        item
        for item in vars(plugin.module).values()
        if inspect.isclass(item)
        and issubclass(item, base)
        and item.__module__ == plugin.module.__name__
        and not item.__name__.startswith("_")
    ]
    if not found:
        return None
    names = " and ".join(item.__name__ for item in found)
    if len(found) > 1:
        raise UsageError(
            f"{plugin.path} defines {names}: a file holds one {base.__name__.lower()}; give each a file of "
            "its own, or start the names of helper classes with an underscore"
        )
    cls = found[0]
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise UsageError(f"{plugin.path}: {cls.__name__} lacks {', '.join(f'{item}()' for item in missing)}")
    declared = getattr(cls, "name", None)
    if declared != plugin.name:
        raise UsageError(
            f"{plugin.path}: the name of {cls.__name__} must be that of its file: write "
            f'name: ClassVar[str] = "{plugin.name}"{f" instead of {declared!r}" if declared else ""}'
        )
    return cls


def blame(error: BaseException) -> str | None:
    """Return the message for an error that came out of a plugin's code; None when it did not.

    Its own lines are named, not graphopt's.
    """
    for place, plugin in _loaded.by_place.items():
        if lines := _own_lines(error, place):
            return _message(f"the plugin {plugin.path} failed", lines, error)
    return None


def _checked(path: Path) -> Path:
    place = path.resolve()
    if path.suffix != ".py":
        raise UsageError(f"a plugin is a Python file, NAME.py, not {path}")
    if not place.is_file():
        raise UsageError(f"the plugin {path} does not exist")
    if not place.stem.isidentifier():
        word = "".join(letter if letter.isalnum() else "_" for letter in place.stem)
        raise UsageError(f"the name of the plugin {path} is typed as a word: rename it, e.g. {word}.py")
    return place


def _failed(path: Path, place: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(place):
        lines = [f"  {place.name}:{error.lineno}: {(error.text or '').strip()}"]
    else:
        lines = _own_lines(error, place)
    message = _message(f"the plugin {path} cannot be loaded", lines, error)
    if isinstance(error, ModuleNotFoundError):
        message += (
            "\n  a plugin is one file: put into it what it needs of its neighbours, or install the package"
        )
    return message


def _own_lines(error: BaseException, place: Path) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    return [
        f"  {place.name}:{frame.lineno}, in {frame.name}: {frame.line or ''}".rstrip(": ")
        for frame in frames
        if frame.filename == str(place)
    ]


def _message(what: str, lines: Sequence[str], error: BaseException) -> str:
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    name = type(error).__name__
    return "\n".join([f"{what}; mend it or leave it out:", *lines, f"  {name}: {reason}".rstrip(": ")])
