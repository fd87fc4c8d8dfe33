"""``graphopt.toml``: where it is found, what it may say, how a plugin is added to it."""

import os
import tomllib
from pathlib import Path

import pytest

from graphopt.core.errors import UsageError
from graphopt.core.project_file import find_project_file, is_foreign, read_project_file, with_plugin


def write(folder: Path, text: str) -> Path:
    path = folder / "graphopt.toml"
    path.write_text(text)
    return path


def test_the_nearest_one_upwards_counts(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    outer = write(tmp_path, "")
    assert find_project_file(deep) == outer.resolve()
    inner = write(tmp_path / "a", "")
    assert find_project_file(deep) == inner.resolve()


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    project = read_project_file(
        write(tmp_path, 'plugins = ["passes/mine.py"]\n[defaults.compile]\nsoc = "310P3"')
    )
    assert project.plugins == (tmp_path / "passes" / "mine.py",)
    assert project.defaults == {"compile": {"soc": "310P3"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plugins = [", "is not TOML: Invalid value"),
        ('plugin = ["a.py"]', "unknown key 'plugin'; did you mean plugins"),
        ('plugins = "a.py"', "must be a list of Python files"),
        ("plugins = [1]", "must be a list of Python files"),
        ("defaults = 3", "options per verb"),
        ('[defaults]\nsoc = "310P3"', "options per verb"),
    ],
)
def test_what_cannot_be_understood_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_project_file(write(tmp_path, text))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_strangers_file_above_is_foreign_and_his_own_folder_is_not(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    work = tmp_path / "work"
    work.mkdir()
    assert not is_foreign(path, work)
    os.chown(path, 12345, 12345)
    assert is_foreign(path, work)
    os.chown(work, 12345, 12345)
    assert not is_foreign(path, work)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plugins = []\n",
        'plugins = ["a.py"]  # mine\n',
        'plugins = [\n    "a.py",\n    "c.py",\n]\n',
        '# of this project\n[defaults.apply]\nverify = "each"\n',
    ],
)
def test_a_plugin_is_added_once_and_all_else_stays(text: str) -> None:
    changed = with_plugin(text, "b.py")
    old, new = tomllib.loads(text), tomllib.loads(changed)
    assert new["plugins"] == [*old.get("plugins", []), "b.py"]
    assert new.get("defaults") == old.get("defaults")
    assert with_plugin(changed, "b.py") == changed
    assert all(line in changed for line in text.splitlines() if line.startswith("#"))


def test_a_list_that_cannot_be_edited_safely_is_left_to_the_user() -> None:
    with pytest.raises(UsageError, match=r'add "b.py" to the list of plugins by hand'):
        with_plugin('# ]\nplugins = ["a.py"]\n', "b.py")
