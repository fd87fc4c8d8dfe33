"""Items are found by their file's name, alone, and a misspelt one gets a suggestion."""

import abc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from graphopt.core.discovery import class_in, did_you_mean, find_class, find_constant, names_in
from graphopt.core.errors import UsageError


class Animal(abc.ABC):
    """What the classes of the test package are."""

    @abc.abstractmethod
    def sound(self) -> str: ...


_HEAD = "from zoo_base import Animal\n"
_CAT = "class Cat(Animal):\n    name = 'cat'\n    def sound(self): return 'meow'\n"


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package ``zoo`` with one good item; others are written by the tests."""
    package = tmp_path / "zoo"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cat.py").write_text(_HEAD + _CAT)
    (package / "_private.py").write_text("raise RuntimeError('never imported')")
    base = ModuleType("zoo_base")
    base.Animal = Animal  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zoo_base", base)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name == "zoo" or name.startswith("zoo.")]:
        monkeypatch.delitem(sys.modules, name)
    yield package
    for name in [name for name in sys.modules if name == "zoo" or name.startswith("zoo.")]:
        del sys.modules[name]


def _find(name: str) -> type[Animal]:
    return find_class("zoo", name, Animal, kind="animal")  # type: ignore[type-abstract]


def test_a_class_is_found_by_its_file(zoo: Path) -> None:
    found = _find("cat")
    assert (found.__name__, found().sound()) == ("Cat", "meow")


def test_neighbours_are_listed_but_not_imported(zoo: Path) -> None:
    (zoo / "broken.py").write_text("raise RuntimeError('never imported')")
    assert names_in("zoo") == ("broken", "cat")
    _find("cat")
    assert "zoo.broken" not in sys.modules


def test_a_misspelt_name_gets_a_suggestion(zoo: Path) -> None:
    with pytest.raises(UsageError, match=r"^unknown animal 'cta'; did you mean cat\?$"):
        _find("cta")
    with pytest.raises(UsageError, match=r"^unknown animal 'elephant'; known: cat$"):
        _find("elephant")


@pytest.mark.parametrize("name", ["_private", "__init__", "../cat", "zoo.cat", "", "os"])
def test_only_public_files_of_the_folder_count(zoo: Path, name: str) -> None:
    with pytest.raises(UsageError, match="unknown animal"):
        _find(name)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "must define one public Animal, found: none"),
        (_CAT + _CAT.replace("Cat", "Lion"), "found: Cat, Lion"),
        ("from zoo.cat import Cat", "found: none"),
        ("class Dog(Animal): pass", "found: none"),
        (_CAT.replace("Cat", "_Cat"), "found: none"),
        (_CAT, "the class is named 'cat', its file 'dog'"),
    ],
)
def test_a_file_that_breaks_the_rules_is_a_bug(zoo: Path, source: str, reason: str) -> None:
    (zoo / "dog.py").write_text(_HEAD + source)
    with pytest.raises(TypeError, match=reason):
        _find("dog")


def test_a_broken_file_shows_its_own_error(zoo: Path) -> None:
    (zoo / "dog.py").write_text("import no_such_package")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        _find("dog")


def test_bases_and_private_helpers_do_not_count(zoo: Path) -> None:
    (zoo / "dog.py").write_text(
        _HEAD
        + "class _Base(Animal):\n    def sound(self): return 'woof'\nclass Dog(_Base):\n    name = 'dog'\n"
    )
    assert _find("dog").__name__ == "Dog"


def test_constants_are_checked_by_type(zoo: Path) -> None:
    (zoo / "dog.py").write_text("RECIPE = 5")
    assert find_constant("zoo", "dog", "RECIPE", int, kind="recipe") == 5
    with pytest.raises(TypeError, match=r"zoo\.dog must define RECIPE: str"):
        find_constant("zoo", "dog", "RECIPE", str, kind="recipe")
    with pytest.raises(TypeError, match=r"zoo\.cat must define RECIPE: int"):
        find_constant("zoo", "cat", "RECIPE", int, kind="recipe")


def test_a_loaded_module_can_be_searched() -> None:
    module = ModuleType("lion")
    lion = type("Lion", (Animal,), {"sound": lambda self: "roar", "__module__": "lion", "name": "lion"})
    module.Lion = lion  # type: ignore[attr-defined]
    assert class_in(module, Animal) is lion  # type: ignore[type-abstract]


def test_suggestions_name_the_nearest_or_all() -> None:
    known = ["remove_pad", "remove_identity", "fold_constants"]
    assert did_you_mean("fold_constant", known) == "did you mean fold_constants?"
    assert did_you_mean("remove_pda", known) == "did you mean remove_pad or remove_identity?"
    assert did_you_mean("zzz", known) == "known: fold_constants, remove_identity, remove_pad"
    assert did_you_mean("x", []) == "known: "


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from graphopt.core.discovery import names_in; names_in('graphopt.core');"
        "print(any(m in sys.modules for m in ('numpy', 'onnx', 'torch')))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
