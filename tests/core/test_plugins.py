"""Loose Python files: what runs, what is refused, whose fault an error is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphopt.core import child
from graphopt.core.errors import UsageError
from graphopt.core.plugins import (
    PLUGIN_MODULES,
    Plugin,
    blame,
    class_of_plugin,
    declare_plugin,
    load_plugin,
    loaded_plugins,
    plugin_of,
    plugin_scope,
)


class Thing:
    """What a plugin of these tests holds."""

    name: str


@pytest.fixture(autouse=True)
def scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no plugin behind, and let plugins import ``Thing``."""
    monkeypatch.setitem(sys.modules, "things", sys.modules[__name__])
    with plugin_scope():
        yield


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


GOOD = 'from things import Thing\nclass Mine(Thing):\n    name = "mine"\n'


INCOMPLETE = """
import abc, things
class Mine(things.Thing, abc.ABC):
    @abc.abstractmethod
    def run(self): ...
"""


def test_a_file_is_run_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    first = load_plugin(path)
    assert load_plugin(path) is first
    assert loaded_plugins() == (first,)
    write(tmp_path, GOOD + "answer = 42\n")
    again = load_plugin(path)
    assert again.module.answer == 42
    assert again.sha256 != first.sha256
    assert loaded_plugins() == (again,)


def test_the_class_of_a_kind_leads_back_to_its_file(tmp_path: Path) -> None:
    plugin = load_plugin(write(tmp_path, GOOD))
    cls = class_of_plugin(plugin, Thing)
    assert cls is not None
    assert plugin_of(cls) is plugin
    assert plugin_of(Thing) is None
    assert class_of_plugin(plugin, Plugin) is None


def test_what_a_plugin_prints_does_not_mix_with_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_plugin(write(tmp_path, 'print("hello")\n'))
    assert capsys.readouterr() == ("", "hello\n")


def test_a_scope_forgets(tmp_path: Path) -> None:
    with plugin_scope():
        load_plugin(write(tmp_path, GOOD))
    assert loaded_plugins() == ()


def test_a_declared_file_runs_only_when_plugins_are_asked_for(tmp_path: Path) -> None:
    told: list[Plugin] = []
    path = write(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    declare_plugin(path, told.append)
    assert not (tmp_path / "ran").exists()
    assert loaded_plugins() == tuple(told)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.txt", "is a Python file"),
        ("nothing.py", "does not exist"),
        ("my-pass.py", "rename it, e.g. my_pass.py"),
    ],
)
def test_a_path_that_is_no_plugin_is_refused(tmp_path: Path, name: str, said: str) -> None:
    if name.startswith("m"):
        write(tmp_path, "", name)
    with pytest.raises(UsageError, match=said):
        load_plugin(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x = 1\ndef broken(:\n", ["mine.py:2: def broken(:", "SyntaxError: invalid syntax"]),
        (
            "import json\ndef read():\n    return json.loads('{')\n\nread()\n",
            [
                "mine.py:5, in <module>: read()",
                "mine.py:3, in read: return json.loads('{')",
                "JSONDecodeError",
            ],
        ),
        ("import no_such_neighbour\n", ["mine.py:1", "ModuleNotFoundError", "a plugin is one file"]),
        ("import sys\nsys.exit(3)\n", ["mine.py:2, in <module>: sys.exit(3)", "SystemExit: 3"]),
        ("x = '\xff'\n", ["SyntaxError: (unicode error)"]),
    ],
)
def test_a_failing_file_is_refused_with_its_own_lines(tmp_path: Path, text: str, lines: list[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as error:
        load_plugin(path)
    for line in (*lines, "cannot be loaded; mend it or leave it out"):
        assert line in str(error.value)
    assert "decoder.py" not in str(error.value)
    assert loaded_plugins() == ()
    assert not [name for name in sys.modules if name.startswith(PLUGIN_MODULES)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "class Other(Thing): pass\n", "defines Mine and Other: a file holds one thing"),
        (GOOD.replace('"mine"', '"yours"'), "name: ClassVar.* = \"mine\" instead of 'yours'"),
        ("from things import Thing\nclass Mine(Thing): pass\n", "must be that of its file"),
        (
            INCOMPLETE,
            r"Mine lacks run\(\)",
        ),
    ],
)
def test_what_a_file_defines_must_be_one_complete_class_of_its_name(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        class_of_plugin(load_plugin(write(tmp_path, text)), Thing)


def test_helper_classes_begin_with_an_underscore(tmp_path: Path) -> None:
    plugin = load_plugin(write(tmp_path, GOOD + "class _Helper(Thing): pass\n"))
    assert class_of_plugin(plugin, Thing) is plugin.module.Mine


def test_a_child_process_finds_what_a_plugin_defines(tmp_path: Path) -> None:
    text = (
        "class Pair:\n    def __init__(self, a): self.a = a\ndef double(pair):\n    return Pair(2 * pair.a)\n"
    )
    plugin = load_plugin(write(tmp_path, text))
    answer = child.call(plugin.module.double, plugin.module.Pair(21), timeout_s=60)
    assert isinstance(answer, plugin.module.Pair)
    assert answer.a == 42


def test_a_child_process_runs_no_plugin_that_it_does_not_need(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    load_plugin(write(tmp_path, f"with open({str(ran)!r}, 'a') as file: file.write('x')\n"))
    assert child.call(child._why_dead, "it", 71, tmp_path, timeout_s=60) == "it ran out of memory"
    assert ran.read_text() == "x"


def test_an_error_is_blamed_on_the_plugin_only_when_its_code_took_part(tmp_path: Path) -> None:
    plugin = load_plugin(write(tmp_path, "def divide(x):\n    return 1 / x\n"))
    with pytest.raises(ZeroDivisionError) as error:
        plugin.module.divide(0)
    message = blame(error.value)
    assert message is not None
    assert "mine.py:2, in divide: return 1 / x" in message
    assert "test_plugins.py" not in message
    assert blame(ZeroDivisionError("of ours")) is None
